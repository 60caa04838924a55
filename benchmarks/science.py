"""What measurements cost beside a mock, and how fast a covariance comes out: python benchmarks/science.py [--small] [--json]

Takes about three minutes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from figures import Figure, machine, report

REPEATS = 5
COVARIANCE = """
import json, resource, sys, time
import campaign
begin = time.perf_counter()
found = campaign.open(sys.argv[1]).campaign.covariance("power_spectrum").compute()
seconds = time.perf_counter() - begin
assert found.shape[1:] == (120, 120)
print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20]))
"""


def mocks(box_size: float, repeats: int) -> tuple[list[float], list[float], int]:
    """(seconds of computing, of measuring, galaxies) of mocks in one process, after a first one."""
    from campaign.generators.galaxies import GalaxiesOptions, populate, summary
    from campaign.generators.galaxies.halos import HaloCatalog, HaloMetadata
    from campaign.generators.galaxies.options import SyntheticOptions
    from campaign.generators.galaxies.synthetic import COSMOLOGY, draw_haloes, linear_field

    options = SyntheticOptions(box_size=box_size, min_mass=5.6e11)
    drawn = draw_haloes(options, linear_field(options, 1, 0), 1.0, 1, 0)
    hosts = HaloCatalog(
        drawn["position"].astype(np.float32), drawn["velocity"].astype(np.float32), drawn["mass"].astype(np.float32),
        np.arange(len(drawn["mass"]), dtype=np.uint64),
        HaloMetadata("", 1.0, box_size, options.particle_mass, COSMOLOGY["H0"] / 100, COSMOLOGY["Om0"]),
    )  # fmt: skip
    config = GalaxiesOptions(simulation_root="/", synthetic=options).model_dump(mode="json")
    chosen, computing, measuring, count = summary.menu(config), [], [], 0
    for number in range(repeats + 1):
        begin = time.perf_counter()
        made = populate.generate_galaxies(hosts, populate.GalaxyModelParams(redshift=1.0, realization=number), 7)
        middle = time.perf_counter()
        sample = summary.Sample(
            {name: made.properties[name] for name in summary.MEASURED}, hosts.masses, box_size, 1.0, COSMOLOGY["Om0"],
            made.positions, made.velocities,
        )  # fmt: skip
        summary.measure(sample, chosen)
        computing.append(middle - begin)
        measuring.append(time.perf_counter() - middle)
        count = len(made)
    return computing[1:], measuring[1:], count


def covariance(realizations: int, repeats: int) -> list[tuple[float, float]]:
    """(seconds, GiB at most) of a new process that computes it from a dataset on disk, without its imports."""
    import xarray as xr

    stream = np.random.default_rng(0)
    power = stream.standard_normal((realizations, 20, 120))
    role = {"campaign_role": "measurement", "long_name": "power spectrum", "units": "(Mpc/h)3"}
    dataset = xr.Dataset(
        {
            "power_spectrum": (("realization", "redshift", "k"), power, role),
            "status": (("realization", "redshift"), np.full((realizations, 20), 3, np.int8)),
        },
        coords={"realization": np.arange(realizations), "redshift": np.arange(20) / 10, "k": np.arange(120.0)},
    )
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "results.zarr"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            chunks = {"power_spectrum": {"chunks": (208, 20, 120)}}  # as our own store lays it out
            dataset.to_zarr(path, zarr_format=3, encoding=chunks)
        words = [sys.executable, "-c", COVARIANCE, str(path)]
        told = [subprocess.run(words, capture_output=True, text=True, check=True).stdout for _ in range(repeats)]
    return [tuple(json.loads(line)) for line in told]


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--small", action="store_true", help="once, in little boxes")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    facts, repeats = machine(), 1 if arguments.small else REPEATS
    figures = []
    for box_size in (60.0,) if arguments.small else (150.0, 300.0):
        computing, measuring, count = mocks(box_size, repeats)
        shares = [100 * m / c for m, c in zip(measuring, computing, strict=True)]
        figures.append(Figure(
            f"measurements of a mock of {count:,} galaxies, beside its computing time", shares, "%", at_most=15,
            why="The mesh costs the same however few galaxies there are",
        ))  # fmt: skip
    told = covariance(100 if arguments.small else 2000, repeats)
    size = "100 x 20 x 120" if arguments.small else "2,000 x 20 x 120"
    figures.append(Figure(f"covariances of {size} from the dataset", [one[0] for one in told], "s", at_most=5))
    figures.append(Figure("memory of that process", [one[1] for one in told], "GiB", at_most=2))
    report(facts, figures, as_json=arguments.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
