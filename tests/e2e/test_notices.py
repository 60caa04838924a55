"""People are told what they want to know of a run, by a command of theirs; a command that fails is in nobody's way."""

import json
import sys

import pytest
from ruamel.yaml import YAML

from campaign import conduct, opening
from campaign.errors import StoppedError, UsageError

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


def test_services_are_those_of_apprise(run, caplog, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "apprise" else object())
    assert run(urls=["json://127.0.0.1:1"])[0].exit_code == 0
    assert "pip install 'campaign[notify]'" in caplog.text


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"command": []}, "give `command`, or `urls`"),
        ({"on": ["sunset"]}, "notify.on"),
        ({"on": []}, "at least 1"),
        ({"failure_rate": 2}, "less than 1"),
    ],
)
def test_what_nobody_can_be_told(run, section, said):
    with pytest.raises(UsageError, match=said):
        run(**section)
