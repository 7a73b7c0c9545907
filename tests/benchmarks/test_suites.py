"""Every suite says what decides its runs, and its figures say whose runs they rest on."""

import pytest

from benchmarks.results_file import read_results
from benchmarks.suites import SUITES, Suite, _as_first_kept, suite_named
from compactor.cache.code import is_module

NAMES = [name for names in SUITES.values() for name in names]


@pytest.fixture(params=NAMES)
def suite(request: pytest.FixtureRequest) -> Suite:
    return suite_named(request.param)


def test_what_decides_a_run_is_named_and_there(suite: Suite) -> None:
    planned = suite.plan(read_results(suite.name).get("runs", []))
    for settings in {suite.arm(one): one for one in planned}.values():
        computes = suite.computes(settings)
        assert computes or suite.recipe(settings) is not None, settings
        assert all(is_module(name) for name in computes), computes


def test_figures_rest_on_arms_that_have_runs(suite: Suite) -> None:
    content = read_results(suite.name)
    arms = {suite.arm(run["settings"]) for run in content.get("runs", [])}
    for name, figure in content.get("figures", {}).items():
        assert set(figure.get("arms", [])) <= arms, name


def test_every_run_says_where_and_when_it_was_made(suite: Suite) -> None:
    content = read_results(suite.name)
    for run in content.get("runs", []):
        assert run["commit"]
        assert run["date"]
        assert run["machine"] in content["machines"]
        assert run["code"] is None or run["code"] in content["codes"]


def test_an_unknown_suite_is_refused_with_those_that_are_there() -> None:
    with pytest.raises(SystemExit, match="'other': expected one of foundation"):
        suite_named("other")


def test_a_recipes_digest_stays_where_a_later_key_has_no_effect() -> None:
    model = {"model": "hf:x", "aliases": {}, "classes": None, "trust_teacher": False}
    before = {"name": "a", "teachers": [{"model": "hf:x"}], "data": {"dataset": "d", "classes": None}}
    recipe = {**before, "teachers": [model], "reject": None}
    assert _as_first_kept(recipe) == before  # the data's own classes are no later key
    used = {**before, "teachers": [{"model": "hf:x", "classes": "subset"}], "reject": {"keep": 0.9}}
    assert _as_first_kept(used) == used
