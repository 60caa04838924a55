"""A generator of campaigns: turns one job into a product and some measurements."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from campaign.core.model import Point, Task, Variable
from campaign.errors import Code, ProductError


class MineOptions(BaseModel):
    """What a user may set; every option needs a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    amplitude: float = 1.0


class Mine:
    """Describe here what it computes."""

    name = "mine"
    version = "1"  # another one is another result
    options = MineOptions
    incidental: tuple[str, ...] = ()  # options that don't decide the result, such as where the input lies
    parallel = False  # whether a job may have several MPI ranks

    def suffix(self, config: Mapping[str, Any]) -> str:
        """End of the product's name: `.hdf5` of a file, `/` of a directory; empty where jobs make none."""
        return ".txt"

    def requires(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        """Packages that jobs import."""
        return ("numpy",)

    def check(self, config: Mapping[str, Any], point: Point) -> None:
        """Raise UsageError where no job could run, such as where a parameter is missing."""

    def words(self, config: Mapping[str, Any], point: Point) -> dict[str, str]:
        """Extra fields for the naming scheme."""
        return {}

    def inputs(self, config: Mapping[str, Any], point: Point) -> tuple[str, ...]:
        """Paths that must exist before the job can run."""
        return ()

    def variables(self, config: Mapping[str, Any]) -> tuple[Variable, ...]:
        """What each job adds to the dataset: name, dtype, units, long name."""
        return (Variable("value", "f8", "1", "the result"),)

    def environment(self, directory: str) -> dict[str, str]:
        """Environment variables of the slot processes."""
        return {}

    def warm_up(self, config: Mapping[str, Any]) -> None:
        """Import and compile, once in each slot process."""

    def generate(self, task: Task, target: Path, phase: Callable[[str], None]) -> dict[str, Any]:
        """Write `target`, a temporary name that becomes `task.product` once it is verified, and return the values."""
        phase("compute")  # names what follows, for times and error records
        value = task.config["amplitude"] * (task.seed % 1000)
        phase("write")
        target.write_text(f"{value}\n")
        return {"value": value}

    def verify(self, task: Task, product: Path, measurements: Mapping[str, Any]) -> None:
        """Prove the closed product complete."""
        if product.read_text() != f"{measurements['value']}\n":
            raise ProductError(Code.PRODUCT_INVALID, f"{product} is not what was made")
