"""Files by which other tools follow a campaign, one case after another: views of plan and batches, made anew when they are lost.

`metadata.csv`, `run_status.csv` and `case_1/run_status.json` as simorc has them; `manifest.json`, `campaign.json`, `config_0000.json` and
`result_0000.json` as job trackers do. What is written here is never read to decide anything.
"""

from __future__ import annotations

import csv
import filecmp
import io
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from campaign import durable
from campaign.authorship import MARK, US, is_our_result, is_our_status, put_aside
from campaign.core.model import Outcome, Point, Record, State
from campaign.layout import Layout

STATUS_COLUMNS = ("status", "timestamp_iso", "simulation_duration", "result_file", "error_message")
STATUS_WORDS = {State.COMPLETED: "completed", State.FAILED: "failed", State.TIMEOUT: "failed"}
"""What simorc calls a state; everything else is pending."""

MESSAGE_MAX = 500

Inputs = Callable[[int], tuple[Mapping[str, Any], Mapping[str, str]]]
"""Of a job: what of its configuration is filled in, and the text of each file that it is given."""


class Cases(Protocol):
    """What the cases of a campaign are."""

    @property
    def size(self) -> int:
        """How many there are."""

    def name(self, job: int) -> str:
        """Name of a job."""

    def point(self, job: int) -> Point:
        """Its parameters."""

    def options(self, job: int) -> Mapping[str, Any]:
        """Its resolved configuration."""

    def result(self, job: int) -> str:
        """Path of its result, relative to the campaign's directory; of a directory with / at its end, empty where there is none."""


@dataclass(frozen=True, slots=True)
class _Status:
    """How a case is, as far as it was told."""

    state: State = State.PENDING
    ended_iso: str = ""
    seconds: float | None = None
    message: str = ""

    @property
    def word(self) -> str:
        """Its state as simorc has it."""
        return STATUS_WORDS.get(self.state, "pending")


