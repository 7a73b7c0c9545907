"""What a command with `--on` has beside its own process: others that label and train ahead of it."""

from collections.abc import Callable
from typing import Protocol

from compactor.label_store.header import Header
from compactor.recipe.load import LoadedRecipe
from compactor.run.labels import LabelJob
from compactor.run.planned import Plan, PlannedStage
from compactor.teachers import Teachers

# sets the rows of the shards and the threads of what a store is to hold
Divide = Callable[[Header, PlannedStage, Teachers], Header]
# begins a stage's label store, unless it was begun before
Begin = Callable[[Divide], LabelJob]


class Workers(Protocol):
    """Make what is missing in the folders where a command looks; it makes what they leave undone."""

    def label(self, loaded: LoadedRecipe, stage: PlannedStage, begin: Begin) -> None:
        """Have the labels of a recipe's stage made."""

    def train(self, plans: list[Plan], *, sealed: bool = False) -> None:
        """Have all stages of plans trained; `sealed` ones see nothing of the report split."""
