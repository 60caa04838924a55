"""The values that a parameter may take: one by one, or by a rule that a person can type, such as `0.001:0.01:10`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from campaign.core.model import Scalar

DIGITS = 12
"""Significant digits of a value that is computed, so that a tenth of 0.3 is written as 0.03."""

VALUES_MAX, TEXT_MAX, INTEGER_MAX = 10_000_000, 1000, 2**63

FORMS = (
    "A,B,C  START:STOP:COUNT  log:START:STOP:COUNT  int:START:STOP[:STEP]  ladder:FIRST:RATIO:LEVELS, "
    "or START:STOP and log:START:STOP where values are drawn"
)
"""How values are typed."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Values one by one."""

    given: tuple[Scalar, ...]

    def values(self) -> tuple[Scalar, ...]:
        """All of them."""
        return self.given

    def at(self, u: npt.NDArray[np.float64]) -> tuple[Scalar, ...]:
        """The values at places `u` in [0, 1), (n,): each of them takes an equal part."""
        return tuple(self.given[int(n)] for n in np.floor(u * len(self.given)))


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `start` to `stop`, both included: `count` of them, or wherever they are drawn."""

    start: float
    stop: float
    count: int | None = None
    log: bool = False  # evenly spaced in the logarithm

    def values(self) -> tuple[Scalar, ...]:
        """Evenly spaced values; ValueError where nobody said how many."""
        if self.count is None:
            raise ValueError(f"how many values: {self.start:g}:{self.stop:g}:COUNT")
        inner = self.at(np.linspace(0.0, 1.0, self.count))[1:-1]
        return _distinct((self.start, *inner, self.stop))

    def at(self, u: npt.NDArray[np.float64]) -> tuple[float, ...]:
        """The values at places `u` in [0, 1], (n,)."""
        if self.log:
            first, last = math.log(self.start), math.log(self.stop)
            return _rounded(np.exp(first + u * (last - first)))
        span, largest = abs(self.stop - self.start), max(abs(self.start), abs(self.stop))
        more = math.ceil(math.log10(min(largest / span, 1e6))) if span else 0
        return _rounded(self.start + u * (self.stop - self.start), DIGITS + more)


@dataclass(frozen=True, slots=True)
class Integers:
    """Integers from `start` to at most `stop`, `step` apart."""

    start: int
    stop: int
    step: int = 1

    def values(self) -> tuple[Scalar, ...]:
        """All of them."""
        return tuple(range(self.start, self.stop + 1, self.step))

    def at(self, u: npt.NDArray[np.float64]) -> tuple[Scalar, ...]:
        """The integers at places `u` in [0, 1), (n,): each takes an equal part."""
        return Choice(self.values()).at(u)


@dataclass(frozen=True, slots=True)
class Ladder:
    """Values for a convergence study: the first, then each `ratio` times the one before."""

    first: float
    ratio: float
    levels: int

    def values(self) -> tuple[Scalar, ...]:
        """All of them; integers where the first and the ratio are."""
        made = [self.first * self.ratio**level for level in range(self.levels)]
        if isinstance(self.first, int) and all(float(value).is_integer() for value in made):
            return tuple(int(value) for value in made)
        return _distinct(_rounded(np.asarray(made)))

    def at(self, u: npt.NDArray[np.float64]) -> tuple[Scalar, ...]:
        """The values at places `u` in [0, 1), (n,): each takes an equal part."""
        return Choice(self.values()).at(u)


Values = Choice | Range | Integers | Ladder


def parse(text: str) -> Values:
    """What a person typed; ValueError says what is wrong, and how values are typed."""
    head, _, rest = text.partition(":")
    make = _RULES.get(head.strip().lower())
    if make is not None:
        return make([_number(word) for word in rest.split(":")])
    if ":" in text:
        return linear([_number(word) for word in text.split(":")])
    words = [word.strip() for word in text.split(",")]
    if not all(words):
        raise ValueError(f"a value is missing in {text!r}; allowed: {FORMS}")
    return choice([_scalar(word) for word in words])


def choice(given: Sequence[Scalar]) -> Choice:
    """Values one by one, of one type; ValueError where one is there twice."""
    if not given:
        raise ValueError("no value is given")
    kinds = {type(value) for value in given}
    values: tuple[Scalar, ...] = tuple(given)
    if kinds == {int, float}:
        values = tuple(float(value) for value in given)
    elif len(kinds) > 1:
        raise ValueError(f"values of several types: {', '.join(sorted(kind.__name__ for kind in kinds))}")
    twice = [value for n, value in enumerate(values) if value in values[:n]] if len(values) < 1000 else []
    if twice or len(set(values)) < len(values):
        raise ValueError(f"{twice[0] if twice else 'a value'} is there twice")
    if any(isinstance(value, float) and not math.isfinite(value) for value in values):
        raise ValueError("a value is not finite")
    if any(isinstance(value, int) and abs(value) >= INTEGER_MAX for value in values):
        raise ValueError("an integer has 63 bits at most")
    longest = max((len(value) for value in values if isinstance(value, str)), default=0)
    if longest > TEXT_MAX:
        raise ValueError(f"a value of {longest:,} characters; a text has at most {TEXT_MAX:,} characters")
    return Choice(values)


def linear(numbers: Sequence[float]) -> Range:
    """START, STOP and how many."""
    return _range(numbers, log=False)


def logarithmic(numbers: Sequence[float]) -> Range:
    """START, STOP and how many, evenly spaced in the logarithm."""
    if len(numbers) > 1 and min(numbers[:2]) <= 0:
        raise ValueError(f"the ends of a logarithmic range are positive, not {numbers[0]:g} and {numbers[1]:g}")
    return _range(numbers, log=True)


def integers(numbers: Sequence[float]) -> Integers:
    """START, STOP and STEP."""
    whole = [_whole(number) for number in numbers]
    if not 2 <= len(whole) <= 3:
        raise ValueError(f"integers are START:STOP or START:STOP:STEP; allowed: {FORMS}")
    found = Integers(*whole)
    if found.step < 1 or found.stop < found.start:
        raise ValueError(f"no integer from {found.start} to {found.stop} in steps of {found.step}")
    if max(abs(found.start), abs(found.stop)) >= INTEGER_MAX:
        raise ValueError("an integer has 63 bits at most")
    if (found.stop - found.start) // found.step >= VALUES_MAX:
        raise ValueError(f"more than {VALUES_MAX:,} integers")
    return found


def ladder(numbers: Sequence[float]) -> Ladder:
    """FIRST, RATIO and how many levels."""
    if len(numbers) != 3:
        raise ValueError(f"a ladder is FIRST:RATIO:LEVELS; allowed: {FORMS}")
    first, ratio, levels = numbers[0], numbers[1], _whole(numbers[2])
    if first == 0 or ratio <= 0 or ratio == 1:
        raise ValueError("a ladder has a first value that is not 0 and a positive ratio that is not 1")
    if not 2 <= levels <= 100:
        raise ValueError(f"a ladder has 2 to 100 levels, not {levels}")
    last = math.log10(abs(first)) + (levels - 1) * math.log10(ratio)
    if abs(last) > 300:
        raise ValueError("the last value of the ladder is not a number of this machine")
    return Ladder(first, ratio, levels)


_RULES: dict[str, Callable[[Sequence[float]], Values]] = {
    "linear": linear, "log": logarithmic, "int": integers, "integer": integers, "ladder": ladder,
}  # fmt: skip


def _range(numbers: Sequence[float], *, log: bool) -> Range:
    if not 2 <= len(numbers) <= 3:
        raise ValueError(f"a range is START:STOP:COUNT; allowed: {FORMS}")
    start, stop = float(numbers[0]), float(numbers[1])
    if start == stop:
        raise ValueError(f"the range begins and ends at {start:g}; give the value alone")
    if not math.isfinite(stop - start):
        raise ValueError("the range is wider than the numbers of this machine")
    if len(numbers) == 2:
        return Range(start, stop, log=log)
    count = _whole(numbers[2])
    if not 2 <= count <= VALUES_MAX:
        raise ValueError(f"a range has 2 to {VALUES_MAX:,} values, not {count:,}")
    return Range(start, stop, count, log)


def _number(word: str) -> float:
    """A number as it is typed: an integer stays one."""
    found = _scalar(word)
    if isinstance(found, str | bool) or not math.isfinite(found):
        raise ValueError(f"{word[:80]!r} is not a number; allowed: {FORMS}")
    return found


def _scalar(word: str) -> Scalar:
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word.strip()


def _whole(number: float) -> int:
    if float(number).is_integer():
        return int(number)
    raise ValueError(f"{number:g} is not a whole number")


def _rounded(values: npt.NDArray[np.float64], digits: int = DIGITS) -> tuple[float, ...]:
    """Values as a person would write them, with so many digits."""
    return tuple(float(f"{value:.{min(max(digits, DIGITS), 17)}g}") for value in values.tolist())


def _distinct(values: tuple[float, ...]) -> tuple[float, ...]:
    """The values; ValueError where two of them are the same number."""
    if len(set(values)) < len(values):
        raise ValueError(f"{len(values):,} values from {values[0]:g} to {values[-1]:g} are no distinct numbers")
    return values
