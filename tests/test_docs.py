"""What README and docs show is run, and the benchmarks stay alive."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import xarray as xr
from ruamel.yaml import YAML

from campaign.cli import VERBS
from campaign.config.schema import Document
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
    verbs = set(re.findall(r"^    campaign (\w+) ", (REPOSITORY / "README.md").read_text(), re.MULTILINE))
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
        r"^    campaign submit my.yaml (--\w[\w-]*)", (REPOSITORY / "docs/slurm.md").read_text(), re.MULTILINE
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
        (["sweeps.py", "--cases", "20", "--circuits", "20", "--repeats", "1"], 5),
    ],
)
def test_the_benchmarks_run(command, figures):
    pytest.importorskip("diffsky")
    program, *options = command
    if program == "sweeps.py" and shutil.which("ngspice") is None:
        pytest.skip("needs ngspice")
    done = subprocess.run(
        [sys.executable, REPOSITORY / "benchmarks" / program, *options, "--json"],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)["figures"]
    assert len(told) == figures
    assert all(max(figure["values"]) > 0 for figure in told)  # small mocks may begin within one millisecond
