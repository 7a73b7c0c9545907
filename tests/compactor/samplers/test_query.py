"""Queries on a budget: which samples each rule picks, what earlier rounds leave, and whom terms listen to."""

from typing import Any

import numpy as np
import pytest
import torch

from compactor.options import checked_options
from compactor.records import Batch, Outputs, Step, Term
from compactor.samplers.query import QUERIED, Options, Query
from compactor_runtimes.errors import UsageError
from tests import toys
from tests.compactor.samplers.earlier_toys import Fixed, split

NONE = -100
LABELS = [0, 1, NONE, NONE, NONE, NONE, NONE, 1]
# margins .1, .2, .5, .7, .9 of the five without a label: gains .9, .8, .5, .3, .1
SAID = [[1, 0]] * 2 + [[(1 + m) / 2, (1 - m) / 2] for m in (0.1, 0.2, 0.5, 0.7, 0.9)] + [[1, 0]]


def query(earlier: Fixed | None = None, *, seed: int = 0, teachers: Any = None, **options: Any) -> Query:
    chosen = {"budget": 2, "scorer": "stage:a", **options}
    sampler = checked_options(Options, chosen, "here").build(toys.stage(), seed, earlier)
    sampler.fit(split(LABELS), teachers)
    return sampler


def visits(sampler: Query) -> list[int]:
    found = sampler.positions(0, 8, np.random.default_rng(0)).tolist()
    assert len(found) == sampler.samples(8)
    return sorted(found)


def test_nobody_wrong_or_margin_picks_the_least_sure() -> None:
    earlier = Fixed({"stage:a": SAID})
    assert visits(query(earlier, wrong=0)) == [0, 1, 2, 3, 7]
    assert visits(query(earlier, rule="margin")) == [0, 1, 2, 3, 7]


def test_one_wrong_spreads_two_picks_over_the_three_least_sure() -> None:
    """Marginals (.5096, .5732, .9172): each pair occurs, and no sample outside."""
    found = [tuple(visits(query(Fixed({"stage:a": SAID}), wrong=1, seed=seed))) for seed in range(60)]
    assert set(found) == {(0, 1, *pair, 7) for pair in ((2, 3), (2, 4), (3, 4))}
    assert found.count((0, 1, 2, 3, 7)) < 20


def test_errors_of_the_teachers_on_select_are_assumed() -> None:
    """70% right: 1.5 of 5 are wrong, so 2."""
    sampler = query(Fixed({"stage:a": SAID}, accuracy=0.7), teachers=object())
    assert sampler.summary() == {
        "rule": "robust",
        "asked_now": 2,
        "asked_before": 0,
        "candidates": 5,
        "assumed_wrong": 2,
    }
    assert sampler.note() == "asks about 2 of 5 samples without a label (robust, 2 assumed to be wrong)"
    exact = query(Fixed({"stage:a": SAID}, accuracy=0.8), teachers=object())
    assert exact.summary()["assumed_wrong"] == 1
    with pytest.raises(UsageError, match=r"select has no labels, .*give sampler\.options\.wrong"):
        query(Fixed({"stage:a": SAID}), teachers=object())


def test_uniform_draws_by_the_seed() -> None:
    draws = [visits(query(Fixed(), rule="uniform", scorer=None, seed=seed)) for seed in (0, 0, 1, 2)]
    assert draws[0] == draws[1]
    assert len({tuple(one) for one in draws}) > 1
    assert all({0, 1, 7} <= set(one) and len(one) == 5 for one in draws)


def test_picks_of_earlier_rounds_stay_and_are_not_picked_again() -> None:
    first = query(Fixed({"stage:a": SAID}), wrong=0)
    records = {"stage:one": first.kept()}
    assert records["stage:one"][QUERIED].tolist() == [2, 3]
    second = query(Fixed({"stage:a": SAID}, records), wrong=0, queried=["stage:one"])
    assert visits(second) == [0, 1, 2, 3, 4, 5, 7]
    assert second.kept()[QUERIED].tolist() == [2, 3, 4, 5]
    assert second.note().endswith("(robust, 0 assumed to be wrong), beside 2 of earlier rounds")
    third = query(Fixed({"stage:a": SAID}, {"stage:two": second.kept()}), wrong=0, queried=["stage:two"])
    assert third.summary()["asked_now"] == 1  # there is but one left


def test_picks_are_kept_by_sample_id() -> None:
    sampler = Options(budget=1, scorer="stage:a", wrong=0).build(
        toys.stage(), 0, Fixed({"stage:a": [[1, 0], [0.6, 0.4], [0.5, 0.5]]})
    )
    sampler.fit(split([0, NONE, NONE], rows=[3, 5, 8]), None)
    assert sampler.kept()[QUERIED].tolist() == [8]


def test_a_resumed_run_keeps_to_its_picks() -> None:
    first, second = (query(Fixed({"stage:a": said}), wrong=0) for said in (SAID, SAID[::-1]))
    assert visits(first) != visits(second)
    second.load_state_dict(first.state_dict())
    assert visits(first) == visits(second)


def test_teachers_are_not_heard_on_labelled_samples() -> None:
    sampler = query(Fixed({"stage:a": SAID}), wrong=0)
    batch = Batch(x={}, y={"label": torch.tensor([1, NONE, 0])}, id=torch.arange(3))
    arguments = Outputs({}), batch, Step(0, 1, 0, 1)
    assert sampler.weights("hard_ce", Term(torch.ones(3)), *arguments) is None
    assert sampler.weights("hard_ce.label", Term(torch.ones(3)), *arguments) is None
    weights = sampler.weights("kl", Term(torch.ones(3)), *arguments)
    assert weights is not None
    assert weights.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rule": "uniform"}, "scorer has no effect with rule uniform"),
        ({"scorer": None}, "scorer is absent, but rule robust needs a student's gains"),
        ({"rule": "margin", "wrong": 3}, "wrong and gain have no effect with rule margin"),
        ({"rule": "margin", "gain": "entropy"}, "wrong and gain have no effect with rule margin"),
    ],
)
def test_options_without_effect_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        query(**options)


def test_a_budget_above_what_there_is_is_refused_but_for_a_smoke_run() -> None:
    options = Options(budget=6, rule="uniform")
    with pytest.raises(
        UsageError, match=r"at\.options\.budget: 6 found, but 5 of 8 training samples have no"
    ):
        options.check_rows(split(LABELS), "at", smoke=False)
    options.check_rows(split(LABELS), "at", smoke=True)
    assert visits(query(Fixed(), rule="uniform", scorer=None, budget=6)) == list(range(8))
