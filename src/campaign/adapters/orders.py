"""What a person wants of a coordinator, wherever both are: a small file in the campaign's directory."""

from __future__ import annotations

import json
import socket
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from campaign import durable
from campaign.core.model import Order
from campaign.person import user

FILE = "order.json"


@dataclass(frozen=True, slots=True)
class Standing:
    """An order as it stands, until another one takes its place."""

    order: Order
    by: str
    host: str
    since: str  # ISO 8601, UTC
    reason: str
    number: str  # tells one order from another

    def __str__(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        return f"{self.order} by {self.by} on {self.host} at {self.since}{why}"


def give(metadata: Path, order: Order, reason: str = "") -> Standing:
    """Leave an order; OSError where the file system refuses."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    standing = Standing(order, user(), socket.gethostname(), now, reason, uuid.uuid4().hex)
    durable.write_json(metadata / FILE, asdict(standing))
    return standing


def read(metadata: Path) -> Standing | None:
    """The order that stands; None where there is none, or what is there can't be understood."""
    try:
        data = json.loads((metadata / FILE).read_text())
        return Standing(**{**data, "order": Order(data["order"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


class OrderBox:
    """Orders for one run: what was given before it began is not meant for it, unless it says to pause."""

    def __init__(self, metadata: Path) -> None:
        self._metadata = metadata
        before = read(metadata)
        self._before = "" if before is None else before.number

    def __call__(self) -> Order | None:
        """The order to obey; None where there is none."""
        standing = read(self._metadata)
        if standing is None or (standing.number == self._before and standing.order is not Order.PAUSE):
            return None
        return standing.order
