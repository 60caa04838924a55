"""The values of a parameter, as they are typed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.core.ranges import Choice, Integers, Range, parse


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.001:0.01:10", (0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.007, 0.008, 0.009, 0.01)),
        ("linear:0:1:3", (0.0, 0.5, 1.0)),
        ("1:-1:3", (1.0, 0.0, -1.0)),
        ("log:1e-12:1e-9:4", (1e-12, 1e-11, 1e-10, 1e-9)),
        ("int:1:9:2", (1, 3, 5, 7, 9)),
        ("int:0:3", (0, 1, 2, 3)),
        ("ladder:10:2:4", (10, 20, 40, 80)),
        ("ladder:0.1:0.5:3", (0.1, 0.05, 0.025)),
        ("1000,2000,5000", (1000, 2000, 5000)),
        ("1,2.5", (1.0, 2.5)),
        ("euler, rk4", ("euler", "rk4")),
        ("3.3", (3.3,)),
    ],
)
def test_what_is_typed_gives_these_values(text, values):
    found = parse(text).values()
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1:2:0", "2 to 10,000,000 values, not 0"),
        ("1:2:-3", "values, not -3"),
        ("1:2:2.5", "2.5 is not a whole number"),
        ("1:1:3", "begins and ends at 1"),
        ("x:1:2", "'x' is not a number"),
        ("1:2:3:4", "a range is START:STOP:COUNT"),
        ("-1e308:1e308:3", "wider than"),
        ("nan:1:2", "'nan' is not a number"),
        ("log:0:1:3", "positive, not 0 and 1"),
        ("int:5:1", "no integer from 5 to 1"),
        ("int:1:5:0", "in steps of 0"),
        ("int:0:1e12", "more than 10,000,000 integers"),
        ("ladder:1:1:3", "ratio that is not 1"),
        ("ladder:1:2", "FIRST:RATIO:LEVELS"),
        ("ladder:1:10:400", "2 to 100 levels"),
        ("ladder:1e200:1e9:90", "not a number of this machine"),
        ("1,,2", "a value is missing"),
        ("", "a value is missing"),
        ("1,1", "1 is there twice"),
        ("1,a", "several types"),
        ("1,inf", "not finite"),
        ("x" * 10_000 + ":1:2", "is not a number"),
    ],
)
def test_what_is_no_range_is_refused_in_words(text, words):
    with pytest.raises(ValueError, match=words.replace("(", r"\(")) as caught:
        parse(text)
    assert len(str(caught.value)) < 500


def test_a_range_without_a_count_is_to_be_drawn_from():
    drawn = parse("log:1:100")
    assert drawn == Range(1.0, 100.0, log=True)
    assert drawn.at(np.array([0.0, 0.5, 1.0])) == (1.0, 10.0, 100.0)
    with pytest.raises(ValueError, match="how many values"):
        drawn.values()


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(0, 1))
def test_what_is_drawn_lies_between_the_ends(start, stop, u):
    (value,) = Range(start, stop).at(np.array([u]))
    slack = 1e-11 * max(abs(start), abs(stop))
    assert min(start, stop) - slack <= value <= max(start, stop) + slack


@given(st.integers(-50, 50), st.integers(0, 50), st.integers(1, 7), st.floats(0, 1, exclude_max=True))
def test_drawn_integers_are_among_the_values(start, more, step, u):
    integers = Integers(start, start + more, step)
    (value,) = integers.at(np.array([u]))
    assert value in integers.values()


def test_each_choice_takes_an_equal_part():
    assert Choice(("a", "b")).at(np.array([0.0, 0.49, 0.5, 0.99])) == ("a", "a", "b", "b")


def test_ends_are_exact_and_neighbours_apart():
    values = Range(0.0, 0.1234567890123, 3).values()
    assert (values[0], values[-1]) == (0.0, 0.1234567890123)
    fine = Range(1_700_000_000.0, 1_700_000_001.0, 1001).values()
    assert len(set(fine)) == 1001
    assert fine[1] == 1_700_000_000.001


@pytest.mark.parametrize("text", ["1:1.0000000000000002:5", "1e300:1.0000000000000002e300:9"])
def test_values_that_are_the_same_number_are_refused(text):
    with pytest.raises(ValueError, match="no distinct numbers"):
        parse(text).values()


@pytest.mark.parametrize("text", ["100000000000000000000", "int:1:100000000000000000000"])
def test_integers_fit_the_dataset(text):
    with pytest.raises(ValueError, match="63 bits"):
        parse(text)
