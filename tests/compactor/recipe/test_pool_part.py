"""The recipe's part `pool`: who scores, and that no setting is without effect."""

from typing import Any

import pytest

from benchmarks.suites import LATER
from compactor.recipe.load import parse_recipe
from compactor.recipe.spec import Recipe
from compactor_runtimes.errors import UsageError

TEACHER = {"model": "cifar:resnet20", "weights": "teacher.safetensors"}


def recipe(pool: dict[str, Any], **changes: Any) -> Recipe:
    return parse_recipe(
        {
            "name": "toy",
            "task": "image-classification",
            "data": {"dataset": "digits"},
            "student": {"model": "cifar:resnet8"},
            "teachers": [TEACHER],
            "stages": [{"id": "one", "method": "kd", "epochs": 1}],
            "pool": {"sources": [{"dataset": "images"}], **pool},
            **changes,
        }
    )


def test_the_pools_own_teachers_come_first_then_the_recipes_then_a_stages() -> None:
    assert [one.model for one in recipe({}).pool_teachers] == ["cifar:resnet20"]
    other = {**TEACHER, "model": "cifar:resnet56"}
    assert [one.model for one in recipe({"teachers": [other]}).pool_teachers] == ["cifar:resnet56"]
    stages = [
        {"id": "teacher", "method": "supervised", "epochs": 1},
        {"id": "one", "method": "kd", "epochs": 1, "teachers": ["stage:teacher"]},
    ]
    assert recipe({}, teachers=[], stages=stages).pool_teachers == ["stage:teacher"]


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        ({"take": {"by": "confidence"}}, r"pool\.take\.min_confidence: absent; give it with by: confidence"),
        ({"take": {"min_confidence": 0.5}}, r"min_confidence: has no effect by score"),
        ({"take": {"by": "all", "top": 3}}, r"pool\.take\.top: has no effect by all"),
        ({"take": {"by": "all", "classes_per_image": 2}}, r"classes_per_image: has no effect by all"),
        ({"take": {"classes_per_image": 6}}, r"scores of 5 classes of an image are kept; set pool\.k"),
        ({"take": {"top": 0}}, r"pool\.take\.top: got 0"),
        ({"sources": []}, r"pool\.sources"),
        ({"tope": 3}, r"recipe pool\.tope: unknown key; did you mean 'take'|unknown key"),
        ({"teachers": ["stage:two"]}, r"pool\.teachers: 'stage:two' names no earlier stage"),
        ({"teachers": [{"model": "cifar:resnet20"}]}, r"has no weights"),
        ({"teachers": []}, r"pool\.teachers: nobody scores the images"),
    ],
)
def test_contradictions_are_answered_with_what_to_do(pool: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        recipe(pool)


def test_only_images_of_one_class_each_are_ranked() -> None:
    text = {"dataset": "texts.csv", "tokenizer": "tokenizer.json"}
    with pytest.raises(UsageError, match="images are ranked within the one class that teachers give them"):
        recipe({}, task="text-classification", data=text)


def test_a_recipe_without_a_pool_keeps_its_digest_in_results() -> None:
    assert LATER["pool"] is None
