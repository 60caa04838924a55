"""Mocks in warm slots, against one process for each: python benchmarks/galaxies.py [--small] [--json]

Prints the wall time of a steady-state mock over its pure computing time, mocks an hour against one process a mock,
galaxies a second of the kernel, and what each compression costs. Input is made before anything is measured.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jobs
from figures import Figure, machine, records_of, report, timed, warm_ms

SHARED = "Loading, compressing, checking and writing take time of the same two cores, beside what computes"
AT_ONCE = "Two processes at once compile side by side"

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
    """Wall seconds of a campaign; what another one has compiled it need not compile."""
    campaigns = path.parent / "campaigns"
    compiled, cache = next(campaigns.glob("*/cache"), None), campaigns / f"v1.0_{path.stem}" / "cache"
    if compiled is not None and not cache.exists():
        shutil.copytree(compiled, cache)
    return timed(sys.executable, "-m", "campaign.run", str(path), "--plain", "--dashboard", "off")


def steady(root: Path, realizations: int, box_size: float, alone_s: Sequence[float]) -> list[Figure]:
    """Wall time of a mock of a campaign in one slot over its computing time, alone and as it was; its first jobs are left out."""
    run(write_config(root, "large", realizations, box_size))
    records = records_of(root / "campaigns" / "v1.0_large")[3:]
    begins = [record.started_ms / 1000 for record in records]
    intervals = [after - before for before, after in itertools.pairwise(begins)][1:-2]
    beside = statistics.median(record.phases_s["compute"] for record in records)
    hosts = round(statistics.median(record.measurements["n_halos"] for record in records))
    wall = f"wall time of a steady-state mock ({hosts:,} hosts)"
    alone = statistics.median(alone_s)
    return [
        Figure(f"{wall} / its computing time, with nothing else at work", [i / alone for i in intervals], "", at_most=1.10, why=SHARED),
        Figure(f"{wall} / its computing time, while others are loaded and written", [i / beside for i in intervals], ""),
    ]  # fmt: skip


def hourly(root: Path, realizations: int, box_size: float) -> tuple[Figure, int]:
    """(mocks an hour in two slots, each with a core, host haloes of one); from when each slot has had a few, in three parts."""
    run(write_config(root, "small", realizations, box_size, slots=2, threads=1))
    records = records_of(root / "campaigns" / "v1.0_small")
    warm = warm_ms(records, 3)
    begins = [record.started_ms / 1000 for record in records if record.started_ms >= warm]
    third = (len(begins) - 1) // 3
    rates = [3600 * third / (begins[n + third] - begins[n]) for n in (0, third, 2 * third)]
    hosts = round(statistics.median(record.measurements["n_halos"] for record in records))
    return Figure(f"mocks an hour in two warm slots ({hosts:,} hosts)", rates, "/h"), hosts


def make_inputs(root: Path, realizations: int, box_size: float) -> None:
    """Make the synthetic haloes, and compile, in a campaign of its own."""
    run(write_config(root, f"inputs{round(box_size)}", realizations, box_size, slots=2, threads=1))


def mock_environment(path: Path) -> dict[str, str]:
    """Variables by which `jobs.mock` finds the campaign at `path`, and what that has compiled."""
    from campaign.generators.galaxies import Galaxies

    directory = path.parent / "campaigns" / f"v1.0_{path.stem}"
    return {**Galaxies().environment(str(directory)), jobs.CONFIG: str(path)}


def one_process_each(root: Path, name: str, pairs: int) -> Figure:
    """Mocks an hour of one process for each, two at once, with the compilation cache of the campaign `name`."""
    environment = {**os.environ, **mock_environment(root / f"{name}.yaml")}
    rates = [two_at_once([sys.executable, jobs.__file__], [2 * n, 2 * n + 1], environment) for n in range(pairs)]
    return Figure("mocks an hour, one process a mock, two at once, compilation cached", rates, "/h")


def two_at_once(command: list[str], arguments: Sequence[object], environment: dict[str, str] | None = None) -> float:
    """Programs an hour, each with an argument of its own, all at once."""
    begin = time.perf_counter()
    with ThreadPoolExecutor(len(arguments)) as pool:
        list(pool.map(lambda word: timed(*command, str(word), environment=environment), arguments))
    return 3600 * len(arguments) / (time.perf_counter() - begin)


def kernel(root: Path, box_size: float, repeats: int) -> tuple[Figure, list[float]]:
    """(galaxies a second of `generate_galaxies`, warm, on the cores that are here; seconds of each time)."""
    from campaign.generators.galaxies import GalaxyModelParams, generate_galaxies, load_and_filter_halos

    catalogue = _catalogue(root, box_size)
    hosts = load_and_filter_halos(catalogue, 5.6e11, cleaned=False)
    rates, seconds = [], []
    for n in range(repeats + 1):
        begin = time.perf_counter()
        made = len(generate_galaxies(hosts, GalaxyModelParams(redshift=1.0), n))
        seconds.append(time.perf_counter() - begin)
        rates.append(made / seconds[-1])
    name = f"galaxies a second of the kernel ({len(hosts):,} hosts, {made:,} galaxies)"
    return Figure(name, rates[1:], "/s"), seconds[1:]


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


def against_reference(root: Path, python: str, boxes: tuple[float, float], mocks: Figure, ours: Figure) -> list[Figure]:
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
        paths = [root / "one.npz", root / "other.npz"]
        for place, path in enumerate(paths):
            count = write_hosts(root, small, path, without=2 * n + place)
        rates.append(two_at_once([python, program], paths))
    alone = Figure(f"mocks an hour, one process a mock of rgrspit_diffsky, two at once ({count:,} hosts)", rates, "/h")
    return [
        theirs,
        Figure("galaxies a second of the kernel, over those", [ours.median / theirs.median], "x", at_least=5),
        alone,
        Figure("mocks an hour: warm slots / one process a mock of rgrspit_diffsky", [mocks.median / alone.median], "x", at_least=200, why=AT_ONCE),
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


def _as_in_a_slot() -> None:
    """Begin again with memory as a slot has it; the C library looks at that when a process starts."""
    from campaign.generators.galaxies import ALLOCATION

    if not ALLOCATION.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ALLOCATION})


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
    _as_in_a_slot()
    facts = machine()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    large_box, small_box, large, many = (40.0, 30.0, 12, 24) if small else (250.0, 115.0, 24, 120)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        make_inputs(root, large, large_box)
        make_inputs(root, many, small_box)
        rate, alone_s = kernel(root, large_box, 2 if small else 7)
        ratios = steady(root, large, large_box, alone_s)
        mocks, hosts = hourly(root, many, small_box)
        alone = one_process_each(root, "small", 1 if small else 3)
        name = f"mocks an hour: warm slots / one process a mock ({hosts:,} hosts)"
        times = Figure(name, [mocks.median / alone.median], "x", at_least=30)
        product = next((root / "campaigns" / "v1.0_large" / "catalogs").rglob("*.hdf5"))
        figures = [*ratios, mocks, alone, times, rate]
        absent = [
            "rgrspit_diffsky was not there to be measured: give `--reference PYTHON`, or set `BENCHMARK_REFERENCE`."
        ]
        if arguments.reference:
            figures += against_reference(root, arguments.reference, (large_box, small_box), mocks, rate)
            absent = []
        filters = compressions(product, 1 if small else 5)
    report(facts, figures, *absent, "\n".join(filters), as_json=arguments.json)


if __name__ == "__main__":
    main()
