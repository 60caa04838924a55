"""Whether a campaign can be trusted, and what its ensemble says: reports, pictures and statistics beside the dataset."""

from __future__ import annotations

import importlib.util
import logging
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from campaign import durable
from campaign.adapters import provenance
from campaign.analyse import quality
from campaign.analyse.quality import Check, Verdict
from campaign.analyse.results import open_results
from campaign.core.model import Config
from campaign.errors import UsageError
from campaign.layout import Layout
from campaign.needs import need
from campaign.ports import Expected, Expecting, Generator

if TYPE_CHECKING:
    import xarray

logger = logging.getLogger("campaign")

OVER = "realization"
STATISTICS_MIN = 10
"""Members of which a covariance is written."""

PICTURES_MAX = 12


@dataclass(frozen=True, slots=True)
class Assessment:
    """What was found, and where it stands."""

    verdict: Verdict
    checks: tuple[Check, ...]
    reports: Path
    pictures: tuple[Path, ...]
    statistics: Path | None

    def to_json(self) -> dict[str, Any]:
        """For `--json` and for `verdict.json`."""
        return {
            "verdict": str(self.verdict), "checks": [check.to_json() for check in self.checks],
            "pictures": [str(path) for path in self.pictures], "statistics": str(self.statistics) if self.statistics else None,
        }  # fmt: skip


def assess(config: Config, generator: Generator, over: str = OVER) -> Assessment:
    """Look at everything that is in the dataset of a campaign and write what is found; UsageError where there is none."""
    need("a verdict", "scipy", extra="analysis")
    layout = Layout(Path(config.directory))
    dataset = open_results(layout.root, completed_only=False)
    expected = _expectations(config, generator)
    checks = list(_checks(dataset, over, expected))
    reports = layout.root / "qa" / "validation_reports"
    pictures = _pictures(dataset, layout, over, expected)
    found = Assessment(quality.worst(checks), tuple(checks), reports, pictures, _statistics(dataset, layout, over))
    _write(found, reports, layout)
    return found


def _expectations(config: Config, generator: Generator) -> Callable[[Mapping[str, Any]], Mapping[str, Expected]]:
    """What the generator expects at a point of the design; nothing where it does not know."""
    if not isinstance(generator, Expecting):
        return lambda _: {}
    known: dict[str, Mapping[str, Expected]] = {}

    def expected(at: Mapping[str, Any]) -> Mapping[str, Expected]:
        key = repr(sorted(at.items()))
        if key not in known:
            alike = all(_applies(override.where, at) is False for override in config.overrides if override.config)
            known[key] = generator.expected(config.options, at) if alike else {}
        return known[key]

    return expected


def _applies(where: Mapping[str, Sequence[Any]], at: Mapping[str, Any]) -> bool | None:
    """Whether jobs at a point have other options; None where some of them have."""
    if any(name in at and at[name] not in values for name, values in where.items()):
        return False
    return True if set(where) <= set(at) else None


def _checks(
    dataset: xarray.Dataset, over: str, expected: Callable[[Mapping[str, Any]], Mapping[str, Expected]]
) -> Sequence[Check]:
    ds = dataset.campaign
    checks = [quality.completeness(dataset), quality.unmeasured(dataset)]
    if over not in ds.design:
        return checks
    for name in ds.measurements:
        if set(dataset[name].dims) - set(ds.design):
            checks.append(quality.outliers(dataset, name, over))
        found = quality.against(dataset, name, over, expected)
        if found is not None:
            checks.append(found)
    return checks


def _write(found: Assessment, reports: Path, layout: Layout) -> None:
    """A file for each check, and the verdict; what an earlier look found and this one does not is removed."""
    reports.mkdir(parents=True, exist_ok=True)
    written = {"verdict.json"}
    for check in found.checks:
        durable.write_json(reports / f"{check.name}.json", check.to_json())
        written.add(f"{check.name}.json")
    for path in reports.glob("*.json"):
        if path.name not in written:
            path.unlink()
    checks = [{"name": check.name, "verdict": str(check.verdict), "words": check.words} for check in found.checks]
    durable.write_json(
        reports / "verdict.json",
        {"verdict": str(found.verdict), "campaign": str(layout.root), "made": provenance.now(), "checks": checks},
    )


def _pictures(
    dataset: xarray.Dataset,
    layout: Layout,
    over: str,
    expected: Callable[[Mapping[str, Any]], Mapping[str, Expected]],
) -> tuple[Path, ...]:
    """Pictures of what is measured; none where there is no matplotlib, or no ensemble."""
    ds = dataset.campaign
    if over not in ds.design or importlib.util.find_spec("matplotlib") is None:
        return ()
    from campaign.analyse import portraits
    from campaign.analyse.figures import save

    made = []
    for name, figure in portraits.of_ensemble(dataset, over, expected, PICTURES_MAX):
        path = layout.root / "qa" / "summary_plots" / f"{name}.png"
        save(figure, path)
        made.append(path)
    return tuple(made)


def _statistics(dataset: xarray.Dataset, layout: Layout, over: str) -> Path | None:
    """Mean, covariance and correlation of each measured array, as a dataset of its own; None where there are too few members."""
    import xarray

    from campaign.analyse import moments

    ds, parts = dataset.campaign, {}
    for name in ds.measurements if over in ds.design else ():
        values = ds.values(name)
        if not set(values.dims) - set(ds.design) or int(moments.n_members(values, over).min()) < STATISTICS_MIN:
            continue
        try:
            matrix = moments.covariance(values, over, gaps="bins")
        except UsageError as error:
            logger.info("no covariance of %s: %s", name, error.message)
            continue
        mean = moments.mean(values, over, gaps="bins")
        for what, array in (("mean", mean), ("covariance", matrix), ("correlation", moments.correlation(matrix))):
            parts[f"{name}_{what}"] = _own_names(array, name)
    if not parts:
        return None
    path = layout.root / "statistics.zarr"
    scratch = path.with_name(f".{path.name}.new")
    shutil.rmtree(scratch, ignore_errors=True)
    attributes = {
        "title": f"statistics of {dataset.attrs.get('title', '')}",
        "plan_fingerprint": dataset.attrs.get("plan_fingerprint", ""),
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        xarray.Dataset(parts, attrs=attributes).to_zarr(scratch, zarr_format=3, consolidated=True)
    durable.replace_directory(scratch, path)
    return path


def _own_names(array: xarray.DataArray, name: str) -> xarray.DataArray:
    """With names of its own for what differs from one measurement to the next: vectors, and how many members there are."""
    from campaign.analyse.moments import BIN, OTHER

    array = array.rename(name).reset_coords("members", drop=True) if "members" in array.coords else array
    renamed = {dim: f"{name}_{dim}" for dim in array.dims if str(dim).removesuffix(OTHER) == BIN}
    of_bins = {
        c: f"{name}_{c}" for c, coord in array.coords.items() if set(coord.dims) & set(renamed) and c not in array.dims
    }
    return array.rename({**renamed, **of_bins})
