"""Run a program, or a Python function, over parameters: writes the configuration that says so, and runs it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from campaign import run
from campaign.config.source import yaml_text
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
    parser.add_argument(
        "--params", action="append", required=True, metavar="NAME:VALUES", help="a parameter and its values"
    )
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
    parser.add_argument("--measure", action="append", default=[], metavar="NAME=WHAT", help="a value for the dataset")
    parser.add_argument("--naming", default=None, help="sequential, parameters, hierarchical, hash, or a naming scheme")
    parser.add_argument("--write", type=Path, metavar="FILE", help="the configuration (default: NAME.yaml)")
    run.add_run_arguments(parser)


def command(arguments: argparse.Namespace) -> int:
    """`campaign sweep`."""
    document = document_of(arguments)
    path: Path = arguments.write or Path(f"{document['campaign']['name']}.yaml")
    text = yaml_text(document, "Written by `campaign sweep`; campaign run FILE goes on with it.")
    if path.exists() and path.read_text() != text:
        raise UsageError(
            Code.CONFIG_CHANGED, f"{path} is there and says something else",
            action="name another file (--write FILE), another campaign (--name NAME), or run the file that is there",
        )  # fmt: skip
    path.write_text(text)
    arguments.config = path
    return run.command(arguments)


def document_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The configuration that a command line asks for; UsageError where it can't be read."""
    design: dict[str, Any] = {"method": arguments.method, "parameters": dict(map(_parameter, arguments.params))}
    if arguments.samples is not None:
        design["samples"] = arguments.samples
    science: dict[str, Any] = {"seed": arguments.seed}
    if arguments.realizations is not None:
        science["realizations"] = arguments.realizations
    generator, options, name = _generator(arguments)
    document: dict[str, Any] = {
        "campaign": {"name": arguments.name or name},
        "science": science,
        "design": design,
        "generator": generator,
        "strategy": {"overrides": {generator: options}},
    }
    if arguments.naming is not None:
        document["outputs"] = {"naming_scheme": arguments.naming}
    return document


def _generator(arguments: argparse.Namespace) -> tuple[str, dict[str, Any], str]:
    """(generator, its options, a name for the campaign)."""
    argv = list(arguments.options)
    if bool(argv) == bool(arguments.function):
        raise UsageError(
            Code.CONFIG_INVALID, "nothing to run" if not argv else "both a program and a function",
            action="put the program and its arguments behind --, or give --function MODULE:FUNCTION",
        )  # fmt: skip
    measures = dict(map(_measure, arguments.measure))
    if arguments.function:
        options: dict[str, Any] = {"call": arguments.function}
        if measures:
            raise UsageError(
                Code.CONFIG_INVALID,
                "--measure belongs to a program",
                action="let the function return a value, or a mapping",
            )
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


def _parameter(text: str) -> tuple[str, str]:
    name, colon, values = text.partition(":")
    if not colon or not name.strip():
        raise UsageError(
            Code.CONFIG_INVALID, f"--params {text[:80]}: not NAME:VALUES", action=f"values are: {ranges.FORMS}"
        )
    return name.strip(), values


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise UsageError(Code.CONFIG_INVALID, f"{option} {text[:80]}: not NAME=...", action="see campaign sweep --help")
    return name, value


def _measure(text: str) -> tuple[str, dict[str, Any]]:
    """A measurement as the configuration has it."""
    name, what = _pair(text, "--measure")
    kind, _, rest = what.partition(":")
    first, _, second = rest.partition(":")
    match kind:
        case "json":
            return name, {"json": first, "key": second}
        case "csv":
            return name, {"csv": first, "column": second}
        case "regex":
            return name, {"regex": rest}
        case "raw":
            vector, _, reduce = second.partition(":")
            return name, {"raw": first, "vector": vector, **({"reduce": reduce} if reduce else {})}
        case "python":
            return name, {"python": rest}
    raise UsageError(
        Code.CONFIG_INVALID, f"--measure {text[:80]}: {kind!r} is no kind of measurement",
        action="use json, csv, regex, raw or python; see campaign sweep --help",
    )  # fmt: skip
