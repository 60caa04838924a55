"""A sweep as a configuration: made of a command line or of Python's arguments, written, and run like any other."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from campaign import durable
from campaign.config.source import yaml_text
from campaign.core.identity import slug
from campaign.errors import Code, StoppedError, UsageError
from campaign.opening import lay_out, read_config
from campaign.outcome import EXIT_RESUMABLE

if TYPE_CHECKING:
    import xarray

WRITTEN = "Written for a sweep; campaign run FILE goes on with it."


def document(
    name: str,
    generator: str,
    options: Mapping[str, Any],
    parameters: Mapping[str, Any],
    *,
    method: str = "grid",
    samples: int | None = None,
    realizations: int | None = None,
    seed: int = 0,
    naming: str | None = None,
) -> dict[str, Any]:
    """The configuration of a sweep of `generator` over `parameters`: values, rules, or mappings of the `design` section."""
    design = {"method": method, "parameters": dict(parameters), **({} if samples is None else {"samples": samples})}
    return {
        "campaign": {"name": name},
        "science": {"seed": seed, **({} if realizations is None else {"realizations": realizations})},
        "design": design,
        "generator": generator,
        "strategy": {"overrides": {generator: dict(options)}},
        **({} if naming is None else {"outputs": {"naming_scheme": naming}}),
    }


@contextlib.contextmanager
def tried(configuration: Mapping[str, Any], name: str) -> Iterator[Path]:
    """A configuration in a file of this name, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="campaign-") as scratch:
        path = Path(scratch) / name
        path.write_text(yaml_text(dict(configuration), WRITTEN))
        yield path


def usual_path(configuration: Mapping[str, Any]) -> Path:
    """Where a configuration is written unless somebody says otherwise: called like the campaign, here."""
    return Path(f"{slug(configuration['campaign']['name'])}.yaml")


def write(configuration: Mapping[str, Any], path: Path, settings: Sequence[str]) -> None:
    """Write a configuration that can be run; UsageError where it can't be, or where another one is there."""
    text = yaml_text(dict(configuration), WRITTEN)
    if path.exists() and path.read_text() != text:
        raise UsageError(
            Code.CONFIG_CHANGED,
            f"{path} is there and says something else",
            action=f"run it (campaign run {path}), delete it, or name another campaign (--name NAME) or file (--write FILE)",
        )
    with tried(configuration, path.name) as trial:
        lay_out(*read_config(trial, settings))  # or nothing is written
    durable.write_bytes(path, text.encode())


def sweep(
    call: str,
    parameters: Mapping[str, Any],
    *,
    name: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    returns: Mapping[str, Mapping[str, Any]] | None = None,
    method: str = "grid",
    samples: int | None = None,
    realizations: int | None = None,
    seed: int = 0,
    settings: Sequence[str] = (),
) -> xarray.Dataset:
    """Call a Python function over parameters, in slots of this machine or of the allocation; the dataset of what it returned.

    `call` is `module:function` or `file.py:function`; `parameters` are lists, arrays, rules such as `0:1:11`, or mappings with
    `values`, `units` and `long_name`; `returns` names the entries of the mapping that it returns, with `dtype` and `units`. The
    same call goes on where it stopped. Raises CampaignError where the sweep can't be run, or was stopped.
    """
    from campaign.analyse.results import open_results
    from campaign.conduct import Options, run_campaign

    options: dict[str, Any] = {"call": call, "arguments": dict(arguments or {})}
    if returns is not None:
        options["returns"] = {entry: dict(words) for entry, words in returns.items()}
    plain = {parameter: _plain(values) for parameter, values in parameters.items()}
    asked = document(
        name or call.rpartition(":")[2], "function", options, plain, method=method, samples=samples, realizations=realizations, seed=seed
    )  # fmt: skip
    path = usual_path(asked)
    write(asked, path, settings)
    config, generator = read_config(path, settings)
    outcome = run_campaign(config, generator, Options(dashboard=None))
    if outcome.exit_code == EXIT_RESUMABLE:
        raise StoppedError(
            Code.RUN_STOPPED, f"{outcome.directory}: {outcome.reason or 'stopped'}", action="the same call goes on"
        )
    return open_results(outcome.directory)


def _plain(values: Any) -> Any:
    """Values as YAML knows them."""
    if isinstance(values, Mapping):
        return {**values, "values": _plain(values["values"])}
    listed = values.tolist() if hasattr(values, "tolist") else values
    return list(listed) if isinstance(listed, tuple | range) else listed
