"""Products that a campaign has in an archive alone."""

from __future__ import annotations

import json
import os
from contextlib import suppress

from campaign.layout import Layout


def write_down(layout: Layout, product: str, copy: str) -> None:
    """A product is about to be removed, since a copy of it is whole: durable when this returns."""
    with layout.pruned.open("a") as file:
        file.write(json.dumps({"path": product, "copy": copy}) + "\n")
        file.flush()
        os.fsync(file.fileno())


def copies(layout: Layout) -> dict[str, str]:
    """Product -> its copy, of those that were removed; a line that was cut off removed nothing."""
    found = {}
    with suppress(FileNotFoundError):
        for line in layout.pruned.read_text().splitlines():
            with suppress(ValueError):
                known = json.loads(line)
                found[known["path"]] = known["copy"]
    return found