class CaseFiles:
    """Implements `ports.ResultStore` by files in the campaign's directory. What others have put there is put aside, never lost."""

    def __init__(self, root: Path, cases: Cases, head: Mapping[str, Any], inputs: Inputs = lambda _: ({}, {})) -> None:
        """`head` is what `manifest.json` says: who made the campaign, from what, and how far its parameters reach."""
        self._root, self._cases, self._head, self._layout = root, cases, dict(head), Layout(root)
        self._inputs = inputs
        self._told: dict[int, _Status] = {}
        self._known = False  # whether what earlier runs told is in memory

    @property
    def ready(self) -> bool:
        """Whether every file is there, of as many cases as there are."""
        try:
            with (self._root / "run_status.csv").open(newline="") as file:
                rows = list(csv.DictReader(file))
            jobs = json.loads((self._root / "campaign.json").read_text())["jobs"]
            read = [_read(row, job["status"]) for row, job in zip(rows, jobs, strict=True)]
        except (OSError, ValueError, KeyError, TypeError, csv.Error):
            return False
        there = {path.name for path in self._root.iterdir()}
        told = {job: status for job, status in enumerate(read) if status.state is not State.PENDING}
        wanted = {"metadata.csv", "manifest.json", *(self._config(job).name for job in range(len(read)))}
        wanted |= {self._result(job).name for job, status in told.items() if status.state in STATUS_WORDS}
        whole = len(read) == self._cases.size and wanted <= there
        if not whole or not all(self._case(job).exists() for job in range(len(read))):
            return False
        self._told, self._known = told, True
        return True

    def create(self) -> None:
        """Write what does not change: metadata, configurations, inputs, the manifest. Every case is pending."""
        self._told, self._known = {}, True
        points = [self._cases.point(job) for job in range(self._cases.size)]
        names = list(points[0])
        rows = [[job + 1, self._result_path(job), *point.values()] for job, point in enumerate(points)]
        durable.write_bytes(self._root / "metadata.csv", _table(["case_id", "result_file", *names], rows))
        for job, point in enumerate(points):
            filled_in, files = self._inputs(job)
            self._write_small(self._config(job), {**self._cases.options(job), **filled_in, **point})
            for name, text in files.items():
                path = self._layout.case(job) / name
                if not path.exists():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(text)
            self._write_case(job, None)
        durable.write_json(self._root / "manifest.json", self._head)

    def publish(self) -> None:
        """Show how every case is."""
        self._consolidate()

    def write(self, records: Sequence[Record], states: Mapping[int, State]) -> None:
        """Scatter: the files of the cases that were told. Gather: those of the whole, each at once."""
        if not self._known and not self.ready:
            self.create()
        by_job = {record.job: record for record in records}
        for job, state in states.items():
            record = by_job.get(job)
            self._told[job] = _status(state, record)
            self._write_case(job, record)
        self._consolidate()

    def _write_case(self, job: int, record: Record | None) -> None:
        """The files of one case; the result first, by which the status is known to be ours."""
        status, jobs = self._told.get(job, _Status()), self._cases.size
        ended = record is not None and status.state in STATUS_WORDS
        case, result = self._case(job), self._result(job)
        ours = is_our_status(self._layout, job, jobs), is_our_result(self._layout, job, jobs)
        for path, mine in zip((case, result), ours, strict=True):
            if not mine and ended:
                put_aside(path)
        if record is not None and ended:
            self._write_small(result, {
                MARK: US, "job_id": job, "name": record.name, "status": status.word, "timestamp_iso": status.ended_iso or None,
                "state": status.state.word, "parameters": dict(record.point), "results": dict(record.measurements),
                "duration_s": record.duration_s, "attempts": record.attempt, "seed": record.seed,
                "products": [product.path for product in record.products], "error": status.message or None,
            })  # fmt: skip
        elif ours[1]:
            result.unlink(missing_ok=True)
        if not ours[0] and not ended:
            return  # somebody has made it, and nobody has looked yet
        self._write_small(case, {
            "case_id": job + 1,
            "status": status.word,
            "timestamp_iso": status.ended_iso or None,
            "simulation_duration": status.seconds,
            "result_file": self._result_name(job) or None if status.state in STATUS_WORDS else None,
            "error_message": status.message or None,
            "parameters": dict(self._cases.point(job)),
        })  # fmt: skip
        self._link(job, there=status.state is State.COMPLETED)

    def _consolidate(self) -> None:
        """`run_status.csv` and `campaign.json`, of all cases."""
        names = list(self._cases.point(0))
        rows, jobs = [], []
        for job in range(self._cases.size):
            status, point = self._told.get(job, _Status()), self._cases.point(job)
            seconds = "" if status.seconds is None else round(status.seconds, 6)
            result = self._result_path(job) if status.state in STATUS_WORDS else ""
            message = " ".join(status.message.split())
            rows.append([job + 1, *point.values(), status.word, status.ended_iso, seconds, result, message])
            jobs.append({
                "job_id": job, "name": self._cases.name(job), "status": status.state.word, "parameters": dict(point),
                "config": self._config(job).name, "result": self._result(job).name if status.state in STATUS_WORDS else None,
            })  # fmt: skip
        durable.write_bytes(self._root / "run_status.csv", _table(["case_id", *names, *STATUS_COLUMNS], rows))
        counts = Counter(entry["status"] for entry in jobs)
        durable.write_json(
            self._root / "campaign.json", {"campaign": self._head.get("name", ""), "counts": counts, "jobs": jobs}
        )

    def _result_name(self, job: int) -> str:
        """What the result of a case is called in the directory of the case; empty where there is none."""
        result = self._cases.result(job)
        suffix = "" if result.endswith("/") else PurePosixPath(result).suffix
        return f"{self._layout.case(job).name}_results{suffix}" if result else ""

    def _result_path(self, job: int) -> str:
        name = self._result_name(job)
        return f"{self._layout.case(job).name}/{name}" if name else ""

    def _link(self, job: int, *, there: bool) -> None:
        """Let the result of a case be found in its directory; a file of the same bytes that somebody has put there stays."""
        if not (name := self._result_name(job)):
            return
        link, result = self._layout.case(job) / name, self._root / self._cases.result(job)
        if link.is_symlink():
            link.unlink()
        if not there:
            return
        if link.is_file() and not (result.is_file() and filecmp.cmp(link, result, shallow=False)):
            put_aside(link)
        if not link.exists():
            link.symlink_to(Path("..") / self._cases.result(job))

    def _case(self, job: int) -> Path:
        return self._layout.case(job) / "run_status.json"

    def _config(self, job: int) -> Path:
        return self._layout.case_config(job, self._cases.size)

    def _result(self, job: int) -> Path:
        return self._layout.case_result(job, self._cases.size)

    def _write_small(self, path: Path, value: Mapping[str, Any]) -> None:
        """Whole or not at all, but not at once on disk: what is lost with a node is written again."""
        path.parent.mkdir(exist_ok=True)
        scratch = path.with_name(f".{path.name}.tmp")
        scratch.write_text(json.dumps(value, indent=1) + "\n")
        scratch.replace(path)


def _status(state: State, record: Record | None) -> _Status:
    if record is None or state not in STATUS_WORDS:
        return _Status(state)
    ended = datetime.fromtimestamp(record.started_ms / 1000 + record.duration_s, UTC)
    message = record.failure.message[:MESSAGE_MAX] if record.failure and record.outcome is not Outcome.COMPLETED else ""
    return _Status(state, ended.isoformat(timespec="seconds").replace("+00:00", "Z"), record.duration_s, message)


def _read(row: Mapping[str, str], word: str) -> _Status:
    """How a case was told to be."""
    seconds = float(row["simulation_duration"]) if row["simulation_duration"] else None
    return _Status(State[word.upper()], row["timestamp_iso"], seconds, row["error_message"])


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue().encode()
