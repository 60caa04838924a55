"""Runs of ours are the registry's runs: reported at once, later, or never in the way of a run."""

import http.server
import json
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest
import uvicorn

from campaign import conduct, opening, reporting
from campaign.adapters.lock import CampaignLock
from campaign.core.model import Registration
from campaign.errors import LockedError, UsageError
from campaign.layout import Layout
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
    url = f"sqlite:///{tmp_path}/registry.db"
    EventStore(url).close()
    return url


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


def waiting(root):
    """Operations that wait to be told."""
    boxes = [json.loads(path.read_text()) for path in sorted((root / "metadata").glob("registry*.json"))]
    return [entry["operation"] for box in boxes for entry in box["entries"]]


WHOLE = ["register_campaign", "start_campaign", "register_run", "start_run", "complete_run"]


def test_a_registry_that_is_away_is_told_later(scripted_yaml, run, tmp_path, caplog):
    away, root = tmp_path / "away", tmp_path / "campaigns" / "v1.0_scripted"
    url = f"sqlite:///{away}/registry.db"
    assert run(extra=f"registry: {{url: '{url}'}}").exit_code == 0
    assert "it is told later" in caplog.text
    assert waiting(root) == WHOLE
    away.mkdir()
    for words in (["init", "--url", url], ["report", str(root)]):
        done = subprocess.run(
            [sys.executable, "-m", "campaign", "registry", *words], capture_output=True, text=True, check=True
        )
    assert "0 reports are left" in done.stdout
    (campaign,), (entry,) = seen(connect(url))
    assert (campaign["run_count"], entry["status"]) == (1, "Completed")


class Odd(http.server.BaseHTTPRequestHandler):
    """A server that is no registry."""

    def do_POST(self):
        way, seen = self.server.way, self.server.seen
        seen.append((self.path, self.headers.get("Authorization")))
        if way == "hangs":
            self.server.over.wait(60)
        if way == "redirects":
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/elsewhere")
            self.end_headers()
            return
        if way == "speaks another language":
            self.wfile.write(b"SSH-2.0-x\r\n")
            return
        self.send_response(503 if way == "is cut off" else 200)
        self.send_header("Content-Length", "1000" if way == "is cut off" else "20")
        self.end_headers()
        self.wfile.write(b"<html>log in!</html>" if way == "asks to log in" else b"[1, 2, 3, 4, 5, 6, 7]"[:20])

    do_GET = do_POST  # noqa: N815 - as the library calls it

    def log_message(self, *_):
        """Nothing."""


WAYS = ["hangs", "redirects", "speaks another language", "is cut off", "asks to log in", "answers a list"]


@pytest.mark.parametrize("way", WAYS)
def test_whatever_a_server_does_the_run_goes_on(run, tmp_path, monkeypatch, way):
    monkeypatch.setattr(reporting, "PATIENCE_S", 1.0)
    secret = tmp_path / "token"
    secret.write_text("secret")
    secret.chmod(0o600)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Odd) as server:
        server.way, server.seen, server.over = way, [], threading.Event()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert (
            run(f"registry.url=http://127.0.0.1:{server.server_port}", f"registry.token_file={secret}").exit_code == 0
        )
        server.over.set()
        server.shutdown()
    assert {path for path, _ in server.seen} == {"/campaigns"}
    assert waiting(tmp_path / "campaigns" / "v1.0_scripted") == WHOLE


@pytest.mark.parametrize(
    "settings",
    [
        ["registry.url=http://127.0.0.1:notaport"],
        ["registry.url=postgresql://127.0.0.1:notaport/x"],
        ["registry.url=sqlite+nothing:///x.db"],
        ["registry.url=sqlite:////dev/null"],
        ["registry.url=http://127.0.0.1:1", "registry.token_file=/nowhere"],
    ],
)
def test_whatever_is_configured_the_run_goes_on(run, tmp_path, settings):
    assert run(*settings).exit_code == 0
    assert waiting(tmp_path / "campaigns" / "v1.0_scripted") == WHOLE


@pytest.mark.parametrize("content", ["[]", "{", '{"entries": 3}'])
def test_an_outbox_that_is_spoilt_is_begun_anew(run, database, tmp_path, content):
    run(f"registry.url={database}")
    (box,) = (tmp_path / "campaigns" / "v1.0_scripted" / "metadata").glob("registry*.json")
    box.write_text(content)
    assert run(f"registry.url={database}").exit_code == 0
    assert [entry["status"] for entry in seen(connect(database))[1]] == ["Completed"] * 2


