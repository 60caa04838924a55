"""Mocks in a warm slot, against one process for each: python benchmarks/galaxies.py [--small] [--json]

Prints the wall time of a steady-state mock over its pure computing time, mocks an hour against one process a mock,
galaxies a second of the kernel, and what each compression costs. Input is made before anything is measured.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jobs
from figures import Figure, machine, records_of, report, timed

YAML = """
campaign: {{name: {name}}}
science: {{realizations: {realizations}, redshifts: [1.0], seed: 7}}
strategy:
  defaults: {{simulation_root: {root}/inputs, min_mass: {min_mass}}}
  overrides: {{galaxies: {{synthetic: {{box_size: {box_size}, min_mass: 5.0e+11}}}}}}
execution: {{order: realization_major, timeout_hours: 0.5}}
resources: {{slots: {slots}, threads_per_rank: {threads}, gpus_per_rank: {gpus}}}
outputs: {{base_path: {root}/campaigns}}
"""


def write_config(
    root: Path, name: str, realizations: int, box_size: float, *, slots: int = 1, threads: int = 2, gpus: int = 0
) -> Path:
    """A campaign of mocks in boxes of one size, Mpc/h."""
    path = root / f"{name}.yaml"
    path.write_text(YAML.format(
        name=name, realizations=realizations, root=root, min_mass="5.6e+11", box_size=box_size,
        slots=slots, threads=threads, gpus=gpus,
    ))  # fmt: skip
    return path


def run(path: Path) -> float:
    """Wall seconds of a campaign."""
    return timed(sys.executable, "-m", "campaign.run", str(path), "--plain", "--dashboard", "off")


def steady(root: Path, name: str, realizations: int, box_size: float) -> tuple[Figure, Figure, int]:
    """(wall time over computing time, mocks an hour, host haloes) of a campaign in one slot, its first jobs left out."""
    make_inputs(root, realizations, box_size)
    run(write_config(root, name, realizations, box_size))
    records = records_of(root / "campaigns" / f"v1.0_{name}")[3:]
    begins = [record.started_ms / 1000 for record in records]
    intervals = [after - before for before, after in itertools.pairwise(begins)][1:-2]
    computing = statistics.median(record.phases_s["compute"] for record in records)
    hosts = round(statistics.median(record.measurements["n_halos"] for record in records))
    ratio = Figure(
        f"wall time of a steady-state mock ({hosts:,} hosts) / its computing time",
        [interval / computing for interval in intervals], "", at_most=1.10,
    )  # fmt: skip
    hourly = Figure(
        f"mocks an hour in a warm slot ({hosts:,} hosts)", [3600 / interval for interval in intervals], "/h"
    )
    return ratio, hourly, hosts


def make_inputs(root: Path, realizations: int, box_size: float) -> None:
    """Make the synthetic haloes, and compile, in a campaign of its own."""
    run(write_config(root, f"inputs{round(box_size)}", realizations, box_size, slots=2, threads=1))


def mock_environment(path: Path) -> dict[str, str]:
    """Variables by which `jobs.mock` finds the campaign at `path`, and what that has compiled."""
    from campaign.generators.galaxies import Galaxies

    directory = path.parent / "campaigns" / f"v1.0_{path.stem}"
    return {**Galaxies().environment(str(directory)), jobs.CONFIG: str(path)}


def one_process_each(root: Path, name: str, processes: int) -> Figure:
    """Mocks an hour of one process after another, each with the compilation cache of the campaign `name`."""
    path = root / f"{name}.yaml"
    environment = {**os.environ, **mock_environment(path)}
    rates = [3600 / timed(sys.executable, jobs.__file__, str(n), environment=environment) for n in range(processes)]
    return Figure("mocks an hour, one process a mock, compilation cached", rates, "/h")


def kernel(root: Path, box_size: float, repeats: int) -> Figure:
    """Galaxies a second of `generate_galaxies`, warm, on the cores that are here."""
    from campaign.generators.galaxies import GalaxyModelParams, generate_galaxies, load_and_filter_halos

    catalogue = _catalogue(root, box_size)
    hosts = load_and_filter_halos(catalogue, 5.6e11, cleaned=False)
    rates = []
    for n in range(repeats + 1):
        begin = time.perf_counter()
        made = len(generate_galaxies(hosts, GalaxyModelParams(redshift=1.0), n))
        rates.append(made / (time.perf_counter() - begin))
    return Figure(f"galaxies a second of the kernel ({len(hosts):,} hosts, {made:,} galaxies)", rates[1:], "/s")


def write_hosts(root: Path, box_size: float, into: Path, *, without: int = 0) -> int:
    """Hosts as the reference wants them, in Msun and Mpc, the last few left out; returns how many there are."""
    import numpy as np

    from campaign.generators.galaxies import load_and_filter_halos, nfw

    halos = load_and_filter_halos(_catalogue(root, box_size), 5.6e11, cleaned=False)
    meta, count = halos.metadata, len(halos) - without
    mass = halos.masses[:count].astype(np.float64)
    np.savez(
        into, log_mass=np.log10(mass / meta.hubble).astype(np.float32),
        radius=(nfw.radius(mass, meta.omega_m) / meta.hubble).astype(np.float32),
        position=halos.positions[:count] / np.float32(meta.hubble), velocity=halos.velocities[:count],
        redshift=meta.redshift, box_size=meta.box_size / meta.hubble,
    )  # fmt: skip
    return count


def against_reference(
    root: Path, python: str, boxes: tuple[float, float], hourly: Figure, ours: Figure
) -> list[Figure]:
    """Our kernel and our warm slot against rgrspit_diffsky in the environment of the interpreter `python`."""
    program, hosts = str(Path(__file__).with_name("reference.py")), root / "hosts.npz"
    large, small = boxes
    count = write_hosts(root, large, hosts)
    told = json.loads(subprocess.check_output([python, program, str(hosts), "6"]))
    theirs = Figure(
        f"galaxies a second of `mc_galpop_synthetic_subs`, compiled before ({count:,} hosts)",
        [told["galaxies"] / seconds for seconds in told["seconds"][1:]], "/s",
    )  # fmt: skip
    rates = []
    for n in range(3):  # another number of hosts each time, as mocks have
        count = write_hosts(root, small, hosts, without=n)
        rates.append(3600 / timed(python, program, str(hosts), "1"))
    alone = Figure(f"mocks an hour, one process a mock of rgrspit_diffsky ({count:,} hosts)", rates, "/h")
    return [
        theirs,
        Figure("galaxies a second of the kernel, over those", [ours.median / theirs.median], "x", at_least=5),
        alone,
        Figure("mocks an hour: warm slot / one process a mock of rgrspit_diffsky", [hourly.median / alone.median], "x", at_least=200),
    ]  # fmt: skip


def _catalogue(root: Path, box_size: float) -> Path:
    from campaign.generators.galaxies.halos import load_and_filter_halos

    for path in sorted((root / "inputs").glob("*/*/halos/z1.000")):
        if load_and_filter_halos(path, 5.6e11, cleaned=False).metadata.box_size == box_size:
            return path
    raise FileNotFoundError(f"no catalogue of {box_size} Mpc/h below {root}")


def compressions(product: Path, repeats: int) -> list[str]:
    """A table of what each compression of a catalogue costs: seconds to write and to read, size over that of the columns."""
    import h5py
    import hdf5plugin  # noqa: F401 - registers its filters

    from campaign.generators.galaxies.catalogue import CHUNK_ROWS, compression_filters

    with h5py.File(product) as file:
        columns = {f"{group}/{name}": file[group][name][...] for group in file for name in file[group]}
    raw = sum(column.nbytes for column in columns.values())
    lines = ["### Products", "", "| compression | write | read | size |", "|---|---|---|---|"]
    for kind in ("none", "lzf", "gzip", "zstd"):
        writes, reads = [], []
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "catalogue.hdf5"
            for _ in range(repeats):
                begin = time.perf_counter()
                with h5py.File(path, "w") as file:
                    for name, column in columns.items():
                        chunks = (min(CHUNK_ROWS, len(column)), *column.shape[1:])
                        file.create_dataset(
                            name, data=column, chunks=chunks, fletcher32=True, **compression_filters(kind)
                        )
                written = time.perf_counter()
                with h5py.File(path) as file:
                    for name in columns:
                        file[name][...]
                writes.append(written - begin)
                reads.append(time.perf_counter() - written)
            size = path.stat().st_size / raw
        lines.append(
            f"| `{kind}` | {statistics.median(writes):.2f} s | {statistics.median(reads):.2f} s | {size:.2f} |"
        )
    return [*lines, "", f"{raw / 1e6:.0f} MB of columns, shuffled, with Fletcher-32 checksums; gzip at level 1."]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--small", action="store_true", help="small sizes: shows that it works, not how fast")
    parser.add_argument(
        "--reference",
        metavar="PYTHON",
        default=os.environ.get("BENCHMARK_REFERENCE"),
        help="interpreter of an environment with rgrspit_diffsky, to be measured as well (default: $BENCHMARK_REFERENCE)",
    )
    small = (arguments := parser.parse_args()).small
    facts = machine()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    large_box, small_box, mocks = (40.0, 30.0, 8) if small else (250.0, 115.0, 24)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        ratio, _, _ = steady(root, "large", mocks, large_box)
        _, hourly, hosts = steady(root, "small", 2 * mocks, small_box)
        alone = one_process_each(root, "small", 2 if small else 6)
        times = Figure(
            f"mocks an hour: warm slot / one process a mock ({hosts:,} hosts)",
            [hourly.median / alone.median],
            "x",
            at_least=30,
        )
        product = next((root / "campaigns" / "v1.0_large" / "catalogs").rglob("*.hdf5"))
        figures = [ratio, hourly, alone, times, kernel(root, large_box, 2 if small else 7)]
        if arguments.reference:
            figures += against_reference(root, arguments.reference, (large_box, small_box), hourly, figures[-1])
        filters = compressions(product, 1 if small else 5)
    report(facts, figures, "\n".join(filters), as_json=arguments.json)


if __name__ == "__main__":
    main()
