"""What the steps need from the world, as protocols; `testing` holds the contract suite of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from campaign.core.lifecycle import JobTable
from campaign.core.model import Failure, Lease, Node, Point, Record, Slot, State, Task, Variable


class Generator(Protocol):
    """Turns one job into products and measurements; found by the entry points `campaign.generators`."""

    name: str
    version: str
    suffix: str  # of the product's file name, such as ".hdf5"; empty where jobs are measured only and make no file
    options: Any  # a pydantic model class: the options that a user may set
    incidental: tuple[str, ...]  # options that don't decide the result, such as where the input lies

    def requires(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        """Packages that must be importable where jobs run."""

    def words(self, config: Mapping[str, Any], point: Point) -> dict[str, str]:
        """Fields that a naming scheme may use beside the axes."""

    def inputs(self, config: Mapping[str, Any], point: Point) -> tuple[str, ...]:
        """Paths that must exist before the job can run."""

    def variables(self, config: Mapping[str, Any]) -> tuple[Variable, ...]:
        """What each job adds to the dataset."""

    def environment(self, directory: str) -> dict[str, str]:
        """Environment variables of the processes that run jobs of the campaign in `directory`."""

    def warm_up(self, config: Mapping[str, Any]) -> None:
        """Import and prepare what every job needs; called once in each slot process."""

    def generate(self, task: Task, target: Path, phase: Callable[[str], None]) -> Mapping[str, Any]:
        """Write the product, if there is one, to `target` and return the values of `variables`; name each phase as it begins."""

    def verify(self, task: Task, product: Path, measurements: Mapping[str, Any]) -> None:
        """Prove the closed product complete; JobError where it is not."""


@runtime_checkable
class Preloading(Protocol):
    """What a generator has beside the rest whose imports take long: slots are forked from a process that has done them."""

    def preload(self) -> None:
        """Import what jobs will need and what starts no thread; `environment` is set, that of a single slot is not.

        The generator's own module is imported there as well.
        """


@runtime_checkable
class Staged(Protocol):
    """What a generator has beside `generate` whose stages may run side by side, each for another job.

    `generate` must do the same: write(task, compute(task, load(task))). The stages are called in different threads, and
    never two of a kind at once; what one returns goes to the next as it is. Jobs of several ranks call `generate`.
    """

    def load(self, task: Task, phase: Callable[[str], None]) -> Any:
        """Read and decode the input."""

    def compute(self, task: Task, loaded: Any, phase: Callable[[str], None]) -> Any:
        """Compute what will be written and measured."""

    def write(self, task: Task, made: Any, target: Path, phase: Callable[[str], None]) -> Mapping[str, Any]:
        """Write the product to `target` and return the values of `variables`."""


class Clock(Protocol):
    """Time, so that tests can hold it."""

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""

    def monotonic_s(self) -> float:
        """Seconds since some instant; never goes back."""


class Process(Protocol):
    """A slot server that was started."""

    pid: int

    def send(self, message: Mapping[str, Any]) -> None:
        """Hand over one message; OSError where the process is gone."""

    def receive(self, timeout_s: float) -> Mapping[str, Any] | None:
        """The next message, None if none came in time; EOFError where the process is gone."""

    def kill(self) -> None:
        """End the whole process group at once."""

    def wait(self) -> int:
        """Exit status: negative for a signal. A process that gave up its channel and goes on is ended."""

    def alive(self) -> bool:
        """Whether the process itself still runs, whatever its children do."""

    def memory_bytes(self) -> int:
        """Resident memory of the process now; 0 when it is gone, or where its ranks watch their own."""

    def said(self) -> str:
        """The last lines that it printed."""

    def last_words(self) -> Failure | None:
        """What a process that is gone left behind about its end; None where it left nothing."""


class Launcher(Protocol):
    """Starts slot servers."""

    def start(self, slot: Slot) -> Process:
        """A new slot server for one slot; its first message says that it is ready."""

    def give_up(self) -> None:
        """Let a start that is under way in another thread take no longer than it must."""

    def close(self) -> None:
        """Leave nothing behind."""


class Journal(Protocol):
    """What a worker did, on disk before anybody hears of it."""

    def started(self, tasks: Sequence[Task], at_ms: int) -> None:
        """Note that attempts begin."""

    def ended(self, records: Sequence[Record]) -> None:
        """Note how attempts ended."""

    def returned(self, tasks: Sequence[Task]) -> None:
        """Note that they were not begun after all."""

    def close(self) -> None:
        """Make everything durable and close."""


class Supervisor(Protocol):
    """The slots that one node launches: runs the jobs of a lease one after another in its slot."""

    def run(
        self,
        slot: Slot,
        tasks: Sequence[Task],
        emit: Callable[[Mapping[str, Any]], None],
        stopped: Callable[[], bool],
    ) -> list[int]:
        """Run `tasks`, reporting each start and end through `emit`; returns the jobs left over when stopped."""

    def abandon(self, numbers: Sequence[int], why: str) -> None:
        """End the servers of these slots; a job that runs in one is interrupted, unblamed. Returns when they are gone."""

    def close(self) -> None:
        """End every slot server."""


@dataclass(frozen=True, slots=True)
class JobStarted:
    """An attempt has begun in a slot."""

    job: int
    attempt: int
    worker: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class JobEnded:
    """An attempt has ended; its record is in the worker's journal."""

    record: Record


