"""Any executable as a generator: what it is given, what is read of it, what goes wrong."""

import os
import sys
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from campaign.adapters.local import SystemClock
from campaign.attempt import run_attempt
from campaign.core.model import Outcome
from campaign.errors import ProductError, UsageError
from campaign.generators.command import Command, CommandOptions
from campaign.generators.command.spice import read_raw
from campaign.testing.contracts import GeneratorContract, example_task

POINT = {"R": 1000, "C": 1e-12, "way": "up"}


class TestCommand(GeneratorContract):
    @pytest.fixture
    def generator(self):
        return Command()

    @pytest.fixture
    def config(self):
        return options(
            argv=["sh", "-c", "printf '{\"fc\": %s}' {{ R }} > out.json; cat in.txt > copy.txt; echo tau={{ R * C }}"],
            files={"in.txt": {"text": "R={{ R }}\n"}},
            products=["out.json", "copy.txt"],
            measure={"fc": {"json": "out.json", "key": "fc"}, "tau": {"regex": r"tau=(\S+)"}},
        )

    @pytest.fixture
    def point(self):
        return POINT


def options(**given):
    return CommandOptions.model_validate(given).model_dump(mode="json")


@pytest.fixture
def run(tmp_path):
    """The record of one job of a command, and the directory of its product."""

    def make(point=POINT, **given):
        task = example_task(Command(), options(**given), point)
        return run_attempt(task, Command(), tmp_path, SystemClock()), tmp_path / task.product

    return make


def test_input_files_are_filled_in_and_only_products_are_kept(run):
    record, product = run(
        argv=["sh", "-c", "cp {{ name }}.cir kept.txt; echo $LEVEL > level.txt; touch other"],
        files={"{}".format("deck/in.cir"): {"text": "r {{ R }} {{ '%.1e' % C }} {{ way }} {{ seed }}\n"},
               "job_0000.cir": {"text": "{{ R }}\n"}},
        products=["kept.txt", "level.txt", "deck/in.cir"],
        environment={"LEVEL": "3"},
    )  # fmt: skip
    assert record.outcome is Outcome.COMPLETED, record.failure
    kept = {str(path.relative_to(product)): path.read_text() for path in product.rglob("*") if path.is_file()}
    assert kept.keys() == {"kept.txt", "level.txt", "deck/in.cir"}
    assert (kept["kept.txt"], kept["level.txt"]) == ("1000\n", "3\n")
    assert kept["deck/in.cir"].startswith("r 1000 1.0e-12 up ")
    assert [product_.path for product_ in record.products] == [
        f"catalogs/job_0000/{name}" for name in ("deck/in.cir", "kept.txt", "level.txt")
    ]


WRITES = """
printf 't,fc\\n1,5\\n2,7\\n' > out.csv
echo n=9 > out.txt
echo '{"fits": [{}, {"chi2": 2.5}]}' > out.json
printf 'fc = 3\\nfc = 12\\n40 points\\n'
"""


@pytest.mark.parametrize(
    ("measure", "value"),
    [
        ({"json": "out.json", "key": "fits.1.chi2"}, 2.5),
        ({"csv": "out.csv", "column": "fc"}, 7.0),
        ({"csv": "out.csv", "column": "fc", "row": 0}, 5.0),
        ({"regex": r"^fc *= *(\S+)"}, 12.0),
        ({"regex": r"\d+ points", "dtype": "str"}, "40 points"),
        ({"regex": r"n=(\d+)", "file": "out.txt", "dtype": "i8"}, 9),
        ({"python": "measure.py:both"}, 1009.0),
    ],
)
def test_what_is_measured(run, tmp_path, monkeypatch, measure, value):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "measure.py").write_text(
        "def both(directory, point):\n    return point['R'] + int((directory / 'out.txt').read_text()[2:])\n"
    )
    record, _ = run(
        argv=["sh", "-c", WRITES],
        measure={"value": measure},
    )  # fmt: skip
    assert record.outcome is Outcome.COMPLETED, record.failure
    assert record.measurements == {"value": value}
    assert record.products == ()


