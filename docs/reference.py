"""What is made of the parser of the command line: docs/cli.md, the manual page, completions of shells. `make reference` runs it."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import shtab
from argparse_manpage.manpage import Manpage

from campaign import __version__
from campaign.cli import VERBS, parser_of
from campaign.cli.completion import SHELLS

HERE = Path(__file__).parent
CLI = HERE.parent / "src" / "campaign" / "cli"
OPENING = """# The command line

`campaign VERB ...`, made by `make reference` of what `campaign VERB --help` says. `python -m campaign` is the same, `python -m campaign.run` is `campaign run`. What reports also does so as JSON (`--json`), what spends or removes
also tells before it does (`--dry-run`, or without `--remove`). [Exit codes](codes.md).

## Completion

```sh
eval "$(campaign completion bash)"
```

in `~/.bashrc` lets bash complete verbs, options and files; `campaign completion zsh` is for zsh. The wheel brings a manual page as well: `man campaign`, where `MANPATH` has `share/man` of the environment.
"""


def whole() -> argparse.ArgumentParser:
    """The parser with all verbs; what is a path completes to files."""
    parser = parser_of(VERBS)
    for sub in _verbs(parser).values():
        for action in sub._actions:  # noqa: SLF001 - argparse has no other way to them
            if action.type is Path:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    return parser


def _verbs(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Verb -> its parser."""
    (action,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))  # noqa: SLF001
    return dict(action.choices)


def page(parser: argparse.ArgumentParser) -> str:
    """docs/cli.md."""
    told = [OPENING]
    for verb, sub in _verbs(parser).items():
        told += [f"## campaign {verb}", "", "```text", sub.format_help().strip(), "```", ""]
    return "\n".join(told)


def manual(parser: argparse.ArgumentParser) -> str:
    """campaign.1."""
    parser.man_short_description = "large simulation campaigns on Dask"  # type: ignore[attr-defined]
    text = Manpage(parser)
    text.date, text.version, text.manual = "", __version__, "campaign"
    return str(text)


def everything() -> dict[Path, str]:
    """Path -> what belongs there."""
    os.environ["COLUMNS"] = "100"
    parser = whole()
    files = {HERE / "cli.md": page(parser), HERE / "campaign.1": manual(parser)}
    return files | {CLI / "shells" / shell: shtab.complete(parser, shell) for shell in SHELLS}


if __name__ == "__main__":
    for path, text in everything().items():
        path.write_text(text)
        print(path, file=sys.stderr)
