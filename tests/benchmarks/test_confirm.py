"""A repeat of the first steps, or of a block, confirms by equal bytes or inside a 99% prediction interval."""

from typing import Any

import pytest

from benchmarks import arms, confirm, results_file
from benchmarks.arms import Sentinel
from benchmarks.confirm import confirm_suite, judge, prediction_interval
from benchmarks.figures import spread
from benchmarks.results_file import read_results
from tests.benchmarks.conftest import Toy


def sentinel(weights: str, accuracy: float) -> Sentinel:
    return Sentinel(100, weights, [1.0], {"select_accuracy": accuracy})


def test_the_interval_is_that_of_the_next_value() -> None:
    # mean 2, s 1, t(0.995, 2) = 9.92484, sqrt(1 + 1/3) = 1.154701
    assert prediction_interval([1.0, 2.0, 3.0]) == pytest.approx((2 - 11.46022, 2 + 11.46022), abs=1e-4)


@pytest.mark.parametrize(
    ("weights", "accuracy", "seeds", "same_cpu", "same"),
    [
        ("a", 0.5, [0.5], True, True),  # equal bytes
        ("a", 0.52, [0.5], False, False),  # equal bytes prove nothing on another kind of CPU
        ("b", 0.509, [0.5], True, True),  # within a point
        ("b", 0.511, [0.5], True, False),
        ("b", 0.511, [0.5, 0.5], True, False),  # two seeds are too few for an interval
        ("b", 0.511, [0.50, 0.51, 0.49], False, True),  # 0.5 -+ 0.1146
        ("b", 0.62, [0.50, 0.51, 0.49], False, False),
    ],
)
def test_first_steps_are_judged_by_bytes_seeds_or_a_point(
    weights: str, accuracy: float, seeds: list[float], same_cpu: bool, same: bool
) -> None:
    assert judge(sentinel("a", 0.5), sentinel(weights, accuracy), seeds, same_cpu).same is same


def digits(lr: float) -> Any:
    """The digits recipe's first teacher, small and short."""
    import msgspec

    from compactor.recipe.load import load_recipe

    words = ["stages.0.epochs=null", "stages.0.steps=8", "stages.0.student={model: 'cifar:resnet8'}"]
    loaded = load_recipe("digits", [*words, f"stages.0.lr={lr}"])
    replace = msgspec.structs.replace
    return replace(loaded, recipe=replace(loaded.recipe, stages=loaded.recipe.stages[:1]))


@pytest.mark.slow
def test_first_steps_repeat_to_the_byte_and_disturb_nothing(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arms, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(arms, "FIRST_STEPS", 5)
    trained = arms.train(digits(0.1), "toy", shared="none")
    assert trained.sentinel is not None
    assert trained.sentinel.steps == len(trained.sentinel.loss) == 5
    assert trained.sentinel.loss[-1] < trained.sentinel.loss[0]
    assert set(trained.sentinel.figures) == {"select_accuracy", "select_macro_f1"}
    assert arms.first_steps(digits(0.1), "toy", shared="none") == trained.sentinel
    assert arms.first_steps(digits(0.2), "toy", shared="none").weights != trained.sentinel.weights
    monkeypatch.setattr(arms, "FIRST_STEPS", 99)  # nobody looks
    unseen = arms.train(digits(0.1), "toy", shared="none")
    assert unseen.sentinel is None
    assert arms._digest(unseen.student) == arms._digest(trained.student)


@pytest.fixture
def outdated(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> Toy:
    """A suite whose runs kept their first steps, and whose code has changed since."""
    execute = toy.suite.module.execute
    toy.suite.module.execute = lambda settings: (
        execute(settings) | {"sentinel": vars(sentinel("a", 0.5)) if settings["arm"] == "slow" else None}
    )
    toy.run()
    toy.write("toy_slow", "def work():\n    return 2\n")
    toy.write("toy_fast", "def work():\n    return 2\n")
    monkeypatch.setattr(toy.suite.module, "recipe", lambda settings: None, raising=False)
    return toy


def said(suite: Any, monkeypatch: pytest.MonkeyPatch, now: Sentinel) -> dict[str, Any]:
    monkeypatch.setattr(confirm, "first_steps", lambda recipe, name, shared, watched: now)
    return confirm_suite(suite, lambda text: None)


def test_what_gave_the_same_is_noted_with_the_code_of_today(
    outdated: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.states import figure_states

    monkeypatch.setattr(results_file, "commit", lambda: "ccccccc")
    monkeypatch.setattr(confirm, "commit", lambda: "ccccccc")
    found = said(outdated.suite, monkeypatch, sentinel("a", 0.5))
    assert set(found) == {"slow"}  # the other kept no first steps
    states = figure_states(outdated.suite, read_results("toy"))
    assert states["slow"].confirmed_at == "ccccccc"
    assert states["fast"].kind == "outdated"
    assert set(said(outdated.suite, monkeypatch, sentinel("b", 0.9))) == {"slow"}
    assert figure_states(outdated.suite, read_results("toy"))["slow"].kind == "outdated"


def test_what_is_current_is_not_repeated(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.run()
    assert said(toy.suite, monkeypatch, sentinel("a", 0.5)) == {}


def test_a_block_of_a_timing_is_judged_by_the_blocks(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    takes = {"s": [1.0, 1.1, 0.9, 1.0]}
    module = toy.suite.module
    module.TIMED = ("slow",)
    module.plan = lambda runs: [{"arm": "slow", "block": block} for block in range(4)]
    module.execute = lambda settings: {"s": takes["s"][settings["block"]]}
    module.figures = lambda runs: {
        "time": spread([run["result"]["s"] for run in runs], "s", "about", arms=("slow",))
    }
    toy.run()
    takes["s"] = [1.2]  # 1.0 -+ 0.53
    assert confirm_suite(toy.suite, lambda text: None, repeat_all=True)["slow"].same
    takes["s"] = [1.6]
    assert not confirm_suite(toy.suite, lambda text: None, repeat_all=True)["slow"].same
    told: list[str] = []

    def fails(settings: dict[str, Any]) -> dict[str, Any]:
        raise RuntimeError("worker:\nno exported graph")

    module.execute = fails
    assert confirm_suite(toy.suite, told.append, repeat_all=True) == {}
    assert told == ["toy/slow: not repeated: no exported graph"]
    here = confirm.describe()
    monkeypatch.setattr(confirm, "describe", lambda: here | {"cpu": "another"})
    assert confirm_suite(toy.suite, lambda text: None, repeat_all=True) == {}
