"""Every sample together with transformed copies of itself, each numbered, for tasks that tell which is which.

Lee, Hwang, Shin, "Self-supervised Label Augmentation via Input Transformations" (arXiv 1910.05872).
"""

from dataclasses import replace
from itertools import permutations

import torch
from torch import Tensor

from compactor.records import IGNORE, PIXELS, Batch
from compactor.trainer.contracts import TargetPolicy

JOINT = "transformed.label"  # key of Batch.aux: int64 [B * M], label * M + number of the copy
QUARTERS = {1: (0,), 2: (0, 2), 4: (0, 1, 2, 3)}
# orders of red, green and blue: the three even ones, or all, by the paper's count; the first changes nothing
CHANNELS = {
    1: ((0, 1, 2),),
    3: ((0, 1, 2), (1, 2, 0), (2, 0, 1)),
    6: tuple(permutations(range(3))),
}


class TransformedCopies(TargetPolicy):
    """Grow a batch of B samples to B * M rows, M = rotations * orders of colours.

    1. The M copies of a sample lie together, rotation by rotation, the untransformed one first.
    2. That one alone keeps its label in `y`: what the deployed head learns from is what it will see.
    3. `aux[JOINT]` holds each copy's joint label y * M + j; -100 where the sample has none.
    4. All copies have their sample's id; the boxes that views were cut by do not fit them and are dropped.
    """

    def __init__(self, rotations: int, colors: int) -> None:
        """Say how many rotations (1; 2: half turns; 4: quarter turns) and orders of colours (1, 3, 6)."""
        self.rotations, self.colors = rotations, colors

    @property
    def copies(self) -> int:
        """M."""
        return self.rotations * self.colors

    def transform(self, batch: Batch) -> Batch:
        """Grow the batch."""
        copies, pixels = self.copies, batch.x[PIXELS]
        grown = torch.stack(
            [
                _ordered(torch.rot90(pixels, quarter, (2, 3)), order)
                for quarter in QUARTERS[self.rotations]
                for order in CHANNELS[self.colors]
            ],
            dim=1,
        ).flatten(0, 1)
        ((head, labels),) = batch.y.items()
        number = torch.arange(copies, device=labels.device).repeat(len(labels))
        each = labels.repeat_interleave(copies)
        known = each != IGNORE
        return replace(
            batch,
            x={**batch.x, PIXELS: grown},
            y={head: each.where(number == 0, IGNORE)},
            id=batch.id.repeat_interleave(copies),
            crop=None,
            aux={**batch.aux, JOINT: (each * copies + number).where(known, IGNORE)},
        )


def _ordered(pixels: Tensor, order: tuple[int, ...]) -> Tensor:
    """Images of other orders of their channels; of grey images there is one."""
    return pixels if order == CHANNELS[1][0] else pixels[:, list(order)]
