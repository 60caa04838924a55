"""A small campaign that has run, to be spoilt and looked at."""

import random
import shutil
import subprocess
import sys

import pytest

from campaign import conduct, opening
from tests.conftest import PLUGINS, SCRIPTED

SCRIPT = "{r0001/mock_z0.500: [raise], r0002/mock_z1.000: [hang, ok]}"


@pytest.fixture(scope="session")
def _ran(tmp_path_factory):
    """The campaign, run once."""
    root = tmp_path_factory.mktemp("ran")
    path = root / "scripted.yaml"
    path.write_text(SCRIPTED.format(
        realizations="6", redshifts="[0.5, 1.0]", options=f"{{script: {SCRIPT}}}", batch_size=3, base=root / "campaigns",
    ).replace("timeout_hours: 0.01", "timeout_hours: 0.0003"))  # fmt: skip
    words = [sys.executable, "-m", "campaign.run", path, "--plain", "--dashboard", "off"]
    done = subprocess.run(words, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(PLUGINS)}, check=False)
    assert done.returncode == 4
    return root


@pytest.fixture
def ran(_ran, tmp_path):
    """A copy of it: its directory. Ten jobs completed at once, one at its second attempt, one failed."""
    target = tmp_path / "campaigns" / "v1.0_scripted"
    shutil.copytree(_ran / "campaigns" / "v1.0_scripted", target)
    return target


@pytest.fixture
def stream():
    return random.Random(3)


@pytest.fixture
def run_again():
    """Run a campaign in this process, as `campaign run DIRECTORY` does."""

    def run(directory, *settings):
        config, generator = opening.read_config(directory, settings)
        return conduct.run_campaign(config, generator, conduct.Options(plain=True, dashboard=None))

    return run


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Where the campaign is started."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
