"""One row for each record, from batches and from single records of an earlier form."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from campaign.core.model import Record
from campaign.core.policy import class_of
from campaign.errors import FormatError
from campaign.ports import Batch

if TYPE_CHECKING:
    import pandas as pd

ARTIFACTS_A_FRAME = 500
"""Artifacts whose rows are held at a time."""

COLUMNS: dict[str, str] = {
    "job": "int64", "name": "str", "attempt": "int64", "batch": "int64", "type": "str", "outcome": "str",
    "verdict": "str", "task_fingerprint": "str", "resolved_config_hash": "str", "fingerprint_version": "int64",
    "config_fingerprint_schema": "int64", "seed": "int64", "generator": "str", "generator_version": "str",
    "started": "datetime64[ms, UTC]", "duration_s": "float64", "node": "str", "pid": "int64",
    "peak_memory_bytes": "int64", "product": "str", "product_bytes": "int64", "product_sha256": "str",
    "failure_class": "str", "error_class": "str", "error_code": "str", "phase": "str", "message": "str", "notes": "str",
    "artifact": "str",
}  # fmt: skip
"""Columns of every row and their types; before them stand the axes, after them the measurements."""

Read = Callable[[Path], Batch]


def find_artifacts(directory: Path) -> list[Path]:
    """The artifacts of either form below a directory: committed batches first, in order."""
    batches = sorted(directory.rglob("batch_*.zip"))
    singles = sorted([*directory.rglob("single_*.json"), *directory.rglob("run_status.json")])
    return [path for path in [*batches, *singles] if "quarantine" not in path.parts]


def frames(
    paths: Sequence[Path], read: Read, refused: Callable[[FormatError], None], root: Path
) -> Iterator[pd.DataFrame]:
    """Rows of the artifacts, some hundred artifacts a frame, all frames with the same columns and types.

    What can't be trusted is told to `refused` and left out.
    """
    import pandas as pd

    axes, measured = _names(paths, read)
    kinds = {**axes, **COLUMNS, **measured}
    left = iter(paths)
    while some := list(islice(left, ARTIFACTS_A_FRAME)):
        rows = []
        for path in some:
            try:
                batch = read(path)
            except FormatError as error:
                refused(error)
                continue
            rows += [_row(record, batch, str(path.relative_to(root))) for record in batch.records]
        frame = pd.DataFrame(rows, columns=list(kinds))
        yield frame.astype({name: "Int64" if kind == "int64" else kind for name, kind in kinds.items() if kind})


def _names(paths: Iterable[Path], read: Read) -> tuple[dict[str, str], dict[str, str]]:
    """(axis -> type, measurement -> type) over all records; the type of what is not the same everywhere is empty."""
    axes: dict[str, str] = {}
    measured: dict[str, str] = {}
    for path in paths:
        try:
            records = read(path).records
        except FormatError:
            continue
        for record in records:
            for known, values in ((axes, record.point), (measured, record.measurements)):
                for name, value in values.items():
                    kind = _kind(value)
                    known[name] = kind if known.get(name, kind) == kind else _wider(known[name], kind)
    return axes, {name: kind for name, kind in measured.items() if name not in axes and name not in COLUMNS}


def _kind(value: Any) -> str:
    if isinstance(value, bool) or value is None or isinstance(value, list | dict):
        return "" if value is not None else "float64"
    return {int: "int64", float: "float64", str: "str"}.get(type(value), "")


def _wider(one: str, other: str) -> str:
    return "float64" if {one, other} == {"int64", "float64"} else ""


def _row(record: Record, batch: Batch, artifact: str) -> dict[str, Any]:
    import pandas as pd

    failure, product = record.failure, record.products[0] if record.products else None
    return {
        **record.point,
        **{name: _cell(value) for name, value in record.measurements.items()},
        **{name: getattr(record, name) for name in COLUMNS if hasattr(record, name)},
        "outcome": str(record.outcome),
        "type": str(batch.meta["type"]),
        "started": pd.Timestamp(record.started_ms, unit="ms", tz="UTC"),
        "product": product.path if product else "",
        "product_bytes": product.size_bytes if product else None,
        "product_sha256": product.sha256 if product else "",
        "failure_class": str(class_of(failure)) if failure else "",
        "error_class": failure.error_class if failure else "",
        "error_code": failure.code if failure else "",
        "phase": failure.phase if failure else "",
        "message": failure.message if failure else "",
        "notes": "; ".join(record.notes),
        "artifact": artifact,
    }


def _cell(value: Any) -> Any:
    """An array as JSON text: a cell holds one value."""
    return json.dumps(value) if isinstance(value, list | dict) else value


def write(found: Iterator[pd.DataFrame], target: Path) -> int:
    """Write frames to a `.parquet` or `.csv` file, whole or not at all; returns the number of rows."""
    scratch = target.with_name(f".{target.name}.tmp")
    rows = 0
    try:
        if target.suffix == ".parquet":
            rows = _write_parquet(found, scratch)
        else:
            for n, frame in enumerate(found):
                frame.to_csv(scratch, mode="w" if n == 0 else "a", header=n == 0, index=False)
                rows += len(frame)
        scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)
    return rows


def _write_parquet(found: Iterator[pd.DataFrame], target: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer, rows = None, 0
    for frame in found:
        table = pa.Table.from_pandas(frame, preserve_index=False)
        writer = writer or pq.ParquetWriter(target, table.schema, compression="zstd")
        writer.write_table(table.cast(writer.schema))
        rows += len(frame)
    if writer is not None:
        writer.close()
    return rows
