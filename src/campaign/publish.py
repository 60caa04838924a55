"""Puts a campaign's dataset where others can read it, in one step: they see it as it was, or as it is, and nothing between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from campaign import manifest
from campaign.adapters import publishing
from campaign.archive import zipped
from campaign.errors import Code, UsageError
from campaign.layout import Layout
from campaign.needs import need
from campaign.status import read_status


@dataclass(frozen=True, slots=True)
class Published:
    """What was published."""

    url: str
    snapshot: str  # of the repository; empty for a single object
    new: bool  # False where that is there already
    jobs: int
    completed: int


def publish(directory: Path, url: str, message: str = "") -> Published:
    """Publish the dataset of a campaign, as it is now, to an icechunk repository, or, where `url` ends in `.zip`, as one object.

    UsageError where there is no dataset or the URL names no place, StorageError where it can't be written.
    """
    layout = Layout(directory)
    known, counts = manifest.read(layout), read_status(layout).counts
    if not (layout.dataset / "zarr.json").exists():
        raise UsageError(
            Code.CAMPAIGN_MISSING,
            f"there is no dataset in {layout.root}",
            action=f"campaign run {layout.root} makes it",
        )
    completed = counts.get("completed", 0)
    about = {
        "campaign": known["name"], "version": known["version"], "plan_fingerprint": known["plan_fingerprint"], "jobs": known["jobs"],
        "completed": completed,
    }  # fmt: skip
    said = message or f"{known['name']} {known['version']}: {completed} of {known['jobs']} jobs completed"
    if url.endswith(zipped.SUFFIX):
        _put(layout, url)
        return Published(url, "", new=True, jobs=known["jobs"], completed=completed)
    need("a repository", "icechunk", extra="publish")
    with _packed(layout) as (packed, digest):
        snapshot, new = publishing.commit(packed, digest, url, said, about)
    return Published(url, snapshot, new=new, jobs=known["jobs"], completed=completed)


def _put(layout: Layout, url: str) -> None:
    if not urlsplit(url).scheme:
        raise UsageError(
            Code.CONFIG_INVALID,
            f"{url} is a file here",
            action="campaign archive makes it; or name s3://BUCKET/NAME.zarr.zip",
        )
    need("an object store", "obstore", extra="publish")
    with _packed(layout) as (packed, _):
        publishing.put(packed, url)


@contextmanager
def _packed(layout: Layout) -> Iterator[tuple[Path, str]]:
    """(a zipped copy of the dataset as it is now, its SHA-256): what is published does not change meanwhile."""
    with TemporaryDirectory() as scratch:
        packed = Path(scratch) / f"results.zarr{zipped.SUFFIX}"
        yield packed, zipped.write(layout.dataset, packed)
