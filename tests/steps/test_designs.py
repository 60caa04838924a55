"""The `design` section of a configuration: which points there are."""

import numpy as np
import pytest

from campaign.config.designs import sample
from campaign.errors import ConfigError, UsageError
from campaign.generators.function import Function
from campaign.plan import make_plan
from tests.conftest import load


@pytest.fixture
def designed(tmp_path):
    """The axes of a configuration with this design; `science` may be given as well."""

    def make(design, science="{seed: 3}"):
        path = tmp_path / "c.yaml"
        path.write_text(
            f"campaign: {{name: x}}\ngenerator: idle\nscience: {science}\ndesign: {design}\n"
            f"outputs: {{base_path: {tmp_path}}}\n"
        )
        return load(path).axes

    return make


def test_a_grid_has_a_dimension_for_each_parameter(designed):
    axes = designed(
        "{parameters: {R: [1000, 2000], C: 'log:1e-12:1e-9:4', dt: {values: 0.1, units: s, long_name: step}}}"
    )
    assert [(axis.name, len(axis.values)) for axis in axes] == [("R", 2), ("C", 4), ("dt", 1)]
    assert (axes[2].units, axes[2].long_name) == ("s", "step")


def test_realizations_make_an_ensemble_of_every_point(designed):
    axes = designed("{parameters: {R: [1, 2]}}", "{realizations: 3, redshifts: [0.5]}")
    assert [axis.name for axis in axes] == ["realization", "redshift", "R"]


def test_zip_goes_side_by_side(designed):
    (axis,) = designed("{method: zip, parameters: {R: [1, 2], C: [5, 6]}}")
    assert (axis.name, axis.values) == ("case", (0, 1))
    assert [(p.name, p.values) for p in axis.parameters] == [("R", (1, 2)), ("C", (5, 6))]


def test_some_parameters_of_a_grid_may_go_together(designed):
    axes = designed("{parameters: {R: [1, 2], n: [7, 8, 9], C: [5, 6]}, together: [[R, C]]}")
    assert [(axis.name, len(axis.values), len(axis.parameters)) for axis in axes] == [("case", 2, 2), ("n", 3, 1)]


def test_cases_are_listed(designed):
    (axis,) = designed("{method: cases, cases: [{R: 1, C: 2.5}, {R: 2.0, C: 2.5}]}")
    assert [(p.name, p.values) for p in axis.parameters] == [("R", (1.0, 2.0)), ("C", (2.5, 2.5))]


@pytest.mark.parametrize("method", ["lhs", "sobol", "halton"])
def test_drawn_cases_fill_the_space_and_are_the_same_every_time(designed, method):
    pytest.importorskip("scipy")
    text = (
        f"{{method: {method}, samples: 64, parameters: {{R: '0:1', C: 'log:1:1000', n: 'int:1:4', way: [up, down]}}}}"
    )
    (axis,) = designed(text)
    r, c, n, way = (parameter.values for parameter in axis.parameters)
    assert (axis,) == designed(text)
    assert (axis,) != designed(text, "{seed: 4}")
    assert np.histogram(r, 8, (0, 1))[0].min() >= 5
    assert np.histogram(np.log10(c), 3, (0, 3))[0].min() >= 15
    assert set(n) == {1, 2, 3, 4}
    assert set(way) == {"up", "down"}


@pytest.mark.parametrize("method", ["sobol", "halton"])
def test_more_points_begin_with_the_same_ones(method):
    pytest.importorskip("scipy")
    assert np.array_equal(sample(method, 3, 64, 5)[:20], sample(method, 3, 20, 5))


