"""Times, sizes and failures as a person says them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any


def duration(seconds: float | None) -> str:
    """Seconds as a person says them: `42 s`, `3 min 05 s`, `2 h 10 min`; a dash where they are not known."""
    if seconds is None:
        return "-"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(number: float) -> str:
    """Bytes as a person says them, in powers of 1024: `512 B`, `1.9 KiB`, `2.3 TiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.3g} {unit}"
        number /= 1024
    return f"{number:.3g} TiB"


def value_words(value: Any) -> str:
    """A value of a parameter: six digits of a number that is not whole, everything else as it is."""
    return f"{value:.6g}" if isinstance(value, Real) and not isinstance(value, Integral) else str(value)


def shown(lines: Sequence[str], most: int, hint: str = "") -> list[str]:
    """The first lines of a list, indented, and how many more there are; `hint` tells where those are."""
    more = [f"  and {len(lines) - most} more{hint}"] if len(lines) > most else []
    return [*(f"  {line}" for line in lines[:most]), *more]


def failure_line(failure: Mapping[str, Any]) -> str:
    """One failed attempt in a line."""
    return (
        f"{failure['name']} attempt {failure['attempt']} {failure['outcome']}: [{failure['code']}] {failure['message']}"
    )
