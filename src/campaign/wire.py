"""JSON as it travels between processes and lies in journals and artifacts: one object, compact, in UTF-8."""

from __future__ import annotations

import json
from typing import Any

import orjson


def encode(value: Any) -> bytes:
    """`value` as JSON; TypeError for what JSON does not know. What is not finite becomes null."""
    try:
        return orjson.dumps(value)
    except TypeError:  # a text that is no UTF-8, as the name of a file may be; an integer of more than 64 bits
        return json.dumps(value).encode()


def decode(data: bytes | str) -> Any:
    """What JSON says; ValueError where it is none."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return json.loads(data)