def test_what_the_registry_refuses_for_good_is_said_and_not_told_again(run, database, tmp_path, caplog):
    store = EventStore(database)
    with served(store) as url:
        _, token = Principals(store).create("cluster", Role.OPERATOR, now_utc())
        secret = tmp_path / "token"
        secret.write_text(token)
        secret.chmod(0o600)
        assert run(f"registry.url={url}", f"registry.token_file={secret}", "registry.tags=[' ']").exit_code == 0
    assert "register_campaign is refused" in caplog.text
    campaigns, (entry,) = seen(connect(database))
    assert (campaigns, entry["status"], entry["campaign_id"]) == ([], "Completed", None)
    assert waiting(tmp_path / "campaigns" / "v1.0_scripted") == []


def test_a_change_of_the_section_concerns_later_runs_only(run, database, tmp_path):
    asked = DatabaseClient(database)
    a, b = (
        asked.call("register_campaign", {"name": name, "intent": "Block", "lead_actor_id": str(me())})["campaign_id"]
        for name in "ab"
    )
    other = f"sqlite:///{tmp_path}/other.db"
    EventStore(other).close()
    run(f"registry.url={database}", f"registry.campaign_id={a}")
    run(f"registry.url={database}", f"registry.campaign_id={b}")
    run(f"registry.url={database}")
    run(f"registry.url={other}")
    campaigns, entries = seen(asked)
    own = campaigns[2]["campaign_id"]
    assert [entry["campaign_id"] for entry in entries] == [a, b, own]
    (campaign,), (entry,) = seen(connect(other))
    assert entry["campaign_id"] == campaign["campaign_id"]


def test_a_killed_shard_is_reported_by_whoever_comes_next(run, database, tmp_path):
    root = tmp_path / "campaigns" / "v1.0_scripted"
    registration = Registration(database, "", "", {"name": "x", "intent": "Sweep"})
    (root / "metadata").mkdir(parents=True)
    reporting.Reporter(registration, Layout(root, "shard-0-of-2"), "lost").begin(even_if_held=False)
    run(f"registry.url={database}")
    lost, done = seen(connect(database))[1]
    assert (lost["status"], lost["last_status_reason"]) == ("Aborted", "the coordinator was lost")
    assert done["status"] == "Completed"


def test_a_second_coordinator_reports_nothing(run, database, tmp_path):
    layout = Layout(tmp_path / "campaigns" / "v1.0_scripted")
    layout.metadata.mkdir(parents=True)
    lock = CampaignLock(layout.metadata)
    box = CampaignLock(layout.metadata, f"{reporting.box_path(layout, database).stem}.lock")
    with pytest.raises(LockedError):
        run(f"registry.url={database}")
    box.release()
    lock.release()
    assert seen(connect(database)) == ([], [])


def test_what_can_not_be_said_in_words_is_said_all_the_same(database, tmp_path):
    registration = Registration(database, "", "", {"name": "x", "intent": "Sweep"})
    layout = Layout(tmp_path)
    layout.metadata.mkdir()
    reporter = reporting.Reporter(registration, layout, "x")
    reporter.begin(even_if_held=False)
    reporter.end("abort_run", "no \0 such \udcff file")
    assert seen(connect(database))[1][0]["last_status_reason"] == "no   such   file"


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
    path = scripted_yaml(realizations="400", options="{seconds: 0.3}", extra=f"registry: {{url: '{database}'}}")
    command = [sys.executable, "-m", "campaign.run", path, "--plain", "--dashboard", "off"]
    progress = tmp_path / "campaigns" / "v1.0_scripted" / "metadata" / "progress.json"

    def begun():
        progress.unlink(missing_ok=True)  # of a run that was killed
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(progress.exists)
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
    assert "has a token" in typed("token", "create", "ada", code=2)
    typed("token", "revoke", "ada")
    assert "revoked" in typed("token", "list")
    assert "campaign_" in typed("token", "create", "ada")
    assert "revoked" not in typed("token", "list")


def test_a_misspelt_database_is_not_made(tmp_path):
    url = f"sqlite:///{tmp_path}/typo.db"
    done = subprocess.run(
        [sys.executable, "-m", "campaign", "registry", "list-campaigns", "--url", url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, list(tmp_path.iterdir())) == (3, [])
    assert "campaign registry init" in done.stderr
