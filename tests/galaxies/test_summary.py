"""What is measured of a catalogue against sums over its galaxies."""

import numpy as np
import pytest
from pydantic import ValidationError

from campaign.core.identity import variable_digest
from campaign.errors import JobError, UsageError
from campaign.generators.galaxies import GalaxiesOptions, summary
from campaign.generators.galaxies.options import SyntheticOptions

BOX = 80.0


def config(**measurements):
    options = GalaxiesOptions(
        simulation_root="/none", synthetic=SyntheticOptions(box_size=BOX), measurements=measurements
    )
    return options.model_dump(mode="json")


def sample(hosts=400, box_size=BOX, seed=0):
    stream = np.random.default_rng(seed)
    satellites = stream.poisson(0.7, hosts)
    is_central = np.concatenate([[1] + [0] * n for n in satellites] or [[]])
    n = len(is_central)
    return summary.Sample(
        {
            "log_stellar_mass": stream.uniform(8, 12, n).astype(np.float32), "log_sfr": stream.normal(0, 1, n).astype(np.float32),
            "is_central": is_central.astype(np.uint8), "is_quenched": stream.integers(0, 2, n).astype(np.uint8),
        },
        (10 ** stream.uniform(12, 14, hosts)).astype(np.float32), box_size, 1.0, 0.3,
        stream.uniform(-box_size / 2, box_size / 2, (n, 3)).astype(np.float32), stream.normal(0, 200, (n, 3)).astype(np.float32),
    )  # fmt: skip


def test_every_quantity_is_what_a_sum_over_galaxies_gives():
    made = sample()
    found = summary.measure(
        made, summary.menu(config(samples={"massive": {"above": 11.0}, "forming": {"column": "log_sfr", "above": 0.5}}))
    )
    p, volume = made.properties, BOX**3
    mass, log_sfr = p["log_stellar_mass"].astype(float), p["log_sfr"].astype(float)
    above = [sum(1 for m in mass if m > edge) / volume for edge in summary.STELLAR_EDGES]
    assert found["stellar_mass_cumulative"].tolist() == pytest.approx(above, rel=1e-12)
    assert found["sfr_cumulative"].tolist() == pytest.approx(
        [sum(1 for x in log_sfr if x > edge) / volume for edge in summary.SFR_EDGES]
    )
    assert found["sfr_density"] == pytest.approx(sum(10**x for x in log_sfr) / volume)
    assert found["stellar_mass_function"].sum() * 0.2 * volume == pytest.approx(len(mass))
    assert found["n_massive"] == sum(m > 11.0 for m in mass)
    assert found["n_forming"] == sum(x > 0.5 for x in log_sfr)
    in_bin = [x - m for m, x in zip(mass, log_sfr, strict=True) if 10.0 <= m < 10.2 and x - m > -11]
    assert found["specific_sfr"][10] == pytest.approx(np.mean(in_bin), rel=1e-5)
    hosts = np.log10(made.halo_masses.astype(float))
    central = [m for m, c in zip(mass, p["is_central"], strict=True) if c]
    of_hosts = [m for h, m in zip(hosts, central, strict=True) if 13.0 <= h < 13.2]
    assert found["stellar_to_halo_mass"][10] == pytest.approx(np.mean(of_hosts), rel=1e-5)
    assert np.isnan(found["stellar_to_halo_mass"][0])  # no host is so light
    massive = summary.measure(made, summary.menu(config(quantities=["power_spectrum"])))
    assert massive.keys() == {
        "n_halos",
        "n_galaxies",
        "satellite_fraction",
        "quenched_fraction",
        "shot_noise",
        "power_spectrum",
    }
    np.testing.assert_array_equal(massive["power_spectrum"], found["power_spectrum"])
    assert found["shot_noise_massive"] == volume / found["n_massive"]


