"""Mocks in a slot that has a GPU, against CPUs of the same machine: python benchmarks/gpu.py [--json]

Prints the computing time of a mock on either, and how far the two catalogues agree. Needs an NVIDIA GPU and JAX for it.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from figures import Figure, machine, records_of, report
from galaxies import make_inputs, run, write_config

MOCKS, BOX_SIZE = 12, 250.0
CPUS = 4


def computing(directory: Path) -> Figure:
    """Seconds that mocks are computed, the first ones left out."""
    records = records_of(directory)[3:]
    hosts = round(statistics.median(record.measurements["n_halos"] for record in records))
    return Figure(
        f"computing time of a mock ({hosts:,} hosts)", [record.phases_s["compute"] for record in records], "s"
    )


def agreement(one: Path, other: Path) -> list[str]:
    """A table of how far the columns of two campaigns' catalogues agree, those that hold the same number of galaxies."""
    import h5py
    import hdf5plugin  # noqa: F401 - registers its filters
    import numpy as np

    same: dict[str, list[float]] = {}
    apart: dict[str, list[float]] = {}
    others = 0
    for path in sorted((one / "catalogs").rglob("*.hdf5")):
        with h5py.File(path) as here, h5py.File(other / path.relative_to(one)) as there:
            if here["galaxies"]["halo_id"].shape != there["galaxies"]["halo_id"].shape:  # rounding can make one more
                others += 1
                continue
            for name in here["galaxies"]:
                left, right = here["galaxies"][name][...], there["galaxies"][name][...]
                same.setdefault(name, []).append(float(np.mean(left == right)))
                distance = np.abs(left.astype(np.float64) - right.astype(np.float64))
                apart.setdefault(name, []).append(float(np.quantile(distance, 0.999)))
    lines = ["| column | equal to the last bit | 99.9 % are closer than |", "|---|---|---|"]
    told = f"Catalogues with another number of galaxies: {others}."
    return [told, "", *lines, *(f"| `{n}` | {100 * min(same[n]):.4g} % | {max(apart[n]):.2g} |" for n in sorted(same))]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    ask = "import jax; print(jax.devices('gpu')[0].device_kind)"
    name = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=False)
    if name.returncode:
        sys.exit(f"JAX finds no GPU here: {name.stderr.strip().splitlines()[-1]}")
    facts = {**machine(), "gpu": name.stdout.strip()}
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        make_inputs(root, MOCKS, BOX_SIZE)
        run(write_config(root, "mocks", MOCKS, BOX_SIZE, threads=CPUS, gpus=1))
        gpu = (root / "campaigns" / "v1.0_mocks").rename(root / "gpu")
        run(write_config(root, "mocks", MOCKS, BOX_SIZE, threads=CPUS))
        cpus = root / "campaigns" / "v1.0_mocks"
        figures = [computing(gpu), computing(cpus)]
        for figure, place in zip(figures, ("the GPU", f"{CPUS} CPUs"), strict=True):
            figure.name += f" on {place}"
        table = agreement(gpu, cpus)
    report(facts, figures, "\n".join(table), as_json=arguments.json)


if __name__ == "__main__":
    main()