@pytest.mark.parametrize(
    ("given", "words", "transient"),
    [
        ({"argv": ["/no/such/program"]}, "can't be started", False),
        ({"argv": ["sh", "-c", "echo diverged; exit 3"]}, "exit status 3: diverged\nit said:\ndiverged", True),
        ({"argv": ["sh", "-c", "kill -SEGV $$"]}, "signal 11 (SIGSEGV)", True),
        ({"argv": ["true"], "products": ["a.raw"]}, "true did not write a.raw, and said nothing", True),
        ({"argv": ["sh", "-c", ": > a"], "products": ["a"]}, "a is empty", True),
        ({"argv": ["echo", "x"], "measure": {"v": {"regex": "v=(.*)"}}}, "nothing in stdout matches", True),
        ({"argv": ["echo", "v=x"], "measure": {"v": {"regex": "v=(.*)"}}}, "v is no number: 'x'", True),
        ({"argv": ["true"], "measure": {"v": {"json": "o.json", "key": "a"}}}, "did not write o.json", True),
        ({"argv": ["sh", "-c", "echo '{' > o"], "measure": {"v": {"json": "o", "key": "a"}}}, "o is no JSON", True),
        ({"argv": ["sh", "-c", "echo '{}' > o"], "measure": {"v": {"json": "o", "key": "a.b"}}}, "no 'a.b'", True),
        ({"argv": ["sh", "-c", "echo a > o"], "measure": {"v": {"csv": "o", "column": "b"}}}, "columns none", True),
        ({"argv": ["sh", "-c", "echo a > o"], "measure": {"v": {"raw": "o", "vector": "b"}}}, "no raw file", True),
        ({"argv": ["true"], "measure": {"v": {"python": "no_such_module:f"}}}, "can't be loaded", False),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_said(run, given, words, transient):
    record, product = run(**given)
    assert record.outcome is Outcome.FAILED
    assert words in record.failure.message
    assert record.failure.transient is transient
    assert not (given.get("products") and product.exists())


def test_a_program_that_floods_its_output_is_heard_at_both_ends(run):
    record, _ = run(
        argv=[sys.executable, "-c", "print('first=1'); print('x' * 50_000_000); print('last=2')"],
        measure={"first": {"regex": "first=(.*)"}, "last": {"regex": "last=(.*)"}},
    )
    assert record.measurements == {"first": 1.0, "last": 2.0}


def test_a_program_that_leaves_a_child_behind_is_not_waited_for(run):
    record, _ = run(argv=["sh", "-c", "sleep 30 & echo v=1"], measure={"v": {"regex": "v=(.*)"}})
    assert record.measurements == {"v": 1.0}
    assert record.duration_s < 10


def test_a_program_is_found_from_where_the_campaign_is_started(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    program = tmp_path / "solve"
    program.write_text("#!/bin/sh\necho v=$1\n")
    program.chmod(0o755)
    record, _ = run(argv=["./solve", "{{ R + 1 }}"], measure={"v": {"regex": "v=(.*)"}})
    assert record.measurements == {"v": 1001.0}


@pytest.mark.parametrize(
    ("text", "words"),
    [("{{ L }}", "'L' is undefined"), ("{{ R", "can't be filled in"), ("{{ R / 0 }}", "division"), ("{{ ''.__class__ }}", "unsafe")],
)  # fmt: skip
def test_a_template_that_can_not_be_filled_in_is_refused_before_anything_runs(text, words):
    with pytest.raises(UsageError, match=words) as caught:
        Command().check(options(argv=["cat", "x"], files={"x": {"text": f"a\n{text}\n"}}), POINT)
    assert "there are: R, C, way, seed, name, job" in str(caught.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"argv": []}, "at least 1"),
        ({"products": ["../up"]}, "inside the directory"),
        ({"files": {"/etc/passwd": {"text": ""}}}, "inside the directory"),
        ({"files": {"a": "no-such-template"}}, "can't be read"),
        ({"measure": {"v": {}}}, "one of json"),
        ({"measure": {"v": {"json": "a"}}}, "needs `key`"),
        ({"measure": {"v": {"regex": "("}}}, "no regular expression"),
        ({"measure": {"a b": {"regex": "x"}}}, "match pattern"),
        ({"argv": ["x" * 200_000]}, "at most 100000"),
    ],
)  # fmt: skip
def test_options_that_can_not_work_are_refused(given, words):
    with pytest.raises(ValidationError, match=words):
        CommandOptions.model_validate(given)


def test_the_text_of_a_template_decides_and_not_its_place(tmp_path):
    for place in ("a", "b"):
        (tmp_path / place).write_text("R={{ R }}")
    one, other = (options(files={"in": {"template": str(tmp_path / place)}}) for place in ("a", "b"))
    assert one == other
    assert CommandOptions.model_validate(one).files["in"].text == "R={{ R }}"


ASCII = """Title: * rc
Date: today
Plotname: AC Analysis
Flags: complex
No. Variables: 2
No. Points: 2
Variables:
\t0\tfrequency\tfrequency\tgrid=3
\t1\tv(out)\tvoltage
Values:
 0\t1.0e+00,0.0e+00
\t9.0e-01,-1.0e-01

 1\t1.0e+01,0.0e+00
\t5.0e-01,-5.0e-01

"""


def test_raw_files_in_text_and_binary(tmp_path):
    text, binary = tmp_path / "a.raw", tmp_path / "b.raw"
    text.write_text(ASCII)
    values = np.array([[1, 0.9 - 0.1j], [10, 0.5 - 0.5j]], dtype="c16")
    binary.write_bytes(ASCII.partition("Values:\n")[0].encode() + b"Binary:\n" + values.tobytes())
    for path in (text, binary):
        found = read_raw(path)
        assert list(found) == ["frequency", "v(out)"]
        assert np.allclose(found["v(out)"], values[:, 1])
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(ProductError, match="less than 2 points"):
            read_raw(path)


def test_environment_of_the_slot_reaches_the_program(run, monkeypatch):
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "3")
    record, _ = run(argv=["sh", "-c", "echo n=$OMP_NUM_THREADS"], measure={"n": {"regex": "n=(.*)", "dtype": "i8"}})
    assert record.measurements == {"n": 3}


def test_a_second_attempt_has_a_directory_of_its_own(run, tmp_path):
    given = {"argv": ["sh", "-c", "ls > n"], "products": ["n"]}
    record, product = run(**given)
    again = run_attempt(
        replace(example_task(Command(), options(**given), POINT), attempt=2), Command(), tmp_path, SystemClock()
    )
    assert again.notes == ("the same product was already there",)
    assert (product / "n").read_text() == "n\n"
    assert record.products == again.products
    assert not list((tmp_path / "catalogs").rglob("*.tmp"))
