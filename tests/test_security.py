"""Only those who belong: certificates, permissions, paths, YAML."""

import asyncio
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from campaign import opening
from campaign.adapters.local import SystemClock
from campaign.attempt import run_attempt
from campaign.core.model import Outcome
from campaign.errors import ConfigError, JobError, UsageError
from campaign.generators import find
from campaign.layout import Layout
from campaign.showing import ways_in
from tests.conftest import load

SOURCE = Path(__file__).parents[1] / "src"


def test_nobody_gets_in_without_the_certificate_of_this_run(tmp_path):
    from distributed import Client, Scheduler
    from distributed.security import Security

    from campaign.adapters.dask import Credentials

    ours, others = Credentials.make(tmp_path), Credentials.make(tmp_path)

    async def knock(security):
        async with Scheduler(
            host="127.0.0.1", port=0, protocol="tls", security=ours.security, dashboard=False
        ) as scheduler:
            address = scheduler.address if security else scheduler.address.replace("tls://", "tcp://")
            async with Client(address, asynchronous=True, security=security or Security(), timeout=2) as client:
                return await client.scheduler.identity()

    assert asyncio.run(knock(ours.security))["address"].startswith("tls://")
    for stranger in (others.security, None):
        with pytest.raises((OSError, TimeoutError)):
            asyncio.run(knock(stranger))


def test_keys_are_readable_for_their_user_only_and_go_with_the_run(tmp_path):
    from campaign.adapters.dask import Credentials

    made = Credentials.make(tmp_path)
    assert stat.S_IMODE(made.directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in made.directory.iterdir()} == {0o600}
    made.remove()
    assert list(tmp_path.iterdir()) == []


def test_the_ways_to_the_dashboard_are_told(monkeypatch):
    monkeypatch.delenv("JUPYTERHUB_SERVICE_PREFIX", raising=False)
    told = ways_in("http://127.0.0.1:8787/campaign on nid0001")
    assert "ssh -N -L 8787:127.0.0.1:8787 " in told
    assert "JupyterHub" not in told
    assert ways_in("http://10.0.0.1:8787/campaign") == ""
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/ada/")
    assert "/user/ada/proxy/8787/campaign" in ways_in("http://127.0.0.1:8787/campaign on nid0001")


@pytest.mark.parametrize("product", ["../outside.txt", "/tmp/outside.txt", "catalogs/../../outside.txt"])
def test_a_product_that_would_leave_the_directory_is_refused(product, scripted_plan, tmp_path):
    task = replace(scripted_plan().task(0, 1, 0), product=product)
    record = run_attempt(task, find("scripted"), tmp_path / "inner", SystemClock())
    assert record.outcome is Outcome.FAILED
    assert "leaves the campaign's directory" in record.failure.message
    with pytest.raises(JobError, match="leaves the campaign's directory"):
        Layout(tmp_path).inside(product)
    assert not (tmp_path / "outside.txt").exists()


@pytest.mark.parametrize(
    "scheme", ["../{redshift}", "x/../../../{redshift}", "{redshift.__class__}", "{redshift!r}/../.."]
)
def test_a_naming_scheme_that_leaves_the_directory_is_refused(scripted_yaml, scheme):
    def plan():
        return opening.lay_out(load(scripted_yaml(), f"outputs.naming_scheme='{scheme}'"), find("scripted"))

    with pytest.raises(UsageError):
        plan()


def test_yaml_makes_no_objects(scripted_yaml, tmp_path):
    path = scripted_yaml()
    marker = tmp_path / "made"
    path.write_text(path.read_text() + f"machine: !!python/object/apply:os.system ['touch {marker}']\n")
    with pytest.raises(ConfigError):
        load(path)
    assert not marker.exists()


def test_a_record_that_claims_a_file_elsewhere_harms_nothing(tmp_path):
    from campaign import examine
    from campaign.core.model import Product

    outside = tmp_path / "precious"
    outside.write_text("mine")
    layout = Layout(tmp_path / "campaign")
    product = Product("../precious", 4, "0" * 64)
    assert "leaves the campaign's directory" in examine._looking(layout, hashed=True)(product)
    assert outside.read_text() == "mine"


def test_nothing_of_ours_unpickles_or_asks_a_shell():
    banned = (
        "import pickle",
        "import dill",
        "cloudpickle",
        "shell=True",
        "os.system(",
        "allow_pickle=True",
        "yaml.unsafe",
    )
    for path in SOURCE.rglob("*.py"):
        text = path.read_text()
        assert not [word for word in banned if word in text], path


def test_an_order_file_of_somebody_else_is_only_data(tmp_path):
    from campaign.adapters import orders

    (tmp_path / orders.FILE).write_text('{"order": "__import__(\'os\').abort()"}')
    assert orders.read(tmp_path) is None
