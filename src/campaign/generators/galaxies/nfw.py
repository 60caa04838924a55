"""Phase space of satellites in a spherical halo after Navarro, Frenk and White (1997)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

G = 4.30091e-9
"""Newton's constant, Mpc (km/s)^2 / Msun."""

OVERDENSITY = 200.0
"""A halo's edge encloses this many times the mean matter density."""

_Y = np.concatenate([[0.0], np.logspace(-4, 2.5, 4096)])


def enclosed(y: Floats) -> Floats:
    """Dimensionless NFW mass within y = r / r_s: ln(1 + y) - y / (1 + y)."""
    mass: Floats = np.log1p(y) - y / (1 + y)
    return mass


_M = enclosed(_Y)


def radius_fraction(u: Floats, concentration: Floats) -> Floats:
    """Radius in units of the halo's, of the mass fraction `u` in [0, 1): one table serves every concentration."""
    fraction: Floats = np.interp(u * enclosed(concentration), _M, _Y) / concentration
    return fraction


def concentration(mass: Floats, redshift: float) -> Floats:
    """Mean concentration for the mean-density edge, halo mass in Msun/h: Duffy et al. 2008, table 1, full sample."""
    mean: Floats = 10.14 * (mass / 2e12) ** -0.081 * (1 + redshift) ** -1.01
    return mean


def radius(mass: Floats, omega_m: float) -> Floats:
    """Comoving radius, Mpc/h, of a halo of `mass` Msun/h that encloses `OVERDENSITY` times the mean density."""
    mean_density = omega_m * 2.77536627e11  # Msun/h per (Mpc/h)^3, comoving
    return np.cbrt(3 * mass / (4 * np.pi * OVERDENSITY * mean_density))


def velocity_dispersion(mass: Floats, radius: Floats, redshift: float) -> Floats:
    """One-dimensional virial velocity dispersion, km/s: sigma^2 = G M / (2 r), r physical; mass Msun/h, radius Mpc/h."""
    return np.sqrt(G * mass * (1 + redshift) / (2 * radius))


def offsets(u: Floats, mass: Floats, omega_m: float, redshift: float) -> Floats:
    """Positions relative to the host, (n, 3), comoving Mpc/h, from uniforms (n, 3): radius, cos(theta), azimuth."""
    r = radius(mass, omega_m) * radius_fraction(u[:, 0], concentration(mass, redshift))
    cos = 2 * u[:, 1] - 1
    sin = np.sqrt(1 - cos**2)
    azimuth = 2 * np.pi * u[:, 2]
    vectors: Floats = r[:, None] * np.stack([sin * np.cos(azimuth), sin * np.sin(azimuth), cos], axis=1)
    return vectors