@dataclass(frozen=True, slots=True)
class LeaseReturned:
    """A lease came back: everything in it ended, except the jobs that were not begun."""

    lease: int
    unstarted: tuple[int, ...] | None  # None: nothing in it was begun


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """The worker that held a lease is gone or could not go on; its journal tells what was begun and what ended."""

    lease: int
    worker: str
    error: str = ""  # why it could not go on, where it could still say so


@dataclass(frozen=True, slots=True)
class NodeJoined:
    """A node is there, and its worker takes leases."""

    node: Node


@dataclass(frozen=True, slots=True)
class NodeLost:
    """A node, or the worker on it, is gone; its leases were reported lost before."""

    name: str


Event = JobStarted | JobEnded | LeaseReturned | LeaseLost | NodeJoined | NodeLost


class Cluster(Protocol):
    """Where leases run: nodes that come and go, each with a worker that supervises the slots it launches."""

    def submit(self, leases: Iterable[Lease]) -> None:
        """Put leases into flight, each on the first node of its slot, once the slots that it evicts are gone."""

    async def next_event(self, timeout_s: float) -> Event | None:
        """The next thing that happened, in order; None if nothing did in time."""

    def drain(self) -> None:
        """Let running jobs end and give everything else back."""

    def abandon(self, slots: Sequence[Slot], why: str) -> None:
        """End what runs in these slots, wherever it is left; their leases come back, and no job is blamed."""

    def expects_nodes(self) -> bool:
        """Whether nodes may still come without anybody's help."""

    def demand(self, slots: int) -> None:
        """Say how many slots could be busy now, so that nodes can be brought."""

    def release(self, nodes: Sequence[str]) -> None:
        """Give nodes back to whoever lent them, where that is possible."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The content of one artifact."""

    number: int
    meta: Mapping[str, Any]
    records: tuple[Record, ...]


class Artifacts(Protocol):
    """Sealed batches of records: staged, then committed. What is committed is the truth."""

    def seal(self, number: int, records: Sequence[Record], provenance: Mapping[str, Any]) -> Path:
        """Write the artifact of a batch where it waits for its commit, durably."""

    def staged(self) -> list[Path]:
        """Sealed artifacts that wait for their commit."""

    def singles(self) -> list[Path]:
        """Files of single records, as they were before there were batches, that wait for their commit."""

    def read_single(self, path: Path) -> Record:
        """The record in such a file; FormatError where it can't be trusted."""

    def commit(self, staged: Path) -> Path | None:
        """Promote a validated artifact; None where its batch is committed already; FormatError where it is damaged."""

    def relative(self, path: Path) -> str:
        """`path` as the ledger writes it."""

    def path(self, number: int) -> Path:
        """Where a committed batch lies."""

    def numbers(self) -> list[int]:
        """Numbers of all committed batches, ascending."""

    def last_number(self) -> int:
        """The highest number that a batch ever had, wherever its artifact is now; -1 where there was none."""

    def read(self, number: int) -> Batch:
        """A committed batch; FormatError where it is damaged."""

    def set_aside(self, path: Path, why: str) -> Path:
        """Move a file that can't be trusted to quarantine, with the reason beside it."""


