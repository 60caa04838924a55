"""What turns a job into products and measurements, as a protocol, and what it may have beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from campaign.core.model import Point, Task, Variable


class Producing(Protocol):
    """What an attempt needs of a generator."""

    version: str

    def variables(self, config: Mapping[str, Any]) -> tuple[Variable, ...]:
        """What each job adds to the dataset."""

    def generate(self, task: Task, target: Path, phase: Callable[[str], None]) -> Mapping[str, Any]:
        """Write the product, if there is one, to `target` and return the values of `variables`; name each phase as it begins.

        A target that is to be a directory is there, and empty.
        """

    def verify(self, task: Task, product: Path, measurements: Mapping[str, Any]) -> None:
        """Prove the closed product complete; JobError where it is not."""


class Generator(Producing, Protocol):
    """Turns one job into products and measurements; found by the entry points `campaign.generators`."""

    name: str
    options: Any  # a pydantic model class: the options that a user may set
    incidental: tuple[str, ...]  # options that don't decide the result, such as where the input lies
    parallel: bool  # whether a job may have several ranks, on each of which `generate` is called

    def suffix(self, config: Mapping[str, Any]) -> str:
        """End of a product's name: `.hdf5` of a file, `/` of a directory; empty where jobs are measured only and make none."""

    def requires(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        """Packages that must be importable where jobs run."""

    def check(self, config: Mapping[str, Any], point: Point) -> None:
        """Refuse, with a UsageError, what no job could do; `point` is that of one of the jobs."""

    def words(self, config: Mapping[str, Any], point: Point) -> dict[str, str]:
        """Fields that a naming scheme may use beside the axes."""

    def inputs(self, config: Mapping[str, Any], point: Point) -> tuple[str, ...]:
        """Paths that must exist before the job can run."""

    def environment(self, directory: str) -> dict[str, str]:
        """Environment variables of the processes that run jobs of the campaign in `directory`."""

    def warm_up(self, config: Mapping[str, Any]) -> None:
        """Import and prepare what every job needs; called once in each slot process."""


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


@runtime_checkable
class Reading(Protocol):
    """What a generator has beside the rest that can measure a product which somebody else has made."""

    def read(self, task: Task, product: Path, names: Sequence[str]) -> Mapping[str, Any]:
        """The values of these `variables`; JobError where one can't be read of it."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a measured array should be on average, from theory or from others' work."""

    values: Any  # of the variable's shape; missing where nothing is expected
    tolerance: float  # relative; of a logarithm, absolute
    source: str
    logarithmic: bool = False  # whether the variable is a logarithm
    scatter: Any = None  # of one member, where it is known, of the same shape: that of few members tells little
    binding: bool = True  # whether a campaign that differs is wrong, and not only worth a look


@runtime_checkable
class Expecting(Protocol):
    """What a generator has beside the rest that knows what its jobs should measure on average."""

    def expected(self, config: Mapping[str, Any], point: Point) -> Mapping[str, Expected]:
        """Of some of its `variables`, for any job that has `point` (without what members of an ensemble differ by)."""


@runtime_checkable
class Rendering(Protocol):
    """What a generator has beside the rest that can say beforehand what a job is given."""

    def rendered(self, task: Task) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """(what of the configuration is filled in for this job, the text of each input file by its name)."""


@runtime_checkable
class Filing(Protocol):
    """What a generator has beside the rest whose product is a directory with one file that readers look for first."""

    def main_file(self, config: Mapping[str, Any]) -> str:
        """Its path below that directory; empty where there is none."""
