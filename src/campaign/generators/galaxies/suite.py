"""Where the halo catalogues of a simulation suite lie, and what their simulations are called."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from campaign.errors import Code, UsageError
from campaign.generators.galaxies.options import SYNTHETIC_SUITE

BOXES = {
    "AbacusSummit_base": 2000.0, "AbacusSummit_small": 500.0, "AbacusSummit_high": 1000.0, "AbacusSummit_highbase": 1000.0,
    "AbacusSummit_huge": 7500.0, "AbacusSummit_hugebase": 2000.0, "AbacusSummit_fixedbase": 1185.0,
}  # fmt: skip
"""Sides of the boxes, Mpc/h (Maksimova et al., MNRAS 508, 4017, 2021)."""

_SMALL_PHASES = 3000
"""AbacusSummit_small numbers its phases from here."""


def first_phase_of(suite: str) -> int:
    """Phase of realization 0 unless the configuration says otherwise: 3000 in AbacusSummit_small, else 0."""
    return _SMALL_PHASES if suite == "AbacusSummit_small" else 0


def box_size(config: Mapping[str, Any]) -> float:
    """Side of the box of the suite that the generator's options name, Mpc/h; UsageError where it is not known."""
    given = config["measurements"]["box_size"]
    if given is not None:
        return float(given)
    if config["simulation_suite"] == SYNTHETIC_SUITE:
        return float(config["synthetic"]["box_size"])
    known = BOXES.get(str(config["simulation_suite"]))
    if known is None:
        raise UsageError(
            Code.CONFIG_INVALID,
            f"the box of {config['simulation_suite']} is not known",
            action="set measurements.box_size of the generator, in Mpc/h",
        )
    return known


def phase_word(phase: int) -> str:
    """`ph000`, `ph3000`."""
    return f"ph{phase:03d}"


def simulation_name(suite: str, cosmology: str, phase: int) -> str:
    """Name of one simulation, such as `AbacusSummit_small_c000_ph3000`."""
    return f"{suite}_{cosmology}_{phase_word(phase)}"


def cleaning_path(catalogue: Path) -> Path:
    """Where the cleaning information of a catalogue directory lies: below the nearest `cleaning/` around it.

    The path where the nearest one would have to be, if there is none.
    """
    simulation = catalogue.parents[1]
    for parent in simulation.parents:
        if _is_directory(parent / "cleaning"):
            return parent / "cleaning" / simulation.relative_to(parent) / catalogue.name
    return simulation.parent / "cleaning" / simulation.name / catalogue.name


@lru_cache(maxsize=1024)
def _is_directory(path: Path) -> bool:
    return path.is_dir()


def build_abacus_path(root: str | Path, suite: str, cosmology: str, phase: int, redshift: float) -> Path:
    """Directory of one halo catalogue: `<root>/<simulation>/halos/z1.100`.

    Raises ValueError for a suite or a cosmology that could leave `root`, and for a negative redshift.
    """
    for word in (suite, cosmology):
        if not re.fullmatch(r"[A-Za-z0-9_]+", word):
            raise ValueError(f"{word!r} is not the name of a suite or cosmology")
    if redshift < 0:
        raise ValueError(f"a redshift is >= 0, not {redshift}")
    return Path(root) / simulation_name(suite, cosmology, phase) / "halos" / f"z{redshift:.3f}"
