"""People are told what they want to know of a run, by a command of theirs; a command that fails is in nobody's way."""

import json
import sys
from types import SimpleNamespace

import pytest
from ruamel.yaml import YAML

from campaign import conduct, opening
from campaign.adapters import notices
from campaign.core.notices import Rules
from campaign.errors import StoppedError, UsageError
from campaign.noticing import Noticing
from campaign.outcome import Outcome

NOTE = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read() + chr(10))"


@pytest.fixture
def run(scripted_yaml, tmp_path):
    """Run a small campaign that tells a file; how it ended, and the notices."""
    notes = tmp_path / "notes.jsonl"

    def make(*settings, command=(sys.executable, "-c", NOTE, str(notes)), options="{}", jobs=18, **section):
        path = scripted_yaml(realizations=str(jobs // 3), options=options)
        document = YAML(typ="safe", pure=True).load(path.read_text())
        document["notify"] = {"command": list(command), **section}
        path.write_text(json.dumps(document))
        config, generator = opening.read_config(path, settings)
        outcome = conduct.run_campaign(config, generator, conduct.Options(plain=True, dashboard=None))
        return outcome, [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []

    return make


def test_the_end_is_told(run, tmp_path):
    outcome, (notice,) = run()
    assert outcome.exit_code == 0
    assert notice == {
        "kind": "finished", "words": "18 completed", "campaign": "v1.0 scripted",
        "directory": str(tmp_path / "campaigns" / "v1.0_scripted"),
    }  # fmt: skip


def test_a_campaign_that_fails_everywhere_is_told(run, tmp_path):
    script = (
        "{" + ", ".join(f"r{r:04d}/mock_z{z}: [raise]" for r in range(10) for z in ("0.500", "1.000", "2.000")) + "}"
    )
    with pytest.raises(StoppedError):
        run("execution.max_retries=0", options=f"{{script: {script}}}", jobs=30)
    notices = [json.loads(line) for line in (tmp_path / "notes.jsonl").read_text().splitlines()]
    assert notices[-1]["kind"] == "stopped"


@pytest.mark.parametrize("command", [["/no/such/program"], ["false"], [sys.executable, "-c", "raise SystemExit('no')"]])
def test_a_command_that_fails_is_in_nobody_s_way(run, caplog, command):
    outcome, _ = run(command=command)
    assert outcome.exit_code == 0
    assert "notify: " in caplog.text


def test_services_are_those_of_apprise(run, caplog, monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "apprise" else object())
    (tmp_path / "urls").write_text("# ours\n\njson://127.0.0.1:1\n")
    (tmp_path / "urls").chmod(0o600)
    assert run(urls_file=str(tmp_path / "urls"))[0].exit_code == 0
    assert "pip install 'campaign[notify]'" in caplog.text


def test_what_only_the_owner_may_know_is_not_kept_with_a_campaign(run, tmp_path):
    secret, directory = tmp_path / "urls", tmp_path / "campaigns" / "v1.0_scripted"
    secret.write_text("json://ada:s3cr3t@127.0.0.1:1\n")
    secret.chmod(0o644)
    with pytest.raises(UsageError, match="others may read"):
        run(urls_file=str(secret))
    secret.chmod(0o600)
    assert run(urls_file=str(secret))[0].exit_code == 0
    kept = [path for path in directory.rglob("*") if path.is_file()]
    assert directory / "qa" / "report.html" in kept
    assert not [path for path in kept if b"s3cr3t" in path.read_bytes()]


def test_a_command_of_ours_is_found_from_anywhere(run, tmp_path, monkeypatch):
    (tmp_path / "tell.sh").write_text('#!/bin/sh\ncat >> "$0.notes"\n')
    (tmp_path / "tell.sh").chmod(0o700)
    monkeypatch.chdir(tmp_path)
    run(command=["./tell.sh"])
    config, _ = opening.read_config(tmp_path / "campaigns" / "v1.0_scripted")
    monkeypatch.chdir("/")
    assert config.notify.command == (str(tmp_path / "tell.sh"),)
    assert "finished" in (tmp_path / "tell.sh.notes").read_text()


def test_the_last_notice_is_sent_though_another_hangs(tmp_path, monkeypatch):
    monkeypatch.setattr(notices, "PATIENCE_S", 0.5)
    script = "import sys, json, time, pathlib; n = json.load(sys.stdin); n['kind'] == 'stalled' and time.sleep(60); pathlib.Path(sys.argv[1]).write_text(n['words'])"
    notifier = notices.Notifier([sys.executable, "-c", script, str(tmp_path / "told")])
    for kind, words in (("stalled", "1"), ("failing", "2"), ("finished", "3")):
        notifier.send({"kind": kind, "words": words, "campaign": "c", "directory": "d"})
    notifier.close()
    assert (tmp_path / "told").read_text() == "3"


def test_of_several_allocations_the_last_one_says_that_it_is_finished(clock):
    told, others = [], [True]
    config = SimpleNamespace(notify=SimpleNamespace(rules=Rules()), version="v1.0", name="c", directory="d")
    noticing = Noticing(config, clock, told.append, "shard-001-of-002", lambda: others[0])
    noticing.end(Outcome("d", 0, {"completed": 9}, 9, 9, 0, ""))
    assert told == []
    others[0] = False
    noticing.end(Outcome("d", 0, {"completed": 9}, 9, 9, 0, ""))
    assert told[0]["words"] == "shard-001-of-002: 9 completed"


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"command": []}, "give `command`, or `urls_file`"),
        ({"on": ["sunset"]}, "notify.on"),
        ({"on": []}, "at least 1"),
        ({"failure_rate": 2}, "less than 1"),
    ],
)
def test_what_nobody_can_be_told(run, section, said):
    with pytest.raises(UsageError, match=said):
        run(**section)
