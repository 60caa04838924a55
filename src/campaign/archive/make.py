"""Copies a campaign out, and goes on where an earlier copy stopped."""

from __future__ import annotations

import csv
import grp
import io
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from campaign import durable, manifest, opening
from campaign.adapters import provenance
from campaign.adapters.lock import CampaignLock, holder
from campaign.archive import contents, describe, index
from campaign.archive.contents import Part
from campaign.archive.copier import Archived, Asked, Copier
from campaign.archive.copying import Access, Told
from campaign.archive.index import Entry
from campaign.core.model import Config
from campaign.crashpoints import reach
from campaign.errors import CampaignError, Code, FormatError, LockedError, UsageError
from campaign.layout import Layout

logger = logging.getLogger("campaign")


@dataclass(frozen=True, slots=True)
class Outline:
    """What would be done."""

    directory: str
    files: int
    size_bytes: int
    there: int  # files of that size are there
    there_bytes: int
    lacking: int  # jobs without a result


def outline(campaign: str | Path, destination: str | Path, asked: Asked | None = None) -> Outline:
    """What a copy would do, from names and sizes; UsageError where it would be refused."""
    config, asked = _told(campaign, asked)
    layout, root = Layout(Path(config.directory)), _place(config, destination)
    _refuse(root, layout, asked)
    earlier = _earlier(root)
    parts = contents.parts_of(layout.root, opening.opened, root, earlier)
    files = size = there = there_bytes = 0
    for item in chain.from_iterable(contents.items(part, asked.by, earlier) for part in parts):
        files, size = files + 1, size + item.size_bytes
        with suppress(OSError):
            if (root / item.path).stat().st_size == item.size_bytes:
                there, there_bytes = there + 1, there_bytes + item.size_bytes
    return Outline(str(root), files, size, there, there_bytes, sum(1 for part in parts for _ in part.lacking))


def archive(
    campaign: str | Path, destination: str | Path, asked: Asked | None = None, told: Told = lambda *_: None
) -> Archived:
    """Copy a campaign, named by its directory or its YAML, to `<destination>/<version>_<name>`, as far as it is committed now, also while it runs.

    How, is `asked`, or else what the YAML says. `told` hears (files, bytes) so far.

    UsageError where it can't be put there, LockedError where another copy is under way, StoppedError where the campaign changed
    meanwhile, StorageError or OSError where the file system refuses: started again, it goes on.
    """
    config, asked = _told(campaign, asked)
    layout, root = Layout(Path(config.directory)), _place(config, destination)
    _refuse(root, layout, asked)
    access = Access(_gid(asked.group))
    _make(root, access, asked)
    with _alone(root, access):
        return _copied(config, layout, root, asked, access, told)


def _told(campaign: str | Path, asked: Asked | None) -> tuple[Config, Asked]:
    """What the configuration says, where nobody says otherwise."""
    config, _ = opening.read_config(Path(campaign))
    if asked is None:
        known = config.archiving
        asked = Asked(by=known.by, group=known.group, bytes_per_s=known.bytes_per_s)
    return config, asked


def _copied(config: Config, layout: Layout, root: Path, asked: Asked, access: Access, told: Told) -> Archived:
    known, earlier = manifest.read(layout), _earlier(root)
    parts = contents.parts_of(layout.root, opening.opened, root, earlier)
    _refuse_other_records(layout, root, parts, earlier)
    copier = Copier(layout.root, root, asked, access, told, earlier)
    copier.sweep()
    index.write_head(root, {"campaign": layout.root.name, "begun": known["created"], "by": asked.by, "finished": None})
    writer = index.Writer(root, [parameter.name for parameter in parts[0].plan.grid.parameters])
    seen: set[str] = set()
    wanted = chain.from_iterable(contents.items(part, asked.by, earlier) for part in parts)
    for entry in chain(copier.bring(wanted), copier.datasets(parts), copier.lasting(seen)):
        writer.add(entry)
        seen.add(entry.path)
    copier.settle()
    done = copier.done
    done.spoilt += [(path, why) for part in parts for path, why in part.damaged.items()]
    done.complete = not done.spoilt and not any(True for part in parts for _ in part.lacking)
    head = _head(layout, known, parts, asked, done) | {"files": copier.files, "bytes": copier.size_bytes}
    for entry in _described(root, head, known, parts, config, access):
        writer.add(entry)
    reach("archive.described")
    writer.close()
    for name in (index.ROWS, index.SUMS):
        access.grant_file(root / name)
    durable.fsync_directory(root)
    _remember(layout, root, head)
    return done


