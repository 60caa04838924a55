"""What a user may set for the `command` generator; also its JSON Schema."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

TEXT_MAX = 10_000_000
OUTPUT = "stdout"
"""Name of what a program prints, where a file is asked for."""


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or name == OUTPUT:
        raise ValueError(f"{name!r} is no file inside the directory of a case")
    return str(path)


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"no regular expression: {error}") from error
    return text


FileName = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_inside)]


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, serialize_by_alias=True)


class InputFile(_Options):
    """A file that is written before the program starts; what stands in `{{ }}` is filled in.

    `template` names a file whose text is taken over; the text decides what is computed, not where it came from.
    """

    template: Annotated[
        str | None, Field(exclude=True, description="file to read, from where the campaign is started")
    ] = None
    text: Annotated[str, Field(max_length=TEXT_MAX, description="the text itself")] = ""

    @model_validator(mode="before")
    @classmethod
    def _read(cls, given: Any) -> Any:
        if isinstance(given, str):
            given = {"template": given}
        if not isinstance(given, dict) or not isinstance(given.get("template"), str) or "text" in given:
            return given
        try:
            return {**given, "text": Path(given["template"]).read_text()}
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"the template {given['template']} can't be read: {error}") from error


class Measurement(_Options):
    """One value that is read after the program has ended, from one of: json, csv, regex, raw, python."""

    json_: Annotated[FileName | None, Field(alias="json", description="JSON file, with `key`")] = None
    key: Annotated[str, Field(description="json: keys and places, such as result.fits.0.chi2")] = ""
    csv: Annotated[FileName | None, Field(description="CSV file with a header, with `column` and `row`")] = None
    column: str = ""
    row: Annotated[int, Field(description="csv: row, from 0; -1 is the last one")] = -1
    regex: Annotated[
        Annotated[str, Field(max_length=1000), AfterValidator(_pattern)] | None,
        Field(description="its first group, where it last matches more than nothing"),
    ] = None
    file: Annotated[Literal["stdout"] | FileName, Field(description="regex: file, or stdout")] = OUTPUT
    raw: Annotated[FileName | None, Field(description="raw file of SPICE, with `vector` and `reduce`")] = None
    vector: Annotated[str, Field(description="raw: name of the vector, such as v(out)")] = ""
    reduce: Annotated[Literal["last", "first", "min", "max", "mean"], Field(description="raw: what is taken of it")] = (
        "last"
    )
    python: Annotated[
        str | None,
        Field(
            pattern=r"^[^:]+:[A-Za-z_]\w*$",
            description="module:function or file.py:function, called with (directory, point)",
        ),
    ] = None
    dtype: Literal["f8", "i8", "str"] = "f8"
    units: Annotated[str, Field(max_length=100)] = "1"
    long_name: Annotated[str, Field(max_length=200)] = ""

    @model_validator(mode="after")
    def _one_source(self) -> Measurement:
        given = [name for name in ("json_", "csv", "regex", "raw", "python") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("give one of json, csv, regex, raw, python")
        for source, needed in {"json_": "key", "csv": "column", "raw": "vector"}.items():
            if given == [source] and not getattr(self, needed):
                raise ValueError(f"{source.rstrip('_')} needs `{needed}`")
        return self


class CommandOptions(_Options):
    """Options of `generator: command`."""

    argv: Annotated[
        list[Annotated[str, Field(max_length=100_000)]],
        Field(min_length=1, description="program and arguments, no shell; what stands in {{ }} is filled in"),
    ] = ["true"]
    files: Annotated[dict[FileName, InputFile], Field(description="written before the program starts")] = {}
    products: Annotated[list[FileName], Field(description="files that the program writes and that are kept")] = []
    measure: Annotated[
        dict[Annotated[str, Field(pattern=r"^[A-Za-z]\w{0,63}$")], Measurement],
        Field(description="what goes into the dataset"),
    ] = {}
    environment: Annotated[dict[str, str], Field(description="variables of the program")] = {}
    exit_codes: Annotated[
        list[Annotated[int, Field(ge=0, le=255)]], Field(min_length=1, description="those of a success")
    ] = [0]
    code_version: Annotated[str, Field(max_length=200, description="of the program: another one is another result")] = (
        ""
    )
    here: Annotated[str, Field(description="where relative programs and Python files are found")] = Field(
        default_factory=lambda: str(Path.cwd())
    )
