"""The synthetic suite against the theory that it was drawn from."""

import itertools

import numpy as np
import pytest

from campaign.generators.galaxies import clustering, synthetic
from campaign.generators.galaxies.halos import load_and_filter_halos
from campaign.generators.galaxies.options import SyntheticOptions

OPTIONS = SyntheticOptions(box_size=200.0, cell_size=4.0, min_mass=1e12)
SEEDS = range(12)


@pytest.fixture(scope="module")
def draws():
    """Haloes of several realizations at redshift 1, and the fields that they were drawn from."""
    found = []
    for phase in SEEDS:
        field = synthetic.linear_field(OPTIONS, 5, phase)
        found.append((field, synthetic.draw_haloes(OPTIONS, field, 1.0, 5, phase)))
    return found


def test_the_mass_function_is_tinker_08(draws):
    known = synthetic.theory(1.0, OPTIONS.min_mass)
    volume = len(draws) * OPTIONS.box_size**3
    counts = sum(np.histogram(np.log(haloes["mass"]), bins=known.edges)[0] for _, haloes in draws)
    expected = known.density * volume
    enough = expected > 100
    # Poisson noise, and a few per cent of sample variance of a biased field in this volume
    error = np.sqrt(expected + (0.03 * known.bias * expected) ** 2)
    assert (np.abs(counts - expected)[enough] < 4 * error[enough]).all()
    assert counts.sum() == pytest.approx(expected.sum(), rel=0.05)


def test_masses_inside_a_bin_follow_the_mass_function(draws):
    from colossus.lss import mass_function

    mass = np.concatenate([haloes["mass"] for _, haloes in draws])
    edges = np.logspace(12, 13, 60)
    counts, _ = np.histogram(mass, bins=edges)
    centres = np.sqrt(edges[1:] * edges[:-1])
    dn = mass_function.massFunction(centres, 1.0, mdef="200m", model="tinker08", q_out="dndlnM")
    expected = dn * np.diff(np.log(edges)) * len(draws) * OPTIONS.box_size**3
    assert np.abs(counts / expected - 1).mean() < 0.06


def measured_power(haloes, n, box):
    """Auto power spectrum of haloes on a grid (nearest cell), shot noise taken off; (k, P), both 1-d."""
    cell = np.clip(((haloes["position"] / box + 0.5) * n).astype(int), 0, n - 1)
    counts = np.zeros((n, n, n))
    np.add.at(counts, tuple(cell.T), 1.0)
    delta = counts / counts.mean() - 1
    power = np.abs(np.fft.rfftn(delta)) ** 2 * box**3 / n**6 - box**3 / len(cell)
    k1, kz = 2 * np.pi * np.fft.fftfreq(n, box / n), 2 * np.pi * np.fft.rfftfreq(n, box / n)
    k = np.sqrt(k1[:, None, None] ** 2 + k1[None, :, None] ** 2 + kz[None, None, :] ** 2)
    bins = np.digitize(k.ravel(), EDGES)
    return np.array([power.ravel()[bins == i].mean() for i in range(1, len(EDGES))])


EDGES = np.array([0.03, 0.08, 0.13, 0.2])


def test_haloes_cluster_as_the_lognormal_theory_says(draws):
    """P(k) of the haloes against the transform of exp(b^2 xi) - 1, with xi from the linear power on the grid."""
    n = round(OPTIONS.box_size / OPTIONS.cell_size)
    known = synthetic.theory(1.0, OPTIONS.min_mass)
    biases = synthetic.limited_bias(known, float((known.growth * draws[0][0].delta).var()))
    bias = np.average(biases, weights=known.density)
    k1, kz = 2 * np.pi * np.fft.fftfreq(n, OPTIONS.cell_size), 2 * np.pi * np.fft.rfftfreq(n, OPTIONS.cell_size)
    k = np.sqrt(k1[:, None, None] ** 2 + k1[None, :, None] ** 2 + kz[None, None, :] ** 2)
    gaussian = known.growth**2 * synthetic.smoothed_power(k, OPTIONS)
    xi = np.fft.irfftn(gaussian, s=(n, n, n), axes=(0, 1, 2)) / OPTIONS.cell_size**3
    weights = known.density / known.density.sum()
    xi_halo = sum(
        wa * wb * np.expm1(ba * bb * xi)
        for wa, ba in zip(weights, biases, strict=True)
        for wb, bb in zip(weights, biases, strict=True)
    )
    assert bias == pytest.approx(np.average(known.bias, weights=known.density), rel=0.02)
    theory = np.real(np.fft.rfftn(xi_halo)) * OPTIONS.cell_size**3
    bins = np.digitize(k.ravel(), EDGES)
    expected = np.array([theory.ravel()[bins == i].mean() for i in range(1, len(EDGES))])
    measured = np.mean([measured_power(haloes, n, OPTIONS.box_size) for _, haloes in draws], axis=0)
    assert measured == pytest.approx(expected, rel=0.15)
    linear = np.array([gaussian.ravel()[bins == i].mean() for i in range(1, len(EDGES))])
    assert np.sqrt(measured[0] / linear[0]) == pytest.approx(bias, rel=0.15)


