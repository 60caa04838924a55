"""YAML text and overrides -> plain values, each with the place that it came from."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.scalarbool import ScalarBoolean

from campaign.errors import ConfigError, Problem

Path_ = tuple[str | int, ...]
MAX_BYTES = 16 * 2**20
MAX_NODES = 2_000_000
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
ENVIRONMENT_PREFIX = "CAMPAIGN__"


@dataclass(slots=True)
class Layer:
    """A tree of plain values and, for each path in it, where it was written."""

    values: dict[str, Any] = field(default_factory=dict)
    keys: dict[Path_, str] = field(default_factory=dict)  # path -> place of the key
    places: dict[Path_, str] = field(default_factory=dict)  # path -> place of the value
    problems: list[Problem] = field(default_factory=list)

    def where(self, path: Path_, *, key: bool = False) -> str:
        """Place of a value (or of its key), or of the nearest thing around it."""
        table = self.keys if key else self.places
        while path:
            if path in table:
                return table[path]
            path, table = path[:-1], self.places
        return self.places.get((), "configuration")

    def overlay(self, upper: Layer) -> Layer:
        """Both layers merged, the upper one winning; mappings are merged key by key, everything else is replaced."""
        return Layer(
            _merge(self.values, upper.values),
            {**self.keys, **upper.keys},
            {**self.places, **upper.places},
            [*self.problems, *upper.problems],
        )


def _merge(lower: Any, upper: Any) -> Any:
    if isinstance(lower, dict) and isinstance(upper, dict):
        return {**lower, **{key: _merge(lower.get(key), value) for key, value in upper.items()}}
    return upper


def read_yaml(path: Path, environment: Mapping[str, str]) -> Layer:
    """The layer that a file gives. ConfigError where it can't be read or is not YAML with a mapping at the top."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            (Problem(str(path), "file", error.strerror or str(error), "a readable YAML file"),),
            action="check the path; `campaign init` writes a configuration to start from",
        ) from error
    if len(data) > MAX_BYTES:
        raise ConfigError((Problem(str(path), "file", f"{len(data)} bytes", f"at most {MAX_BYTES} bytes"),))
    try:
        tree = YAML(typ="rt", pure=True).load(data.decode())
    except (YAMLError, UnicodeDecodeError, ValueError) as error:
        raise ConfigError((_syntax(path, error),)) from error
    if not isinstance(tree, CommentedMap):
        raise ConfigError(
            (
                Problem(
                    f"{path}:1:1",
                    "file",
                    "nothing" if tree is None else shown(tree),
                    "a mapping with `campaign` and `science`",
                ),
            )
        )
    layer = Layer(places={(): str(path)})
    layer.values = _Reader(str(path), layer, environment).convert(tree, ())
    return layer


def _syntax(path: Path, error: Exception) -> Problem:
    mark = getattr(error, "problem_mark", None)
    where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark is not None else str(path)
    what = error.problem if isinstance(error, MarkedYAMLError) and error.problem else str(error).splitlines()[0]
    return Problem(where, "syntax", str(what).removeprefix("found "), "YAML 1.2 with unique keys")


