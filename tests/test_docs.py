"""What README and docs show is run, and the benchmarks stay alive."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import xarray as xr
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

from campaign import outcome
from campaign.cli import VERBS
from campaign.config.schema import Document
from campaign.errors import Code
from tests.conftest import load
from tests.registry.postgres import installed

REPOSITORY = Path(__file__).parents[1]


def blocks(document, language):
    return re.findall(rf"```{language}[^\n]*\n(.*?)```", (REPOSITORY / document).read_text(), re.DOTALL)


def test_the_readme_s_configuration_is_valid(tmp_path):
    (text,) = blocks("README.md", "yaml")
    path = tmp_path / "my.yaml"
    path.write_text(text)
    assert len(load(path).axes[0].values) == 2000


def test_the_readme_s_verbs_exist():
    verbs = set(re.findall(r"^campaign (\w+) ", (REPOSITORY / "README.md").read_text(), re.MULTILINE))
    assert verbs
    assert verbs <= set(VERBS)


def anchors(document):
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere():
    for document in [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]:
        for target, anchor in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", document.read_text()):
            path = document.parent / target if target else document
            assert path.exists(), f"{document.name}: {target}"
            assert not anchor or anchor in anchors(path), f"{document.name}: {target}#{anchor}"


def test_every_code_is_documented():
    page = (REPOSITORY / "docs" / "codes.md").read_text()
    assert set(re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \|", page, re.MULTILINE)) == {str(code) for code in Code}
    exits = {
        name: value for name, value in vars(outcome).items() if name.startswith("EXIT_") and isinstance(value, int)
    }
    assert {int(code) for code in re.findall(r"^\| (\d) \|", page, re.MULTILINE)} == set(exits.values())


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="each Python formats help in its own way")
def test_what_is_made_of_the_parser_is_current(monkeypatch):
    pytest.importorskip("shtab")
    pytest.importorskip("argparse_manpage")
    monkeypatch.syspath_prepend(REPOSITORY / "docs")
    monkeypatch.setenv("COLUMNS", "100")
    for path, text in importlib.import_module("reference").everything().items():
        assert path.read_text() == text, f"{path.name} is not current: make reference"


def test_shells_complete_what_there_is(tmp_path):
    script = 'eval "$($0 -m campaign completion bash)"; COMP_WORDS=(campaign arch); COMP_CWORD=1; _shtab_campaign; echo ${COMPREPLY[@]}'
    done = subprocess.run(["bash", "-c", script, sys.executable], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["archive"]


@pytest.mark.slow
def test_the_site_can_be_built(tmp_path):
    pytest.importorskip("mkdocs")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path], cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown = (tmp_path / "python" / "index.html").read_text()
    assert "monitor_progress" in shown
    assert "Hartlap" in shown


PERMISSIVE = re.compile(
    r"BSD|LGPL|MIT|Apache|ISC|PSF|Python Software Foundation|MPL|Mozilla|Unlicense|0BSD|Zlib|CC0|HPND|MPICH|Redistribution and use in source|Permission is hereby granted",
    re.IGNORECASE,
)
"""Licences under which a program that depends on it may itself be given away under BSD."""


def test_every_dependency_has_a_licence_that_fits():
    """Of the program and its extras, and of what these need in turn, as far as it is installed here; what does not is named in the docs."""
    found, left = (
        {},
        {
            ("campaign", extra)
            for extra in ("", "galaxies", "mpi", "analysis", "registry", "publish", "designs", "parquet", "optuna")
        },
    )
    seen = set()
    while left:
        name, extra = left.pop()
        seen.add((name, extra))
        try:
            told = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        found[canonicalize_name(name)] = told
        for text in told.requires or ():
            need = Requirement(text)
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                left |= {(need.name, one) for one in (need.extras or {""})} - seen
    assert len(found) > 50
    others = {name for name, told in found.items() if not PERMISSIVE.search(licence_of(told))}
    named = set(re.findall(r"`([a-z0-9-]+)` \(GPL", (REPOSITORY / "docs" / "versions.md").read_text()))
    assert others == named & found.keys()
    assert not named & {
        canonicalize_name(Requirement(text).name) for text in metadata.requires("campaign") if "extra" not in text
    }


def licence_of(package):
    """What its metadata say, or else the beginnings of the licences that it brings."""
    told = package.metadata
    classifiers = [line for line in told.get_all("Classifier") or () if line.startswith("License ::")]
    said = " ".join([told.get("License-Expression") or "", (told.get("License") or "")[:200], *classifiers])
    brought = [
        file.locate() for file in package.files or () if re.search(r"licen[cs]e|copying", file.name, re.IGNORECASE)
    ]
    return (
        said
        if said.strip()
        else " ".join(path.read_text(errors="replace")[:2000] for path in brought if path.is_file())
    )


def test_the_page_of_figures_is_made_of_the_results(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    performance = importlib.import_module("performance")
    assert performance.DOCUMENT.read_text() == performance.rendered()


def test_every_key_is_documented():
    documented = set(re.findall(r"`([a-z_.<>]+)`", (REPOSITORY / "docs" / "configuration.md").read_text()))
    for name, field in Document.model_fields.items():
        section = field.annotation
        if hasattr(section, "model_fields") and name != "strategy":
            for key in section.model_fields:
                assert f"{name}.{key}" in documented or key in documented, f"{name}.{key}"


def test_the_generator_in_the_docs_is_that_of_the_template():
    template = REPOSITORY / "src" / "campaign" / "testing" / "template"
    shown = blocks("docs/generators.md", "python")
    assert (shown[0], shown[-1]) == ((template / "mine.py").read_text(), (template / "test_mine.py").read_text())


def test_a_generator_of_one_s_own_begins_with_the_template(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    python = [sys.executable, "-m"]
    subprocess.run([*python, "campaign", "init", "my_mocks", "--template", "generator"], check=True)
    assert {path.name for path in (tmp_path / "my_mocks").iterdir()} == {
        "my_mocks.py", "my_mocks.yaml", "pyproject.toml", "test_my_mocks.py",
    }  # fmt: skip
    pip = ["pip", "install", "-qq", "--disable-pip-version-check", "--no-deps", "--target", "site", "./my_mocks"]
    subprocess.run([*python, *pip], check=True)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"), prepend=os.pathsep)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    subprocess.run([*python, "pytest", "-q", "-p", "no:cacheprovider", "my_mocks"], check=True)
    run = ["campaign", "run", "my_mocks/my_mocks.yaml", "--plain", "--dashboard", "off"]
    subprocess.run([*python, *run], check=True)
    results = xr.open_zarr(tmp_path / "campaigns" / "v1.0_my_mocks" / "results.zarr")
    assert (results.value == 2.0 * (results.seed % 1000)).all()
    for wrong in ("My", "json", "my_mocks"):
        done = subprocess.run(
            [*python, "campaign", "init", wrong, "--template", "generator"], capture_output=True, check=False
        )
        assert done.returncode == 2


def test_the_published_schema_is_valid_yaml_and_json():
    text = (REPOSITORY / "configs" / "campaign.schema.json").read_text()
    assert json.loads(text) == YAML(typ="safe", pure=True).load(text)


def test_what_the_slurm_page_shows_is_valid(tmp_path):
    for text in blocks("docs/slurm.md", "yaml"):
        path = tmp_path / "my.yaml"
        path.write_text("campaign: {name: x}\nscience: {realizations: 2, redshifts: [3.0, 2.5]}\n" + text)
        assert load(path).slurm
    exec(blocks("docs/slurm.md", "python")[0], {})  # our own document
    words = re.findall(
        r"^campaign submit my.yaml (--\w[\w-]*)", (REPOSITORY / "docs/slurm.md").read_text(), re.MULTILINE
    )
    shown = subprocess.run(
        [sys.executable, "-m", "campaign", "submit", "--help"], capture_output=True, text=True, check=True
    )
    assert set(words) <= set(re.findall(r"--\w[\w-]*", shown.stdout))


@pytest.mark.slow
def test_the_simulation_of_allocations_runs_and_no_job_is_cut_off():
    done = subprocess.run(
        [sys.executable, REPOSITORY / "benchmarks" / "walltime.py", "--small", "--json"],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [figure["values"] for figure in told["figures"]][1] == [0]
    learned, *_, constant = (float(row.split("|")[3].split()[0]) for row in told["more"][0].splitlines()[2:6])
    assert 0 < learned < constant / 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "figures"),
    [
        (["first_campaign.py", "--small"], 4),
        (["watching.py", "--small"], 4 + (shutil.which("chromium") is not None)),
        (["science.py", "--small"], 3),
        (["slots.py", "--slots", "4", "--rounds", "10"], 1),
        (["registry.py", "--campaigns", "200", "--repeats", "1"], 4 + 4 * installed()),
        (["archive.py", "--small"], 8),
        (["sweeps.py", "--cases", "20", "--circuits", "20", "--repeats", "1"], 5),
    ],
)
def test_the_benchmarks_run(command, figures):
    pytest.importorskip("diffsky")
    program, *options = command
    if (needed := {"sweeps.py": "ngspice", "archive.py": "rsync"}.get(program)) and shutil.which(needed) is None:
        pytest.skip(f"needs {needed}")
    done = subprocess.run(
        [sys.executable, REPOSITORY / "benchmarks" / program, *options, "--json"],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)["figures"]
    assert len(told) == figures
    assert all(max(figure["values"]) > 0 for figure in told)  # small mocks may begin within one millisecond
