"""One job, one try: prepare, generate, verify, put in place, record - whatever happens."""

from __future__ import annotations

import errno
import math
import os
import resource
import shutil
import socket
import traceback
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from campaign.core.identity import CONFIG_FINGERPRINT_SCHEMA, FINGERPRINT_VERSION
from campaign.core.model import Failure, Outcome, Record, State, Task, Variable
from campaign.errors import CampaignError, Code, InputError, JobError, ProductError, StorageError
from campaign.layout import Layout
from campaign.ports import Clock, Producing, Staged
from campaign.products import put_in_place

SCALARS = frozenset({bool, int, float, str})
NOWHERE = Path(os.devnull)
INT64 = range(-(2**63), 2**63)

PREPARE = "prepare"
"""The first phase of a job without stages; whoever knows that it has begun knows that."""


def run_attempt(task: Task, generator: Producing, directory: Path, clock: Clock) -> Record:
    """Try `task` once, from its first stage to its last. Never raises an Exception: what goes wrong is in the record."""
    attempt = Attempt(task, generator, directory, clock)
    attempt.load()
    attempt.compute()
    return attempt.finish()


class Attempt:
    """One try at one job in three stages, which may run in different threads; no stage raises an Exception.

    A generator whose `load`, `compute` and `write` are called one by one is `staged`; of any other, `generate` is the
    whole of `compute`. `lead` is told the temporary name just before `generate` begins: where there are several ranks,
    it makes the others begin as well.

    The product is made under a temporary name, closed, verified, hashed, made durable and only then linked to its own
    name, so that a file under that name is always complete.
    """

    def __init__(
        self,
        task: Task,
        generator: Producing,
        directory: Path,
        clock: Clock,
        report: Callable[[str], None] = lambda _: None,
        lead: Callable[[Path], None] = lambda _: None,
        *,
        staged: bool = False,
    ) -> None:
        self.task, self._generator, self._directory, self._clock = task, generator, directory, clock
        self._stages = cast("Staged", generator) if staged else None
        self._lead = lead
        self._stopwatch = _Stopwatch(clock, report)
        self._started_ms: int | None = None
        self._made: Any = None  # what a stage hands to the next
        self._error: Exception | None = None
        self._failed_in = ""

    @cached_property
    def _scratch(self) -> Path:
        """The temporary name of the product; nowhere if there is none."""
        if not self.task.product:
            return NOWHERE
        return Layout(self._directory).unfinished / f"{uuid.uuid4().hex}{Path(self.task.product).suffix}"

    @property
    def _is_directory(self) -> bool:
        return self.task.product.endswith("/")

    def load(self) -> None:
        """Read and decode the input."""
        if self._stages is not None:
            self._made = self._act("load", self._stages.load, self.task)

    def compute(self) -> None:
        """Compute the product; without stages, load its input before and write it as well."""
        if self._stages is not None:
            self._made = self._act("compute", self._stages.compute, self.task, self._made)
        else:
            self._made = self._act(PREPARE, self._generate)

    def finish(self) -> Record:
        """Write, verify and put in place what was made; how the attempt ended."""
        if self._stages is not None:
            self._made = self._act("write", self._write)
        found = self._act("verify", self._verified) if self.task.product else self._recorded()
        self._made = None
        if self._is_directory:
            shutil.rmtree(self._scratch, ignore_errors=True)
        elif self.task.product:
            with suppress(OSError):
                self._scratch.unlink(missing_ok=True)
        if self._error is None:
            outcome = Outcome.COMPLETED
            found["verdict"] = State.COMPLETED.word
        else:
            outcome = Outcome.MISSING_INPUT if isinstance(self._error, InputError) else Outcome.FAILED
            found = {"failure": explain(self._error, self._failed_in, self._directory)}
        return blank_record(
            self.task,
            self._generator.version,
            self._started_ms or self._clock.now_ms(),
            outcome=outcome,
            duration_s=self._stopwatch.spent_s,
            phases_s=self._stopwatch.phases,
            peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            **found,
        )

    def _act(self, phase: str, act: Callable[..., Any], *given: Any) -> Any:
        """Time a stage and catch what it raises; after an error the later stages have nothing to do."""
        if self._error is not None:
            return None
        if self._started_ms is None:
            self._started_ms = self._clock.now_ms()
        self._stopwatch.phase(phase, tell=phase != PREPARE)
        try:
            return act(*given, self._stopwatch.phase)
        except Exception as error:  # noqa: BLE001 - a generator may raise anything; the campaign goes on
            self._error, self._failed_in = error, self._stopwatch.current
            return None
        finally:
            self._stopwatch.pause(tell=self._stages is not None)

    def _generate(self, phase: Callable[[str], None]) -> Any:
        self._make_room()
        self._lead(self._scratch)
        return self._checked(self._generator.generate(self.task, self._scratch, phase))

    def _write(self, phase: Callable[[str], None]) -> Any:
        assert self._stages is not None
        self._make_room()
        return self._checked(self._stages.write(self.task, self._made, self._scratch, phase))

    def _make_room(self) -> None:
        """Have the directories of scratch and product."""
        if not self.task.product:
            return
        Layout(self._directory).inside(self.task.product).parent.mkdir(parents=True, exist_ok=True)
        (self._scratch if self._is_directory else self._scratch.parent).mkdir(parents=True, exist_ok=True)

    def _checked(self, measured: Any) -> tuple[Mapping[str, Any], dict[str, Any]]:
        """What was measured, and the same as it is recorded."""
        if self.task.product and not self._scratch.exists():
            raise ProductError(Code.PRODUCT_INVALID, "generate returned without writing its target")
        if not isinstance(measured, Mapping):
            raise _undeclared(
                "", f"can't be found: generate returned {type(measured).__name__}, not a mapping of values"
            )
        return measured, checked(self._generator.variables(self.task.config), measured)

    def _recorded(self) -> dict[str, Any]:
        """Fields of the record of a job that measures only."""
        return {} if self._error else {"measurements": self._made[1]}

    def _verified(self, _: Callable[[str], None]) -> dict[str, Any]:
        """Fields of the record of a job whose product is complete and in its place."""
        measured, measurements = self._made
        self._generator.verify(self.task, self._scratch, measured)
        target = Layout(self._directory).inside(self.task.product)
        products, note = put_in_place(self._scratch, target, self._directory)
        return {"products": products, "measurements": measurements, "notes": (note,) if note else ()}


