"""Tell what the clean-up policy of a campaign lets go, and what the centre will remove within a week; `--remove` removes it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from campaign.adapters.terminal import counting
from campaign.cli.arguments import add_settings
from campaign.core.words import shown, size
from campaign.outcome import EXIT_DONE

if TYPE_CHECKING:
    from campaign.core.handover import Purge
    from campaign.prune import Removable

EPILOG = """The section `cleanup` of the YAML says what may go: `cache` (default), `orphans`, `quarantine_days`, `logs_days`, `archived_products`;
`purge_days` says after how long the centre removes what nobody uses. A product is only removed where an archive holds the same bytes:
the copy is read once more before. Audit and verify know that it is there; campaign restore brings it back.
examples:
  campaign prune my.yaml
  campaign prune my.yaml --set cleanup.archived_products=true --remove"""
SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("campaign", type=Path, help="the directory of a campaign, or its YAML")
    add_settings(parser, ", such as cleanup.orphans=true")
    parser.add_argument("--remove", action="store_true", help="remove it; without this, nothing is changed")
    parser.add_argument("--json", action="store_true", help="report as JSON, with every file")


def command(arguments: argparse.Namespace) -> int:
    """`campaign prune`."""
    from campaign.opening import read_config
    from campaign.prune import look, remove

    config, _ = read_config(arguments.campaign, arguments.settings)
    if arguments.remove:
        with counting("files") as told:
            gone, kept = remove(config, told)
        return _told("removed", gone, kept, None, as_json=arguments.json)
    found = look(config)
    return _told("may go", found.removable, found.kept, found.purge, as_json=arguments.json)


def _told(what: str, files: Iterable[Removable], kept: Iterable[str], purge: Purge | None, *, as_json: bool) -> int:
    files, kept = list(files), list(kept)
    if as_json:
        listed = [{"path": str(one.path), "kind": one.kind, "bytes": one.size_bytes} for one in files]
        print(json.dumps({what.replace(" ", "_"): listed, "kept": kept, "purge": _purge(purge)}))
        return EXIT_DONE
    for kind in dict.fromkeys(one.kind for one in files):
        alike = [one for one in files if one.kind == kind]
        print(
            f"{what}: {len(alike)} {kind} file(s), {size(sum(one.size_bytes for one in alike))}, such as {alike[0].path}"
        )
    if not files:
        print(f"nothing {what}" if what == "may go" else "nothing was removed")
    for line in shown([f"kept: {line}" for line in kept], SHOWN):
        print(line)
    if purge is not None:
        day = datetime.fromtimestamp(purge.first_s, UTC).date()
        print(
            f"warning: the centre may remove {purge.files} files ({size(purge.size_bytes)}) within a week, the first on {day}"
        )
        print("next: campaign archive CAMPAIGN DEST keeps them elsewhere")
    if files and what == "may go":
        print("nothing was changed; --remove removes them")
    return EXIT_DONE


def _purge(purge: Purge | None) -> dict[str, Any] | None:
    if purge is None:
        return None
    return {
        "files": purge.files,
        "bytes": purge.size_bytes,
        "first": datetime.fromtimestamp(purge.first_s, UTC).isoformat(),
    }