def test_what_is_declared_is_what_is_measured():
    chosen = summary.menu(config(samples={"massive": {"above": 11.0}}))
    found = summary.measure(sample(), chosen)
    assert found.keys() == {variable.name for variable in chosen.variables}
    for variable in chosen.variables:
        assert np.shape(found[variable.name]) == tuple(len(dim.values) for dim in variable.dims)
        assert variable.units
        assert variable.long_name
    names = [dim.name for variable in chosen.variables for dim in variable.dims]
    for name in set(names):
        assert len({dim for variable in chosen.variables for dim in variable.dims if dim.name == name}) == 1


def test_other_thresholds_and_bins_are_other_quantities():
    def digests(**measurements):
        return {v.name: variable_digest(v) for v in summary.menu(config(**measurements)).variables}

    one, other = (digests(samples={"massive": {"above": above}}) for above in (11.0, 11.5))
    assert {name for name in one if one[name] != other[name]} == {
        "n_massive", "shot_noise_massive", "power_spectrum_massive", "correlation_function_massive"
    }  # fmt: skip
    close = digests(samples={"massive": {"above": 11.0000001}})
    assert close["n_massive"] != one["n_massive"]
    finer = digests(clustering={"mesh": 96})
    assert {name for name in finer if one[name] != finer[name]} == {"power_spectrum", "correlation_function"}


def test_bins_fit_the_box_unless_they_are_given():
    fitting = summary.menu(config()).binning
    fundamental = 2 * np.pi / BOX
    assert fitting.k_edges[0] == pytest.approx(fundamental / 2)
    assert fitting.k_edges[1] - fitting.k_edges[0] == pytest.approx(2 * fundamental)
    assert (np.array(summary.clustering.mode_counts(fitting)) > 0).all()
    assert fitting.s_edges[-1] == pytest.approx(BOX / 4)
    assert fitting.s_edges[0] >= 2 * BOX / fitting.mesh * (1 - 1e-6)
    given = summary.menu(
        config(clustering={"mesh": 32, "k_max": 0.5, "k_step": 0.1, "s_max": 30.0, "s_step": 5.0, "multipoles": [2, 0]})
    ).binning
    assert given.mesh == 32
    assert given.multipoles == (0, 2)
    np.testing.assert_allclose(np.diff(given.k_edges), 0.1)
    np.testing.assert_allclose(np.diff(given.s_edges), 5.0)


def test_an_empty_catalogue_has_counts_and_no_means():
    empty = sample(hosts=0)
    found = summary.measure(empty, summary.menu(config()))
    assert found["n_galaxies"] == 0
    assert np.isnan(found["power_spectrum"]).all()


def test_boxes_must_be_known_and_be_the_right_ones():
    strange = config() | {"simulation_suite": "AbacusSummit_other"}
    with pytest.raises(UsageError, match="the box of AbacusSummit_other is not known"):
        summary.menu(strange)
    assert summary.menu(config() | {"simulation_suite": "AbacusSummit_base"}).binning.box_size == 2000.0
    with pytest.raises(JobError, match="the box is 60 Mpc/h wide"):
        summary.measure(sample(box_size=60.0), summary.menu(config()))


@pytest.mark.parametrize(
    ("clustering", "said"),
    [
        ({"mesh": 16, "k_max": 1.0}, "a mesh of 16 cells in a box of 80 Mpc/h resolves k up to 0.251"),
        ({"k_step": 9.0}, "no bin of k fits"),
        ({"s_max": 3.0}, "no bin of s fits"),
    ],
)
def test_bins_that_nothing_fits_are_refused(clustering, said):
    with pytest.raises(UsageError, match=said):
        summary.menu(config(clustering=clustering))


@pytest.mark.parametrize(
    "wrong",
    [
        {"quantities": ["colour"]},
        {"samples": {"A": {"above": 1.0}}},
        {"clustering": {"multipoles": [1]}},
        {"clustering": {"k_step": 0.0}},
    ],
)
def test_what_nobody_measures_is_refused(wrong):
    with pytest.raises(ValidationError):
        config(**wrong)
