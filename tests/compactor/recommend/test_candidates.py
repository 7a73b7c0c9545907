"""What is tried of a recipe, and why the rest is not."""

from collections.abc import Sequence
from typing import Any

import pytest

from compactor.methods import METHODS
from compactor.recipe.load import load_recipe
from compactor.recommend.candidates import (
    CANDIDATES,
    Choice,
    Trial,
    Wanted,
    choose,
    parse_methods,
    parse_rates,
)
from compactor_runtimes.errors import UsageError


def chosen(
    *overrides: str,
    methods: Sequence[str] = (),
    rates: Sequence[float] = (0.1,),
    name: str = "digits",
    **known: Any,
) -> Choice:
    wanted = Wanted(tuple(methods), tuple(rates))
    labelled = {"labelled_train": True, "labelled_select": True} | known
    return choose(load_recipe(name, overrides).recipe, wanted, **labelled)


def names(choice: Choice) -> list[str]:
    return [one.name for one in choice.trials]


def test_every_candidate_is_a_method() -> None:
    assert set(CANDIDATES) <= set(METHODS)


def test_the_recipes_own_comes_first_and_is_there_once() -> None:
    found = chosen()
    assert names(found) == [
        "kd temperature=4 soft_weight=0.9 lr=0.1",
        "kd temperature=2 soft_weight=0.5 lr=0.1",
        "kd temperature=1 soft_weight=0.5 lr=0.1",
        "supervised lr=0.1",
        "dml lr=0.1",
    ]
    assert [one.is_own for one in found.trials] == [True, False, False, False, False]
    assert found.protected == [[0], [3]]
    assert [why.partition(":")[0] for why in found.left_out] == ["fkd", "embedding"]
    assert "learns from a label store alone, and the stage has no labels" in found.left_out[0]
    assert "compares embedding" in found.left_out[1]


def test_rates_are_thirds_and_thrices_of_the_recipes_and_its_own_is_always_tried() -> None:
    usual = chosen(methods=["supervised"], rates=())
    assert [one.lr for one in usual.trials][:3] == [0.1, 0.0333, 0.3]  # of the recipe's own setting
    assert [one.lr for one in usual.trials if one.method == "supervised"] == [0.0333, 0.1, 0.3]
    assert len(usual.trials) == 4 * 3  # three settings of kd, the baseline
    named = chosen(methods=["supervised"], rates=[0.5])
    assert [(one.method, one.lr) for one in named.trials][:2] == [("kd", 0.1), ("kd", 0.5)]
    assert ("supervised", 0.5) in [(one.method, one.lr) for one in named.trials]


def test_what_concerns_the_data_is_carried_over_and_own_options_stay() -> None:
    found = chosen(
        "stages.2.options={temperature: 3.0, class_weights: balanced, divergence: js}", methods=["dml", "kd"]
    )
    options = {one.name: one.options for one in found.trials}
    assert found.trials[0].options == {"temperature": 3.0, "class_weights": "balanced", "divergence": "js"}
    assert options["supervised class_weights=balanced lr=0.1"] == {"class_weights": "balanced"}
    assert all(one.options["divergence"] == "js" for one in found.trials if one.method == "kd")


def test_a_peer_of_a_trained_student_starts_from_its_weights_too() -> None:
    found = chosen("stages.2.init=stage:teacher-a", methods=["dml"])
    assert [one.options for one in found.trials if one.method == "dml"] == [{"peer": "copied"}]


def test_a_stage_with_labels_tries_what_a_store_can_teach() -> None:
    found = chosen(name="digits-fkd", methods=["kd", "ferkd", "encoder"])
    assert {(one.method, one.labels is not None) for one in found.trials} == {
        ("fkd", True),
        ("kd", True),
        ("ferkd", True),
        ("supervised", False),
        ("encoder", False),
    }
    given = ("stages.1.teachers=[]", "stages.1.labels={store: there}")
    with pytest.raises(
        UsageError, match="--methods encoder: learns from teachers, and the recipe names none"
    ):
        chosen(*given, name="digits-fkd", methods=["encoder"])
    assert "encoder" not in {one.method for one in chosen(*given, name="digits-fkd", methods=METHODS).trials}


def test_without_teachers_only_what_needs_none_is_left() -> None:
    found = chosen("stages.2.method=supervised", "stages.2.options={}", "stages.2.teachers=[]")
    assert {one.method for one in found.trials} == {"supervised", "dml"}
    assert found.protected == [[0]]


def test_data_without_labels_leave_methods_out_that_need_them_or_cannot_be_judged() -> None:
    found = chosen(labelled_train=False, labelled_select=False)
    assert {one.method for one in found.trials} == {"kd"}
    assert found.protected == [[0]]
    with pytest.raises(UsageError, match="asks no live teacher who could judge"):
        chosen(name="digits-fkd", labelled_select=False)


def test_lists_are_read_and_wrong_ones_refused() -> None:
    assert parse_methods("kd, dml") == ("kd", "dml")
    assert parse_methods("all") == tuple(METHODS)
    assert parse_methods(None) == ()
    assert parse_rates("0.1,0.03,0.1") == (0.1, 0.03)
    with pytest.raises(UsageError, match="did you mean 'kd'"):
        parse_methods("kdd")
    for text in ("", "a", "0.1,-1", "0", "inf", "nan"):
        with pytest.raises(UsageError, match="--rates: got"):
            parse_rates(text)


def test_a_name_tells_settings_apart() -> None:
    trial = Trial("meal_v2", {"discriminator": None, "hard_weight": 0.5}, 1e-4, None)
    assert trial.name == "meal_v2 discriminator=null hard_weight=0.5 lr=0.0001"
