"""Target policies: where soft labels come from (live teachers, a label store, the model's own memory)."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compactor.records import Batch, Crops, Outputs, Step, Target


class TargetPolicy:
    """Leave the batch alone, keep no state, make no target; others override what they need."""

    crops: Callable[[NDArray[np.int64], int], Crops] | None = None
    """Replays recorded views: (ids of a global batch, epoch) -> their crops; None lets the loader draw."""

    def summary(self) -> dict[str, Any]:
        """What is worth keeping about the targets, known before training: plain values for a JSON file."""
        return {}

    def note(self) -> str:
        """The same in a line for the screen."""
        return ""

    def transform(self, batch: Batch) -> Batch:
        """Change the batch before any forward; it may grow."""
        return batch

    def make(self, batch: Batch, teacher: Outputs | None, step: Step) -> Target:
        """Make the target of a batch from the mixed teachers' outputs."""
        return Target()

    def observe(self, batch: Batch, student: Outputs) -> None:
        """See the student's outputs after the forward, without gradient."""

    def state_dict(self) -> dict[str, Any]:
        """State to keep in a checkpoint: tensors and plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the state of a checkpoint back."""
