"""What a run shows of itself while it goes on: to the terminal, the page, readers elsewhere, and whoever asks for metrics."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import socket
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from campaign.adapters.eventlog import EventLog
from campaign.analyse.triage import grouped, retry_command, what
from campaign.core.model import Axis, Record, State
from campaign.execute import Execution
from campaign.layout import Layout
from campaign.plan import Plan
from campaign.ports import Audience, Clock, Look, NodeLook, Progress, Trouble
from campaign.tally import first_line

logger = logging.getLogger("campaign")

LOOK_S, GROUPED_S = 0.4, 3.0
"""How long a look, and the groups of failures in it, are good for."""

TROUBLES = 20


class RunScene:
    """Implements `ports.Scene` for a run; however many look, it is looked at a few times a second."""

    def __init__(self, plan: Plan, execution: Execution, clock: Clock) -> None:
        self.title = f"{plan.config.version} {plan.config.name}"
        self._plan, self._execution, self._clock = plan, execution, clock
        self._me = psutil.Process()
        self._seen: tuple[float, Look] | None = None
        self._troubles: tuple[float, int, list[Trouble]] = (0.0, 0, [])

    @property
    def axes(self) -> Sequence[Axis]:
        """The axes of its design."""
        return self._plan.grid.axes

    @property
    def rates(self) -> Sequence[tuple[float, float]]:
        """(seconds since the run began, jobs a second), over all of it."""
        return self._execution.tally.rates.moments

    def look(self) -> Look:
        """What is seen now."""
        now = self._clock.monotonic_s()
        if self._seen is None or now >= self._seen[0] + LOOK_S:
            execution = self._execution
            self._seen = now, Look(
                execution.progress(), execution.states(), self._nodes(), self._failures(now),
                execution.tally.mean_phases_s(), self._me.memory_info().rss,
            )  # fmt: skip
        return self._seen[1]

    def find(self, text: str) -> int:
        """The job that a person means; UsageError where there is none."""
        return self._plan.named(text)

    def tell(self, job: int) -> list[str]:
        """What is known of a job, in lines."""
        plan, row = self._plan, self._execution.row(job)
        point = ", ".join(f"{name} {value}" for name, value in plan.point(job).items())
        told = [f"{plan.name(job)} (job {job}): {point}"]
        told.append(
            f"{State(self._execution.states()[job]).word}, {row.failures} failures, {row.interruptions} interruptions"
        )
        last = self._last_failure(job)
        if last is not None:
            told.append(f"attempt {last.attempt} on {last.node}: {first_line(last.failure)}")
        return [*told, f"more: campaign logs {shlex.quote(plan.config.directory)} {shlex.quote(plan.name(job))}"]

    def _nodes(self) -> list[NodeLook]:
        return sorted(self._execution.nodes(), key=lambda node: (bool(node.gone), node.name))

    def _last_failure(self, job: int) -> Record | None:
        return next((record for record in reversed(self._execution.tally.failed) if record.job == job), None)

    def _failures(self, now: float) -> list[Trouble]:
        """Groups of the latest failures, made anew when there are others, and not too often."""
        made_s, ended, troubles = self._troubles
        tally = self._execution.tally
        failures = tally.ended - tally.completed
        if failures != ended and (now >= made_s + GROUPED_S or not troubles):
            states = self._execution.states()
            latest = {record.job: record for record in tally.failed if states[record.job] != State.COMPLETED}
            groups = grouped(latest.values(), self._plan.grid.parameters)[:TROUBLES]
            here = self._plan.config.directory
            troubles = [Trouble(len(g.jobs), what(g), g.example.name, retry_command(g, here)) for g in groups]
            self._troubles = now, failures, troubles
        return troubles


class Followers:
    """Implements `ports.Audience` for several. One that raises is told nothing more: whoever follows a run does not end it."""

    def __init__(self, *followers: Audience) -> None:
        self._followers = list(followers)

    def observe(self, progress: Progress) -> None:
        """Let each hear how far it is."""
        for follower in list(self._followers):
            self._tell(follower, follower.observe, progress)

    def hear(self, event: str, **facts: object) -> None:
        """Let each hear of something that happened."""
        for follower in list(self._followers):
            self._tell(follower, partial(follower.hear, event), **facts)

    def _tell(self, follower: Audience, tell: Callable[..., None], *what: object, **facts: object) -> None:
        try:
            tell(*what, **facts)
        except Exception as error:  # noqa: BLE001 - a full disk under standard error, whatever a view trips over
            self._followers.remove(follower)
            logger.warning("%s is not told any more: %s: %s", type(follower).__name__, type(error).__name__, error)


@contextlib.contextmanager
def shown(scene: RunScene, layout: Layout, clock: Clock, *, plain: bool, metrics: bool) -> Iterator[Audience]:
    """Show a run on the terminal and in its directory, and with its metrics where there is an endpoint for them."""
    from campaign.adapters.metrics import exported
    from campaign.adapters.progress import ProgressFile
    from campaign.adapters.terminal import view_for

    with contextlib.ExitStack() as stack:
        if metrics:
            stack.enter_context(exported(scene))
        stack.callback(_forget, layout.progress)
        with view_for(scene, plain=plain) as view:
            yield Followers(ProgressFile(layout.progress, clock, scene), view)


def _forget(snapshot: Path) -> None:
    with contextlib.suppress(OSError):
        snapshot.unlink(missing_ok=True)


@contextlib.contextmanager
def logged(layout: Layout, clock: Clock) -> Iterator[EventLog]:
    """Write down what happens in a run, and that it was broken off."""
    log = EventLog(layout.events, clock)
    try:
        yield log
    except BaseException as error:
        log.hear("run_broken", error=type(error).__name__, message=str(error).partition("\n")[0])
        raise
    finally:
        if layout.logs.is_dir():  # or nothing was begun
            log.write()


def ways_in(address: str) -> str:
    """How to reach a page on the loopback of this host from elsewhere; empty where it is not on the loopback."""
    url = urlsplit(address.partition(" ")[0])
    if url.hostname not in ("127.0.0.1", "localhost"):
        return ""
    ways = [f"from elsewhere: ssh -N -L {url.port}:127.0.0.1:{url.port} {socket.gethostname()}, then open it there"]
    if prefix := os.environ.get("JUPYTERHUB_SERVICE_PREFIX"):
        ways.append(
            f"in JupyterHub with jupyter-server-proxy, after the hub's address: {prefix}proxy/{url.port}{url.path}"
        )
    return f" ({'; '.join(ways)})"
