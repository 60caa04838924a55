"""Runs what a page of the documentation shows, in a directory of its own, with what stands beside it in tests/pages/.

    yaml    is a configuration, or a part of one; with a title it is that file, or a part of it
    sh      runs as one script; where each line has a comment it is a menu, each line of which runs in a copy of the directory
    python  runs in one namespace for the page; with a title it is that file as well

`before.sh` of a page makes what its reader is supposed to have. Anything else that is shown has another language, and no commands.
"""

import os
import shutil
import subprocess
import sys
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from ruamel.yaml import YAML

from tests.conftest import load

REPOSITORY = Path(__file__).parents[1]
WORLDS = Path(__file__).parent / "pages"
RUN, SHOWN = ("yaml", "sh", "python"), ("text", "toml", "csv", "json")

PRELUDE = """
set -eu
if [ -f env.sh ]; then . ./env.sh; fi
campaign() {
    if [ "$1" = serve ]; then "$PYTHON" -m campaign "$@" & serving=$!; "$PYTHON" -m tests.examples; kill "$serving"; wait "$serving" || true; return; fi
    "$PYTHON" -m campaign "$@" || case $? in 4|6) ;; *) return 1 ;; esac   # jobs that failed, and what was found, are no mistakes of a page
}
python() { "$PYTHON" "$@"; }
"""

BASE = "campaign: {name: mocks}\nscience: {realizations: 2000, redshifts: [3.0, 2.5]}\n"


@dataclass(frozen=True)
class Block:
    """One example."""

    language: str
    title: str
    text: str
    line: int

    @property
    def is_menu(self):
        lines = [line for line in self.text.splitlines() if line.strip()]
        return len(lines) > 1 and all("  #" in line for line in lines)


def blocks(page):
    """The examples of a page, in order."""
    found = []
    for token in MarkdownIt().parse(page.read_text()):
        if token.type in ("fence", "code_block"):
            language, _, more = token.info.partition(" ")
            title = more.partition('title="')[2].partition('"')[0]
            found.append(
                Block(language if token.type == "fence" else "indented", title, token.content, token.map[0] + 1)
            )
    return found


def merged(one, other):
    """Two configurations as one, in which the second wins."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return other
    return {
        key: merged(one[key], other[key]) if key in one and key in other else one.get(key, other.get(key))
        for key in {**one, **other}
    }


class World:
    """Where the examples of a page run."""

    def __init__(self, page, directory, between=lambda: None):
        self.page, self.directory, self._between = page, directory, between
        own = WORLDS / page.stem
        if own.is_dir():
            shutil.copytree(own, directory, dirs_exist_ok=True)
        else:
            directory.mkdir(exist_ok=True)
        self.names = {}

    def run(self):
        before = self.directory / "before.sh"
        if before.exists():
            self.shell(before.read_text(), self.directory, "before.sh")
        for block in blocks(self.page):
            if block.language in RUN:
                getattr(self, block.language)(block)

    def yaml(self, block):
        """It loads: alone, with what stands in the file of its title, or as a part of a configuration of mocks."""
        parser = YAML()
        path = self.directory / (block.title or f"line_{block.line}.yaml")
        told, known = parser.load(block.text), parser.load(path.read_text() if path.exists() else BASE)
        with path.open("w") as file:
            parser.dump(told if "campaign" in told else merged(known, told), file)
        with chdir(self.directory):
            load(path)

    def sh(self, block):
        where = f"{self.page.name}:{block.line}"
        if not block.is_menu:
            self.shell(block.text, self.directory, where)
            return
        for number, line in enumerate(block.text.splitlines()):
            copy = self.directory.parent / f"{self.directory.name}_{block.line}_{number}"
            shutil.copytree(self.directory, copy, symlinks=True)
            self.shell(line, copy, f"{where}: {line}")
            self._between()  # nothing of a line is at work when its directory goes
            shutil.rmtree(copy)

    def python(self, block):
        if block.title:
            (self.directory / block.title).write_text(block.text)
        with chdir(self.directory):
            sys.path.insert(0, str(self.directory))
            try:
                exec(compile(block.text, f"{self.page.name}:{block.line}", "exec"), self.names)  # our own documents
            finally:
                sys.path.remove(str(self.directory))

    @staticmethod
    def shell(text, directory, where):
        environment = {
            **os.environ,
            "PYTHON": sys.executable,
            "HOME": str(directory),
            "ARCHIVE": str(directory / "elsewhere"),
        }
        environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
        environment["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), environment.get("PYTHONPATH", "")])
        done = subprocess.run(
            ["bash", "-c", PRELUDE + text], cwd=directory, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, f"{where}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


if __name__ == "__main__":  # wait until a registry serves
    import time
    import urllib.error
    import urllib.request

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen("http://127.0.0.1:8765/health", timeout=1)
            sys.exit()
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    sys.exit("no registry serves")
