"""Runs of ours are the registry's runs: reported at once, later, or never in the way of a run."""

import json
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest
import uvicorn

from campaign import conduct, opening
from campaign.errors import UsageError
from campaign.registry.client import DatabaseClient, HttpClient, connect, me, read_token
from campaign.registry.errors import CampaignNotFoundError, RegistryUnavailableError
from campaign.registry.operations import Role
from campaign.registry.service import Registry, now_utc
from campaign.registry.serving import application
from campaign.registry.store import EventStore
from campaign.registry.tokens import Doorkeeper, Principals
from tests.conftest import wait_for

QUIET = conduct.Options(plain=True, dashboard=None)


@pytest.fixture
def database(tmp_path):
    return f"sqlite:///{tmp_path}/registry.db"


@pytest.fixture
def run(scripted_yaml):
    """Run a small campaign of the scripted generator in this process; how it ended."""

    def make(*settings, options=QUIET, **given):
        path = scripted_yaml(realizations="2", **given)
        config, generator = opening.read_config(path, settings)
        return conduct.run_campaign(config, generator, options)

    return make


@contextmanager
def served(store):
    """A server on a port of the loopback; its URL."""
    app = application(Registry(store), Doorkeeper(Principals(store)))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_for(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)


def seen(asked):
    """(campaigns, runs) of a registry."""
    return asked.call("list_campaigns", {"status": ["all"]})["campaigns"], asked.call("list_runs", {})["runs"]


def test_a_run_is_registered_started_and_completed(run, database):
    run(f"registry.url={database}", "registry.tags=[roman, mocks]", "registry.intent=Series")
    run(f"registry.url={database}")
    (campaign,), (first, second) = seen(connect(database))
    assert (campaign["name"], campaign["status"], campaign["run_count"]) == ("scripted v1.0", "Active", 2)
    assert (campaign["intent"], campaign["tags"], campaign["lead_actor_id"]) == (
        "Series",
        ["mocks", "roman"],
        str(me()),
    )
    assert [(entry["status"], entry["campaign_id"]) for entry in (first, second)] == [
        ("Completed", campaign["campaign_id"])
    ] * 2
    assert first["directory"].endswith("campaigns/v1.0_scripted")


def test_over_http_with_a_token(run, database, tmp_path):
    store, secret = EventStore(database), tmp_path / "token"
    _, token = Principals(store).create("cluster", Role.OPERATOR, now_utc())
    secret.write_text(token)
    secret.chmod(0o600)
    with served(store) as url:
        run(f"registry.url={url}", f"registry.token_file={secret}")
        (campaign,), (entry,) = seen(HttpClient(url, read_token(secret)))
        assert (campaign["status"], entry["status"]) == ("Active", "Completed")
        with pytest.raises(CampaignNotFoundError):
            HttpClient(url, token).call("get_campaign", {"campaign_id": str(me())})
    with pytest.raises(RegistryUnavailableError):
        HttpClient(url, token).call("list_runs", {})
    secret.chmod(0o644)
    with pytest.raises(UsageError, match="others may read"):
        read_token(secret)


def test_a_registry_that_is_away_is_told_later(run, database, tmp_path, caplog):
    away = tmp_path / "away"
    url = f"sqlite:///{away}/registry.db"
    assert run(f"registry.url={url}").exit_code == 0
    assert "it is told later" in caplog.text
    waiting = json.loads((tmp_path / "campaigns" / "v1.0_scripted" / "metadata" / "registry.json").read_text())
    assert [entry["operation"] for entry in waiting["entries"]] == [
        "register_campaign", "start_campaign", "register_run", "start_run", "complete_run",
    ]  # fmt: skip
    away.mkdir()
    words = ["registry", "report", str(tmp_path / "campaigns" / "v1.0_scripted"), "--url", url]
    done = subprocess.run([sys.executable, "-m", "campaign", *words], capture_output=True, text=True, check=True)
    assert "0 reports are left" in done.stdout
    (campaign,), (entry,) = seen(connect(url))
    assert (campaign["run_count"], entry["status"]) == (1, "Completed")


