"""JSON as it travels between processes and lies in journals and artifacts: one object, compact, in UTF-8."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import msgspec

Raw = msgspec.Raw
"""Part of a message that was not looked at yet."""


def encode(value: Any) -> bytes:
    """`value`, which may hold dataclasses, as JSON; TypeError for what JSON does not know. What is not finite becomes null."""
    try:
        return msgspec.json.encode(value)
    except (TypeError, OverflowError, UnicodeEncodeError):  # a name that is no UTF-8; an integer of more than 64 bits
        return json.dumps(value, default=asdict).encode()


def decode(data: bytes | str | Raw, kind: Any = Any) -> Any:
    """What JSON says, as the type `kind`; ValueError where it is none, or none of that type."""
    try:
        return _decoder(kind).decode(data)
    except msgspec.DecodeError:  # half a surrogate pair, or nothing of ours: then it says what
        return convert(json.loads(bytes(data) if isinstance(data, Raw) else data), kind)


def convert(value: Any, kind: Any) -> Any:
    """What was decoded, as the type `kind`; ValueError where it is none of that type."""
    return msgspec.convert(value, kind)


@lru_cache(maxsize=16)
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)