@pytest.mark.parametrize(
    ("design", "key", "words"),
    [
        ("{parameters: {R: '1:2:0'}}", "design.parameters.R", "2 to 10,000,000 values"),
        ("{parameters: {R: '1:2'}}", "design.parameters.R", "how many values"),
        ("{parameters: {R: [1, 1]}}", "design.parameters.R", "there twice"),
        ("{parameters: {R: [1, a]}}", "design.parameters.R", "several types"),
        ("{parameters: {seed: [1, 2]}}", "design.parameters.seed", "means nothing else"),
        ("{parameters: {'a b': [1, 2]}}", "design.parameters.a b", "match"),
        ("{parameters: {}}", "design", "empty"),
        ("{method: zip, parameters: {R: [1, 2], C: [1, 2, 3]}}", "design.parameters", "as many values"),
        ("{parameters: {R: [1], C: [2]}, together: [[R, Z]]}", "design.together.0", "R, C"),
        ("{parameters: {R: [1], C: [2]}, together: [[R, R]]}", "design.together.0", "each parameter once"),
        ("{method: cases, cases: [{R: 1}, {C: 1}]}", "design.cases.1", "as in the first case"),
        ("{method: cases, cases: [{R: 1}, {R: 1}]}", "design.cases", "each case once"),
        ("{method: cases, cases: [{R: 1}, {R: a}]}", "design.cases", "one type"),
        ("{method: lhs, parameters: {R: '0:1'}}", "design", "samples"),
        ("{method: cases, cases: [{a: 1}, {a: 1}]}", "design.cases", "each case once"),
        ("{method: grid, samples: 9, parameters: {n: 'int:1:2'}}", "design", "samples"),
        ("{method: latin, parameters: {R: '0:1'}}", "design.method", "'lhs'"),
    ],
)
def test_what_is_no_design_is_refused_in_words(designed, design, key, words):
    if "lhs" in design:
        pytest.importorskip("scipy")
    with pytest.raises(ConfigError) as caught:
        designed(design)
    told = [(problem.key, problem.allowed) for problem in caught.value.problems]
    assert any(where == key and words in allowed for where, allowed in told), told


def test_two_axes_of_one_name_are_refused(designed):
    with pytest.raises(ConfigError, match="another name"):
        designed("{parameters: {redshift: [1.0, 2.0]}}", "{realizations: 2, redshifts: [0.5]}")


def test_a_campaign_without_any_axis_is_refused(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("campaign: {name: x}\ngenerator: idle\n")
    with pytest.raises(ConfigError, match="realizations, redshifts or a `design`"):
        load(path)


CLASH = """
campaign: {{name: x}}
design: {{parameters: {parameters}}}
generator: function
strategy: {{overrides: {{function: {{call: "math:hypot", returns: {returns}}}}}}}
outputs: {{naming_scheme: {scheme}}}
"""


@pytest.mark.parametrize(
    ("parameters", "returns", "scheme", "said"),
    [
        ("{value: [1, 2], y: [1]}", "{value: {}}", "hash", "two things are called 'value'"),
        ("{x: [1, 2], y: [1]}", "{status: {}}", "hash", "two things are called 'status'"),
        (
            "{redshift: [0.1001, 0.1002], y: [1]}",
            "{value: {}}",
            "parameters",
            "redshift 0.1001 and 0.1002 are both called z0.100",
        ),
        ("{x: [1, 2], y: [1]}", "{value: {}}", "'job_{{x}}'", ""),
        ("{x: [1, 2], y: [1]}", "{value: {}}", "'job_{y}_{{x}}'", ""),
        ("{redshift: [0.1001, 0.1002], y: [1]}", "{value: {}}", "sequential", ""),
    ],
)
def test_names_are_distinct(tmp_path, parameters, returns, scheme, said):
    path = tmp_path / "c.yaml"
    path.write_text(CLASH.format(parameters=parameters, returns=returns, scheme=scheme))
    if said:
        with pytest.raises(UsageError, match=said):
            make_plan(load(path), _Anything(), lambda _: True)
        return
    plan = make_plan(load(path), _Anything(), lambda _: True)
    names = [plan.name(job) for job in range(plan.size)]
    assert len(set(names)) == plan.size


class _Anything(Function):
    """A function of any parameters."""

    def check(self, config, point):
        """It takes them all."""


def test_together_groups_and_a_parameter_of_the_same_name(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(
        "campaign: {name: x}\ngenerator: function\n"
        "design: {parameters: {a: [1, 2], b: [1, 2], c: [1, 2], d: [1, 2], case_0: [1, 2]}, together: [[a, b], [c, d]]}\n"
    )
    with pytest.raises(UsageError, match="two things are called 'case_0'"):
        make_plan(load(path), _Anything(), lambda _: True)


def test_integers_that_are_drawn_twice_are_one_case(designed):
    (axis,) = designed("{method: lhs, samples: 9, parameters: {n: 'int:1:2'}}")
    assert sorted(axis.varies[0].values) == [1, 2]


@pytest.mark.parametrize(
    ("parameters", "said"),
    [("{case_id: [1, 2]}", "a column of run_status.csv"), ("{n: 'int:1:100001'}", "100001 cases")],
)
def test_files_of_cases_have_columns_and_a_limit(tmp_path, parameters, said):
    path = tmp_path / "c.yaml"
    path.write_text(
        f"campaign: {{name: x}}\ngenerator: idle\ndesign: {{parameters: {parameters}}}\noutputs: {{artifacts: simorc}}\n"
    )
    with pytest.raises(ConfigError, match=said):
        load(path)
