"""Tells the registry of our runs. What can't be told now is kept in the campaign's directory, and told later.

A registry is in nobody's way: all telling is done by one thread, which a run waits for a few seconds at its beginning and at its end.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from campaign import durable
from campaign.adapters.lock import CampaignLock
from campaign.core.model import Config, Order, Registration
from campaign.errors import Code, LockedError, StoppedError, UsageError
from campaign.layout import Layout
from campaign.outcome import EXIT_RESUMABLE, Outcome
from campaign.registry import client
from campaign.registry.client import Client
from campaign.registry.errors import (
    CampaignCannotAddRunError,
    CampaignCannotStartError,
    CampaignNotFoundError,
    OptimisticConcurrencyError,
    RegistryError,
    RegistryUnavailableError,
    Unauthorized,
)

logger = logging.getLogger("campaign")

PATIENCE_S = 10.0
"""How long a run waits for the registry when it begins, and when it ends."""

AGAIN_S = 60.0
"""Time between two tries to reach a registry that did not answer."""

CAMPAIGN, RUN = "$campaign", "$run"
"""Stand for identifiers that the registry has not given yet."""

LATER = (RegistryUnavailableError, Unauthorized, OptimisticConcurrencyError)
"""After these the same may well be told another time."""

LOST = "the coordinator was lost"

UNGUARDED = nullcontext()
Entry = dict[str, Any]
T = TypeVar("T")


class Outbox:
    """What is to be told to one registry, in order, and the identifiers that it has given; durable after every change."""

    def __init__(self, path: Path, url: str = "") -> None:
        self.path = path
        known: Any = {}
        try:
            known = json.loads(path.read_text())
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            logger.warning("registry: %s can't be read (%s): what was to be told is lost", path, error)
        kinds = {"ids": dict, "entries": list, "running": bool}
        if not isinstance(known, dict) or any(
            not isinstance(known.get(name, kind()), kind) for name, kind in kinds.items()
        ):
            known = {}
        self.url = url or str(known.get("url", ""))
        self.ids: dict[str, str] = dict(known.get("ids", {}))
        self.entries: list[Entry] = list(known.get("entries", []))
        self.running = bool(known.get("running", False))  # whether a run was begun whose end was never noted

    def put(self, operation: str, /, *, key: str | None = None, gives: str = "", **arguments: Any) -> None:
        """Note an operation; `gives` names the identifier that it answers."""
        self.entries.append({"operation": operation, "arguments": arguments, "key": key, "gives": gives})

    def note_lost(self) -> None:
        """Note the end of a run that was begun and whose coordinator is gone."""
        if self.running:
            self.put("abort_run", run_id=RUN, reason=LOST)
            self.running = False

    def save(self) -> None:
        """Write it."""
        durable.write_json(
            self.path,
            {"schema_version": 1, "url": self.url, "ids": self.ids, "running": self.running, "entries": self.entries},
        )

    def tell(self, asked: Client, guard: AbstractContextManager[Any] = UNGUARDED) -> None:
        """Tell everything; one of `LATER` where it can't be told now, with what is left still noted.

        `guard` is held while the outbox is looked at or changed, never while the registry is waited for.
        """
        while True:
            with guard:
                if not self.entries:
                    return
                entry = self.entries[0]
                arguments = {name: self._known(value) for name, value in entry["arguments"].items()}
            answer = self._told(asked, entry, arguments)
            with guard:
                if entry["gives"]:
                    self.ids.pop(entry["gives"], None)
                    self.ids.update((entry["gives"], str(value)) for value in answer.values())
                del self.entries[0]
                self.save()

    def _told(self, asked: Client, entry: Entry, arguments: dict[str, Any]) -> dict[str, Any]:
        """What the registry answers; empty where it refuses for good, or where what is named was refused before."""
        if entry["operation"] == "start_run" and arguments.get("campaign_id") is None:
            arguments.pop("campaign_id", None)
        if None in arguments.values():
            return {}
        try:
            return asked.call(entry["operation"], arguments, entry["key"])
        except LATER:
            raise
        except (CampaignCannotAddRunError, CampaignNotFoundError) as error:
            logger.warning("registry: %s; the run is no member of it", error.message)
            if entry["operation"] == "start_run":
                with contextlib.suppress(CampaignCannotAddRunError, CampaignNotFoundError):
                    return asked.call("start_run", {"run_id": arguments["run_id"]})
        except CampaignCannotStartError:
            pass  # somebody else has started it, or holds it
        except RegistryError as error:
            logger.warning("registry: %s is refused, and not told again: %s", entry["operation"], error.message)
        return {}

    def _known(self, value: Any) -> Any:
        """An argument; of one that stands for an identifier, that, None where it was never given."""
        return self.ids.get(value) if value in (CAMPAIGN, RUN) else value


class Reporter:
    """Reports one run. Whatever the registry does, nothing is raised but that the campaign is held."""

    def __init__(self, registration: Registration, layout: Layout, name: str, others: Sequence[Outbox] = ()) -> None:
        """`others` are outboxes of coordinators that are gone, to be told as well."""
        self._registration, self._layout, self._name, self._others = registration, layout, name, tuple(others)
        self._outbox = Outbox(box_path(layout, registration.url), registration.url)
        self._guard = threading.Lock()  # of the outbox
        self._wake, self._idle, self._over = threading.Event(), threading.Event(), threading.Event()
        self._said = ""  # the trouble that was told last
        threading.Thread(target=self._work, daemon=True, name="registry").start()

    def begin(self, *, even_if_held: bool) -> None:
        """Note that a run begins, and tell it. UsageError where the campaign is held, unless that does not matter."""
        campaign_id = self._registration.campaign_id or CAMPAIGN
        with self._noting() as box:
            box.note_lost()
            if (
                campaign_id == CAMPAIGN
                and CAMPAIGN not in box.ids
                and CAMPAIGN not in {e["gives"] for e in box.entries}
            ):
                declared = {"lead_actor_id": str(client.me()), **self._registration.declared}
                box.put("register_campaign", key=self._key(declared), gives=CAMPAIGN, **declared)
            box.put("start_campaign", campaign_id=campaign_id)
        if not even_if_held:
            self._refuse_held(self._outbox.ids.get(campaign_id, campaign_id))
        host, directory = socket.gethostname(), str(self._layout.root)
        with self._noting() as box:
            box.put("register_run", key=uuid4().hex, gives=RUN, name=self._name, directory=directory, host=host)
            box.put("start_run", run_id=RUN, campaign_id=campaign_id)
            box.running = True

    def end(self, operation: str, reason: str = "") -> None:
        """Note how the run ended, and tell it."""
        words = "".join(letter if letter.isprintable() else " " for letter in reason).strip()[:500]
        given = {} if operation == "complete_run" else {"reason": words or "no reason was given"}
        self._over.set()
        with self._noting() as box:
            box.put(operation, run_id=RUN, **given)
            box.running = False

    @contextlib.contextmanager
    def _noting(self) -> Iterator[Outbox]:
        """Change the outbox, then wait a while until it is told."""
        with self._guard:
            yield self._outbox
            try:
                self._outbox.save()
            except OSError as error:
                self._trouble(error)
        self._idle.clear()
        self._wake.set()
        self._idle.wait(PATIENCE_S)

    def _refuse_held(self, campaign_id: str) -> None:
        if campaign_id == CAMPAIGN:
            return
        seen = within(PATIENCE_S, lambda: self._asked("get_campaign", {"campaign_id": campaign_id}))
        if seen is not None and seen.get("status") == "Held":
            raise UsageError(
                Code.CAMPAIGN_HELD,
                f"the campaign is held: {seen['last_status_reason']}",
                action="wait for its lead to resume it, or run it all the same: --even-if-held",
            )

    def _asked(self, operation: str, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
        try:
            with contextlib.closing(connected(self._registration)) as asked:
                return asked.call(operation, arguments)
        except Exception as error:  # noqa: BLE001 - a registry is in nobody's way
            self._trouble(error)
            return None

    def _work(self) -> None:
        """Tell what is noted, again and again until it is told; the only place where the registry is told anything."""
        over = False
        while not over:
            self._wake.wait(AGAIN_S)
            self._wake.clear()
            over = self._over.is_set()
            try:
                boxes = [box for box in (self._outbox, *self._others) if box.entries]
                if boxes:
                    with contextlib.closing(connected(self._registration)) as asked:
                        for box in boxes:
                            box.tell(asked, self._guard)
            except Exception as error:  # noqa: BLE001 - a registry is in nobody's way
                self._trouble(error)
            self._idle.set()

    def _trouble(self, error: Exception) -> None:
        """Say what is wrong, once."""
        words = getattr(error, "message", "") or f"{type(error).__name__}: {error}"
        if words != self._said:
            self._said = words
            logger.warning("registry: %s; it is told later", words)

    def _key(self, declared: Mapping[str, Any]) -> str:
        """The same for all allocations that share the campaign and declare it alike: one of them registers it."""
        path, scratch = self._layout.metadata / "registry.key", self._layout.metadata / f".registry.key.{uuid4().hex}"
        own = uuid4().hex
        try:
            scratch.write_text(own)
            with contextlib.suppress(FileExistsError):
                os.link(scratch, path)
            scratch.unlink()
            own = path.read_text()
        except OSError as error:
            self._trouble(error)
        return hashlib.sha256(f"{own}:{json.dumps(declared, sort_keys=True)}".encode()).hexdigest()[:32]


def within(seconds: float, act: Callable[[], T]) -> T | None:
    """What `act` gives, None where it takes longer."""
    found: list[T] = []
    thread = threading.Thread(target=lambda: found.append(act()), daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else None


Told = Callable[[Outcome], Outcome]
"""Reports how a run ended, and gives that back."""


@contextlib.contextmanager
def reported(config: Config, layout: Layout, *, even_if_held: bool) -> Iterator[Told]:
    """Report a run that begins; what is yielded reports how it ended. What breaks off is reported as well.

    Where another coordinator is at work on the same part of the campaign, that one reports, and this does not.
    """
    if config.registration is None:
        yield _untold
        return
    layout.metadata.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        try:
            held.callback(_box_lock(layout, box_path(layout, config.registration.url)).release)
        except LockedError:
            yield _untold
            return
        others = abandoned(layout, config.registration, held)
        reporter = Reporter(config.registration, layout, f"{config.version} {config.name}"[:200], others)
        reporter.begin(even_if_held=even_if_held)
        with _breaking_off(reporter):
            yield lambda outcome: _told(reporter, outcome)


def _untold(outcome: Outcome) -> Outcome:
    return outcome


def _told(reporter: Reporter, outcome: Outcome) -> Outcome:
    reporter.end(*ending(outcome))
    return outcome


@contextlib.contextmanager
def _breaking_off(reporter: Reporter) -> Iterator[None]:
    """Report a run that does not come to its end."""
    try:
        yield
    except StoppedError as error:
        reporter.end("stop_run", error.message.partition("\n")[0])
        raise
    except BaseException as error:
        reporter.end("abort_run", str(error).partition("\n")[0] or type(error).__name__)
        raise


def ending(outcome: Outcome) -> tuple[str, str]:
    """(operation, reason) by which the registry is told how a run ended."""
    if outcome.reason == Order.ABORT:
        return "abort_run", "a person aborted it"
    if outcome.exit_code == EXIT_RESUMABLE:
        return "stop_run", f"{outcome.reason or 'stopped'}: {outcome.counts.get('pending', 0)} jobs are left"
    return "complete_run", ""


def box_path(layout: Layout, url: str) -> Path:
    """The outbox of a coordinator for one registry."""
    path = layout.registry
    return path.with_name(f"{path.stem}.{hashlib.sha256(url.encode()).hexdigest()[:8]}{path.suffix}")


def _box_lock(layout: Layout, path: Path) -> CampaignLock:
    """Held by whoever writes an outbox; LockedError where somebody does."""
    return CampaignLock(layout.metadata, f"{path.stem}.lock", wait_s=1.0)


def abandoned(layout: Layout, registration: Registration, held: contextlib.ExitStack) -> list[Outbox]:
    """Outboxes of coordinators that are gone, for this registry, locked until `held` closes; what they did not end is noted."""
    found = []
    own = box_path(layout, registration.url)
    for path in sorted(layout.metadata.glob("registry*.json")):
        if path == own:
            continue
        with contextlib.suppress(LockedError):
            held.callback(_box_lock(layout, path).release)
            box = Outbox(path)
            if box.url == registration.url:
                box.note_lost()
                box.save()
                found.append(box)
    return found


def tell_later(registration: Registration, layout: Layout) -> int:
    """Tell what earlier runs could not; how many reports are left: those of other registries, and of runs that are at work."""
    left = 0
    for path in sorted(layout.metadata.glob("registry*.json")):
        try:
            lock = _box_lock(layout, path)
        except LockedError:
            left += len(Outbox(path).entries)
            continue
        try:
            box = Outbox(path)
            box.note_lost()
            box.save()
            if box.url == registration.url:
                with contextlib.closing(connected(registration)) as asked:
                    box.tell(asked)
            left += len(box.entries)
        finally:
            lock.release()
    return left


def connected(registration: Registration) -> Client:
    """The registry that a configuration names."""
    file = registration.token_file
    return client.connect(registration.url, client.read_token(Path(file).expanduser()) if file else None)
