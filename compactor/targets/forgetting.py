"""No soft labels: counts of how often each training sample is forgotten, for samplers of later stages.

Toneva et al., "An Empirical Study of Example Forgetting during Deep Neural Network Learning"
(arXiv 1812.05159), algorithm 1: a sample is forgotten when it was answered rightly the last time that it was
visited and is answered wrongly now, each time before the step that learns from it.
"""

from typing import Any

import torch
from accelerate.utils import gather, pad_across_processes
from numpy.typing import NDArray
from torch import Tensor

from compactor.records import IGNORE, Batch, Outputs
from compactor.trainer.contracts import TargetPolicy

# names of the arrays that are kept, one entry for each sample that was visited
IDS, EVENTS, LEARNED, VISITS = (
    "forgetting.ids",
    "forgetting.events",
    "forgetting.learned",
    "forgetting.visits",
)
NOBODY = -1  # fills the places that a process with fewer samples leaves


class Forgetting(TargetPolicy):
    """Counts by sample id: visits, whether the last answer was right, whether any was, and events.

    The views are those of training, so augmented as the stage's are. Of several heads the first with one
    label a sample counts; samples without a label do not.
    """

    def __init__(self) -> None:
        """Nothing was visited yet."""
        empty = torch.zeros(0, dtype=torch.int64)
        self.visits, self.right, self.learned, self.events = (empty.clone() for _ in range(4))

    def observe(self, batch: Batch, student: Outputs) -> None:
        """Count a batch, over all processes: a sample may be another one's in the next epoch."""
        head = next((name for name, labels in batch.y.items() if labels.dim() == 1), None)
        if head is None:
            return
        labels = batch.y[head]
        right = (student.logits[head].argmax(-1) == labels).long()
        ids = batch.id.where(labels != IGNORE, NOBODY)
        seen = pad_across_processes(torch.stack([ids, right], dim=1), pad_index=NOBODY)
        self._count(gather(seen).cpu())

    def _count(self, seen: Tensor) -> None:
        """Count samples (id, whether it is right) [n, 2]; one that occurs twice counts once."""
        seen = seen[seen[:, 0] != NOBODY]
        if not len(seen):
            return
        ids, right = seen[:, 0], seen[:, 1]
        grown = int(ids.max()) + 1 - len(self.visits)
        if grown > 0:
            more = torch.zeros(grown, dtype=torch.int64)
            self.visits, self.right, self.learned, self.events = (
                torch.cat([one, more]) for one in (self.visits, self.right, self.learned, self.events)
            )
        forgotten = self.right[ids] * (1 - right)
        self.events[ids] = self.events[ids] + forgotten
        self.learned[ids] = self.learned[ids] | right
        self.visits[ids] = self.visits[ids] + 1
        self.right[ids] = right

    def state_dict(self) -> dict[str, Any]:
        """All counts."""
        return {
            "visits": self.visits,
            "right": self.right,
            "learned": self.learned,
            "events": self.events,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on counting."""
        self.visits, self.right = state["visits"], state["right"]
        self.learned, self.events = state["learned"], state["events"]

    def kept(self) -> dict[str, NDArray[Any]]:
        """The counts of every sample that was visited, by ascending id."""
        ids = self.visits.nonzero()[:, 0]
        found = {
            IDS: ids,
            EVENTS: self.events[ids],
            LEARNED: self.learned[ids].bool(),
            VISITS: self.visits[ids],
        }
        return {name: values.numpy() for name, values in found.items()}
