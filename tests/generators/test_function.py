"""Any Python function as a generator."""

import pytest
from pydantic import ValidationError

from campaign.adapters.local import SystemClock
from campaign.attempt import run_attempt
from campaign.core.model import Outcome
from campaign.errors import UsageError
from campaign.generators.function import Function, FunctionOptions
from campaign.testing.contracts import GeneratorContract, example_task


def options(**given):
    return FunctionOptions.model_validate(given).model_dump(mode="json")


def power(x, y):
    return x**y


class TestFunction(GeneratorContract):
    @pytest.fixture
    def generator(self):
        return Function()

    @pytest.fixture
    def config(self):
        return options(call=f"{__name__}:power", returns={"power": {}})

    @pytest.fixture
    def point(self):
        return {"x": 2.0, "y": 3.0}


@pytest.fixture
def script(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.py").write_text(
        "def both(a, b=2, *, seed=0):\n    return {'sum': a + b, 'seeded': float(seed > 0)}\n\n\ndef fails(a):\n    raise ArithmeticError('no root')\n"
    )


def ran(point, directory, **given):
    return run_attempt(example_task(Function(), options(**given), point), Function(), directory, SystemClock())


def test_a_function_of_a_file_is_called_with_parameters_arguments_and_seed(script, tmp_path):
    record = ran(
        {"a": 1}, tmp_path, call="study.py:both", arguments={"b": 5}, returns={"sum": {"dtype": "i8"}, "seeded": {}}
    )
    assert record.outcome is Outcome.COMPLETED, record.failure
    assert record.measurements == {"sum": 6, "seeded": 1.0}


def test_what_a_function_raises_is_in_the_record(script, tmp_path):
    record = ran({"a": 1}, tmp_path, call="study.py:fails")
    assert (record.failure.error_class, record.failure.message) == ("ArithmeticError", "no root")


@pytest.mark.parametrize(
    ("given", "point", "words"),
    [
        ({"call": "study.py:absent"}, {"a": 1}, "has no attribute 'absent'"),
        ({"call": "no.py:f"}, {"a": 1}, "can't be loaded"),
        ({"call": "study.py:both"}, {"z": 1}, "can't be called with z"),
    ],
)
def test_a_function_that_can_not_be_called_is_refused_before_anything_runs(script, given, point, words):
    with pytest.raises(UsageError, match=words):
        Function().check(options(**given), point)


def test_options_that_can_not_work_are_refused():
    for given in ({"call": "math"}, {"returns": {}}, {"returns": {"a": {"dtype": "c16"}}}):
        with pytest.raises(ValidationError):
            FunctionOptions.model_validate(given)
