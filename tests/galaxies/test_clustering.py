"""Clustering on a mesh against direct sums and counts of pairs, and its covariance against that of Gaussian fields."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import eval_legendre

from campaign.analyse import covariance, covariance_error
from campaign.generators.galaxies import clustering
from campaign.generators.galaxies.clustering import Binning

BOX = 100.0
BINNING = Binning(BOX, 64, tuple(np.arange(0.05, 0.62, 0.08)), tuple(np.arange(8.0, 26.0, 3.0)), (0, 2, 4))


def clumps(seed=1, number=300, each=10, width=(4.0, 4.0, 8.0)):
    """Points in clumps that are longer along the line of sight: every multipole is there."""
    stream = np.random.default_rng(seed)
    centres = stream.uniform(-BOX / 2, BOX / 2, (number, 1, 3))
    return (centres + stream.standard_normal((number, each, 3)) * width).reshape(-1, 3)


def direct_power(points, binning):
    """The power of each mode as a sum over points, averaged in bins."""
    top = int(binning.k_edges[-1] * BOX / (2 * np.pi)) + 1
    axis = np.arange(-top, top + 1)
    n = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    k = 2 * np.pi / BOX * n
    length = np.linalg.norm(k, axis=1)
    bins = np.digitize(length, binning.k_edges) - 1
    inside = (bins >= 0) & (bins < len(binning.k_edges) - 1)
    k, length, bins = k[inside], length[inside], bins[inside]
    sums = np.zeros(len(k), complex)
    for some in np.array_split(points, 20):
        sums += np.exp(-1j * (some @ k.T)).sum(axis=0)
    power = np.abs(sums) ** 2 * BOX**3 / len(points) ** 2 - BOX**3 / len(points)
    counts = np.bincount(bins)
    return np.array(
        [
            (2 * ell + 1) * np.bincount(bins, power * eval_legendre(ell, k[:, 2] / length)) / counts
            for ell in binning.multipoles
        ]
    ), counts


def counted_pairs(points, binning):
    """The correlation function from every pair, whose expected number is known in a periodic box."""
    shift = points[:, None, :] - points[None, :, :]
    shift -= BOX * np.round(shift / BOX)
    length = np.linalg.norm(shift, axis=2)
    np.fill_diagonal(length, np.inf)
    edges = np.asarray(binning.s_edges)
    bins = np.digitize(length, edges) - 1
    inside = (bins >= 0) & (bins < len(edges) - 1)
    cosine = shift[inside][:, 2] / length[inside]
    expected = len(points) ** 2 * 4 / 3 * np.pi * np.diff(edges**3) / BOX**3
    found = [
        (2 * ell + 1) * np.bincount(bins[inside], eval_legendre(ell, cosine)) / expected for ell in binning.multipoles
    ]
    return np.array(found) - np.array([1, 0, 0])[:, None]


def test_the_power_is_that_of_direct_sums():
    points = clumps()
    expected, counts = direct_power(points, BINNING)
    found = clustering.measure(points, BINNING)
    assert clustering.mode_counts(BINNING).tolist() == counts.tolist()
    assert found.shot_noise == BOX**3 / len(points)
    np.testing.assert_allclose(found.power, expected, rtol=0.01, atol=0.03 * found.shot_noise)
    assert expected[1, 0] < -3 * found.shot_noise  # a squeezed spectrum, so that this says something


def test_the_correlation_is_that_of_pairs():
    points = clumps(number=100, each=30)
    expected = counted_pairs(points, BINNING)
    found = clustering.measure(points, BINNING).correlation
    np.testing.assert_allclose(found, expected, rtol=0.05, atol=0.03)  # pairs at the edges of bins, which a mesh blurs
    assert expected[0, 0] > 0.3
    assert expected[1, 0] > 0.1


@settings(max_examples=10, deadline=None)
@given(st.tuples(*[st.integers(-200, 200)] * 3), st.integers(-3, 3))
def test_the_box_is_periodic(cells, boxes):
    points = clumps(number=30)
    moved = points + np.asarray(cells) * BOX / BINNING.mesh + boxes * BOX
    one, other = clustering.measure(points, BINNING), clustering.measure(moved, BINNING)
    np.testing.assert_allclose(one.power, other.power, rtol=1e-4, atol=1e-4 * one.shot_noise)
    np.testing.assert_allclose(one.correlation, other.correlation, rtol=1e-4, atol=1e-4)


def test_of_nothing_nothing_is_known():
    binning = Binning(BOX, 16, (0.01, 0.02, 0.2), (10.0, 20.0), (0, 2))
    assert np.isnan(clustering.measure(np.zeros((0, 3)), binning).power).all()
    power = clustering.measure(clumps(number=5), binning).power
    assert np.isnan(power[:, 0]).all()  # no mode is so long
    assert np.isfinite(power[:, 1]).all()


def test_velocities_move_what_is_seen_along_the_third_axis():
    positions, velocities = np.zeros((2, 3), np.float32), np.array([[300, 200, 100], [0, 0, -50]], np.float32)
    seen = clustering.in_redshift_space(positions, velocities, 1.0, 0.3)
    hubble = 100 * np.sqrt(0.3 * 8 + 0.7)
    np.testing.assert_allclose(seen, [[0, 0, 200 / hubble], [0, 0, -100 / hubble]])


@pytest.mark.slow
def test_the_covariance_of_gaussian_fields_is_the_one_that_is_known():
    """2 P^2 / N_modes on the diagonal, nothing elsewhere: 500 fields, within the error that Wishart gives."""
    mesh, box, fields = 32, 200.0, 500
    binning = Binning(box, mesh, tuple(np.linspace(0.03, 0.33, 9)), (20.0, 40.0), (0,))
    k1, kz = 2 * np.pi * np.fft.fftfreq(mesh, box / mesh), 2 * np.pi * np.fft.rfftfreq(mesh, box / mesh)
    k = np.sqrt(k1[:, None, None] ** 2 + k1[None, :, None] ** 2 + kz[None, None, :] ** 2)
    known = 1e4 / (1 + (k / 0.1) ** 2)
    power = []
    for seed in range(fields):
        white = np.fft.rfftn(np.random.default_rng(seed).standard_normal((mesh,) * 3))
        delta = np.fft.irfftn(white * np.sqrt(known / (box / mesh) ** 3), s=(mesh,) * 3, axes=(0, 1, 2))
        power.append(clustering.measure_field(delta, binning).power[0])
    centres = (np.array(binning.k_edges)[1:] + np.array(binning.k_edges)[:-1]) / 2
    values = xr.DataArray(np.array(power), dims=("realization", "k"), coords={"k": centres}, name="power_spectrum")
    matrix, modes = covariance(values), clustering.mode_counts(binning)
    geometry = clustering._modes(binning)
    squared = np.bincount(geometry.bins, geometry.weights[0] * known.reshape(-1)[geometry.places] ** 2) / modes
    expected = np.diag(2 * squared / modes)
    pull = (matrix - expected) / covariance_error(matrix)
    assert np.abs(pull).max() < 4
    assert (pull**2).mean() == pytest.approx(1, abs=0.5)
    mean = np.bincount(geometry.bins, geometry.weights[0] * known.reshape(-1)[geometry.places]) / modes
    np.testing.assert_allclose(
        values.mean("realization"), mean, atol=4 * np.sqrt(np.diag(expected) / fields).max(), rtol=0.01
    )