def _refuse_other_records(layout: Layout, root: Path, parts: list[Part], earlier: Mapping[str, Entry]) -> None:
    """UsageError where a batch, which never changes, is another one in the archive: two campaigns came of one."""
    for item in chain.from_iterable(contents.records(part, earlier) for part in parts):
        known = earlier.get(item.path)
        if known is not None and item.sha256 is None and durable.sha256_of(layout.root / item.source) != known.sha256:
            raise UsageError(
                Code.CAMPAIGN_EXISTS, f"{root / item.path} holds other records: the campaign in {layout.root} has gone another way than the one that was copied there",
                action="name another place",
            )  # fmt: skip


def _make(root: Path, access: Access, asked: Asked) -> None:
    try:
        access.make_directory(root, root)
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        raise UsageError(
            Code.STORAGE_UNWRITABLE, f"{root} can't be made, or given to {asked.group or 'you'}: {error.strerror}",
            action="name another place, or a group that you belong to (id -Gn)",
        ) from error  # fmt: skip


@contextmanager
def _alone(root: Path, access: Access) -> Iterator[None]:
    """Nobody else copies there meanwhile."""
    try:
        lock = CampaignLock(root, index.LOCK)
    except LockedError:
        who = holder(root, index.LOCK) or {}
        raise LockedError(
            Code.CAMPAIGN_LOCKED, f"process {who.get('pid', '?')} on {who.get('host', '?')} copies to {root} since {who.get('since', '?')}",
            action="wait for it",
        ) from None  # fmt: skip
    try:
        access.grant_file(root / index.LOCK)
        yield
    finally:
        lock.release()


def _place(config: Config, destination: str | Path) -> Path:
    return Path(destination).absolute() / Path(config.directory).name


def _refuse(root: Path, layout: Layout, asked: Asked) -> None:
    """UsageError where something else stands at `root`, or where a copy would lie in what is copied."""
    known = manifest.read(layout)
    here, there = layout.root.resolve(), root.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise UsageError(
            Code.CONFIG_INVALID, f"{root} and the campaign in {layout.root} lie in each other",
            action="name a directory elsewhere",
        )  # fmt: skip
    if not root.exists() or all(path.name == index.LOCK for path in root.iterdir()):
        return
    if not ((root / index.HEAD).exists() or _is_of(root, known)):
        raise UsageError(
            Code.CAMPAIGN_EXISTS, f"{root} exists and is no archive", action="name another place, or move it away"
        )
    head = _trusted_head(root)
    if head is None:
        return  # it is written anew
    if head["begun"] != known["created"]:
        raise UsageError(
            Code.CAMPAIGN_EXISTS, f"{root} is the archive of another campaign of this name, begun {head['begun']}",
            action="name another place",
        )  # fmt: skip
    if head["by"] != asked.by:
        raise UsageError(
            Code.CONFIG_CHANGED, f"{root} is laid out {_order(head['by'])}, not {_order(asked.by)}",
            action=f"go on with --by {head['by']}, or name another place" if head["by"] else "leave --by out, or name another place",
        )  # fmt: skip


def _is_of(root: Path, known: dict[str, Any]) -> bool:
    """Whether a directory without a head holds a copy of this campaign."""
    try:
        return bool((root / index.SUMS).exists() and manifest.told(Layout(root))["created"] == known["created"])
    except (OSError, ValueError, KeyError):
        return False


