"""Sizes as a person writes them: `4 GiB`, `200 MB`."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

UNITS = {
    "B": 1,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}


def bytes_of(value: Any) -> Any:
    """`4 GiB` as a number of bytes."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*([0-9.]+)\s*([KMGT]?i?B)\s*", value)
    if match is None or match.group(2) not in UNITS:
        raise ValueError("a size is a number and a unit, such as 4 GiB")
    return int(float(match.group(1)) * UNITS[match.group(2)])


Size = Annotated[int, BeforeValidator(bytes_of), Field(gt=0, json_schema_extra={"type": ["integer", "string"]})]
