"""Products that a campaign has in an archive alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass

from campaign.layout import Layout


@dataclass(frozen=True, slots=True)
class Copy:
    """Where a product is, since it was removed from the campaign, or never brought there."""

    path: str  # of the product, below the campaign's directory
    sha256: str
    copy: str  # the file in an archive


def write_down(layout: Layout, copies: Iterable[Copy]) -> None:
    """Products are about to be removed, since copies of them are whole: durable when this returns."""
    with layout.pruned.open("a") as file:
        file.writelines(json.dumps(asdict(one)) + "\n" for one in copies)
        file.flush()
        os.fsync(file.fileno())


def copies(layout: Layout) -> dict[str, Copy]:
    """Product -> its copy; a line that was cut off removed nothing."""
    found = {}
    with suppress(FileNotFoundError):
        for line in layout.pruned.read_text().splitlines():
            with suppress(ValueError, TypeError):
                one = Copy(**json.loads(line))
                found[one.path] = one
    return found
