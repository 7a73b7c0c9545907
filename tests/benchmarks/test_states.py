"""A figure is current, confirmed or outdated; what is quoted of an outdated one says as of when."""

import pytest

from benchmarks import results_file
from benchmarks.results_file import code_key, read_results, write_results
from benchmarks.states import code_today, figure_states
from tests.benchmarks.conftest import Toy


@pytest.fixture
def at_a(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> Toy:
    monkeypatch.setattr(results_file, "commit", lambda: "aaaaaaa")
    toy.run()
    return toy


def test_unchanged_code_is_current(at_a: Toy) -> None:
    states = figure_states(at_a.suite, read_results("toy"))
    assert {name: state.told() for name, state in states.items()} == {
        "slow": "current (aaaaaaa)",
        "fast": "current (aaaaaaa)",
        "ratio": "current (aaaaaaa)",
    }


def test_changed_code_outdates_the_figures_that_rest_on_it(at_a: Toy) -> None:
    at_a.write("toy_fast", "def work():\n    return 2\n")
    states = figure_states(at_a.suite, read_results("toy"))
    assert [states[name].kind for name in ("slow", "fast", "ratio")] == ["current", "outdated", "outdated"]
    assert states["fast"].as_of == "as of aaaaaaa"
    assert states["fast"].changed == ("toy_fast",)
    assert states["slow"].as_of == ""


def test_a_module_that_is_gone_outdates(at_a: Toy) -> None:
    (at_a.folder / "toy_slow.py").unlink()
    at_a.write("toy_fast", "def work():\n    return 1\n")  # forgets what was found before
    assert figure_states(at_a.suite, read_results("toy"))["slow"].changed == ("toy_slow",)


def test_changed_inputs_outdate(at_a: Toy) -> None:
    at_a.suite.module.inputs = lambda settings: {"recipe": f"of {settings['arm']}"}
    at_a.run()
    assert figure_states(at_a.suite, read_results("toy"))["ratio"].kind == "current"
    at_a.suite.module.inputs = lambda settings: {"recipe": "another"}
    assert figure_states(at_a.suite, read_results("toy"))["ratio"].changed == ("recipe",)


def test_a_repeat_confirms_until_the_code_changes_again(at_a: Toy) -> None:
    at_a.write("toy_fast", "def work():\n    return 2\n")
    content = read_results("toy")
    fast = next(run for run in content["runs"] if run["settings"]["arm"] == "fast")
    content["confirmed"]["fast"] = {
        "commit": "bbbbbbb",
        "machine": fast["machine"],
        "code": code_key(code_today(at_a.suite, content, fast)),
    }
    write_results(content)
    states = figure_states(at_a.suite, content)
    assert states["ratio"].told() == "run at aaaaaaa, confirmed at bbbbbbb"
    assert states["ratio"].as_of == ""
    at_a.write("toy_fast", "def work():\n    return 3\n")
    assert figure_states(at_a.suite, content)["ratio"].kind == "outdated"


def test_runs_without_code_are_outdated(at_a: Toy) -> None:
    content = read_results("toy")
    for run in content["runs"]:
        run["code"] = None
    assert figure_states(at_a.suite, content)["slow"].as_of == "as of aaaaaaa"


def test_runs_of_several_commits_are_told_in_the_order_of_their_days(at_a: Toy) -> None:
    content = read_results("toy")
    for run, day, commit in zip(content["runs"], ("02", "01", "03", "03"), "abcd", strict=True):
        run |= {"code": None, "date": f"2026-01-{day}", "commit": commit}
    assert figure_states(at_a.suite, content)["slow"].as_of == "as of b to a"


def test_runs_of_one_day_are_told_in_their_own_order(at_a: Toy) -> None:
    content = read_results("toy")
    for run, commit in zip(content["runs"], "dbca", strict=True):
        run |= {"code": None, "commit": commit}
    assert figure_states(at_a.suite, content)["ratio"].as_of == "as of d to a"
