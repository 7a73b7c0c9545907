"""Tasks: how a kind of data is opened, batched, fed and decoded; everything else is the same for all.

A new task is its heads in compactor.records, one line in TASKS, one file (of texts a row in texts.py) and one
test.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from compactor.data.spec import DataSpec
from compactor.records import Activation, Batch, Crops, DataInfo, Head, Level
from compactor_runtimes.bundle.manifest import BioPost, EmbeddingPost, Post, Pre, SigmoidPost, SoftmaxPost
from compactor_runtimes.tables import lookup

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from compactor.data.splits import Dataset, Split
    from compactor.recipe.spec import StageSpec
    from compactor.records import Loader

TASKS = {
    "image-classification": "compactor.tasks.image_classification:TASK",
    "text-classification": "compactor.tasks.texts:TEXT_CLASSIFICATION",
    "image-multi-label": "compactor.tasks.image_classification:MULTI_LABEL",
    "text-multi-label": "compactor.tasks.texts:MULTI_LABEL",
    "embedding": "compactor.tasks.texts:EMBEDDING",
    "masked-lm": "compactor.tasks.masked_lm:TASK",
    "intent-slots": "compactor.tasks.texts:INTENT_SLOTS",
    "token-classification": "compactor.tasks.texts:TOKEN_CLASSIFICATION",
}

# (level, activation) of a head -> how the runtime decodes it; a head without an entry is never served
POSTS: dict[tuple[Level, Activation], Callable[[Head], Post]] = {
    ("sample", "softmax"): lambda head: SoftmaxPost(output=head.output, labels=head.name),
    ("sample", "sigmoid"): lambda head: SigmoidPost(output=head.output, labels=head.name),
    ("sample", "none"): lambda head: EmbeddingPost(output=head.output),
    ("word", "softmax"): lambda head: BioPost(output=head.output, labels=head.name, punctuation="dropped"),
}

# What a model says on N samples: {head: logits [N, C] or [N, L, V], or an embedding [N, D]}
Answers = Mapping[str, "NDArray[np.floating[Any]]"]


class Task(Protocol):
    """The contract of a task; `head` is the first of `heads`, which headline metric, gates and tests read.

    Labels of a head of words are int64 [N, W], -100 where there is no word; of a sigmoid head ones and zeros
    [N, C]. `is_fixed` says that a sample
    looks the same in every epoch.
    """

    heads: tuple[Head, ...]
    head: Head
    is_fixed: bool

    def open(
        self,
        spec: DataSpec,
        *,
        base: Path,
        progress: Callable[[int, int], None] | None = None,
        at_most: int | None = None,
        numbers_of: tuple[str, ...] | None = None,
    ) -> "Dataset":
        """Open a data set; its splits never depend on a training seed.

        `at_most` limits the rows that are read of each source; `numbers_of` are a teacher's classes, which
        integer labels may mean where nobody names them.
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


def posts_of(heads: Iterable[Head]) -> list[Post]:
    """How the runtime decodes what a task's models answer with."""
    return [POSTS[head.level, head.activation](head) for head in heads]


def task_named(name: str) -> Task:
    """Look a task up.

    Raises:
        UsageError: no such task.
    """
    task: Task = lookup(TASKS, name, "task")
    return task
