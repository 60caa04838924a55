"""How a result converges as a discretisation is refined: observed order, extrapolated value, grid convergence index.

Formulas: P. J. Roache, Annu. Rev. Fluid Mech. 29, 123 (1997); for ratios that change, I. B. Celik et al., J. Fluids Eng. 130,
078001 (2008).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

SAFETY = 1.25
"""Factor of the grid convergence index where three grids or more are compared."""

ORDER_MAX = 20.0
"""Differences that shrink by a higher order than this tell of something else than a discretisation: they are called steep."""

LARGEST = 300.0
"""Decimal digits of the largest power that is formed."""


@dataclass(frozen=True, slots=True)
class Level:
    """One discretisation."""

    size: float  # of a cell or a step; a smaller one is finer
    value: float


@dataclass(frozen=True, slots=True)
class Triplet:
    """What three successive levels tell, `fine` the finest of them."""

    coarse: Level
    medium: Level
    fine: Level
    behaviour: str  # monotone, oscillatory, divergent, converged, steep
    order: float | None  # observed; None where the differences tell none
    extrapolated: float | None  # the value for a size of zero, after Richardson
    relative_error: float | None  # |fine - medium| / |fine|
    gci_fine: float | None  # grid convergence index of the finest level, relative
    gci_coarse: float | None  # of the medium level
    asymptotic: float | None  # 1 where the levels lie in the asymptotic range


@dataclass(frozen=True, slots=True)
class Convergence:
    """What a ladder tells: each triplet of successive levels, the finest last."""

    levels: tuple[Level, ...]  # the coarsest first
    triplets: tuple[Triplet, ...]

    @property
    def best(self) -> Triplet | None:
        """That of the finest levels."""
        return self.triplets[-1] if self.triplets else None


def analyse(sizes: Sequence[float], values: Sequence[float]) -> Convergence:
    """The convergence of `values`, each of a discretisation of this size; ValueError where sizes are not positive or not distinct."""
    if len(sizes) != len(values):
        raise ValueError(f"{len(sizes)} sizes and {len(values)} values")
    if any(not size > 0 or not math.isfinite(size) for size in sizes) or len(set(sizes)) < len(sizes):
        raise ValueError("sizes of a ladder are positive, finite and each of them there once")
    if any(not math.isfinite(value) for value in values):
        raise ValueError("a value of the ladder is not finite")
    levels = tuple(Level(size, value) for size, value in sorted(zip(sizes, values, strict=True), reverse=True))
    return Convergence(levels, tuple(_triplet(*levels[n : n + 3]) for n in range(len(levels) - 2)))


def _triplet(coarse: Level, medium: Level, fine: Level) -> Triplet:
    upper, lower = coarse.value - medium.value, medium.value - fine.value
    scale = max(abs(coarse.value), abs(medium.value), abs(fine.value))
    error = abs(lower / fine.value) if fine.value else None
    if abs(lower) <= 1e-14 * scale:
        return Triplet(coarse, medium, fine, "converged", None, fine.value, error, 0.0, None, None)
    finer, coarser = medium.size / fine.size, coarse.size / medium.size
    order = _order(upper, lower, finer, coarser)
    if order is None:
        behaviour = "divergent" if abs(upper) < abs(lower) or not upper else "steep"
        return Triplet(coarse, medium, fine, behaviour, None, None, error, None, None, None)
    behaviour = "monotone" if upper * lower > 0 else "oscillatory"
    extrapolated = fine.value - lower / (finer**order - 1)
    gci_fine = None if error is None else SAFETY * error / (finer**order - 1)
    gci_coarse = SAFETY * abs(upper / medium.value) / (coarser**order - 1) if medium.value else None
    asymptotic = gci_coarse / (finer**order * gci_fine) if gci_fine and gci_coarse else None
    return Triplet(
        coarse, medium, fine, behaviour, order, extrapolated if behaviour == "monotone" else None, error, gci_fine,
        gci_coarse, asymptotic,
    )  # fmt: skip


def _order(upper: float, lower: float, finer: float, coarser: float) -> float | None:
    """Observed order of three levels, by bisection of equation 5 of Celik (2008); None where there is no positive one."""
    ratio = upper / lower
    sign = math.copysign(1.0, ratio)

    def excess(order: float) -> float:
        return float(finer**order * (coarser**order - sign) / (finer**order - sign) - abs(ratio))

    low, high = 1e-6, min(ORDER_MAX, LARGEST / 2 / math.log10(max(finer, coarser)))
    if excess(low) >= 0 or excess(high) <= 0:
        return None
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) < 0 else (low, middle)
    return (low + high) / 2
