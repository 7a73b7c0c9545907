"""What teachers rest on: stages that they come from, through inits and through the recipe's own teachers."""

from compactor.recipe.load import parse_recipe
from compactor.run.behind import stages_behind

LENGTH = {"steps": 1, "student": {"model": "cifar:resnet8"}}


def test_what_builds_on_what_is_found_in_order_and_nothing_else() -> None:
    recipe = parse_recipe(
        {
            "name": "toy",
            "task": "image-classification",
            "data": {"dataset": "digits"},
            "teachers": ["stage:big"],
            "stages": [
                {"id": "alone", "method": "supervised", **LENGTH},
                {"id": "big", "method": "supervised", **LENGTH},
                {"id": "start", "method": "supervised", **LENGTH},
                {"id": "middle", "method": "kd", "init": "stage:start", **LENGTH},
                {"id": "last", "method": "kd", "teachers": ["stage:middle"], **LENGTH},
            ],
        }
    )

    def behind(*references: str) -> list[str]:
        return [stage.id for stage in stages_behind(recipe, references)]

    assert behind("stage:middle") == ["big", "start", "middle"]  # its teacher is the recipe's
    assert behind("stage:start") == ["start"]  # the recipe's teachers teach no one who learns from nobody
    assert behind("stage:last") == ["big", "start", "middle", "last"]
    assert behind() == []
