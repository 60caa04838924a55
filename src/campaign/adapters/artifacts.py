"""Batch artifacts: one sealed zip of records a batch. What lies in `batches/` is the truth about a campaign."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import uuid
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from campaign.core.model import Failure, Outcome, Product, Record
from campaign.crashpoints import reach
from campaign.durable import fsync_directory
from campaign.errors import Code, FormatError
from campaign.layout import Layout
from campaign.ports import Batch
from campaign.wire import convert, decode, encode

SCHEMA_VERSION = "1.0"
REQUIRED_META = ("schema_version", "type", "batch_id", "jobs")
REQUIRED_RECORD = ("task_fingerprint", "config_fingerprint_schema")
BATCHES_A_DIRECTORY = 1000
_EPOCH = (1980, 1, 1, 0, 0, 0)
_NAME = re.compile(r"batch_(\d{6,})(?:_[0-9a-f]{32})?\.zip")


def place_of(number: int) -> Path:
    """Where the artifact of a batch lies, below `batches/`."""
    return Path(f"{number // BATCHES_A_DIRECTORY:03d}") / f"batch_{number:06d}.zip"


class ArtifactStore:
    """`staging/`, `batches/` and `quarantine/` of a campaign."""

    def __init__(self, directory: Path) -> None:
        self.staging = directory / "staging"
        self.committed = directory / "batches"
        self.quarantine = directory / "quarantine"
        self._root = directory

    def prepare(self, *, sweep: bool = True) -> None:
        """Make the directories, and sweep what killed writers left half done, unless others are writing now."""
        for path in (self.staging, self.committed, self.quarantine):
            path.mkdir(parents=True, exist_ok=True)
        if not sweep:
            return
        for path in [*self.staging.glob("*.tmp"), *Layout(self._root).unfinished.glob("*")]:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def seal(self, number: int, records: Sequence[Record], provenance: Mapping[str, Any]) -> Path:
        """Write the artifact of a batch to `staging/`, durably; returns its path."""
        target = self.staging / f"batch_{number:06d}_{uuid.uuid4().hex}.zip"
        scratch = target.with_suffix(".tmp")
        with scratch.open("wb") as file:
            file.write(pack(number, records, provenance))
            file.flush()
            os.fsync(file.fileno())
        reach("seal.written")
        scratch.rename(target)
        fsync_directory(self.staging)
        reach("seal.renamed")
        return target

    def staged(self) -> list[Path]:
        """Sealed artifacts that wait for their commit, by batch number."""
        return sorted((p for p in self.staging.glob("batch_*.zip") if _NAME.fullmatch(p.name)), key=number_of)

    def singles(self) -> list[Path]:
        """Files of single records, as they were before there were batches, that wait in `staging/` for their commit."""
        found = sorted([*self.staging.glob("single_*.json"), *self.staging.glob("*/run_status.json")])
        return [path for path in found if not _goes_on(path)]

    def read_single(self, path: Path) -> Record:
        """The record in such a file; FormatError where it can't be trusted."""
        return read_single(path).records[0]

    def commit(self, staged: Path) -> Path | None:
        """Promote a validated artifact; None, and the copy dropped, where its batch is committed already.

        The rename is the commit point. FormatError where the artifact can't be trusted: it is in quarantine then.
        """
        try:
            batch = read(staged)
        except FormatError as error:
            self.set_aside(staged, str(error))
            raise
        target = self.path(batch.number)
        if target.exists():
            staged.unlink()
            return None
        target.parent.mkdir(parents=True, exist_ok=True)
        staged.rename(target)
        fsync_directory(target.parent)
        fsync_directory(self.staging)
        reach("commit.promoted")
        return target

    def path(self, number: int) -> Path:
        """Where the artifact of a batch lies once it is committed."""
        return self.committed / place_of(number)

    def relative(self, path: Path) -> str:
        """`path` as the ledger writes it."""
        return str(path.relative_to(self._root))

    def numbers(self) -> list[int]:
        """Numbers of all committed batches, ascending."""
        return sorted(number_of(p) for p in self.committed.glob("*/batch_*.zip") if _NAME.fullmatch(p.name))

    def last_number(self) -> int:
        """The highest number that a batch ever had, wherever its artifact is now; -1 where there was none."""
        places = (self.staging.glob("batch_*"), self.committed.glob("*/batch_*"), self.quarantine.glob("batch_*"))
        found = (re.match(r"batch_(\d+)", path.name) for place in places for path in place)
        return max((int(match.group(1)) for match in found if match), default=-1)

    def read(self, number: int) -> Batch:
        """A committed batch; FormatError where it is damaged."""
        return read(self.path(number))

    def set_aside(self, path: Path, why: str) -> Path:
        """Move a file that can't be trusted to `quarantine/`, with the reason beside it."""
        kept = self.quarantine / f"{path.stem}.{uuid.uuid4().hex[:8]}{path.suffix}"
        path.rename(kept)
        kept.with_suffix(".reason.txt").write_text(why + "\n")
        return kept