@lru_cache(maxsize=1)
def _host() -> str:
    return socket.gethostname()


def blank_record(task: Task, generator_version: str, started_ms: int, **known: Any) -> Record:
    """The record of an attempt that has begun and of which nothing else is known than the fields `known`."""
    blank = {"outcome": Outcome.INTERRUPTED, "duration_s": 0.0}
    return Record(
        **{**blank, **known},
        job=task.job,
        name=task.name,
        attempt=task.attempt,
        batch=task.batch,
        task_fingerprint=task.task_fingerprint,
        resolved_config_hash=task.resolved_config_hash,
        fingerprint_version=FINGERPRINT_VERSION,
        config_fingerprint_schema=CONFIG_FINGERPRINT_SCHEMA,
        seed=task.seed,
        point=dict(task.point),
        generator=task.generator,
        generator_version=generator_version,
        started_ms=started_ms,
        node=_host(),
        pid=os.getpid(),
    )


def interrupted_record(task: Task, started_ms: int, lost_ms: int | None = None) -> Record:
    """The record of an attempt that was begun and whose worker is gone, since `lost_ms` where that is known."""
    failure = Failure("WorkerLost", Code.INTERRUPTED, "the worker was lost while the job ran", blames_job=False)
    seconds = 0.0 if lost_ms is None else max(lost_ms - started_ms, 0) / 1000
    return blank_record(task, "", started_ms, failure=failure, duration_s=seconds)


def explain(error: BaseException, phase: str, directory: Path | None = None) -> Failure:
    """The structured form of an exception; storage of the campaign in `directory` that refuses is not the job's fault."""
    if isinstance(error, OSError) and (refusal := _refusal(error, directory)) is not None:
        refusal.__cause__ = error
        error = refusal
    known = error if isinstance(error, CampaignError) else None
    return Failure(
        error_class=type(error).__name__,
        code=str(known.code if known else Code.GENERATOR_RAISED),
        message=str(error)[:4000],
        traceback="".join(traceback.format_exception(error))[-8000:],
        phase=phase,
        transient=known.transient if known else True,
        blames_job=not isinstance(error, StorageError),
    )


