"""What is made of the results of a whole ensemble, and applied to each product: among the jobs themselves, resumed, never stale."""

import json
import signal

import numpy as np
import pytest
import xarray as xr

import campaign
from campaign.core.model import State
from tests.conftest import wait_for
from tests.e2e.commands import campaign as command
from tests.e2e.test_run import finish, start

STUDY = '''
import hashlib
import os
import time
from pathlib import Path

HERE = Path(__file__).parent


def mapping(members, power=1.0):
    """The mean spectrum of all members, and how many there were."""
    with (HERE / "truth").open("a") as file:
        file.write(f"mapping {float(members.redshift)} {members.sizes['realization']} {len(list(HERE.glob('campaigns/*/catalogs/*/*')))}\\n")
    return {"mean_spectrum": members.spectrum.mean("realization") ** power, "count": int(members["count"].sum())}


def corrected(product, target, mean_spectrum, count):
    with (HERE / "truth").open("a") as file:
        file.write(f"corrected {product}\\n")
    time.sleep(float(os.environ.get("APART_S", 0)))
    target.write_text(f"{product.read_text()} {float(mean_spectrum[0]):.3f} {int(count)}")
    return {"shift": float(mean_spectrum[0])}
'''
STAGES = """
stages:
  calibration:
    reduce: realization
    call: study.py:mapping
    needs: [spectrum, count]
    returns: {{mean_spectrum: {{dims: {{bin: [0, 1, 2, 3]}}, units: "Mpc3"}}, count: {{dtype: i8}}}}
    at_least: {at_least}
    here: {here}
  corrected:
    apply: calibration
    call: study.py:corrected
    suffix: .txt
    returns: {{shift: {{}}}}
    here: {here}
"""


@pytest.fixture
def study(scripted_yaml, tmp_path):
    """Writes the YAML of a campaign with two stages."""

    def write(options="{}", at_least=1.0, **given):
        (tmp_path / "study.py").write_text(STUDY)
        stages = STAGES.format(here=tmp_path, at_least=at_least)
        return scripted_yaml(options=options, extra=stages, **given)

    return write


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "campaigns" / "v1.0_scripted"


def run(path, *options):
    return finish(start(path, *options))


def results(directory, stage=None):
    place = directory / "stages" / f"v1.0_{stage}" if stage else directory
    return xr.open_zarr(place / "results.zarr").load()


def truth(tmp_path):
    return [line.split() for line in (tmp_path / "truth").read_text().splitlines()]


def test_a_calibration_in_two_passes(study, directory, tmp_path):
    code, out, err = run(study())
    assert code == 0, err
    assert "calibration: 3 completed; corrected: 12 completed" in out
    made, found = results(directory), results(directory, "calibration")
    expected = made.spectrum.mean("realization")
    np.testing.assert_allclose(found.mean_spectrum, expected.to_numpy())
    assert found.mean_spectrum.dims == ("redshift", "bin")
    assert found["count"].values.tolist() == made["count"].sum("realization").values.tolist()
    assert found.n_members.values.tolist() == [4, 4, 4]
    corrected = results(directory, "corrected")
    assert (corrected.status == State.COMPLETED).all()
    np.testing.assert_allclose(corrected["shift"], np.broadcast_to(expected[:, 0], (4, 3)))
    product = directory / "stages" / "v1.0_corrected" / str(corrected["product"].values[2, 1])
    original = directory / str(made["product"].values[2, 1])
    assert product.read_text() == f"{original.read_text()} {expected.values[1, 0]:.3f} {int(found['count'].values[1])}"
    assert len(set(found.inputs_fingerprint.values.tolist())) == 3
    again = run(study())
    assert again[0] == 0
    assert len(truth(tmp_path)) == 15  # nothing was made twice
    assert "  stages/v1.0_corrected: 12 completed" in command("status", str(directory))[0]
    for stage in ("calibration", "corrected"):
        place = str(directory / "stages" / f"v1.0_{stage}")
        assert json.loads(command("audit", place, "--json")[0])["sound"]
        assert "of " in command("status", place)[0]


