"""Versions of campaigns side by side: what each is made of, how far it is, and what changed from one to the next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from campaign import manifest
from campaign.archive import index
from campaign.errors import CampaignError, Code, UsageError
from campaign.layout import Layout
from campaign.status import read_status

NEEDED = {"name", "version", "created", "jobs", "generator", "generator_version", "configuration"}
"""What a manifest of ours says."""

ITS_OWN = ("campaign.version", "campaign.description")
"""Keys in which versions differ in any case, or which say nothing about what is computed."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a campaign, or the archive of one."""

    directory: str
    name: str
    version: str
    created: str
    jobs: int
    counts: Mapping[str, int]  # state -> jobs; empty where they can't be told
    archived: bool  # whether it is an archive
    generator: str  # with its version
    commit: str
    changes: tuple[str, ...]  # against the version before it

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def versions(base: Path, name: str = "") -> list[Version]:
    """Campaigns and archives directly below a directory, or those of one name, by name and version; UsageError where there are none."""
    known = sorted(_manifests(base), key=lambda pair: (pair[1]["name"], _number(pair[1]["version"])))
    known = [(place, head) for place, head in known if not name or head["name"] == name]
    if not known:
        raise UsageError(
            Code.CAMPAIGN_MISSING, f"there is no campaign {name + ' ' if name else ''}below {base}",
            action="name the directory in which campaigns lie, such as campaigns",
        )  # fmt: skip
    told = []
    before: Mapping[str, Any] | None = None
    for place, head in known:
        earlier = before if before is not None and before["name"] == head["name"] else None
        told.append(_version(place, head, earlier))
        before = head
    return told


def _manifests(base: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in base.glob("*/metadata/manifest.json"):
        try:
            head = manifest.told(Layout(path.parents[1]))
            _number(head["version"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # of somebody else
            continue
        if head.keys() >= NEEDED:
            yield path.parents[1], head


def _number(version: str) -> list[int]:
    return [int(part) for part in version.removeprefix("v").split(".")]


def _version(place: Path, head: Mapping[str, Any], before: Mapping[str, Any] | None) -> Version:
    archived = (place / index.HEAD).exists()
    return Version(
        str(place), head["name"], head["version"], head["created"], head["jobs"], _counts(place, archived=archived), archived,
        f"{head['generator']} {head['generator_version']}", (head.get("git") or {}).get("commit", ""),
        () if before is None else tuple(_changes(before, head)),
    )  # fmt: skip


def _counts(place: Path, *, archived: bool) -> Mapping[str, int]:
    try:
        found: Mapping[str, int] = (
            index.read_head(place).get("counts", {}) if archived else read_status(Layout(place)).counts
        )
    except CampaignError:
        return {}
    return found


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    if before["generator_version"] != after["generator_version"]:
        yield f"generator_version: {before['generator_version']!r} -> {after['generator_version']!r}"
    commits = [(head.get("git") or {}).get("commit", "none") for head in (before, after)]
    if commits[0] != commits[1]:
        yield f"commit: {commits[0][:12]} -> {commits[1][:12]}"
    yield from manifest.differences(before["configuration"], after["configuration"], but=ITS_OWN)