def number_of(path: Path) -> int:
    """Batch number in the name of an artifact; ValueError for any other file."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise ValueError(f"{path.name} is not the name of a batch artifact")
    return int(match.group(1))


def pack(number: int, records: Sequence[Record], provenance: Mapping[str, Any]) -> bytes:
    """The bytes of an artifact: `meta.json`, `records.jsonl`, `errors.jsonl` and `summary/<name>.npy`."""
    entries, summaries = _split_summaries(records)
    meta = {
        "schema_version": SCHEMA_VERSION,
        "type": "batch",
        "batch_id": number,
        "jobs": len(records),
        "summaries": sorted(summaries),
        **provenance,
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:

        def add(name: str, data: bytes) -> None:
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), data)

        add("meta.json", (json.dumps(meta, indent=1) + "\n").encode())
        add("records.jsonl", _lines(entries))
        add("errors.jsonl", _lines(error_entry(r) for r in records if r.failure is not None))
        for name, rows in sorted(summaries.items()):
            member = io.BytesIO()
            np.save(member, rows, allow_pickle=False)
            add(f"summary/{name}.npy", member.getvalue())
    return buffer.getvalue()


def _lines(entries: Iterable[Any]) -> bytes:
    return b"".join(encode(entry) + b"\n" for entry in entries)


def _split_summaries(records: Sequence[Record]) -> tuple[list[Record], dict[str, npt.NDArray[Any]]]:
    """The records without, and their array-valued measurements as one array a name; the record keeps name and row."""
    rows: dict[str, list[Any]] = {}
    entries = []
    for record in records:
        arrays = {name: value for name, value in record.measurements.items() if isinstance(value, list)}
        places = {}
        for name, value in arrays.items():
            column = rows.setdefault(name, [])
            places[name] = {"summary": name, "row": len(column)}
            column.append(value)
        entries.append(replace(record, measurements={**record.measurements, **places}) if places else record)
    return entries, {name: _array(values) for name, values in rows.items()}


def _array(values: list[Any]) -> npt.NDArray[Any]:
    """Rows of one measurement; a missing value (null) makes them floats with NaN."""
    rows = np.asarray(values)
    return rows if rows.dtype != object else np.asarray(values, dtype=np.float64)


def error_entry(record: Record) -> dict[str, Any]:
    """The structured error of an attempt."""
    failure = record.failure
    if failure is None:
        raise ValueError("the record has no failure")
    return {
        "job": record.job,
        "name": record.name,
        "attempt": record.attempt,
        "seed": record.seed,
        "point": dict(record.point),
        "generator": record.generator,
        "task_fingerprint": record.task_fingerprint,
        "error_class": failure.error_class,
        "code": failure.code,
        "phase": failure.phase,
        "message": failure.message,
        "traceback": failure.traceback,
        "timestamp": datetime.fromtimestamp(record.started_ms / 1000, UTC).isoformat(timespec="milliseconds"),
    }


def read(path: Path) -> Batch:
    """The content of an artifact, every byte of it checked; FormatError says what is wrong with it."""
    try:
        with zipfile.ZipFile(path) as archive:
            meta = json.loads(archive.read("meta.json"))
            _check_meta(path, meta)
            lines = archive.read("records.jsonl").splitlines()
            archive.read("errors.jsonl")
            summaries = {
                name: np.load(io.BytesIO(archive.read(f"summary/{name}.npy")), allow_pickle=False)
                for name in meta["summaries"]
            }
        records = tuple(_restore(decode(line, Record), summaries) for line in lines)
    except FormatError:
        raise
    except (
        zipfile.BadZipFile,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        EOFError,
        NotImplementedError,
    ) as error:
        raise FormatError(Code.FORMAT_DAMAGED, f"{path} is damaged: {type(error).__name__}: {error}") from error
    if len(records) != meta["jobs"]:
        raise FormatError(Code.FORMAT_DAMAGED, f"{path} holds {len(records)} records and promises {meta['jobs']}")
    return Batch(int(meta["batch_id"]), meta, records)


def _goes_on(path: Path) -> bool:
    """Whether a single record says that its case has not ended."""
    try:
        return json.loads(path.read_text()).get("status") in {"pending", "queued", "running"}
    except (OSError, ValueError, AttributeError):
        return False  # whoever reads it tells what is wrong


def read_any(path: Path) -> Batch:
    """The content of an artifact of either form, told by its name: a batch, or a single record as a batch of one."""
    return read_single(path) if path.suffix == ".json" else read(path)


def read_single(path: Path) -> Batch:
    """A single record of an earlier form as a batch of one; FormatError where it can't be trusted."""
    try:
        entry = json.loads(path.read_text())
        _require(entry.get("record", entry).get)
        record = convert(entry["record"], Record) if "record" in entry else _from_status(entry)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(Code.FORMAT_DAMAGED, f"{path} can't be trusted: {type(error).__name__}: {error}") from error
    meta = {"schema_version": entry.get("schema_version", "0"), "type": "single", "batch_id": record.batch, "jobs": 1}
    return Batch(record.batch, meta, (record,))


