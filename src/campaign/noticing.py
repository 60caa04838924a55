"""Watches a run, and has people told of what they want to know."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from campaign.core.alerts import Alert, Sight, Watch
from campaign.core.model import Config
from campaign.core.notices import Kind
from campaign.outcome import EXIT_RESUMABLE, Outcome
from campaign.ports import Clock, Progress

LOOK_S = 5.0
"""Time between two looks."""


class Noticing:
    """Implements `ports.Audience`: what a run shows, and how it ended, as notices."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        send: Callable[[dict[str, str]], None],
        who: str = "",
        others: Callable[[], bool] = lambda: False,
    ) -> None:
        """`who` names us among several allocations on one campaign, `others` says whether any of the others is still at work."""
        self._config, self._clock, self._send, self._others = config, clock, send, others
        self._who = f"{who}: " if who else ""
        assert config.notify is not None
        self._watch = Watch(config.notify.rules, clock.monotonic_s())
        self._next_s = 0.0

    def hear(self, event: str, **facts: object) -> None:
        """What matters is seen in the progress."""

    def observe(self, progress: Progress) -> None:
        """Look at a run that goes on."""
        now = self._clock.monotonic_s()
        if now < self._next_s:
            return
        self._next_s = now + LOOK_S
        last = str(progress.failures[0]["message"]) if progress.failures else ""
        self._tell(self._watch.look(Sight(progress.counts, progress.done_this_run, bool(progress.held_by), last), now))

    def end(self, outcome: Outcome) -> Outcome:
        """Look at a run that has ended, and give back how."""
        counts = ", ".join(f"{number} {word}" for word, number in outcome.counts.items())
        if outcome.exit_code != EXIT_RESUMABLE:
            if self._others():
                return outcome  # the last of them tells
            kind = Kind.FINISHED
        else:
            kind = Kind.WALLTIME if outcome.reason == "walltime" else Kind.STOPPED
        why = f" ({outcome.reason})" if kind is Kind.STOPPED and outcome.reason else ""
        self._tell(self._watch.end(kind, f"{counts}{why}", self._clock.monotonic_s()))
        return outcome

    def broken(self, error: BaseException) -> None:
        """A run did not come to its end."""
        words = str(error).partition("\n")[0] or type(error).__name__
        self._tell(self._watch.end(Kind.STOPPED, words, self._clock.monotonic_s()))

    def _tell(self, alerts: list[Alert]) -> None:
        for alert in alerts:
            self._send({
                "kind": str(alert.kind), "words": f"{self._who}{alert.words}", "campaign": f"{self._config.version} {self._config.name}",
                "directory": self._config.directory,
            })  # fmt: skip


@contextlib.contextmanager
def noticed(
    config: Config, clock: Clock, who: str = "", others: Callable[[], bool] = lambda: False
) -> Iterator[Noticing | None]:
    """Watch a run; None where nobody wants to be told. `who` and `others` are those of `Noticing`."""
    if config.notify is None:
        yield None
        return
    from campaign.adapters.notices import Notifier

    with contextlib.closing(Notifier(config.notify.command, config.notify.urls_file)) as notifier:
        noticing = Noticing(config, clock, notifier.send, who, others)
        try:
            yield noticing
        except BaseException as error:
            noticing.broken(error)
            raise