@dataclass(slots=True)
class _Reader:
    """Turns ruamel's tree into plain values and notes places."""

    source: str
    layer: Layer
    environment: Mapping[str, str]
    nodes: int = 0

    def convert(self, node: Any, path: Path_) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise ConfigError((Problem(self.source, "file", f"more than {MAX_NODES} values", "a smaller file"),))
        self._refuse_tags(node, path)
        if isinstance(node, CommentedMap):
            return {self._key(node, key, path): self._item(node, key, (*path, str(key))) for key in node}
        if isinstance(node, CommentedSeq):
            return [self._item(node, i, (*path, i)) for i in range(len(node))]
        return self._scalar(node, path)

    def _refuse_tags(self, node: Any, path: Path_) -> None:
        tag = getattr(getattr(node, "tag", None), "value", None)
        if isinstance(tag, str) and (tag.startswith("!") or "python" in tag):
            self.layer.problems.append(Problem(self.layer.where(path), _dotted(path), f"the tag {tag}", "plain YAML"))

    def _key(self, node: CommentedMap, key: Any, path: Path_) -> str:
        line, column = node.lc.key(key)
        self.layer.keys[*path, str(key)] = f"{self.source}:{line + 1}:{column + 1}"
        return str(key)

    def _item(self, node: Any, key: Any, path: Path_) -> Any:
        try:
            line, column = node.lc.value(key) if isinstance(node, CommentedMap) else node.lc.item(key)
            self.layer.places[path] = f"{self.source}:{line + 1}:{column + 1}"
        except (AttributeError, KeyError, TypeError):  # merged by an anchor: the place around it is used
            pass
        return self.convert(node[key], path)

    def _scalar(self, node: Any, path: Path_) -> Any:
        if isinstance(node, str):
            return self._expand(str(node), path)
        if isinstance(node, ScalarBoolean):
            return bool(node)
        for plain in (bool, int, float):
            if isinstance(node, plain):
                return plain(node)
        if node is not None:
            place = self.layer.where(path)
            allowed = "a number, a text, true, false or null; put quotes around a text that looks like a date"
            self.layer.problems.append(Problem(place, _dotted(path), shown(node), allowed))
        return None

    def _expand(self, text: str, path: Path_) -> str:
        def value_of(match: re.Match[str]) -> str:
            name = match.group(1)
            if not self.environment.get(name):
                allowed = f"a set environment variable; `export {name}=...`"
                self.layer.problems.append(
                    Problem(self.layer.where(path), _dotted(path), f"unset or empty ${{{name}}}", allowed)
                )
            return self.environment.get(name, "")

        return VARIABLE.sub(value_of, text)


def environment_layer(environment: Mapping[str, str]) -> Layer:
    """Overrides of the form `CAMPAIGN__EXECUTION__BATCH_SIZE=50`."""
    layer = Layer()
    for name, text in sorted(environment.items()):
        if name.startswith(ENVIRONMENT_PREFIX):
            path = tuple(part.lower() for part in name.removeprefix(ENVIRONMENT_PREFIX).split("__"))
            layer = layer.overlay(_single(path, text, f"environment variable {name}", environment))
    return layer


def option_layer(settings: Sequence[str], environment: Mapping[str, str]) -> Layer:
    """Overrides of the form `execution.batch_size=50`, as `--set` takes them."""
    layer = Layer()
    for setting in settings:
        key, equals, text = setting.partition("=")
        place = f"--set {setting}"
        if not equals or not key.strip() or not all(part.strip() for part in key.split(".")):
            layer.problems.append(Problem(place, "--set", repr(setting), "KEY.KEY=VALUE"))
            continue
        layer = layer.overlay(_single(tuple(part.strip() for part in key.split(".")), text, place, environment))
    return layer


def _single(path: Path_, text: str, place: str, environment: Mapping[str, str]) -> Layer:
    heard = Layer(places={(): place})
    try:
        value = _Reader(place, heard, environment).convert(YAML(typ="rt", pure=True).load(text), path)
    except YAMLError:
        value = text
    layer = value_layer(path, value, place)
    layer.problems = [Problem(place, p.key, p.found, p.allowed, p.suggestion) for p in heard.problems]
    return layer


def value_layer(path: Path_, value: Any, place: str) -> Layer:
    """One value at one path, as it is."""
    places = {path[: i + 1]: place for i in range(len(path))}
    for key in reversed(path):
        value = {key: value}
    return Layer(value, dict(places), places)


def _dotted(path: Path_) -> str:
    return ".".join(str(part) for part in path) or "file"


def shown(value: Any) -> str:
    """A value as a message shows it."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def yaml_text(document: Mapping[str, Any], comment: str) -> str:
    """A document as YAML, under one line of comment."""
    buffer = io.StringIO()
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.width = 4096
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    writer.dump(json.loads(json.dumps(document)), buffer)
    return f"# {comment}\n{buffer.getvalue()}"
