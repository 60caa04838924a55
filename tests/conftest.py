"""Fixtures for every test: the scripted generator as a user's plug-in, small configurations, a held clock."""

import contextlib
import os
import shutil
import time
from pathlib import Path

import hypothesis
import pytest

from campaign.config import load_config
from campaign.core.model import Config
from campaign.generators import find
from campaign.generators.galaxies import Galaxies
from campaign.plan import make_plan
from tests import reliability

hypothesis.settings.register_profile("campaign", deadline=None)  # other tests run beside them
hypothesis.settings.load_profile("campaign")
PLUGINS = Path(__file__).parent / "plugins"
COMPILED = Path(__file__).parents[1] / ".pytest_cache" / "jax"
"""What JAX compiles in one test, other tests need not compile again."""

COMPILED.mkdir(parents=True, exist_ok=True)
os.environ |= Galaxies().environment("") | {"JAX_COMPILATION_CACHE_DIR": str(COMPILED)}  # before anybody imports JAX


@pytest.hookimpl(tryfirst=True)  # before some of them are left out
def pytest_collection_modifyitems(session, config, items):
    """Fast tests first, then slow ones, then those on a cluster."""
    config.stash[WANTED] = {row for item in items for row in reliability.rows_of(item)}
    items.sort(key=lambda item: ("tests/slurm" in str(item.path), item.get_closest_marker("slow") is not None))


def pytest_addoption(parser):
    parser.addoption("--reliability", action="store_true", help="write the table of docs/reliability.md")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Note which faults a test has shown to end as they should."""
    report = yield
    if report.when == "call" and report.passed:
        item.config.stash.setdefault(SHOWN, {}).update(dict.fromkeys(reliability.rows_of(item)))
    return report


def pytest_sessionfinish(session, exitstatus):
    """docs/reliability.md shows exactly the faults whose tests passed, where all of them ran."""
    passed = session.config.stash.get(SHOWN, {})
    wanted = dict.fromkeys(row for item in session.items for row in reliability.rows_of(item))
    options = session.config.option
    unselected = session.config.args_source is session.config.ArgsSource.TESTPATHS and not options.keyword
    if options.reliability and unselected and exitstatus == 0 and passed.keys() == wanted.keys():
        reliability.write(sorted(passed))
        return
    whole = unselected and not (session.shouldfail or session.shouldstop)
    shown = set(reliability.shown())
    if not passed.keys() <= shown or (whole and not shown <= session.config.stash[WANTED]):
        session.exitstatus = 1
        print("\ndocs/reliability.md does not show what was tested: make reliability writes it")


SHOWN, WANTED = pytest.StashKey(), pytest.StashKey()


@pytest.fixture
def compiled():
    """Give a campaign that has not begun what tests before it have compiled."""
    return lambda directory: shutil.copytree(COMPILED, directory / "cache" / "jax")


@pytest.fixture(autouse=True)
def _plugins_in_children(monkeypatch):
    """Child processes find the scripted generator by its entry point, as they would find a user's plug-in."""
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(PLUGINS), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    )


def wait_for(condition, timeout_s=60.0):
    """Poll until `condition()` gives something; fails after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    pytest.fail("what was waited for did not come")


class HeldClock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.seconds = 1_000_000.0

    def now_ms(self) -> int:
        return round(self.seconds * 1000)

    def monotonic_s(self) -> float:
        return self.seconds


@pytest.fixture
def clock():
    return HeldClock()


SCRIPTED = """
campaign: {{name: scripted}}
science: {{realizations: {realizations}, redshifts: {redshifts}}}
generator: scripted
strategy: {{defaults: {options}}}
execution: {{batch_size: {batch_size}, max_retries: 2, retry_delay_s: 0.05, flush_interval_s: 0.5, timeout_hours: 0.01}}
resources: {{slots: 2}}
outputs: {{base_path: {base}}}
"""


@pytest.fixture
def scripted_yaml(tmp_path):
    """Writes the YAML of a campaign of the scripted generator; returns its path."""

    def write(realizations="4", redshifts="[0.5, 1.0, 2.0]", options="{}", batch_size=3, extra=""):
        path = tmp_path / "scripted.yaml"
        text = SCRIPTED.format(
            realizations=realizations,
            redshifts=redshifts,
            options=options,
            batch_size=batch_size,
            base=tmp_path / "campaigns",
        )
        path.write_text(text + extra)
        return path

    return write


def load(path, *settings, **keywords) -> Config:
    """Load a configuration as the commands do."""
    return load_config(path, settings=settings, find_options=lambda name: find(name).options, **keywords)


@pytest.fixture
def scripted_plan(scripted_yaml):
    """The plan of a small scripted campaign."""

    def make(*settings, **keywords):
        config = load(scripted_yaml(**keywords), *settings)
        return make_plan(config, find("scripted"), os.path.exists)

    return make


@pytest.fixture
def object_store(monkeypatch):
    """An S3 that listens at the loopback: gives a client, once a bucket of some name is in it."""
    boto3, moto = pytest.importorskip("boto3"), pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    with contextlib.closing(boto3.client("s3", region_name="us-east-1")) as client:

        def make(name):
            client.create_bucket(Bucket=name)
            return client

        yield make
    server.stop()
