"""Tells the registry of our runs. What can't be told now is kept in the campaign's directory, and told later."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from campaign import durable, manifest
from campaign.core.model import Config, Order, Registration
from campaign.errors import CampaignError, Code, StoppedError, UsageError
from campaign.layout import Layout
from campaign.outcome import EXIT_RESUMABLE, Outcome
from campaign.registry import client
from campaign.registry.client import Client
from campaign.registry.errors import (
    CampaignCannotAddRunError,
    CampaignNotFoundError,
    OptimisticConcurrencyError,
    RegistryError,
    RegistryUnavailableError,
    Unauthorized,
)

logger = logging.getLogger("campaign")

AGAIN_S = 60.0
"""Time between two tries to reach a registry that did not answer."""

CAMPAIGN, RUN = "$campaign", "$run"
"""Stand for identifiers that the registry has not given yet."""

LATER = (RegistryUnavailableError, Unauthorized, OptimisticConcurrencyError)
"""After these the same may well be told another time."""

Entry = dict[str, Any]


class Outbox:
    """What is to be told, in order, and the identifiers that the registry has given; durable after every change."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            known = json.loads(path.read_text())
        except FileNotFoundError:
            known = {}
        except ValueError as error:
            logger.warning("registry: %s can't be read (%s): what was to be told is lost", path, error)
            known = {}
        self.ids: dict[str, str] = dict(known.get("ids", {}))
        self.entries: list[Entry] = list(known.get("entries", []))
        self.running = bool(known.get("running", False))  # whether a run was begun whose end was never noted

    def put(self, operation: str, /, *, key: str | None = None, gives: str = "", **arguments: Any) -> None:
        """Note an operation; `gives` names the identifier that it answers."""
        self.entries.append({"operation": operation, "arguments": arguments, "key": key, "gives": gives})

    def save(self) -> None:
        """Write it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        durable.write_json(
            self._path, {"schema_version": 1, "ids": self.ids, "running": self.running, "entries": self.entries}
        )

    def tell(self, asked: Client) -> None:
        """Tell everything; one of `LATER` where it can't be told now, with what is left still noted."""
        while self.entries:
            entry = self.entries[0]
            try:
                answer = _told(asked, entry, self._resolved(entry["arguments"]))
            except LATER:
                raise
            except RegistryError as error:  # it knows already, or does not want to: saying it again does not help
                logger.info("registry: %s: %s", entry["operation"], error.message)
                answer = {}
            if entry["gives"] and answer:
                self.ids[entry["gives"]] = next(iter(answer.values()))
            del self.entries[0]
            self.save()

    def _resolved(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments with the identifiers that the registry has given; one that it refused to give is left out."""
        known = {
            name: self.ids.get(value, value) if isinstance(value, str) else value for name, value in arguments.items()
        }
        return {name: value for name, value in known.items() if value not in (CAMPAIGN, RUN)}


def _told(asked: Client, entry: Entry, arguments: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return asked.call(entry["operation"], arguments, entry["key"])
    except (CampaignCannotAddRunError, CampaignNotFoundError) as error:
        if entry["operation"] != "start_run":
            raise
        logger.warning("registry: %s; this run is no member of it", error.message)
        return asked.call("start_run", {"run_id": arguments["run_id"]})


class Reporter:
    """Reports one run."""

    def __init__(self, registration: Registration, layout: Layout, name: str) -> None:
        self._registration, self._layout, self._name = registration, layout, name
        self._outbox = Outbox(layout.registry)
        self._guard, self._over = threading.Lock(), threading.Event()
        self._client: Client | None = None

    def refuse_held(self, *, even_if_held: bool) -> None:
        """StoppedError where the campaign is held, unless that does not matter; silent where the registry does not answer."""
        campaign_id = self._registration.campaign_id or self._outbox.ids.get(CAMPAIGN)
        if campaign_id is None or even_if_held:
            return
        try:
            seen = self._connected().call("get_campaign", {"campaign_id": campaign_id})
        except CampaignError as error:
            logger.warning("registry: %s", error.message)
            return
        if seen["status"] == "Held":
            raise UsageError(
                Code.CAMPAIGN_HELD,
                f"the campaign is held: {seen['last_status_reason']}",
                action="wait for its lead to resume it, or run it all the same: --even-if-held",
            )

    def begin(self) -> None:
        """Note that a run begins, and tell it; the end of an earlier one that was lost is noted before."""
        box = self._outbox
        if box.running:
            box.put("abort_run", run_id=RUN, reason="the coordinator was lost")
            self._tell()
        if self._registration.campaign_id:
            box.ids[CAMPAIGN] = self._registration.campaign_id
        elif CAMPAIGN not in box.ids and not any(entry["gives"] == CAMPAIGN for entry in box.entries):
            declared = {"lead_actor_id": str(client.me()), **self._registration.declared}
            box.put("register_campaign", key=self._campaign_key(), gives=CAMPAIGN, **declared)
        box.put("start_campaign", campaign_id=CAMPAIGN)
        box.put(
            "register_run",
            key=uuid4().hex,
            gives=RUN,
            name=self._name,
            directory=str(self._layout.root),
            host=socket.gethostname(),
        )
        box.put("start_run", run_id=RUN, campaign_id=CAMPAIGN)
        box.running = True
        self._tell()
        threading.Thread(target=self._keep_telling, daemon=True, name="registry").start()

    def _campaign_key(self) -> str:
        """The same for all allocations that share the campaign: one of them registers it."""
        path, scratch = self._layout.metadata / "registry.key", self._layout.metadata / f".registry.key.{uuid4().hex}"
        scratch.write_text(uuid4().hex)
        with contextlib.suppress(FileExistsError):
            os.link(scratch, path)
        scratch.unlink()
        return path.read_text()

    def end(self, operation: str, reason: str = "") -> None:
        """Note how the run ended, and tell it."""
        self._over.set()
        with self._guard:
            self._outbox.put(operation, run_id=RUN, **({"reason": reason[:500]} if reason else {}))
            self._outbox.running = False
        self._tell()

    def close(self) -> None:
        """Give the connection back."""
        with self._guard:
            if self._client is not None:
                self._client.close()

    def _connected(self) -> Client:
        if self._client is None:
            self._client = connected(self._registration)
        return self._client

    def _keep_telling(self) -> None:
        while not self._over.wait(AGAIN_S):
            if self._outbox.entries:
                self._tell()

    def _tell(self) -> None:
        """Tell what can be told now."""
        with self._guard:
            self._outbox.save()
            try:
                self._outbox.tell(self._connected())
            except CampaignError as error:
                logger.warning("registry: %s; it is told later", error.message)


Told = Callable[[Outcome], Outcome]
"""Reports how a run ended, and gives that back."""


@contextlib.contextmanager
def reported(config: Config, layout: Layout, *, even_if_held: bool) -> Iterator[Told]:
    """Report a run that begins, by the one who holds the campaign; what is yielded reports how it ended. What breaks off is reported as well."""
    if config.registration is None:
        yield lambda outcome: outcome
        return
    reporter = Reporter(config.registration, layout, f"{config.version} {config.name}"[:200])

    def told(outcome: Outcome) -> Outcome:
        reporter.end(*ending(outcome))
        return outcome

    with contextlib.closing(reporter):
        reporter.refuse_held(even_if_held=even_if_held)
        reporter.begin()
        with _breaking_off(reporter):
            yield told


@contextlib.contextmanager
def _breaking_off(reporter: Reporter) -> Iterator[None]:
    """Report a run that does not come to its end."""
    try:
        yield
    except StoppedError as error:
        reporter.end("stop_run", error.message.partition("\n")[0])
        raise
    except BaseException as error:
        reporter.end("abort_run", str(error).partition("\n")[0].strip() or type(error).__name__)
        raise


def ending(outcome: Outcome) -> tuple[str, str]:
    """(operation, reason) by which the registry is told how a run ended."""
    if outcome.reason == Order.ABORT:
        return "abort_run", "a person aborted it"
    if outcome.exit_code == EXIT_RESUMABLE:
        return "stop_run", f"{outcome.reason or 'stopped'}: {outcome.counts.get('pending', 0)} jobs are left"
    return "complete_run", ""


def tell_later(config: Config, layout: Layout) -> int:
    """Tell what earlier runs could not; how much is still to be told. LockedError while the campaign runs, which tells it itself."""
    from campaign.adapters.lock import CampaignLock

    if config.registration is None:
        raise UsageError(Code.CONFIG_INVALID, "no registry is configured", action="set registry.url, or add --url")
    manifest.read(layout)
    lock = CampaignLock(layout.metadata)
    try:
        boxes = [Outbox(path) for path in sorted(layout.metadata.glob("registry*.json"))]
        with contextlib.closing(connected(config.registration)) as asked:
            for box in boxes:
                box.tell(asked)
    finally:
        lock.release()
    return sum(len(box.entries) for box in boxes)


def connected(registration: Registration) -> Client:
    """The registry that a configuration names."""
    file = registration.token_file
    return client.connect(registration.url, client.read_token(Path(file).expanduser()) if file else None)
