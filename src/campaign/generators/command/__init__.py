"""The generator `command`: any executable, one process for each job."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from campaign.core.model import Point, Task, Variable
from campaign.errors import Code, JobError, ProductError, UsageError
from campaign.generators.command.options import CommandOptions
from campaign.generators.declaring import declared

if TYPE_CHECKING:
    from jinja2 import Template

logger = logging.getLogger("campaign")

EXAMPLE = {"seed": 1, "name": "job_0000", "job": 0}
"""What may be filled in beside the parameters."""


class Command:
    """Writes the input files of a job, runs the program in a directory of its own, and reads what it left behind."""

    name = "command"
    version = "1"
    options = CommandOptions
    incidental = ("here",)
    parallel = False  # a program that is parallel starts its ranks itself

    def suffix(self, config: Mapping[str, Any]) -> str:
        """A directory with the files that are kept, if there are any."""
        return "/" if config["products"] else ""

    def main_file(self, config: Mapping[str, Any]) -> str:
        """The first of the files that are kept."""
        return config["products"][0] if config["products"] else ""

    def requires(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        """Packages that must be importable where jobs run."""
        return ("jinja2",)

    def words(self, config: Mapping[str, Any], point: Point) -> dict[str, str]:
        """There is nothing beside the axes."""
        return {}

    def inputs(self, config: Mapping[str, Any], point: Point) -> tuple[str, ...]:
        """What a program reads is its own."""
        return ()

    def variables(self, config: Mapping[str, Any]) -> tuple[Variable, ...]:
        """What `measure` names."""
        return declared(config["measure"])

    def check(self, config: Mapping[str, Any], point: Point) -> None:
        """Refuse templates that can't be filled in for any job."""
        try:
            _filled(CommandOptions.model_validate(config), {**point, **EXAMPLE})
        except JobError as error:
            raise UsageError(Code.CONFIG_INVALID, error.message, action=error.action) from error
        program, here = config["argv"][0], Path(config["here"])
        if "{" not in program and shutil.which(str(here / program) if "/" in program else program) is None:
            _warn_absent(program)

    def environment(self, directory: str) -> dict[str, str]:
        """Nothing that a program needs."""
        return {}

    def warm_up(self, config: Mapping[str, Any]) -> None:
        """Parse the templates."""
        import jinja2  # noqa: F401 - so that a job's time is its own

    def generate(self, task: Task, target: Path, phase: Callable[[str], None]) -> dict[str, Any]:
        """Run the program of `task` and return the values of `variables`; `target` holds the files that are kept."""
        if task.product:
            return self._run(task, target, phase)
        with tempfile.TemporaryDirectory(prefix="campaign-", ignore_cleanup_errors=True) as scratch:
            return self._run(task, Path(scratch), phase)

    def _run(self, task: Task, directory: Path, phase: Callable[[str], None]) -> dict[str, Any]:
        from campaign.generators.command import parsers, process

        options = _options(task)
        here = Path(options.here)
        phase("render")
        argv, files = _filled(options, _fields(task))
        for name, text in files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        if "/" in argv[0]:
            argv[0] = str(here / argv[0])
        phase("run")
        status, output = process.run(argv, directory, {**os.environ, **options.environment})
        if status not in options.exit_codes:
            raise _failed(argv[0], status, output)
        phase("measure")
        found = parsers.measured(options.measure, directory, output, task.point, here)
        absent = [name for name in options.products if not (directory / name).is_file()]
        if absent:
            raise ProductError(
                Code.PRODUCT_INVALID, f"{Path(argv[0]).name} did not write {', '.join(absent)}{_said(output)}"
            )
        if task.product:
            for name in options.products:
                _own(directory / name)
            _keep_only(directory, {directory / name for name in options.products})
        return found

    def read(self, task: Task, product: Path, names: Sequence[str]) -> dict[str, Any]:
        """What can be read of the files that are kept."""
        from campaign.generators.command import parsers

        options = _options(task)
        lost = [name for name in names if parsers.source_of(options.measure[name]) not in ("", *options.products)]
        if lost:
            raise ProductError(
                Code.PRODUCT_INVALID,
                f"{', '.join(lost)} can't be read of {', '.join(options.products)}",
                action="give the value by its name, in result_0000.json",
            )
        wanted = {name: options.measure[name] for name in names}
        return parsers.measured(wanted, product, "", task.point, Path(options.here))

    def rendered(self, task: Task) -> tuple[dict[str, Any], dict[str, str]]:
        """The arguments, and the input files by their names."""
        argv, files = _filled(_options(task), _fields(task))
        return {"argv": argv, "files": sorted(files)}, files

    def verify(self, task: Task, product: Path, measurements: Mapping[str, Any]) -> None:
        """What was read of files that are kept must be read of them again, and no other may be empty."""
        from campaign.generators.command import parsers

        options = _options(task)
        kept = {n: one for n, one in options.measure.items() if parsers.source_of(one) in options.products}
        again = parsers.measured(kept, product, "", task.point, Path(options.here))
        changed = [name for name, value in again.items() if not parsers.same(kept[name], value, measurements[name])]
        if changed:
            words = ", ".join(f"{name} is {again[name]} in the file, not {measurements[name]}" for name in changed)
            raise ProductError(Code.PRODUCT_INVALID, words)
        empty = [name for name in options.products if not (product / name).stat().st_size]
        if empty:
            raise ProductError(Code.PRODUCT_INVALID, f"{', '.join(empty)} is empty")