@pytest.mark.slow
def test_a_stage_begins_as_soon_as_it_can(study, directory, tmp_path):
    """Redshift by redshift: the first is calibrated while others are still made."""
    path = study(realizations="12", options="{seconds: 0.3}")
    assert run(path, "--set", "execution.order=redshift_major")[0] == 0
    first = next(line for line in truth(tmp_path) if line[0] == "mapping")
    assert first[:3] == ["mapping", "0.5", "12"]
    assert int(first[3]) < 36


@pytest.mark.slow
def test_stages_go_on_where_they_were_killed(study, directory, tmp_path, monkeypatch):
    monkeypatch.setenv("APART_S", "0.3")
    path = study(realizations="10")
    process = start(path)
    wait_for(
        lambda: (tmp_path / "truth").exists() and len([line for line in truth(tmp_path) if line[0] == "corrected"]) > 4
    )
    process.send_signal(signal.SIGKILL)
    process.communicate()
    command("retry", str(directory))  # which takes what is the campaign's out of the journals
    assert run(path)[0] == 0
    assert (results(directory, "corrected").status == State.COMPLETED).all()
    made = [line[1] for line in truth(tmp_path) if line[0] == "corrected"]
    assert len(set(made)) == 30
    assert len(made) <= 30 + 2  # what ran when it was killed
    assert len([line for line in truth(tmp_path) if line[0] == "mapping"]) <= 4


@pytest.mark.slow
def test_an_incomplete_ensemble_is_waited_for_or_enough(study, directory, tmp_path):
    script = "{r0001/mock_z0.500: [fatal]}"
    assert run(study(options=f"{{script: {script}}}"))[0] == 4
    found = results(directory, "calibration")
    assert found.status.values.tolist() == [State.PENDING, State.COMPLETED, State.COMPLETED]
    assert results(directory, "corrected").status.values[:, 0].tolist() == [State.PENDING] * 4
    out, _ = command("preview", str(directory), "calibration")
    preview = results(directory, "preview_calibration")
    assert preview.n_members.values.tolist() == [3, 4, 4]
    assert "preview" in out


@pytest.mark.slow
def test_results_are_made_again_when_what_they_are_made_of_changes(study, directory, tmp_path):
    script = "{r0001/mock_z0.500: [fatal, ok]}"
    path = study(options=f"{{script: {script}}}", at_least=0.5)
    assert run(path)[0] == 4
    before = results(directory, "calibration")
    assert before.n_members.values.tolist() == [3, 4, 4]
    command("retry", str(directory))
    code, _, err = run(path)
    assert code == 0
    assert "stage calibration: 1 results are made again" in err
    after = results(directory, "calibration")
    assert after.n_members.values.tolist() == [4, 4, 4]
    assert after.inputs_fingerprint.values[0] != before.inputs_fingerprint.values[0]
    shift = results(directory, "corrected")["shift"].values
    np.testing.assert_allclose(shift, np.broadcast_to(after.mean_spectrum.values[:, 0], (4, 3)))
    assert campaign.open(directory / "stages" / "v1.0_corrected").n_members.values.min() == 1