def _from_status(entry: Mapping[str, Any]) -> Record:
    """The record that a `run_status.json` tells: one case, its parameters, and how it ended."""
    outcome = Outcome(entry["status"])
    message = entry.get("error_message")
    started = datetime.fromisoformat(entry["timestamp_iso"]).timestamp() - float(entry.get("simulation_duration") or 0)
    return Record(
        job=int(entry["case_id"]) - 1,
        name=str(entry.get("name", f"case_{entry['case_id']}")),
        attempt=int(entry.get("attempt", 1)),
        batch=-1,
        outcome=outcome,
        task_fingerprint=entry["task_fingerprint"],
        resolved_config_hash=str(entry.get("resolved_config_hash", "")),
        fingerprint_version=int(entry.get("fingerprint_version", 1)),
        config_fingerprint_schema=int(entry["config_fingerprint_schema"]),
        seed=int(entry.get("seed", 0)),
        point=dict(entry["parameters"]),
        generator=str(entry.get("generator", "")),
        generator_version=str(entry.get("generator_version", "")),
        started_ms=round(1000 * started),
        duration_s=float(entry.get("simulation_duration") or 0),
        products=tuple(Product(**product) for product in entry.get("products", ())),
        measurements=dict(entry.get("measurements", {})),
        failure=Failure("", "", str(message)) if message else None,
    )


def _check_meta(path: Path, meta: Mapping[str, Any]) -> None:
    absent = [key for key in REQUIRED_META if key not in meta]
    if absent:
        raise FormatError(Code.FORMAT_DAMAGED, f"{path} lacks {', '.join(absent)} in meta.json")
    if str(meta["schema_version"]).partition(".")[0] != SCHEMA_VERSION.partition(".")[0]:
        raise FormatError(
            Code.FORMAT_UNKNOWN,
            f"{path} has artifact schema {meta['schema_version']}, this version reads {SCHEMA_VERSION}",
            action="use the version of campaign that wrote it",
        )


def _restore(record: Record, summaries: Mapping[str, npt.NDArray[Any]]) -> Record:
    """A record with its arrays back in place."""
    _require(partial(getattr, record))
    places = {name: value for name, value in record.measurements.items() if isinstance(value, dict)}
    if not places:
        return record
    arrays = {name: summaries[place["summary"]][place["row"]].tolist() for name, place in places.items()}
    return replace(record, measurements={**record.measurements, **arrays})


def _require(field: Callable[[str], Any]) -> None:
    """Refuse a record that does not say what it is of; `field` gives what it says."""
    absent = [key for key in REQUIRED_RECORD if not field(key)]
    if absent:
        raise ValueError(f"a record lacks {', '.join(absent)}")
