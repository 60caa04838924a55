"""Whether a campaign can be trusted: what is missing, which members stand out, and whether means are what is expected."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from campaign.analyse.labels import place, value_at
from campaign.core.lifecycle import FAILED
from campaign.core.model import State
from campaign.ports import Expected

if TYPE_CHECKING:
    import xarray

    import campaign.analyse.accessor  # noqa: F401

Floats = npt.NDArray[np.float64]

OUTLIER_P = 0.001
"""Probability, over all members together, below which the most distant one is an outlier."""

ELEMENTS_MAX = 40
"""Longest vector whose members are compared by a full covariance; of a longer one, each n-th element is looked at."""

LISTED = 50
SIGMAS = 4.0
"""Standard errors by which a mean may differ from what is expected, beside the tolerance of that."""


class Verdict(StrEnum):
    """How a check ended; the worst of them is that of the campaign."""

    PASS = "pass"  # noqa: S105 - no password
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    verdict: Verdict
    words: str
    figures: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """For a report."""
        return {**asdict(self), "verdict": str(self.verdict), "figures": dict(self.figures)}


def worst(checks: Sequence[Check]) -> Verdict:
    """The verdict on all of them."""
    order = list(Verdict)
    return max((check.verdict for check in checks), key=order.index, default=Verdict.PASS)


def completeness(dataset: xarray.Dataset) -> Check:
    """Which cells are missing: fails where jobs have failed, warns where some are still to be run."""
    states = dataset["status"].to_numpy()
    codes = np.bincount(states.reshape(-1), minlength=len(State))
    counts = {state.word: int(codes[state]) for state in State if codes[state]}
    missing = np.argwhere(states != State.COMPLETED)
    cells = [
        {str(dim): value_at(dataset[dim], n) for dim, n in zip(dataset["status"].dims, where, strict=True)}
        | {"state": State(states[tuple(where)]).word}
        for where in missing[:LISTED].tolist()
    ]
    failed = int(codes[list(FAILED)].sum())
    verdict = Verdict.FAIL if failed else Verdict.WARN if len(missing) else Verdict.PASS
    words = f"{codes[State.COMPLETED]} of {states.size} jobs have completed" + (
        f", {failed} have failed" if failed else ""
    )
    return Check("completeness", verdict, words, {"counts": counts, "missing": cells, "missing_listed": len(cells)})


def unmeasured(dataset: xarray.Dataset) -> Check:
    """Completed jobs without a value of something that is measured: `campaign measure` fills that in."""
    ds = dataset.campaign
    done, lacking = ds.done, {}
    for name in ds.measurements:
        values = ds.values(name)
        inner = [dim for dim in values.dims if dim not in ds.design]
        count = int((done & values.isnull().all(inner)).sum())
        if count:
            lacking[name] = count
    words = ", ".join(f"{name} of {count}" for name, count in lacking.items())
    verdict = Verdict.WARN if lacking else Verdict.PASS
    return Check(
        "measurements", verdict, f"not measured: {words}" if lacking else "everything is measured", {"lacking": lacking}
    )


def outliers(dataset: xarray.Dataset, name: str, over: str) -> Check:
    """Members that stand out in a measurement, for each point of the other axes, by their distance from the mean of all.

    Of n Gaussian members, n d^2 / (n - 1)^2 is distributed as Beta(p/2, (n - p - 1)/2), where d^2 is the squared distance in the metric of the sample
    covariance of p elements (Gnanadesikan and Kettenring, Biometrics 28, 81, 1972). The probability is that of the most distant of all.
    """
    ds, found, looked_at = dataset.campaign, [], 0
    values = ds.values(name)
    others = [dim for dim in ds.design if dim != over]
    stacked = values.stack(point=others) if others else values.expand_dims("point")
    for n in range(stacked.sizes["point"]):
        rows, numbers = _vectors(stacked.isel(point=n), over)
        p_values = _beta_tail(rows)
        if p_values is None:
            continue
        looked_at += 1
        at = place(stacked, others, n)
        far = np.flatnonzero(1 - (1 - p_values) ** len(p_values) < OUTLIER_P).tolist()
        found += [
            {**at, over: value_at(dataset[over], int(numbers[row])), "p_value": float(p_values[row])} for row in far
        ]
    words = f"{len(found)} members of {name} stand out" if found else f"no member of {name} stands out"
    if not looked_at:
        words = f"there are too few members to compare {name}"
    verdict = Verdict.WARN if found or not looked_at else Verdict.PASS
    return Check(
        f"outliers_{name}", verdict, words, {"members": found[:LISTED], "points": looked_at, "probability": OUTLIER_P}
    )


def _vectors(values: xarray.DataArray, over: str) -> tuple[Floats, npt.NDArray[np.int64]]:
    """(members, elements) of those that are there, and which they are; without elements that some lack or that most have in common.

    The latter are counts of what is so rare that most members have none: a member that has one is no outlier.
    """
    table = values.transpose(over, ...).to_numpy().astype(np.float64).reshape(values.sizes[over], -1)
    there = np.isfinite(table).any(axis=1)
    rows = table[there]
    if len(rows):
        rows = rows[:, np.isfinite(rows).all(axis=0)]
        rows = rows[:, [np.unique(column, return_counts=True)[1].max() <= len(rows) / 2 for column in rows.T]]
        rows = rows[:, :: max(-(-rows.shape[1] // ELEMENTS_MAX), 1)]
    return rows, np.flatnonzero(there)


def _beta_tail(rows: Floats) -> Floats | None:
    """Probability of a distance as large as that of each member; None where there are too few members.

    Elements that hardly differ from others, so that their covariance is singular, are looked at along its principal axes.
    """
    from scipy.stats import beta

    n = len(rows)
    if n < 5 or not rows.shape[1]:
        return None
    scaled = (rows - rows.mean(axis=0)) / rows.std(axis=0, ddof=1)
    left, strength, _ = np.linalg.svd(scaled, full_matrices=False)
    kept = min(int((strength > 1e-6 * strength[0]).sum()), (n - 2) // 2)
    share = n / (n - 1) * (left[:, :kept] ** 2).sum(axis=1)
    return np.asarray(beta.sf(np.minimum(share, 1.0), kept / 2, (n - kept - 1) / 2))


def against(
    dataset: xarray.Dataset, name: str, over: str, expected: Callable[[Mapping[str, Any]], Mapping[str, Expected]]
) -> Check | None:
    """The mean of a measurement against what is expected of it, for each point of the other axes; None where nothing is."""
    ds, worst_at, compared = dataset.campaign, [], 0
    others = [dim for dim in ds.design if dim != over]
    values = ds.values(name)
    stacked = values.stack(point=others) if others else values.expand_dims("point")
    source, binding = "", True
    for n in range(stacked.sizes["point"]):
        at = place(stacked, others, n)
        known = expected(at).get(name)
        if known is None:
            continue
        source, binding = known.source, known.binding
        table = stacked.isel(point=n).transpose(over, ...).to_numpy().astype(np.float64)
        there = np.isfinite(table).reshape(len(table), -1).any(axis=1)
        if not there.any():
            continue
        entry = _compared(table[there], known)
        if entry is not None:
            compared += 1
            worst_at.append({**at, **entry})
    if not compared:
        return None
    wrong = [entry for entry in worst_at if entry["excess"] > 0]
    verdict = Verdict.PASS if not wrong else Verdict.FAIL if binding else Verdict.WARN
    far = max(worst_at, key=lambda entry: entry["excess"])
    words = f"{name} differs from {source} by {far['difference']:.2g} at most where it is {'outside' if wrong else 'nearest to the end of'} what is tolerated"
    if not wrong:
        words = f"{name} agrees with {source}"
    return Check(f"expected_{name}", verdict, words, {"source": source, "points": worst_at[:LISTED]})


def _compared(table: Floats, known: Expected) -> dict[str, Any] | None:
    """How far the mean of members is from what is expected, where it is farthest beyond tolerance and error."""
    members = np.isfinite(table).sum(axis=0)
    usable = (members >= max(2, 0.5 * len(table))) & np.isfinite(known.values)
    if len(table) < 2 or not usable.any():
        return None
    rows, wanted = table[:, usable], np.asarray(known.values)[usable]
    mean, error = np.nanmean(rows, axis=0), np.nanstd(rows, axis=0, ddof=1) / np.sqrt(members[usable])
    if known.scatter is not None:
        error = np.maximum(error, np.asarray(known.scatter)[usable] / np.sqrt(members[usable]))
    if known.logarithmic:
        difference, allowed = mean - wanted, known.tolerance + SIGMAS * error
    else:
        scale = np.where(wanted != 0, np.abs(wanted), 1.0)
        difference, allowed = (mean - wanted) / scale, known.tolerance + SIGMAS * error / scale
    excess = np.abs(difference) - allowed
    far = int(excess.argmax())
    return {
        "difference": float(difference[far]), "tolerated": float(allowed[far]), "excess": float(excess[far]),
        "chi_square": float((np.where(error > 0, (mean - wanted) / np.where(error > 0, error, 1), 0) ** 2).sum()), "elements": int(usable.sum()),
    }  # fmt: skip
