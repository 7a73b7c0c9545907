"""Tasks: how a kind of data is opened, batched, fed and decoded; everything else is the same for all.

A new task is one file with a TASK, one line in TASKS and one test.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from compactor.data.spec import DataSpec
from compactor.records import Batch, Crops, DataInfo
from compactor_runtimes.bundle.manifest import Post, Pre
from compactor_runtimes.tables import lookup

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from compactor.data.splits import Dataset, Split
    from compactor.recipe.spec import StageSpec
    from compactor.records import Loader

TASKS = {
    "image-classification": "compactor.tasks.image_classification:TASK",
    "text-classification": "compactor.tasks.text_classification:TASK",
    "embedding": "compactor.tasks.embedding:TASK",
    "masked-lm": "compactor.tasks.masked_lm:TASK",
    "intent-slots": "compactor.tasks.intent_slots:TASK",
    "token-classification": "compactor.tasks.token_classification:TASK",
}

# What a model says on N samples: {head: logits [N, C] or [N, L, V], or an embedding [N, D]}
Answers = Mapping[str, "NDArray[np.floating[Any]]"]


class Task(Protocol):
    """The contract of a task; `head` is the one that headline metric, gates and paired tests read.

    `answers` says what a model of the task answers with: scores of classes, a vector without labels, or
    guesses of hidden tokens. `word_head` is the head that labels words, where there is one: its labels are
    int64 [N, W], -100 where there is no word. `is_fixed` says that a sample looks the same in every epoch.
    """

    head: str
    is_fixed: bool
    word_head: str | None
    answers: Literal["classes", "embedding", "masked"]

    def open(
        self,
        spec: DataSpec,
        *,
        base: Path,
        progress: Callable[[int, int], None] | None = None,
        at_most: int | None = None,
    ) -> "Dataset":
        """Open a data set; its splits never depend on a training seed.

        `at_most` limits the rows that are read of each source.
        """

    def loader(self, split: "Split", stage: "StageSpec", *, seed: int, rank: int, world: int) -> "Loader":
        """Make the training loader of one process."""

    def batches(self, split: "Split") -> Iterator[Batch]:
        """Yield all samples in order, as they are deployed: without augmentation."""

    def each_once(self, split: "Split") -> Iterator[Batch]:
        """Yield what `batches` yields, in the order that costs least."""

    def batch(self, split: "Split", ids: "NDArray[np.int64]", crops: Crops | None) -> Batch:
        """Make one batch of the samples `ids` [B], cut as recorded, or whole where nothing is."""

    def raws(self, split: "Split", count: int, folder: Path) -> list[Path]:
        """Write the first samples as raw input files, as a user would give them."""

    def edge_raws(self, split: "Split", folder: Path) -> list[Path]:
        """Write extreme raw inputs that the task allows."""

    def pre(self, info: DataInfo) -> list[Pre]:
        """From raw input to graph inputs, for the manifest."""

    def post(self, info: DataInfo) -> list[Post]:
        """From graph outputs to results, for the manifest."""

    def assets(self, info: DataInfo) -> dict[str, Path]:
        """Files that `pre` and `post` name: path in the bundle -> file."""


def task_named(name: str) -> Task:
    """Look a task up.

    Raises:
        UsageError: no such task.
    """
    task: Task = lookup(TASKS, name, "task")
    return task
