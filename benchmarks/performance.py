"""All benchmarks, and docs/performance.md made of what they say: python benchmarks/performance.py [NAME...] [--render]

Each program's result is kept in benchmarks/results/ as JSON; without names every program runs but the torture, which
takes most of an hour. With --render nothing is measured, and only the document is written again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from figures import Figure, in_words, table

HERE = Path(__file__).parent
RESULTS = HERE / "results"
DOCUMENT = HERE.parent / "docs" / "performance.md"


@dataclass(frozen=True)
class Section:
    """What one program measures, as a reader should know."""

    program: str
    title: str
    words: str
    usual: bool = True  # whether it runs with the others


OPENING = (
    "Made by `make bench` (`benchmarks/performance.py`) of what its programs measured. A figure is the median; in brackets the range in so many "
    "repetitions, where there were several. Your machine differs: run it."
)
SECTIONS = (
    Section(
        "first_campaign", "The first campaign",
        "Most of the quickstart's time is Python's and JAX's start-up and compilation in two slots at once. The compilation cache lies in the "
        "campaign's directory, so a campaign that is started again, copied or renamed does not compile.",
    ),
    Section(
        "galaxies", "Mocks in warm slots",
        "Synthetic haloes that were there before, the first jobs left out: large mocks in one slot of two cores, small ones in two slots of one core. "
        "While a mock is computed the next one is loaded and the one before is written, so that a slot does little but compute; the memory of arrays is kept from one mock to the next, since a third of the time were page faults. The kernel had 53,000 galaxies a second at first; the difference: no "
        "table of a cumulative distribution for each galaxy (the two entries that are wanted are found by bisection, a truncated normal is inverted "
        "exactly), no covariance matrices where a factor of the correlations is constant, one integral over the history for a whole tile, exponentials "
        "instead of powers, and single precision. `tests/galaxies/test_model.py` holds each of these against the libraries.",
    ),
    Section(
        "sweeps", "Programs",
        "From the command to its end, start-up and the last write of the dataset included. What is beside ngspice on the cores: starting it, reading what it "
        "printed and wrote, hashing and syncing its raw file, and the coordinator.",
    ),
    Section(
        "peers", "Other engines on the same jobs",
        "Two workers that are up and warm; ours writes each job down durably and into the dataset, and its clock stops when the last one stands there; "
        "the others hand their results back, and keep nothing. Mocks: a slot loads and writes beside what it computes, and has taken what was imported out of "
        "the garbage collections that `abacusutils` asks for twice a catalogue, which cost the others 0.4 s a mock. Naps: the last write of the dataset counts, most of a second of eleven.",
    ),
    Section(
        "scale", "A million jobs",
        "Jobs that measure a number and make no product, on two slots; half of them run, then stopped, looked at and started again. After a run that "
        "ended in order; where the coordinator was killed, the next start also reads the journals of that run.",
    ),
    Section(
        "gpu", "On a GPU",
        "One slot that has the GPU, against one on CPUs of the same machine. Computing is what a GPU can take over; half of what is left of it is "
        "numpy's, and loading, compression and writing stay with the CPUs.",
        usual=False,
    ),
    Section("slots", "Many slots", "Slots of which the machine has many more than cores; their jobs sleep."),
    Section(
        "allocation", "Inside an allocation",
        "A SLURM of four nodes that is started for it on this machine; its CPUs are on paper, its jobs sleep.",
    ),
    Section(
        "walltime", "The end of an allocation",
        "Simulated with the coordinator's own dispatcher: one hour, 16 slots, allocations one after another, after a start-up of 20 s. Where the "
        "duration depends on nothing, no choice of jobs can help: what is left when the next one might not fit is lost.",
    ),
    Section(
        "watching", "Looking at a run",
        "CPU time of the coordinator that a page in Chromium costs it, redrawn every second: with somebody who looks, less without. The live view draws "
        "40,000 jobs of which forty end between two looks; where a picture takes long, it comes more seldom. Both cores are busy with jobs that do nothing "
        "while the status is asked for.",
    ),
    Section(
        "science", "Measurements and statistics",
        "Mocks are made and measured in one process, all quantities and both kinds of clustering. The covariances, one for each redshift, are computed in a process of "
        "its own from a dataset on disk, imports apart.",
    ),
    Section(
        "archive", "Copying out",
        "From one directory to another of the same disk, in turns with rsync 3.5, nothing in memory at the beginning and everything on the disk at the end. Ours hashes what it "
        "reads, makes every file durable, reads it again where it arrived, and writes manifest and checksums; rsync compares nothing.",
    ),
    Section("registry", "The registry", "Asked in one process, without HTTP; every change is on disk when it is answered."),
    Section(
        "torture", "Torture",
        "Scripted jobs of 30 ms in two slots, some of them poisoned (they raise, crash, exit, hang, kill their slot, write garbage or nothing), a "
        "coordinator killed with -9 again and again, one of its workers or slots every few seconds while it lives, projections deleted or damaged and "
        "spoilt artifacts left between two lives, a reader that polls all along.",
        usual=False,
    ),
)  # fmt: skip


def measure(program: str) -> bool:
    """Run a program and keep what it says, good or bad; whether it ended well."""
    print(f"{program}: being measured", file=sys.stderr)
    done = subprocess.run([sys.executable, HERE / f"{program}.py", "--json"], stdout=subprocess.PIPE, check=False)
    if done.stdout:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{program}.json").write_text(json.dumps(json.loads(done.stdout), indent=1) + "\n")
    return done.returncode == 0


def rendered() -> str:
    """The document."""
    parts = [
        "# Performance",
        OPENING,
    ]
    for section in SECTIONS:
        path = RESULTS / f"{section.program}.json"
        if not path.exists():
            parts += [f"## {section.title}", f"Not measured yet: `benchmarks/{section.program}.py`."]
            continue
        told = json.loads(path.read_text())
        figures = [Figure(**figure) for figure in told["figures"]]
        parts += [f"## {section.title}", section.words, *([table(figures)] if figures else []), *told["more"]]
        parts.append(f"`benchmarks/{section.program}.py` on: {in_words(told['machine'])}.")
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Measure and write the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*(s.program for s in SECTIONS), []], help="programs to run")
    parser.add_argument("--render", action="store_true", help="measure nothing")
    arguments = parser.parse_args()
    programs = [] if arguments.render else arguments.names or [s.program for s in SECTIONS if s.usual]
    failed = [program for program in programs if not measure(program)]
    DOCUMENT.write_text(rendered())
    if failed:
        sys.exit(f"did not end well: {', '.join(failed)}")


if __name__ == "__main__":
    main()
