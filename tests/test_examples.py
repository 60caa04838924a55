"""Every example in the documentation runs."""

import shutil

import pytest

from tests.conftest import COMPILED
from tests.examples import REPOSITORY, RUN, SHOWN, World, blocks

PAGES = sorted((REPOSITORY / "docs").glob("*.md"))
ON_A_CLUSTER = {"slurm.md"}
"""Pages that are run in tests/slurm."""

NEEDS = {"sweeps.md": "ngspice"}


@pytest.mark.parametrize("page", [REPOSITORY / "README.md", *PAGES], ids=lambda page: page.name)
def test_every_example_has_a_language_that_says_whether_it_runs(page):
    for block in blocks(page):
        assert block.language in (*RUN, *SHOWN), f"{page.name}:{block.line}: {block.language}"
        if block.language in SHOWN:
            assert not block.text.startswith("campaign "), f"{page.name}:{block.line}"


def with_examples(page):
    return page.name not in ON_A_CLUSTER and any(block.language in RUN for block in blocks(page))


@pytest.mark.page
@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if with_examples(page)], ids=lambda page: page.name)
def test_what_a_page_shows_runs(page, tmp_path, monkeypatch, request):
    if (program := NEEDS.get(page.name)) and shutil.which(program) is None:
        pytest.skip(f"needs {program}")
    if page.name == "archive.md":
        request.getfixturevalue("object_store")("desi-mocks")
    monkeypatch.setenv("COMPILED", str(COMPILED))
    World(page, tmp_path / "world").run()