def test_a_run_joins_the_campaign_that_is_named(run, database):
    asked = DatabaseClient(database)
    campaign_id = asked.call("register_campaign", {"name": "ours", "intent": "Block", "lead_actor_id": str(me())})[
        "campaign_id"
    ]
    run(f"registry.url={database}", f"registry.campaign_id={campaign_id}")
    (campaign,), (entry,) = seen(asked)
    assert (campaign["campaign_id"], campaign["run_count"], entry["status"]) == (campaign_id, 1, "Completed")


def test_a_held_campaign_says_so_and_is_run_if_one_insists(run, database):
    asked = DatabaseClient(database)
    campaign_id = asked.call("register_campaign", {"name": "ours", "intent": "Block", "lead_actor_id": str(me())})[
        "campaign_id"
    ]
    asked.call("start_campaign", {"campaign_id": campaign_id})
    asked.call("hold_campaign", {"campaign_id": campaign_id, "reason": "wrong cosmology"})
    settings = (f"registry.url={database}", f"registry.campaign_id={campaign_id}")
    with pytest.raises(UsageError, match=r"held: wrong cosmology[\s\S]*--even-if-held"):
        run(*settings)
    assert seen(asked)[1] == []
    run(*settings, options=conduct.Options(plain=True, dashboard=None, even_if_held=True))
    assert seen(asked)[1][0]["status"] == "Completed"
    assert asked.call("get_campaign", {"campaign_id": campaign_id})["status"] == "Held"


def test_a_closed_campaign_blocks_no_run(run, database):
    asked = DatabaseClient(database)
    campaign_id = asked.call("register_campaign", {"name": "ours", "intent": "Block", "lead_actor_id": str(me())})[
        "campaign_id"
    ]
    asked.call("abandon_campaign", {"campaign_id": campaign_id, "reason": "over"})
    assert run(f"registry.url={database}", f"registry.campaign_id={campaign_id}").exit_code == 0
    (entry,) = seen(asked)[1]
    assert (entry["status"], entry["campaign_id"]) == ("Completed", None)


def test_a_run_that_is_stopped_killed_or_aborted_says_why(scripted_yaml, database, tmp_path):
    path = scripted_yaml(realizations="40", options="{seconds: 0.3}", extra=f"registry: {{url: '{database}'}}")
    command = [sys.executable, "-m", "campaign.run", path, "--plain", "--dashboard", "off"]
    ledger = tmp_path / "campaigns" / "v1.0_scripted" / "metadata" / "progress.json"

    def begun():
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(ledger.exists)
        return running

    stopped = begun()
    stopped.terminate()
    assert stopped.wait(60) == 3
    killed = begun()
    killed.kill()
    killed.wait()
    aborted = begun()
    subprocess.run([sys.executable, "-m", "campaign", "abort", path], check=True, stdout=subprocess.DEVNULL)
    assert aborted.wait(60) == 3
    first, second, third = seen(connect(database))[1]
    assert first["status"] == "Stopped"
    assert first["last_status_reason"].startswith("SIGTERM: ")
    assert (second["status"], second["last_status_reason"]) == ("Aborted", "the coordinator was lost")
    assert (third["status"], third["last_status_reason"]) == ("Aborted", "a person aborted it")


def test_what_is_no_registry(run):
    for url in ("ftp://x", "registry"):
        with pytest.raises(UsageError, match="is no registry"):
            connect(url)


CLI = (
    ("register-campaign", "--name", "mocks", "--intent", "Sweep", "--tags", "a", "--tags", "b",
     "--external-refs", "proposal:GUP-1", "--json"),
)  # fmt: skip


def test_from_the_command_line(database):
    def typed(*words, code=0):
        done = subprocess.run(
            [sys.executable, "-m", "campaign", *words, "--url", database], capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    made = json.loads(typed("registry", *CLI[0]))["campaign_id"]
    assert typed("registry", "start-campaign", made) == "done\n"
    assert "Active" in typed("registry", "list-campaigns")
    assert "external_refs: proposal:GUP-1" in typed("registry", "get-campaign", made)
    assert "must be Planned" in typed("registry", "start-campaign", made, code=2)
    assert "2 events" in typed("registry", "rebuild")
    assert "campaign_" in typed("token", "create", "ada")
    assert "operator ada" in typed("token", "list")
    typed("token", "revoke", "ada")
    assert "revoked" in typed("token", "list")
