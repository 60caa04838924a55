"""The dataset: a Zarr v3 store that xarray opens as it is, filled by whole chunks while the campaign runs."""

from __future__ import annotations

import math
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import ZstdCodec

from campaign.core.identity import variable_digest
from campaign.core.model import Axis, Outcome, Record, State, Variable
from campaign.crashpoints import reach
from campaign.durable import fsync_directory, fsync_file, replace_directory
from campaign.errors import Code, FormatError

SCHEMA_VERSION = "1.0"
CELLS_A_CHUNK = 50_000
"""Small variables are kept in one chunk up to this many cells."""

VALUES_A_CHUNK = 500_000
"""Arrays are chunked by the first axis to about this many values."""

DECLARED = "campaign_declared"
"""Attribute of a measurement: `identity.variable_digest` of what is in it."""

Value = Callable[[Record], Any]


def _failure_code(record: Record) -> str:
    return record.failure.code if record.failure else ""


def _first_product(field: str) -> Value:
    return lambda record: getattr(record.products[0], field) if record.products else ""


EXECUTION: tuple[tuple[Variable, Value], ...] = (
    (Variable("attempt", "i2", "1", "number of the attempt"), lambda r: r.attempt),
    (Variable("batch", "i4", "1", "number of the batch artifact"), lambda r: r.batch),
    (
        Variable("start_time", "i8", "milliseconds since 1970-01-01", "start of the attempt"),
        lambda r: r.started_ms,
    ),
    (Variable("duration", "f8", "s", "time of the attempt"), lambda r: r.duration_s),
    (Variable("node", "str", "1", "host that ran the attempt"), lambda r: r.node),
)
"""How a job was run: differs from one run to the next."""

SEED = "seed"
IDENTITY: tuple[tuple[Variable, Value], ...] = (
    (Variable(SEED, "i8", "1", "seed of the job"), lambda r: r.seed),
    (Variable("task_fingerprint", "str", "1", "SHA-256 of what decides the result"), lambda r: r.task_fingerprint),
    (Variable("product", "str", "1", "path of the product below the campaign"), _first_product("path")),
    (Variable("product_sha256", "str", "1", "SHA-256 of the product"), _first_product("sha256")),
    (Variable("error_code", "str", "1", "code of the error, empty where there is none"), _failure_code),
)
"""What a job is and what became of it: the same in every run."""

STATUS = Variable("status", "i1", "1", "state of the job")