GRID = """
campaign: {{name: scripted}}
science: {science}
design: {design}
generator: function
strategy: {{overrides: {{function: {{call: "study.py:value", returns: {{v: {{}}}}, here: {here}}}}}}}
resources: {{slots: 2}}
outputs: {{base_path: {here}/campaigns}}
stages:
  total: {{reduce: {over}, call: "study.py:total", returns: {{total: {{}}}}, here: {here}}}
  each: {{apply: total, call: "study.py:each", returns: {{share: {{}}}}, here: {here}}}
"""
VALUES = """
def value(p=1.0, q=1.0, realization=0):
    return p * q + realization


def total(members):
    return {"total": members.v.sum()}


def each(product, target, total):
    return {"share": float(total)}
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("science", "design", "over", "totals"),
    [
        ("{realizations: 3}", "{method: zip, parameters: {p: [1, 2], q: [3, 4]}}", "realization", [12, 27]),
        ("{}", "{parameters: {p: [1, 2, 4]}}", "p", [7]),
        ("{realizations: 2}", "{method: cases, cases: [{p: 1, q: 5}, {p: 2, q: 6}]}", "case", [17, 19]),
    ],
)
def test_any_design_has_stages(science, design, over, totals, directory, tmp_path):
    (tmp_path / "study.py").write_text(VALUES)
    path = tmp_path / "study.yaml"
    path.write_text(GRID.format(science=science, design=design, over=over, here=tmp_path))
    code, out, err = run(path)
    assert code == 0, out + err
    assert results(directory, "total").total.values.tolist() == totals
    shares = results(directory, "each").share
    assert sorted(set(shares.values.ravel().tolist())) == totals
    for stage in ("total", "each"):  # each can be opened as what it is
        place = directory / "stages" / f"v1.0_{stage}"
        assert json.loads(command("audit", str(place), "--json")[0])["sound"]
        assert "nothing has failed" in command("failures", str(place))[0]


@pytest.mark.slow
def test_a_stage_that_is_declared_otherwise_begins_anew(study, directory, tmp_path):
    path = study()
    assert run(path)[0] == 0
    path.write_text(
        path.read_text().replace("call: study.py:mapping", "call: study.py:mapping\n    arguments: {power: 2.0}")
    )
    code, _, err = run(path)
    assert code == 0
    assert "stage calibration is declared otherwise now" in err
    expected = results(directory).spectrum.mean("realization").to_numpy() ** 2
    np.testing.assert_allclose(results(directory, "calibration").mean_spectrum, expected)
    np.testing.assert_allclose(results(directory, "corrected")["shift"], np.broadcast_to(expected[:, 0], (4, 3)))
    assert (directory / "stages" / "v1.0_calibration.was_1" / "results.zarr").exists()
    assert (
        "preview_calibration" in command("preview", str(directory), "calibration")[0]
    )  # the directory knows its stages


def test_what_does_not_fit_is_told_before_anything_runs(study, tmp_path):
    for old, new, said in (
        ("reduce: realization", "reduce: seed", "an axis: realization, redshift"),
        ("apply: calibration", "apply: nothing", "a stage before it that reduces: calibration"),
        ("suffix: .txt", "suffix: .txt\n    reduce: redshift", "give `reduce`"),
    ):
        path = study()
        path.write_text(path.read_text().replace(old, new))
        _, err = command("validate", str(path), code=2)
        assert said in err
    path = study()
    path.write_text(path.read_text().replace("study.py:mapping", "study.py:nothing"))
    code, _, err = run(path)
    assert code == 2
    assert "nothing" in err


@pytest.mark.slow
def test_stages_are_handed_on_with_their_campaign(study, directory, tmp_path):
    path = study(realizations="2")
    assert run(path)[0] == 0
    path.write_text(
        path.read_text().replace("needs: [spectrum, count]", "needs: [spectrum, count]\n    arguments: {power: 2.0}")
    )
    assert run(path)[0] == 0  # what the stages were stands beside them
    prune = ("prune", str(path), "--set", "cleanup.archived_products=true", "--remove")
    command("archive", str(directory), str(tmp_path / "out"), "--by", "redshift")
    archive = tmp_path / "out" / directory.name
    command("archive", "--verify", str(archive))
    assert (archive / "stages/v1.0_corrected/catalogs/z0.500/r0001/mock_z0.500.txt").exists()
    assert "removed: 6 product" in command(*prune)[0]
    command("restore", str(archive), str(tmp_path / "back"))
    back = tmp_path / "back" / directory.name
    for stage in (None, "calibration", "corrected"):
        xr.testing.assert_identical(results(back, stage), results(directory, stage))
    assert "  stages/v1.0_corrected: 6 completed" in command("status", str(back))[0]
    before = len(truth(tmp_path))
    assert run(back)[0] == 0
    assert len(truth(tmp_path)) == before
