"""JSON as it travels between processes and lies in journals and artifacts: one object, compact, in UTF-8."""

from __future__ import annotations

from typing import Any

import orjson


def encode(value: Any) -> bytes:
    """`value` as JSON; TypeError for what JSON does not know. What is not finite becomes null."""
    return orjson.dumps(value)


def decode(data: bytes | str) -> Any:
    """What JSON says; ValueError where it is none."""
    return orjson.loads(data)
