"""Show how far a campaign is, what failed, and what to type next; also while it runs, from any shell."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path

from campaign.core.words import duration, failure_line
from campaign.errors import Code, UsageError
from campaign.layout import Layout
from campaign.outcome import EXIT_DONE
from campaign.ports import Look
from campaign.status import Status, read_status


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("campaign", type=Path, help="the directory of a campaign, or its YAML")
    parser.add_argument("--json", action="store_true", help="report as JSON")
    parser.add_argument(
        "--watch", action="store_true", help="look again and again until it ends, as campaign monitor does"
    )
    parser.add_argument("--verbose", action="store_true", help="the whole messages of failures")
    parser.add_argument(
        "--map", nargs="?", const="", metavar="DOWN[,ACROSS]",
        help="draw the states over two axes of the design (default: the first and the last), as of the latest flush",
    )  # fmt: skip


def command(arguments: argparse.Namespace) -> int:
    """`campaign status`."""
    if arguments.watch:
        from campaign.cli import monitor

        return monitor.watch(find_campaign(arguments.campaign), monitor.INTERVAL_S)
    status = read_status(find_campaign(arguments.campaign))
    print(json.dumps(status.to_json()) if arguments.json else words(status, verbose=arguments.verbose))
    if arguments.map is not None and not arguments.json:
        _draw(Path(status.directory), arguments.map)
    return EXIT_DONE


def _draw(directory: Path, asked: str) -> None:
    """The map of states, as wide and high as the terminal allows."""
    from rich.console import Console

    from campaign.adapters.tiles import as_text
    from campaign.core.mosaic import mosaic
    from campaign.examine import DirectoryStates

    console = Console()
    seen = DirectoryStates(directory)
    axes, names = seen.axes, [name for name in asked.split(",") if name]
    known = [axis.name for axis in axes]
    unknown = [name for name in names if name not in known]
    if unknown or len(names) > 2 or len(set(names)) < len(names):
        raise UsageError(
            Code.CONFIG_INVALID, f"--map {asked}: not one or two axes", action=f"name of: {', '.join(known)}"
        )
    down = known.index(names[0]) if names else 0
    across = (
        known.index(names[1]) if len(names) == 2 else max((n for n in range(len(known)) if n != down), default=None)
    )
    picture = mosaic(
        seen.read(),
        [len(axis.values) for axis in axes],
        (down, across),
        max(console.height - 12, 10),
        max(console.width - 36, 20),
    )
    console.print(as_text(picture, axes[down], axes[across] if across is not None else None), soft_wrap=True)


def find_campaign(path: Path) -> Layout:
    """The directory of the campaign that a path names: itself, or what its YAML says."""
    if path.is_dir():
        return Layout(path.absolute())
    from campaign.opening import read_config

    return Layout(Path(read_config(path)[0].directory))


def words(status: Status, *, verbose: bool = False) -> str:
    """A status as a person reads it."""
    done = status.counts.get("completed", 0)
    told = [f"{status.version} {status.name}  {status.directory}", f"  {done} of {status.total} completed"]
    told += [f"  {n:>9} {word}" for word, n in status.counts.items()]
    if status.holder:
        held = status.holder
        told.append(f"  running: process {held.get('pid')} on {held.get('host')} since {held.get('since')}")
    if status.rate_per_s:
        told.append(f"  {status.rate_per_s * 60:.1f} jobs/min, about {duration(status.remaining_s)} left")
    if status.live is not None:
        told += _live(status.live)
    if status.paused:
        told.append(f"  {status.paused}")
    for name, counts in status.stages.items():
        told.append(f"  {name}: " + ", ".join(f"{n} {word}" for word, n in counts.items()))
    for name, who in status.shards.items():
        told.append(f"  running: {name}, process {who.get('pid')} on {who.get('host')} since {who.get('since')}")
    for job in status.queue:
        why = f" ({job['reason']})" if job["reason"] not in ("None", "") else ""
        told.append(
            f"  slurm: job {job['job']} {job['state'].lower()}{why}, {job['nodes']} node(s), {job['left']} left"
        )
    told += _failures(status, verbose=verbose)
    if done < status.total and not status.runs and not status.queue:
        told.append(f"next: {_next(status)}")
    return "\n".join(told)


def _failures(status: Status, *, verbose: bool) -> list[str]:
    """What failed lately: in groups where a coordinator tells of them, one by one otherwise."""
    if not status.failures:
        return []
    if status.live is not None and status.live.troubles and not verbose:
        told = ["what failed lately:", *(f"  {one.count} {one.words}" for one in status.live.troubles)]
    else:
        lines = [failure_line(f) if verbose else failure_line(f).splitlines()[0] for f in status.failures]
        told = ["latest failures:", *(f"  {line}" for line in lines)]
    if verbose and "batch" in status.failures[0]:
        number = status.failures[0]["batch"]
        artifact = f"{status.directory}/batches/{number // 1000:03d}/batch_{number:06d}.zip"
        told.append(f"with tracebacks: unzip -p {artifact} errors.jsonl")
        told.append(f"what jobs printed: {status.directory}/logs/")
    return [*told, f"in groups, and how to retry them: campaign failures {shlex.quote(status.directory)}"]


def _live(look: Look) -> list[str]:
    """What running coordinators tell of their slots and nodes."""
    from campaign.adapters.terminal import facts, troubled_nodes

    return [f"  {facts(look)}", *(f"  node {words}" for words in troubled_nodes(look))]


def _next(status: Status) -> str:
    """What to type where a campaign is neither running nor complete."""
    here = shlex.quote(status.directory)
    if status.paused:
        return f"campaign resume {here}, then campaign run {here}"
    waiting = sum(status.counts.get(word, 0) for word in ("pending", "queued", "running"))
    if waiting:
        return f"campaign run {here}"
    if status.counts.get("missing_input", 0) + status.counts.get("completed", 0) == status.total:
        return f"bring the missing inputs (campaign plan {here} lists them); campaign run {here}"
    return f"campaign retry {here} --run"