@dataclass(frozen=True, slots=True)
class Begun:
    """An attempt that was begun, and that may or may not have an end."""

    job: int
    attempt: int
    batch: int
    at_ms: int


class Journals(Protocol):
    """The journals of all workers."""

    def read(self, worker: str | None = None) -> Iterator[Begun | Record]:
        """Every line of the journal of one worker, or of every journal."""

    def clear(self) -> None:
        """Remove journals whose every record is committed."""


@dataclass(frozen=True, slots=True)
class Commit:
    """One committed artifact as the ledger knows it."""

    batch: int
    path: str  # relative to the campaign's directory
    jobs: int


class Ledger(Protocol):
    """The index of committed artifacts and of attempts: a projection, rebuilt when it is lost."""

    def record(self, commits: Sequence[tuple[Commit, Sequence[Record]]], rows: Iterable[tuple[int, ...]]) -> None:
        """Index committed artifacts and the rows of the job table that follow, as `JobTable.rows` gives them, in one transaction."""

    def jobs(self, size: int) -> JobTable:
        """The job table of a campaign with `size` jobs."""

    def known_batches(self) -> set[int]:
        """Numbers of all indexed batches."""

    def batches_after(self, seq: int) -> list[tuple[int, int]]:
        """(seq, batch) of the batches that were committed after `seq`, in order of commit."""

    def last_seq(self) -> int:
        """The latest place in the order of commit, 0 where nothing is indexed."""

    def durations_s(self, limit: int) -> list[tuple[int, float]]:
        """(job, seconds) of the latest attempts that completed, oldest first."""

    def has_attempt(self, job: int, attempt: int) -> bool:
        """Whether the end of this attempt is indexed."""

    def last_attempt(self, job: int) -> int:
        """Number of the latest attempt of a job, 0 where there was none."""

    def get(self, key: str, default: str = "") -> str:
        """A remembered value."""

    def put(self, key: str, value: str) -> None:
        """Remember a value."""

    def clear(self, remember: Mapping[str, str]) -> None:
        """Forget everything but these values, in one transaction; the batches are indexed again."""

    def close(self) -> None:
        """Close the index."""


class ResultStore(Protocol):
    """The dataset: a projection, rebuilt when it is lost."""

    @property
    def ready(self) -> bool:
        """Whether the store is there, with every variable that is wanted."""

    def create(self) -> None:
        """Lay out an empty store that takes the place of any other when it is published."""

    def publish(self) -> None:
        """Let readers see what was created and filled since; nothing where nothing was created."""

    def write(self, records: Sequence[Record], states: Mapping[int, State]) -> None:
        """Put records and states in; returns when they are durable. FormatError where what is there is damaged."""


class Committer(Protocol):
    """Makes finished batches permanent."""

    def commit(self, batches: Sequence[tuple[int, Sequence[Record]]]) -> None:
        """Seal, validate, promote and index batches."""

    def flush(self) -> None:
        """Bring the dataset up to what is committed."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is; one snapshot feeds every view."""

    counts: Mapping[State, int]
    total: int
    done_this_run: int
    elapsed_s: float
    rate_per_s: float  # jobs that ended, over the last minutes
    remaining_s: float | None  # estimate; None while nothing is known
    slots: int
    draining: bool
    failures: tuple[Mapping[str, Any], ...]  # the latest, newest first
    nodes: int = 1
    allocation_left_s: float | None = None  # None where nothing ends
    paused: bool = False  # whether a person holds it

    @property
    def held_by(self) -> str:
        """Why nothing is started: `draining`, `paused`, or empty where jobs are."""
        return "draining" if self.draining else "paused" if self.paused else ""