class ZarrStore:
    """The dataset of one campaign; one writer, any number of readers at any time."""

    def __init__(
        self, path: Path, axes: Sequence[Axis], variables: Sequence[Variable], attributes: Mapping[str, Any]
    ) -> None:
        self._path, self._axes = path, tuple(axes)
        self._open = path  # where to write: a new store is filled before it is shown
        together = " ".join(parameter.name for axis in axes for parameter in axis.varies)
        # Where xarray looks for coordinates that are no dimension.
        coordinates = {"coordinates": together} if together else {}
        self._attributes = {**attributes, "schema_version": SCHEMA_VERSION, **coordinates}
        self._shape = tuple(len(axis.values) for axis in axes)
        self._measured = tuple(variables)

    @property
    def ready(self) -> bool:
        """Whether the store is there, with every variable that is wanted in its shape."""
        if not (self._path / "zarr.json").exists():
            return False
        try:
            arrays = dict(zarr.open_group(self._path, mode="r", use_consolidated=False).arrays())
        except (OSError, ValueError, KeyError):
            return False
        wanted = {v.name: self._shape + tuple(len(dim.values) for dim in v.dims) for v, _ in self._declared()}
        if not all(name in arrays and arrays[name].shape == shape for name, shape in wanted.items()):
            return False
        meant = {v.name: variable_digest(v) for v in self._measured}
        return all(arrays[name].attrs.get(DECLARED, digest) == digest for name, digest in meant.items())

    def create(self) -> None:
        """Lay out an empty store, every variable, coordinate and attribute, which `publish` puts in place of any other."""
        scratch = self._path.with_name(f".{self._path.name}.new")
        shutil.rmtree(scratch, ignore_errors=True)
        root = zarr.create_group(store=scratch, attributes=self._attributes)
        dimensions = {axis.name: axis for axis in self._axes}
        dimensions |= {dim.name: dim for v in self._measured for dim in v.dims}
        for axis in dimensions.values():
            for coordinate in (axis, *axis.varies):
                values = np.asarray(coordinate.values)
                array = root.create_array(
                    coordinate.name, shape=values.shape, chunks=values.shape, dimension_names=[axis.name],
                    dtype=str if values.dtype.kind == "U" else values.dtype,
                    compressors=[_codec()], attributes=_attributes(coordinate.units, coordinate.long_name or coordinate.name),
                )  # fmt: skip
                array[:] = values
        for variable, role in self._declared():
            self._create_variable(root, variable, role)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
            zarr.consolidate_metadata(str(scratch))
        self._open = scratch

    def publish(self) -> None:
        """Let readers see what was created and filled since, all of it at once."""
        if self._open != self._path:
            replace_directory(self._open, self._path)
            self._open = self._path

    def write(self, records: Sequence[Record], states: Mapping[int, State]) -> None:
        """Put records and states into the store; returns when they are durable, status last.

        Raises FormatError where a chunk on disk is damaged: `create` and write everything again.
        """
        if not states:
            return
        root = zarr.open_group(self._open, mode="r+")
        touched: list[Path] = []
        for variable, value in self._columns():
            blank = _blank(variable)  # so that nothing is left of a record that speaks no more
            values = [blank if (found := value(r)) is None else found for r in records]
            if values:
                touched += self._overlay(root, variable, [r.job for r in records], values)
        reach("flush.payload")
        touched += self._overlay(root, STATUS, list(states), [int(s) for s in states.values()])
        for path in touched:
            fsync_file(path)
        for directory in {path.parent for path in touched}:
            fsync_directory(directory)
        reach("flush.status")

    def _declared(self) -> list[tuple[Variable, str]]:
        return [
            *((v, "execution") for v, _ in EXECUTION),
            *((v, "identity") for v, _ in IDENTITY),
            *((v, "measurement") for v in self._measured),
            (STATUS, "status"),
        ]

    def _columns(self) -> list[tuple[Variable, Value]]:
        def measured(name: str) -> Value:
            return lambda r: r.measurements.get(name) if r.outcome is Outcome.COMPLETED else None

        return [*EXECUTION, *IDENTITY, *((v, measured(v.name)) for v in self._measured)]

    def _create_variable(self, root: Any, variable: Variable, role: str) -> None:
        inner = tuple(len(dim.values) for dim in variable.dims)
        fill, missing = _fill(variable)
        attributes = {**_attributes(variable.units, variable.long_name), "campaign_role": role, **missing}
        if role == "measurement":
            attributes[DECLARED] = variable_digest(variable)
        if variable is STATUS:
            attributes |= {
                "flag_values": [int(s) for s in State],
                "flag_meanings": " ".join(s.word for s in State),
            }
        root.create_array(
            variable.name,
            shape=self._shape + inner,
            dtype=str if variable.dtype == "str" else np.dtype(variable.dtype),
            chunks=(self._rows(variable), *self._shape[1:], *inner),
            dimension_names=[a.name for a in self._axes] + [d.name for d in variable.dims],
            compressors=[_codec()],
            fill_value=fill,
            attributes=attributes,
        )

    def _rows(self, variable: Variable) -> int:
        """Length of a chunk along the first axis."""
        inner = math.prod(len(dim.values) for dim in variable.dims)
        row = math.prod(self._shape[1:]) * inner
        limit = CELLS_A_CHUNK if inner == 1 else VALUES_A_CHUNK
        return max(1, min(self._shape[0], limit // row))

    def _overlay(self, root: Any, variable: Variable, jobs: list[int], values: list[Any]) -> list[Path]:
        """Read, change and write back each chunk that a job falls into; returns the files of those chunks."""
        array = root[variable.name]
        rows = self._rows(variable)
        index = np.asarray(jobs)
        data: npt.NDArray[Any] = np.asarray(values, dtype=array.dtype)
        first, *rest = np.unravel_index(index, self._shape)
        touched = []
        for chunk in np.unique(first // rows):
            inside = np.flatnonzero(first // rows == chunk)
            lo, hi = chunk * rows, min((chunk + 1) * rows, self._shape[0])
            try:
                block = array[lo:hi]
            except Exception as error:  # whatever a codec raises on damaged bytes
                raise FormatError(
                    Code.FORMAT_DAMAGED, f"chunk {chunk} of {variable.name} in {self._path} is damaged: {error}"
                ) from error
            block[(first[inside] - lo, *(axis[inside] for axis in rest))] = data[inside]
            array[lo:hi] = block
            key = "/".join(["c", str(chunk), *["0"] * (array.ndim - 1)])
            file = self._open / variable.name / key
            if file.exists():  # a chunk of nothing but the fill value is not written
                touched.append(file)
        return touched


def sweep_partial(path: Path) -> int:
    """Remove what a killed writer left half written in a store; returns how many files."""
    found = list(path.rglob("*.partial")) if path.exists() else []
    for file in found:
        file.unlink()
    return len(found)


def _codec() -> ZstdCodec:
    """Zstandard with its checksum: without it a flipped bit goes unseen."""
    return ZstdCodec(level=0, checksum=True)


def _attributes(units: str, long_name: str) -> dict[str, Any]:
    return {"units": units, "long_name": long_name} if units != "1" else {"long_name": long_name}


def _blank(variable: Variable) -> Any:
    """What stands in a cell of which nothing is known."""
    fill, inner = _fill(variable)[0], tuple(len(dim.values) for dim in variable.dims)
    return np.full(inner, fill).tolist() if inner else fill


def _fill(variable: Variable) -> tuple[Any, dict[str, Any]]:
    """(zarr's fill value, CF attributes). Integers need both, or unwritten cells read as zero."""
    if variable is STATUS:
        return int(State.PENDING), {}
    if variable.dtype == "str":
        return "", {}
    if variable.name == SEED:
        return -1, {}  # a CF fill value would make readers decode 63-bit seeds as floats
    if np.dtype(variable.dtype).kind == "f":
        return float("nan"), {}
    return -1, {"_FillValue": -1}
