import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.core import identity
from campaign.core.design import Grid
from campaign.core.model import Axis

POINT = {"realization": 3, "redshift": 1.1}


def test_fingerprints_are_what_they_have_always_been():
    config_hash = identity.resolved_config_hash({"b": 1, "a": [1.5, "x"]})
    seed = identity.job_seed(42, POINT)
    assert config_hash == "e79ea905a7e0e5da68c5cc40e38fc4a523c70c63e80c3dd2d8808eff9a1cd703"
    assert seed == 308071782342748768
    assert identity.task_fingerprint("galaxies", POINT, seed, config_hash) == (
        "0f2b2a8353ad72942345071a88d9bd210ff2d6404f8b8786c727951335de377e"
    )
    assert (identity.FINGERPRINT_VERSION, identity.CONFIG_FINGERPRINT_SCHEMA) == (1, 1)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_has_no_fingerprint(bad):
    with pytest.raises(ValueError, match="JSON compliant"):
        identity.resolved_config_hash({"a": bad})


VALUES = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5))


@given(
    st.dictionaries(st.text(min_size=1, max_size=5), st.lists(VALUES, min_size=1, max_size=3), min_size=1, max_size=3)
)
def test_the_points_of_a_grid_are_encoded_as_each_of_them_would_be(axes):
    grid = Grid(tuple(Axis(name, tuple(values)) for name, values in axes.items()))
    assert list(identity.canonical_points(grid.axes)) == [
        identity.canonical_json(grid.point(job)) for job in range(grid.size)
    ]


@given(st.integers(0, 2**32 - 1), st.integers(0, 10**6), st.integers(0, 10**6))
def test_seeds_fit_63_bits_and_differ_between_points(seed, one, other):
    first = identity.job_seed(seed, {"realization": one})
    assert 0 <= first < 2**63
    assert (first == identity.job_seed(seed, {"realization": other})) == (one == other)


@given(st.text(max_size=60))
def test_a_slug_is_one_safe_directory(text):
    slug = identity.slug(text)
    assert slug
    assert set(slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-")
    assert not slug.startswith(".")


@pytest.mark.parametrize(
    ("scheme", "name"),
    [
        ("mock_{redshift}", "r0003/mock_z1.100"),
        ("mock_{cosmology}_{phase}_{redshift}", "r0003/mock_c000_ph3003_z1.100"),
        ("mock", "r0003/mock_z1.100"),  # an axis that the scheme forgets is appended
        ("{realization}_{redshift}", "r0003/r0003_z1.100"),
    ],
)
def test_names_follow_the_scheme(scheme, name):
    assert identity.product_stem(scheme, POINT, {"cosmology": "c000", "phase": "ph3003"}) == name


SWEEP = {"R": 1000, "C": 1e-12, "way": "up"}


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        (None, "R_1000_C_1e-12_way_up"),
        ("parameters", "R_1000_C_1e-12_way_up"),
        ("sequential", "job_0007"),
        ("hash", "job_a3f8b2c1"),
        ("hierarchical", "R_1000/C_1e-12/way_up"),
        ("run_{R}", "run_R_1000_C_1e-12_way_up"),
        ("{way}/{job}", "way_up/0007"),
    ],
)
def test_conventions_have_names(asked, name):
    scheme = identity.naming_scheme(asked, list(SWEEP))
    assert identity.product_stem(scheme, SWEEP, {"job": "0007", "hash": "a3f8b2c1"}) == name


def test_an_ensemble_and_mocks_are_named_as_people_do():
    assert identity.naming_scheme(None, ["realization", "redshift"]) == "mock_{redshift}"
    assert (
        identity.product_stem(identity.naming_scheme(None, ["realization"]), {"realization": 3}, {}) == "r0003/sample"
    )


@given(st.text(max_size=80), st.text(max_size=80))
def test_text_in_a_name_is_safe_and_tells_one_from_another(one, other):
    word = identity.axis_word("way", one)
    assert re.fullmatch(r"way_[A-Za-z0-9.+-]{1,60}", word)
    assert (word == identity.axis_word("way", other)) == (one == other)


def test_an_unknown_field_in_a_scheme_is_refused():
    with pytest.raises(KeyError, match="colour"):
        identity.product_stem("{colour}", POINT, {})