def _refusal(error: OSError, directory: Path | None) -> StorageError | None:
    """What an OSError says about the campaign's storage; None where it is about something else."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(Code.STORAGE_FULL, f"no space left: {error}", action="free space, then run again")
    ours = directory is not None and error.filename is not None and Path(str(error.filename)).is_relative_to(directory)
    if ours and error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return StorageError(
            Code.STORAGE_UNWRITABLE, f"can't write: {error}", action="check the permissions, then run again"
        )
    return None


def checked(declared: Sequence[Variable], measured: Mapping[str, Any], *, whole: bool = True) -> dict[str, Any]:
    """The measurements as JSON knows them; JobError where one is not what the generator declares, or, if `whole`, absent."""
    known = {v.name: v for v in declared}
    absent = sorted(known.keys() - measured.keys())
    if absent and whole:
        raise _undeclared(absent[0], "is declared and was not returned")
    found = {}
    for name, value in measured.items():
        if name not in known:
            raise _undeclared(name, "is not declared")
        wanted = tuple(len(dim.values) for dim in known[name].dims)
        if (type(value) not in SCALARS or wanted) and np.shape(value) != wanted:
            raise _undeclared(name, f"has shape {np.shape(value)} and is declared with {wanted}")
        try:
            if _is_plain(value, known[name].dtype):
                found[name] = _plain(value)
            else:
                found[name] = _plain(_converted(np.asarray(value), known[name].dtype))
        except (TypeError, ValueError, OverflowError) as error:
            raise _undeclared(name, f"does not fit its declared type {known[name].dtype}: {error}") from error
    return found


def _is_plain(value: Any, dtype: str) -> bool:
    """Whether a measurement is what it is declared as without conversion."""
    if type(value) is int:
        return dtype == "i8" and value in INT64
    return (type(value) is float and dtype == "f8") or (type(value) is str and dtype == "str" and value.isascii())


def _converted(value: npt.NDArray[Any], dtype: str) -> Any:
    """`value` as its declared type; TypeError or OverflowError where something would be lost."""
    if dtype == "str":
        if value.dtype.kind not in "UT":
            raise TypeError(f"{value.dtype} is not text")
        "".join(value.reshape(-1).tolist()).encode()  # ValueError for half a character, which no file takes
        return value
    target = np.dtype(dtype)
    allowed = "iufb" if target.kind == "f" else "iub"
    if value.dtype.kind not in allowed:
        raise TypeError(f"{value.dtype} is not {dtype}")
    if target.kind != "f" and value.size:
        limits = np.iinfo(target)
        if value.min() < limits.min or value.max() > limits.max:
            raise OverflowError(f"{value.min()} to {value.max()} is outside {limits.min} to {limits.max}")
    return value.astype(target)


def _undeclared(name: str, what: str) -> JobError:
    return JobError(
        Code.PRODUCT_INVALID,
        f"measurement {name!r} {what}",
        action="correct `variables` or `generate` of the generator",
    )


def _plain(value: Any) -> Any:
    """A measurement as JSON knows it; what is not finite is missing."""
    if type(value) in SCALARS:
        return value if type(value) is not float or math.isfinite(value) else None
    listed = np.asarray(value).tolist()
    if isinstance(listed, list):
        return [_plain(entry) for entry in listed]
    return None if isinstance(listed, float) and not np.isfinite(listed) else listed


class _Stopwatch:
    """Time of each phase; every phase ends when the next begins, or at a pause."""

    def __init__(self, clock: Clock, report: Callable[[str], None]) -> None:
        self._clock, self._report = clock, report
        self._mark = 0.0
        self.current = ""
        self.phases: dict[str, float] = {}

    def phase(self, name: str, *, tell: bool = True) -> None:
        """Another phase begins."""
        self._note(name)
        if tell:
            self._report(name)

    def pause(self, *, tell: bool) -> None:
        """Nothing is done until the next phase begins; whoever is told will know that time does not count."""
        self._note("")
        if tell:
            self._report("")

    def _note(self, name: str) -> None:
        now = self._clock.monotonic_s()
        if self.current:
            self.phases[self.current] = round(self.phases.get(self.current, 0.0) + now - self._mark, 6)
        self.current, self._mark = name, now

    @property
    def spent_s(self) -> float:
        """Time of all phases."""
        return round(sum(self.phases.values()), 6)