@lru_cache(maxsize=16)
def _warn_absent(program: str) -> None:
    """Say once that a program is not here; where jobs run it may be."""
    logger.warning(
        "there is no program %s here; jobs will fail where there is none either (slurm.prologue loads modules)", program
    )


def _options(task: Task) -> CommandOptions:
    """The options of a job; jobs of one resolved configuration share them."""
    key = (task.resolved_config_hash, task.config["here"])
    if key not in _validated:
        if len(_validated) == VALIDATED_MAX:
            _validated.clear()
        _validated[key] = CommandOptions.model_validate(task.config)
    return _validated[key]


_validated: dict[tuple[str, str], CommandOptions] = {}
VALIDATED_MAX = 16


def _fields(task: Task) -> dict[str, Any]:
    """What may be filled in."""
    return {**task.point, "seed": task.seed, "name": task.name, "job": task.job}


def _filled(options: CommandOptions, fields: Mapping[str, Any]) -> tuple[list[str], dict[str, str]]:
    """(arguments, text of each file) with the fields filled in; JobError where that can't be done."""
    argv = [_render(f"argv[{n}]", text, fields) for n, text in enumerate(options.argv)]
    return argv, {name: _render(name, file.text, fields) for name, file in options.files.items()}


def _render(where: str, text: str, fields: Mapping[str, Any]) -> str:
    from jinja2 import TemplateError

    if "{" not in text:
        return text
    try:
        return _template(text).render(fields)
    except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
        number = getattr(error, "lineno", None)
        line = f", line {number}" if number else ""
        raise JobError(
            Code.CONFIG_INVALID,
            f"{where}{line} can't be filled in: {error}",
            action=f"there are: {', '.join(fields)}; {{% raw %}} ... {{% endraw %}} keeps braces as they are",
        ) from error


@lru_cache(maxsize=64)
def _template(text: str) -> Template:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    return SandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True).from_string(text)


def _failed(program: str, status: int, output: str) -> JobError:
    import signal

    how = f"exit status {status}" if status >= 0 else f"signal {-status} ({signal.Signals(-status).name})"
    last = next((line for line in reversed(_printable(output).splitlines()) if line.strip()), "")
    told = f": {last.strip()[:200]}" if last else ""
    error = JobError(Code.GENERATOR_RAISED, f"{Path(program).name} ended with {how}{told}{_said(output)}")
    error.transient = True
    return error


def _said(output: str) -> str:
    said = "\n".join(_printable(output).strip().splitlines()[-20:])[-3000:]
    return f"\nit said:\n{said}" if said else ", and said nothing"


def _printable(output: str) -> str:
    """What was printed, without what would steer a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in output[-20_000:])


def _own(path: Path) -> None:
    """Let a product be a file of its own where it is a link to one."""
    if path.is_symlink():
        whole = path.with_name(f"{path.name}.whole")
        shutil.copyfile(path, whole)
        whole.replace(path)


def _keep_only(directory: Path, kept: set[Path]) -> None:
    """Remove everything else from a directory."""
    for path in sorted(directory.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path not in kept:
            path.unlink()


__all__ = ["Command", "CommandOptions"]
