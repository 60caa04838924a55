"""Copy a campaign out, whole and checked, and go on where a copy stopped; or check at any time later that an archive is whole."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from campaign.adapters.terminal import counting
from campaign.archive.index import LACKING
from campaign.cli.arguments import rate
from campaign.core.words import shown, size
from campaign.errors import Code, UsageError
from campaign.outcome import EXIT_DONE, EXIT_FOUND

if TYPE_CHECKING:
    from campaign.archive import Archived, Asked, Check
    from campaign.core.model import Config

EPILOG = """Each file is hashed while it is read and again where it arrived, and has its name only when both agree; products are compared with
what was recorded when they were made. The archive is DEST/<version>_<name>: products, records, metadata, reports, logs, the dataset
as one file, manifest.csv, SHA256SUMS, README.md and RO-Crate metadata. The section `archive` of the YAML gives defaults.
exit codes: 0 everything that is committed is there, or as it was written; 6 something is spoilt, gone or damaged; 3 stopped: the same command goes on
examples:
  campaign archive campaigns/v1.0_mocks /archive/desi --dry-run
  campaign archive campaigns/v1.0_mocks /archive/desi --by redshift --group desi --limit "500 MB"
  campaign archive --verify /archive/desi/v1.0_mocks
  campaign archive campaigns/v1.0_mocks /archive/desi --checksum    # also mends what is damaged there"""
SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument(
        "campaign", type=Path, help="the directory of a campaign, or its YAML; with --verify an archive"
    )
    parser.add_argument("destination", type=Path, nargs="?", metavar="DEST", help="directory in which the archive lies")
    parser.add_argument(
        "--verify", action="store_true", help="read an archive again, and tell what is not as it was written"
    )
    parser.add_argument(
        "--by", metavar="AXIS", help="leading directories, such as redshift (default: as products are named)"
    )
    parser.add_argument("--group", help="group that may read the archive, and nobody else")
    parser.add_argument("--limit", type=rate, metavar="SIZE", help="bytes a second at most, such as '200 MB'")
    parser.add_argument(
        "--threads", type=int, metavar="N", help="files side by side (default: 4 for each CPU, 32 at most)"
    )
    parser.add_argument(
        "--checksum", action="store_true", help="read again what is there already, and copy what is damaged"
    )
    parser.add_argument("--dry-run", action="store_true", help="tell what would be copied, and stop")
    parser.add_argument("--json", action="store_true", help="report as JSON")


def command(arguments: argparse.Namespace) -> int:
    """`campaign archive`."""
    if arguments.verify:
        others = (arguments.destination, arguments.by, arguments.group, arguments.limit, arguments.threads)
        if any(value is not None for value in others) or arguments.checksum or arguments.dry_run:
            raise UsageError(
                Code.CONFIG_INVALID, "--verify takes an archive alone", action="campaign archive --verify ARCHIVE"
            )
        return _verify(arguments.campaign, as_json=arguments.json)
    if arguments.destination is None:
        raise UsageError(Code.CONFIG_INVALID, "where to?", action="campaign archive CAMPAIGN DEST")
    from campaign.opening import read_config

    config, _ = read_config(arguments.campaign)
    asked = _asked(config, arguments)
    if arguments.dry_run:
        return _outline(arguments, asked)
    return _archive(arguments, asked)


def _asked(config: Config, arguments: argparse.Namespace) -> Asked:
    from campaign.archive import Asked
    from campaign.archive.copying import threads

    known = config.archiving
    by = known.by if arguments.by is None else arguments.by
    names = [parameter.name for axis in config.axes for parameter in axis.parameters]
    if by and by not in names:
        raise UsageError(
            Code.CONFIG_INVALID, f"--by {by}: there is no such axis", action=f"name one of: {', '.join(names)}"
        )
    if arguments.threads is not None and arguments.threads < 1:
        raise UsageError(Code.CONFIG_INVALID, f"--threads {arguments.threads}", action="a number from 1 on")
    return Asked(
        by=by, group=known.group if arguments.group is None else arguments.group, bytes_per_s=arguments.limit or known.bytes_per_s,
        threads=arguments.threads or threads(), checksum=arguments.checksum,
    )  # fmt: skip


def _outline(arguments: argparse.Namespace, asked: Asked) -> int:
    from campaign.archive import outline

    found = outline(arguments.campaign, arguments.destination, asked)
    if arguments.json:
        print(json.dumps(asdict(found)))
        return EXIT_DONE
    print(f"{found.directory}: {found.files} files, {size(found.size_bytes)}, and the datasets")
    print(f"  {found.there} of them, {size(found.there_bytes)}, are there with their size")
    if found.lacking:
        print(f"  incomplete: {found.lacking} jobs have no result; the archive will say which")
    return EXIT_DONE


def _archive(arguments: argparse.Namespace, asked: Asked) -> int:
    from campaign.archive import archive

    with counting("files") as told:
        done = archive(arguments.campaign, arguments.destination, asked, told)
    print(json.dumps(asdict(done)) if arguments.json else "\n".join(_words(done, arguments)))
    return EXIT_FOUND if done.spoilt else EXIT_DONE


def _words(done: Archived, arguments: argparse.Namespace) -> list[str]:
    told = [f"{done.directory}: {done.copied} files copied, {size(done.copied_bytes)}; {done.kept} were there"]
    told += shown([f"not copied: {path}: {why}" for path, why in done.spoilt], SHOWN)
    if done.spoilt:
        told.append(
            f"next: campaign audit {arguments.campaign} tells more; what is lost is made again by verify --requeue and run; then this command again"
        )
    elif not done.complete:
        told.append(
            "incomplete: INCOMPLETE.csv lists the jobs without a result; once they are there, the same command adds them"
        )
    if done.lasting:
        told.append(f"{done.lasting} files stay there that the campaign has no more")
    return told


def _verify(archive: Path, *, as_json: bool) -> int:
    from campaign.archive import verify

    with counting("files") as told:
        found = verify(archive, told)
    print(json.dumps(found.to_json()) if as_json else "\n".join(_found(found)))
    return EXIT_DONE if found.sound else EXIT_FOUND


def _found(found: Check) -> list[str]:
    told = [
        f"{found.directory}: {found.sound_files} of {found.files} files are as they were written, {size(found.size_bytes)}"
    ]
    wrong = [f"{path}: {what}" for path, what in found.damaged]
    wrong += [f"{path}: nobody has written it down" for path in found.unexpected]
    told += shown(wrong, SHOWN, " (--json lists all)")
    if not found.finished:
        told.append("the copy did not come to its end: campaign archive CAMPAIGN DEST goes on with it")
    elif (Path(found.directory) / LACKING).exists():
        told.append(f"incomplete, as {LACKING} says")
    if found.damaged:
        told.append("next: campaign archive CAMPAIGN DEST --checksum copies what is damaged or gone again")
    if found.unexpected:
        told.append("what nobody has written down is somebody else's: take it out, or leave it there")
    return told
