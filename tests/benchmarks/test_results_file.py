"""Runs are cached by what decides them, and each keeps where and when it was made."""

import json

import pytest

from benchmarks import results_file
from benchmarks.figures import spread
from tests.benchmarks.conftest import Toy


def test_what_is_cached_is_not_executed_again(toy: Toy) -> None:
    first = toy.run()
    assert len(toy.executed) == 4
    assert toy.run() == first
    assert len(toy.executed) == 4
    assert first["figures"]["ratio"] == {
        "value": 7.666666666666667,
        "unit": "",
        "n": 2,
        "low": 7.666666666666667,
        "high": 7.666666666666667,
        "about": "slow over fast",
        "arms": ["slow", "fast"],
    }


def test_changed_code_runs_its_arm_alone_and_the_others_keep_their_commit(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results_file, "commit", lambda: "aaaaaaa")
    toy.run()
    toy.write("toy_fast", "def work():\n    return 2\n")
    monkeypatch.setattr(results_file, "commit", lambda: "bbbbbbb")
    content = toy.run()
    assert [run["arm"] for run in toy.executed[4:]] == ["fast", "fast"]
    assert [run["commit"] for run in content["runs"]] == ["aaaaaaa", "aaaaaaa", "bbbbbbb", "bbbbbbb"]
    assert len(content["codes"]) == 2  # what no run refers to any more is dropped


def test_a_changed_comment_runs_nothing(toy: Toy) -> None:
    toy.run()
    toy.write("toy_fast", '"""Said."""\n\n\ndef work() -> int:\n    # why\n    return 1\n')
    toy.run()
    assert len(toy.executed) == 4


def test_arms_that_are_not_asked_for_stay_as_they_are(toy: Toy) -> None:
    toy.run()
    for module in ("toy_slow", "toy_fast"):
        toy.write(module, "def work():\n    return 3\n")
    content = toy.run("slow")
    assert [run["arm"] for run in toy.executed[4:]] == ["slow", "slow"]
    assert len(content["runs"]) == 4


def test_an_interrupted_suite_goes_on(toy: Toy) -> None:
    execute, stops = toy.suite.module.execute, [3]

    def cut_off(settings: dict[str, object]) -> dict[str, object]:
        if len(toy.executed) == stops[0]:
            raise KeyboardInterrupt
        return execute(settings)

    toy.suite.module.execute = cut_off
    with pytest.raises(KeyboardInterrupt):
        toy.run()
    assert len(results_file.read_results("toy")["runs"]) == 3
    stops[0] = 99
    assert len(toy.run()["runs"]) == 4
    assert len(toy.executed) == 4


def test_a_timing_on_another_kind_of_cpu_is_another_run(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.suite.module.TIMED = ("fast",)
    toy.run()
    here = results_file.describe()
    monkeypatch.setattr(results_file, "describe", lambda: here | {"cpu": "another"})
    toy.run()
    assert [run["arm"] for run in toy.executed[4:]] == ["fast", "fast"]


def test_a_run_has_a_line_of_its_own(toy: Toy) -> None:
    content = toy.run()
    text = results_file.results_path("toy").read_text()
    assert json.loads(text) == content
    assert sum(line.lstrip().startswith('{"settings"') for line in text.splitlines()) == 4


def test_the_spread_of_blocks_keeps_them() -> None:
    figure = spread([3.0, 1.0, 2.0, 10.0], "s", "about")
    assert (figure.value, figure.low, figure.high, figure.n) == (2.5, 1.0, 10.0, 4)
    assert figure.to_json()["values"] == [3.0, 1.0, 2.0, 10.0]
