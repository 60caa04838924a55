"""pydantic's complaints in the user's words: where, what was found, what is allowed, the nearest spelling."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ValidationError

from campaign.config.source import Layer, Path_, shown
from campaign.errors import Problem


def validated(
    model: type[BaseModel], values: Any, layer: Layer, problems: list[Problem], prefix: Path_ = ()
) -> Any | None:
    """`values` as an instance of `model`; None, and the complaints added to `problems`, where they are not."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems += problems_of(error, model, layer, prefix)
        return None


def complaint(layer: Layer, path: Path_, found: str, allowed: str, suggestion: str = "") -> Problem:
    """A mistake that no single key shows."""
    return Problem(layer.where(path), ".".join(str(part) for part in path), found, allowed, suggestion)


def problems_of(error: ValidationError, model: type[BaseModel], layer: Layer, prefix: Path_ = ()) -> list[Problem]:
    """One problem for each value that is wrong. `prefix` is where the validated part lies in the document."""
    found: dict[tuple[str, str, str], Problem] = {}
    for entry in error.errors(include_url=False):
        one = _problem(entry, model, layer, prefix)
        other = found.get(key := (one.where, one.key, one.found))
        if other is not None:  # a value that is none of several kinds
            one = replace(
                other, allowed=f"{other.allowed}, or {one.allowed}", suggestion=other.suggestion or one.suggestion
            )
        found[key] = one
    return list(found.values())


def _problem(entry: Any, model: type[BaseModel], layer: Layer, prefix: Path_) -> Problem:
    names_a_key = entry["type"] in ("missing", "extra_forbidden")  # then the last part need not be in the document
    location = _in_document(entry["loc"], layer, prefix, last_is_key=names_a_key)
    dotted = ".".join(str(part) for part in location)
    found = shown(entry["input"])
    if entry["type"] == "extra_forbidden":
        known = _fields_at(model, entry["loc"][:-1])
        return Problem(
            layer.where(location, key=True),
            dotted,
            f"unknown key {location[-1]!r}",
            ", ".join(known),
            nearest(str(location[-1]), known),
        )
    if entry["type"] == "missing":
        return Problem(layer.where(location[:-1], key=True), dotted, "nothing", "this key is required")
    suggestion = ""
    if entry["type"] == "literal_error":
        words = [w.strip("'") for w in entry["ctx"]["expected"].replace(" or ", ", ").split(", ")]
        suggestion = nearest(str(entry["input"]), words)
    return Problem(layer.where(location), dotted, found, _allowed(entry), suggestion)


def _allowed(entry: Any) -> str:
    message: str = entry["msg"]
    for prefix in ("Value error, ", "Input should be "):
        message = message.removeprefix(prefix)
    if entry["type"] == "string_pattern_mismatch":
        return f"a text that matches {entry['ctx']['pattern']}"
    return message


def _in_document(location: Sequence[str | int], layer: Layer, prefix: Path_, *, last_is_key: bool) -> Path_:
    """Pydantic's location without the tags of unions, which the document does not have."""
    path: Path_ = prefix
    node: Any = layer.values
    for part in prefix:
        node = node.get(part) if isinstance(node, dict) else None
    for i, part in enumerate(location):
        here = (isinstance(node, dict) and part in node) or (isinstance(node, list) and isinstance(part, int))
        last = i == len(location) - 1
        if not here and not (last and last_is_key and isinstance(node, dict)):
            continue
        path = (*path, part)
        node = node[part] if here else None
    return path


def _fields_at(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    """Names of the keys that may stand at a location."""
    found = model
    for part in location:
        field = found.model_fields.get(str(part))
        candidates = _models_in(field.annotation) if field is not None else []
        if candidates:
            found = candidates[0]
    return sorted(found.model_fields)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, list, typing.Annotated):
        return [m for part in typing.get_args(annotation) for m in _models_in(part)]
    return []


def nearest(word: str, known: Sequence[str]) -> str:
    """The known word that is spelt most like `word`, empty where none is near."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return close[0] if close else ""
