"""Write one row for each attempt, from batches and from single records of an earlier form, as Parquet or CSV."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from campaign.analyse.tidy import write
from campaign.errors import Code, FormatError, UsageError
from campaign.examine import tidy_frames
from campaign.needs import need
from campaign.outcome import EXIT_DONE, EXIT_FOUND

EPILOG = """From Python: campaign.tidy(DIRECTORY) gives the same as a pandas.DataFrame.
Records without task_fingerprint or config_fingerprint_schema are refused and told.
exit codes: 0 all records are in the table, 6 some were refused"""

logger = logging.getLogger("campaign")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("directory", type=Path, help="the directory of a campaign, or any that holds artifacts")
    parser.add_argument("-o", "--output", type=_table, required=True, metavar="FILE", help="a .parquet or .csv file")
    parser.add_argument("--force", action="store_true", help="replace the file if it is there")
    parser.add_argument("--json", action="store_true", help="report as JSON")


def _table(text: str) -> Path:
    path = Path(text)
    if path.suffix not in {".parquet", ".csv"}:
        raise argparse.ArgumentTypeError(f"{text!r} ends neither with .parquet nor with .csv")
    return path


def command(arguments: argparse.Namespace) -> int:
    """`campaign tidy`."""
    target: Path = arguments.output
    if target.suffix == ".parquet":
        need("Parquet", "pyarrow", extra="parquet")
    if target.exists() and not arguments.force:
        raise UsageError(Code.CONFIG_INVALID, f"{target} is there already", action="add --force, or name another file")
    refused: list[str] = []

    def refuse(error: FormatError) -> None:
        refused.append(error.message)
        logger.warning("refused: %s", error.message)

    rows = write(tidy_frames(arguments.directory, refuse), target)
    if arguments.json:
        print(json.dumps({"file": str(target), "rows": rows, "refused": refused}))
    else:
        print(f"{target}: {rows} rows" + (f"; {len(refused)} artifacts were refused" if refused else ""))
    return EXIT_FOUND if refused else EXIT_DONE
