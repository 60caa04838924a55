"""How fast a campaign is copied out and checked, beside rsync: python benchmarks/archive.py [--small] [--json]

Takes about five minutes and 17 GiB of disk; needs rsync.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from figures import Figure, machine, report, timed

REPEATS = 3
CAMPAIGN = """
campaign: {{name: bytes}}
science: {{realizations: {realizations}, redshifts: [0.5, 1.0, 1.5, 2.0]}}
generator: command
strategy:
  overrides:
    command:
      argv: [sh, -c, "head -c {size} /dev/urandom > mock.bin"]
      products: [mock.bin]
outputs: {{base_path: {root}/campaigns}}
"""


def made(root: Path, realizations: int, size: int) -> Path:
    """A campaign with four products of so many bytes for each realization."""
    path = root / "bytes.yaml"
    path.write_text(CAMPAIGN.format(realizations=realizations, size=size, root=root))
    timed(sys.executable, "-m", "campaign.run", str(path), "--plain", "--dashboard", "off")
    return root / "campaigns" / "v1.0_bytes"


def seconds(command: list[str], target: Path) -> float:
    """Wall seconds of a copy to a place where nothing is, with everything on the disk at its end, and nothing of it in memory at its beginning."""
    shutil.rmtree(target, ignore_errors=True)
    os.sync()
    if os.geteuid() == 0:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    begin = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    os.sync()
    return time.perf_counter() - begin


def size_of(directory: Path) -> int:
    """Bytes of all files below a directory."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def rates(home: Path, scratch: Path, repeats: int) -> dict[str, list[float]]:
    """Name -> MB/s of each of so many copies, one after the other in turns."""
    out, copied = scratch / "out", size_of(home)
    campaign = [sys.executable, "-m", "campaign", "archive", str(home), str(out)]
    commands = {"archive": campaign, "rsync": ["rsync", "-a", f"{home}/", f"{out}/"]}
    found: dict[str, list[float]] = {name: [] for name in [*commands, "fsync", "check"]}
    for _ in range(repeats):
        for name, command in commands.items():
            found[name].append(copied / seconds(command, out) / 1e6)
            if name == "archive":
                begin = time.perf_counter()
                subprocess.run([*campaign[:4], "--verify", str(out / home.name)], check=True, capture_output=True)
                found["check"].append(copied / (time.perf_counter() - begin) / 1e6)
        found["fsync"].append(copied / seconds(["rsync", "-a", "--fsync", f"{home}/", f"{out}/"], out) / 1e6)
    return found


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--small", action="store_true", help="once, some MiB")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    facts, repeats = machine(), 1 if arguments.small else REPEATS
    figures = []
    for words, count, size in (
        ("64 MiB", 1 if arguments.small else 32, 64 << 20),
        ("1 MiB", 2 if arguments.small else 500, 1 << 20),
    ):
        with tempfile.TemporaryDirectory() as scratch:
            found = rates(made(Path(scratch), count, size), Path(scratch), repeats)
        shares = [100 * ours / theirs for ours, theirs in zip(found["archive"], found["rsync"], strict=True)]
        durable = [100 * ours / theirs for ours, theirs in zip(found["archive"], found["fsync"], strict=True)]
        about = f"{4 * count:,} products of {words}"
        figures += [
            Figure(f"copying out {about}", found["archive"], "MB/s"),
            Figure(
                "beside `rsync -a`",
                shares,
                "%",
                at_least=80,
                why="Each file is made durable and read again where it arrived",
            ),
            Figure("beside `rsync -a --fsync`", durable, "%", at_least=80),
            Figure("`campaign archive --verify` of it", found["check"], "MB/s"),
        ]
    report(facts, figures, as_json=arguments.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
