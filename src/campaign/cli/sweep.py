"""Run a program, or a Python function, over parameters: writes the configuration that says so, and runs it."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from campaign import run, sweeps
from campaign.core import ranges
from campaign.errors import Code, UsageError

EPILOG = f"""values of a parameter: {ranges.FORMS}
{{{{ R }}}} in arguments and template files stands for the parameter R, {{{{ seed }}}} for the seed of the job.
measured values: NAME=json:FILE:KEY  csv:FILE:COLUMN  regex:PATTERN  raw:FILE:VECTOR[:last|first|min|max|mean]  python:FILE.py:FUNCTION
examples:
  campaign sweep --params "dt:0.001:0.01:10" --measure "error=regex:error (\\S+)" -- ./solve --dt "{{{{ dt }}}}"
  campaign sweep --name rc --params R:1000,2000 --params C:log:1e-12:1e-9:4 --file rc.cir=rc.cir.j2 \\
      --product rc.raw --measure "fc=python:measure.py:cutoff" -- ngspice -b -r rc.raw rc.cir
  campaign sweep --params x:0:1:11 --function study.py:model
The same command goes on where it stopped; the configuration that it wrote can be run, edited and extended like any other."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.usage = "campaign sweep --params NAME:VALUES [--params ...] [OPTIONS] -- PROGRAM [ARGUMENT ...]"
    parser.add_argument(
        "--params", action="append", required=True, metavar="NAME:VALUES",
        help="a parameter and its values; once for each; NAME[UNITS] where it has units",
    )  # fmt: skip
    parser.add_argument("--name", help="name of the campaign (default: that of the program)")
    parser.add_argument(
        "--method", choices=("grid", "zip", "lhs", "sobol", "halton"), default="grid", help="how parameters combine"
    )
    parser.add_argument("--samples", type=int, metavar="N", help="cases to draw, for lhs, sobol, halton")
    parser.add_argument("--realizations", type=int, metavar="N", help="members of an ensemble at each point")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--function", metavar="MODULE:FUNCTION", help="call this instead of a program")
    parser.add_argument(
        "--file", action="append", default=[], metavar="NAME=TEMPLATE", help="an input file and its template"
    )
    parser.add_argument("--product", action="append", default=[], metavar="NAME", help="a file that is kept")
    parser.add_argument(
        "--measure", action="append", default=[], metavar="NAME=WHAT",
        help="a value for the dataset, of a program; NAME[UNITS] where it has units",
    )  # fmt: skip
    parser.add_argument(
        "--returns", action="append", default=[], metavar="NAME",
        help="an entry of the mapping that a function returns; NAME[UNITS] where it has units (default: it returns one value)",
    )  # fmt: skip
    parser.add_argument("--naming", default=None, help="sequential, parameters, hierarchical, hash, or a naming scheme")
    parser.add_argument("--write", type=Path, metavar="FILE", help="the configuration (default: NAME.yaml)")
    run.add_run_arguments(parser)


def command(arguments: argparse.Namespace) -> int:
    """`campaign sweep`."""
    document = document_of(arguments)
    path = arguments.write or sweeps.usual_path(document)
    if arguments.dry_run:
        with sweeps.tried(document, path.name) as arguments.config:
            return run.command(arguments)
    sweeps.write(document, path, arguments.settings)
    arguments.config = path
    return run.command(arguments)


def document_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The configuration that a command line asks for; UsageError where it can't be read."""
    parameters = _once("--params", map(_parameter, arguments.params))
    generator, options, name = _generator(arguments)
    return sweeps.document(
        arguments.name or name, generator, options, parameters, method=arguments.method, samples=arguments.samples,
        realizations=arguments.realizations, seed=arguments.seed, naming=arguments.naming,
    )  # fmt: skip


def _generator(arguments: argparse.Namespace) -> tuple[str, dict[str, Any], str]:
    """(generator, its options, a name for the campaign)."""
    argv = list(arguments.options)
    if bool(argv) == bool(arguments.function):
        raise UsageError(
            Code.CONFIG_INVALID, "nothing to run" if not argv else "both a program and a function",
            action="put the program and its arguments behind --, or give --function MODULE:FUNCTION",
        )  # fmt: skip
    measures = _once("--measure", map(_measure, arguments.measure))
    returns = _once("--returns", ((name, units) for name, units in map(_named, arguments.returns)))
    if returns and not arguments.function:
        raise UsageError(Code.CONFIG_INVALID, "--returns belongs to --function", action="use --measure with a program")
    if arguments.function:
        options: dict[str, Any] = {"call": arguments.function}
        if measures:
            raise UsageError(
                Code.CONFIG_INVALID,
                "--measure belongs to a program",
                action="let the function return a value, or a mapping and --returns NAME for each of its entries",
            )
        if returns:
            options["returns"] = returns
        return "function", options, arguments.function.rpartition(":")[2]
    options = {"argv": argv}
    if arguments.file:
        options["files"] = {
            name: {"template": template} for name, template in (_pair(text, "--file") for text in arguments.file)
        }
    if arguments.product:
        options["products"] = arguments.product
    if measures:
        options["measure"] = measures
    return "command", options, Path(argv[0]).stem


def _once(option: str, pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """What an option says by name; UsageError where it says something twice."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise UsageError(Code.CONFIG_INVALID, f"{option} names {name} twice", action="give all values at once")
        found[name] = value
    return found


def _named(text: str) -> tuple[str, dict[str, str]]:
    """(name, its units if there are any) of `NAME` or `NAME[UNITS]`."""
    name, bracket, units = text.strip().partition("[")
    return name.strip(), {"units": units.rstrip().removesuffix("]")} if bracket else {}


def _parameter(text: str) -> tuple[str, Any]:
    head, colon, values = text.partition(":")
    name, units = _named(head)
    if not colon or not name:
        raise UsageError(
            Code.CONFIG_INVALID, f"--params {text[:80]}: not NAME:VALUES", action=f"values are: {ranges.FORMS}"
        )
    return name, {"values": values, **units} if units else values


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise UsageError(Code.CONFIG_INVALID, f"{option} {text[:80]}: not NAME=...", action="see campaign sweep --help")
    return name, value


def _measure(text: str) -> tuple[str, dict[str, Any]]:
    """A measurement as the configuration has it."""
    head, what = _pair(text, "--measure")
    name, units = _named(head)
    kind, _, rest = what.partition(":")
    first, _, second = rest.partition(":")
    match kind:
        case "json":
            return name, {"json": first, "key": second, **units}
        case "csv":
            return name, {"csv": first, "column": second, **units}
        case "regex":
            return name, {"regex": rest, **units}
        case "raw":
            vector, _, reduce = second.partition(":")
            return name, {"raw": first, "vector": vector, **({"reduce": reduce} if reduce else {}), **units}
        case "python":
            return name, {"python": rest, **units}
    raise UsageError(
        Code.CONFIG_INVALID, f"--measure {text[:80]}: {kind!r} is no kind of measurement",
        action="use json, csv, regex, raw or python; see campaign sweep --help",
    )  # fmt: skip