def _trusted_head(root: Path) -> dict[str, Any] | None:
    """What an archive says of itself; None where that is not what was written."""
    try:
        head = index.read_head(root)
        sums = index.digests(root, index.HEAD) if head["finished"] is not None else {}
    except FormatError:
        return None
    known = sums.get(index.HEAD)
    return head if known is None or known == durable.sha256_of(root / index.HEAD) else None


def _order(by: str) -> str:
    return f"by {by}" if by else "as the campaign names its products"


def _gid(group: str) -> int | None:
    if not group:
        return None
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise UsageError(
            Code.CONFIG_INVALID, f"there is no group {group!r}", action="name one of yours: id -Gn"
        ) from None


def _earlier(root: Path) -> dict[str, Entry]:
    """The files that an earlier copy tells of: from a manifest that is what was written, or else nothing."""
    try:
        if index.digests(root, index.ROWS).get(index.ROWS) == durable.sha256_of(root / index.ROWS):
            return {entry.path: entry for entry in index.read_rows(root)}
    except (CampaignError, OSError):
        pass
    return {}


def _head(layout: Layout, known: Any, parts: list[Part], asked: Asked, done: Archived) -> dict[str, Any]:
    return {
        "campaign": layout.root.name, "name": known["name"], "version": known["version"], "begun": known["created"], "by": asked.by,
        "complete": done.complete, "jobs": parts[0].plan.size, "counts": parts[0].counts, "members": list(parts[0].members),
        "stages": {part.prefix.rstrip("/"): part.counts for part in parts[1:]}, "not_copied": len(done.spoilt),
        "plan_fingerprint": known["plan_fingerprint"], "finished": provenance.now(), "copied_by": provenance.machine(),
    }  # fmt: skip


def _described(
    root: Path, head: dict[str, Any], known: Any, parts: list[Part], config: Config, access: Access
) -> Iterator[Entry]:
    """The files that tell of the archive."""
    there = sorted(path.name for path in root.iterdir() if not path.name.startswith("."))
    index.write_head(root, head)
    texts = {
        index.README: describe.readme(head, known, there, config.archiving),
        index.CRATE: json.dumps(describe.crate(head, known, there, config.archiving), indent=1) + "\n",
    }
    if head["complete"]:
        (root / index.LACKING).unlink(missing_ok=True)
    else:
        texts[index.LACKING] = _lacking(parts)
    for name, text in texts.items():
        durable.write_bytes(root / name, text.encode())
    for name in (index.HEAD, *texts):
        access.grant_file(root / name)
        yield Entry(name, (root / name).stat().st_size, durable.sha256_of(root / name), "archive", "")


def _lacking(parts: list[Part]) -> str:
    """The jobs that have no result, as CSV."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    names = [parameter.name for parameter in parts[0].plan.grid.parameters]
    table.writerow(["part", "job", "state", *names])
    for part in parts:
        for job, state, point in part.lacking:
            table.writerow([part.prefix.rstrip("/"), job, state, *(point.get(name, "") for name in names)])
    return text.getvalue()


def _remember(layout: Layout, root: Path, head: dict[str, Any]) -> None:
    """Note in the campaign where it was copied to, if it is ours to write to."""
    entry = {"directory": str(root), **{key: head[key] for key in ("finished", "complete", "copied_by")}}
    others = [known for known in archives_of(layout) if known["directory"] != str(root)]
    try:
        durable.write_json(layout.archives, [*others, entry])
    except OSError as error:
        logger.warning("%s does not say that it was copied to %s: %s", layout.root, root, error.strerror)


def archives_of(layout: Layout) -> list[dict[str, Any]]:
    """Where a campaign was copied to, and when."""
    try:
        found: list[dict[str, Any]] = json.loads(layout.archives.read_text())
    except (OSError, ValueError):
        return []
    return found