def test_the_measured_power_is_the_input_on_linear_scales():
    """In real space, of all haloes: b^2 D^2 P(k) with the mean bias of the mass function, in cells so large that the field is linear."""
    options = SyntheticOptions(box_size=480.0, cell_size=12.0, min_mass=2e12)
    binning = clustering.Binning(options.box_size, 64, (0.01, 0.04, 0.07), (30.0, 60.0), (0,))
    known = synthetic.theory(1.0, options.min_mass)
    bias = np.average(known.bias, weights=known.density)
    power, field = [], []
    for phase in range(6):
        drawn = synthetic.linear_field(options, 5, phase)
        power.append(
            clustering.measure(synthetic.draw_haloes(options, drawn, 1.0, 5, phase)["position"], binning).power[0]
        )
        field.append(clustering.measure_field(known.growth * drawn.delta, binning).power[0])
    assert np.mean(power, axis=0) == pytest.approx(bias**2 * np.mean(field, axis=0), rel=0.1)  # of the same phases
    n = round(options.box_size / options.cell_size)
    k1, kz = 2 * np.pi * np.fft.fftfreq(n, options.cell_size), 2 * np.pi * np.fft.rfftfreq(n, options.cell_size)
    k = np.sqrt(k1[:, None, None] ** 2 + k1[None, :, None] ** 2 + kz[None, None, :] ** 2)
    linear = known.growth**2 * synthetic.smoothed_power(k, options)
    expected = [linear[(k >= low) & (k < high)].mean() for low, high in itertools.pairwise(binning.k_edges)]
    modes = clustering.mode_counts(binning) * 6
    assert (np.abs(np.mean(field, axis=0) / expected - 1) < 4 * np.sqrt(2 / modes) + 0.02).all()


def test_velocities_are_linear_theory(draws):
    """Divergence of the displacement is minus the density, and velocities scale with it."""
    field, haloes = draws[0]
    n = field.delta.shape[0]
    k1, kz = 2 * np.pi * np.fft.fftfreq(n, OPTIONS.cell_size), 2 * np.pi * np.fft.rfftfreq(n, OPTIONS.cell_size)
    k = (k1[:, None, None], k1[None, :, None], kz[None, None, :])
    inside = np.ones((n, n, n // 2 + 1), bool)
    for axis, c in enumerate(k):
        inside &= np.broadcast_to(np.abs(c) < np.pi / OPTIONS.cell_size * 0.999, inside.shape)
        del axis
    divergence = sum(1j * c * np.fft.rfftn(field.displacement[..., i]) for i, c in enumerate(k))
    density = np.fft.rfftn(field.delta)
    density[0, 0, 0] = 0
    assert np.abs((divergence + density)[inside]).max() < 1e-8 * np.abs(density).max()
    known = synthetic.theory(1.0, OPTIONS.min_mass)
    assert haloes["velocity"].std() == pytest.approx(known.velocity * known.growth * field.displacement.std(), rel=0.2)
    assert 100 < haloes["velocity"].std() < 500


def test_redshifts_of_a_realization_share_their_phases():
    one = synthetic.linear_field(OPTIONS, 5, 0)
    assert np.array_equal(one.delta, synthetic.linear_field(OPTIONS, 5, 0).delta)
    other = synthetic.linear_field(OPTIONS, 5, 1)
    assert abs(np.corrcoef(one.delta.ravel(), other.delta.ravel())[0, 1]) < 0.05


def test_what_is_written_is_read_back_by_the_abacus_reader(catalogue):
    halos = load_and_filter_halos(catalogue, 5e11, cleaned=False)
    options = SyntheticOptions(box_size=60.0)
    drawn = synthetic.draw_haloes(options, synthetic.linear_field(options, 3, 0), 1.0, 3, 0)
    count = np.rint(drawn["mass"] / options.particle_mass).astype(np.uint32)
    keep = np.flatnonzero(count * options.particle_mass >= 5e11)
    order = keep[np.argsort(halos_x := drawn["position"][keep, 0].astype(np.float32), kind="stable")]
    assert len(halos) == len(keep)
    assert halos.positions[:, 0] == pytest.approx(np.sort(halos_x), abs=1e-4)
    assert np.sort(halos.masses) == pytest.approx(np.sort(count[order] * options.particle_mass), rel=1e-6)
    assert np.sort(halos.velocities[:, 1]) == pytest.approx(np.sort(drawn["velocity"][keep, 1]), abs=0.01)
    assert halos.metadata.box_size == 60.0
    assert halos.metadata.redshift == 1.0
