"""Checks of a campaign find what they are for, and nothing where there is nothing."""

import numpy as np
import pytest
import xarray as xr

import campaign.analyse.accessor  # noqa: F401
from campaign.analyse import quality
from campaign.analyse.quality import Check, Verdict
from campaign.core.model import State
from campaign.ports import Expected

K = np.linspace(0.1, 1.0, 8)


def dataset(members=60, seed=0):
    stream = np.random.default_rng(seed)
    mixing = np.eye(8) + 0.4 * np.eye(8, k=1)
    power = 10 + stream.standard_normal((members, 2, 8)) @ mixing
    status = np.full((members, 2), int(State.COMPLETED), np.int8)
    return xr.Dataset(
        {
            "status": (("realization", "redshift"), status),
            "power": (("realization", "redshift", "k"), power, {"campaign_role": "measurement", "units": "Mpc3"}),
        },
        coords={"realization": np.arange(members), "redshift": [0.5, 1.0], "k": K},
    )


def expecting(values, **changes):
    known = Expected(**{"values": values, "tolerance": 0.02, "source": "theory", **changes})
    return lambda at: {"power": known}


def test_cells_that_are_missing_are_named():
    ds = dataset()
    assert quality.completeness(ds).verdict is Verdict.PASS
    ds.status[3, 1] = State.PENDING
    assert quality.completeness(ds).verdict is Verdict.WARN
    ds.status[5, 0] = State.TIMEOUT
    found = quality.completeness(ds)
    assert found.verdict is Verdict.FAIL
    assert found.words == "118 of 120 jobs have completed, 1 have failed"
    assert found.figures["missing"] == [
        {"realization": 3, "redshift": 1.0, "state": "pending"}, {"realization": 5, "redshift": 0.5, "state": "timeout"},
    ]  # fmt: skip


def test_jobs_without_values_are_counted():
    ds = dataset()
    assert quality.unmeasured(ds).verdict is Verdict.PASS
    ds.power[7] = np.nan
    ds.status[8] = State.FAILED
    ds.power[8] = np.nan
    found = quality.unmeasured(ds)
    assert (found.verdict, found.figures) == (Verdict.WARN, {"lacking": {"power": 2}})


def test_a_member_that_stands_out_is_found_where_it_does():
    ds = dataset()
    assert quality.outliers(ds, "power", "realization").verdict is Verdict.PASS
    ds.power[17, 1] += np.array([0, 6, -6, 0, 0, 0, 6, 0])
    found = quality.outliers(ds, "power", "realization")
    assert found.verdict is Verdict.WARN
    assert [(one["realization"], one["redshift"]) for one in found.figures["members"]] == [(17, 1.0)]


def test_members_that_do_not_stand_out_seldom_seem_to():
    """The probability is that over all members of a point: some 2 in 1,000 ensembles of two points, were it exact."""
    seen = sum(
        quality.outliers(dataset(30, seed), "power", "realization").verdict is Verdict.WARN for seed in range(150)
    )
    assert seen <= 3


def test_distances_are_distributed_as_they_should_be():
    rows = np.random.default_rng(3).standard_normal((5000, 6)) @ np.diag([1, 10, 100, 1, 1, 1e-3])
    p_values = quality._beta_tail(rows)
    assert np.abs(np.sort(p_values) - np.linspace(0, 1, 5000)).max() < 0.03  # Kolmogorov and Smirnov: 0.023 at 1 in 100


def test_vectors_that_are_longer_than_the_ensemble_or_constant_are_compared_as_far_as_can_be():
    ds = dataset(12)
    ds["power"] = ds.power.where(ds.k < 0.5, 1.0).assign_attrs(ds.power.attrs)
    assert quality.outliers(ds, "power", "realization").verdict is Verdict.PASS
    few = quality.outliers(dataset(4), "power", "realization")
    assert (few.verdict, few.words) == (Verdict.WARN, "there are too few members to compare power")


def test_means_are_compared_with_what_is_expected():
    ds = dataset(400)
    agree = quality.against(ds, "power", "realization", expecting(np.full(8, 10.0)))
    assert (agree.verdict, agree.words) == (Verdict.PASS, "power agrees with theory")
    differ = quality.against(ds, "power", "realization", expecting(np.full(8, 11.0)))
    assert differ.verdict is Verdict.FAIL
    assert differ.figures["points"][0]["difference"] == pytest.approx(-0.09, abs=0.03)
    assert (
        quality.against(ds, "power", "realization", expecting(np.full(8, 11.0), binding=False)).verdict is Verdict.WARN
    )
    assert (
        quality.against(
            ds, "power", "realization", expecting(np.full(8, 10.3), tolerance=0.5, logarithmic=True)
        ).verdict
        is Verdict.PASS
    )
    assert quality.against(ds, "power", "realization", expecting(np.full(8, np.nan))) is None
    assert quality.against(ds, "power", "realization", lambda at: {}) is None
    noisy = quality.against(dataset(3), "power", "realization", expecting(np.full(8, 10.5)))
    assert noisy.verdict is Verdict.PASS  # three members can't tell


def test_the_worst_is_the_verdict():
    checks = [Check("a", Verdict.PASS, ""), Check("b", Verdict.FAIL, ""), Check("c", Verdict.WARN, "")]
    assert quality.worst(checks) is Verdict.FAIL
    assert quality.worst([]) is Verdict.PASS
