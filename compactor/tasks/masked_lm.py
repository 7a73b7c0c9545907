"""`task: masked-lm`, for stages alone: guess hidden tokens; how encoders are pretrained and distilled.

A batch carries the positions to be guessed, so that a model projects only those onto the vocabulary.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from compactor.data.masking import Masker, masker_for
from compactor.data.spec import MaskingSpec
from compactor.data.splits import Split
from compactor.data.text_loader import TextLoader
from compactor.recipe.spec import StageSpec
from compactor.records import IDS, IGNORE, MASK, MASKED, MLM, POSITIONS, Batch, DataInfo
from compactor.tasks.texts import TextTask, text_of
from compactor_runtimes.bundle.manifest import Post
from compactor_runtimes.errors import UsageError

SELECT_SEED = 0  # what is hidden of select is the same in every epoch and run


class MaskedLoader(TextLoader):
    """A TextLoader whose batches hide tokens, as a function of (seed, epoch, step)."""

    masker: Masker

    def make(self, ids: NDArray[np.int64], epoch: int, step: int, part: slice) -> Batch:
        """Hide tokens of the global batch and return the rows `part` of it."""
        whole = super().make(ids, epoch, step, slice(None))
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((self.seed, epoch, step, 2))))
        return masked(whole, self.masker, rng, part)


class MaskedLm(TextTask):
    """See compactor.tasks.Task."""

    is_fixed = False

    def loader(self, split: Split, stage: StageSpec, *, seed: int, rank: int, world: int) -> TextLoader:
        """Hide tokens anew in every epoch."""
        text = text_of(split)
        loader = MaskedLoader(split, text, batch_size=stage.batch_size, seed=seed, rank=rank, world=world)
        loader.masker = masker_for(text.tokenizer, stage.masking)
        return loader

    def batches(self, split: Split) -> Iterator[Batch]:
        """Yield all samples in order; the same tokens are hidden each time."""
        masker = masker_for(text_of(split).tokenizer, MaskingSpec())
        for number, batch in enumerate(super().batches(split)):
            rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((SELECT_SEED, number))))
            yield masked(batch, masker, rng, slice(None))

    def post(self, info: DataInfo) -> list[Post]:
        """Refuse: what it trains is an encoder, which a later stage gives its answers.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            f"task {self.name}: trains encoders and ships nothing; end the recipe with a stage of its task"
        )


def masked(batch: Batch, masker: Masker, rng: np.random.Generator, part: slice) -> Batch:
    """Hide tokens of a batch; return the rows `part` of it, with `positions` [P] and y [P]."""
    ids, mask = batch.x[IDS].numpy(), batch.x[MASK].numpy()
    hidden, chosen = masker(ids, mask, rng)
    ids, mask, hidden, chosen = ids[part], mask[part], hidden[part], chosen[part]
    asked = chosen if masker.spec.positions == "masked" else mask == 1
    labels = np.where(chosen, ids, IGNORE)[asked]
    x = {IDS: hidden, MASK: np.ascontiguousarray(mask), POSITIONS: np.flatnonzero(asked)}
    return replace(
        batch,
        x={name: torch.from_numpy(values) for name, values in x.items()},
        y={MLM: torch.from_numpy(labels)},
        id=batch.id[part],
    )


TASK = MaskedLm(MASKED)
