"""What a command with `--on` has beside its own process: others that label and train ahead of it."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from compactor.run.planned import Plan, PlannedStage
    from compactor.run.stages import StageRunner


class Workers(Protocol):
    """Make what is missing in the folders where a runner looks; it makes what they leave undone."""

    def label(self, runner: "StageRunner", stage: "PlannedStage") -> None:
        """Have the labels of a stage made."""

    def train(self, plans: "list[Plan]", *, sealed: bool = False) -> None:
        """Have all stages of plans trained; `sealed` ones see nothing of the report split."""
