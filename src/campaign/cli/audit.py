"""Account for every job, artifact and product of a campaign: what the plan holds is completed, failed, or still to do."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from campaign.adapters.terminal import counting
from campaign.cli.status import find_campaign
from campaign.core.words import shown, size
from campaign.examine import audit_campaign
from campaign.outcome import EXIT_DONE, EXIT_FOUND

EPILOG = """Reads only, also while the campaign runs; ledger and dataset are compared when nobody is writing them.
exit codes: 0 everything is accounted for, 6 something is not"""
SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("campaign", type=Path, help="the directory of a campaign, or its YAML")
    parser.add_argument("--hash", action="store_true", help="read every product and compare its checksum, too")
    parser.add_argument("--json", action="store_true", help="report as JSON")


def command(arguments: argparse.Namespace) -> int:
    """`campaign audit`."""
    directory = find_campaign(arguments.campaign).root
    with counting("products") as told:
        found = audit_campaign(directory, hashed=arguments.hash, told=told)
    if arguments.json:
        print(json.dumps(found.to_json()))
        return EXIT_DONE if found.sound else EXIT_FOUND
    counted = " + ".join(f"{n} {word}" for word, n in found.counts.items())
    print(f"{directory}")
    print(f"  {found.total} jobs = {counted}")
    print(f"  {found.artifacts} artifacts hold {found.records} records")
    how = "with their checksums" if found.hashed else "with their sizes (--hash compares checksums)"
    print(f"  {found.products} products are there {how}, {size(found.products_bytes)}")
    for entry in found.quarantined[:SHOWN]:
        print(f"  in quarantine: {entry['file']}: {entry['why']}")
    if found.sound:
        print("everything is accounted for")
        return EXIT_DONE
    lines = [f"{finding.kind}: {finding.where}: {finding.what}" for finding in found.findings]
    print("\n".join(shown(lines, SHOWN, " (--json lists all)")))
    print(f"next: {_next(directory, {finding.kind for finding in found.findings})}")
    return EXIT_FOUND


def _next(directory: Path, kinds: set[str]) -> str:
    if "product.damaged" in kinds:
        return f"campaign verify {directory} --requeue --dry-run"
    if "artifact.damaged" in kinds:
        return f"campaign consolidate {directory}, then campaign run {directory}"
    return f"campaign consolidate {directory} --rebuild"
