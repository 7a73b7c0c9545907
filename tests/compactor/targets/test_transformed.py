"""Transformed copies: which rows there are, what they are called, and what each may be read for."""

import pytest
import torch

from compactor.records import IGNORE, PIXELS, Batch, Crops
from compactor.targets.transformed import JOINT, TransformedCopies


def grown(rotations: int, colors: int, channels: int = 3) -> tuple[Batch, Batch]:
    pixels = torch.arange(2 * channels * 4, dtype=torch.float32).view(2, channels, 2, 2)
    crops = Crops(torch.zeros(2, 4), torch.zeros(2, dtype=torch.bool))
    batch = Batch({PIXELS: pixels}, {"label": torch.tensor([2, IGNORE])}, torch.tensor([7, 4]), crops)
    return batch, TransformedCopies(rotations, colors).transform(batch)


def test_four_rotations_lie_together_the_sample_itself_first() -> None:
    before, after = grown(4, 1)
    pixels = after.x[PIXELS]
    assert pixels.shape == (8, 3, 2, 2)
    for row in range(2):
        for quarter in range(4):
            rotated = torch.rot90(before.x[PIXELS][row], quarter, (1, 2))
            assert torch.equal(pixels[4 * row + quarter], rotated)
    assert after.id.tolist() == [7] * 4 + [4] * 4
    assert after.y["label"].tolist() == [2] + [IGNORE] * 7
    assert after.aux[JOINT].tolist() == [8, 9, 10, 11] + [IGNORE] * 4
    assert after.crop is None


def test_half_turns_suit_what_is_no_square() -> None:
    batch = Batch({PIXELS: torch.rand(1, 1, 2, 3)}, {"label": torch.tensor([0])}, torch.tensor([0]))
    after = TransformedCopies(2, 1).transform(batch)
    assert torch.equal(after.x[PIXELS][1], batch.x[PIXELS][0].flip(1, 2))


@pytest.mark.parametrize(("rotations", "colors"), [(1, 3), (1, 6), (2, 3), (4, 3), (4, 6)])
def test_orders_of_colours_are_within_rotations_and_all_differ(rotations: int, colors: int) -> None:
    before, after = grown(rotations, colors)
    copies = rotations * colors
    assert after.size == 2 * copies
    first = after.x[PIXELS][:copies]
    assert torch.equal(first[0], before.x[PIXELS][0])
    assert len({tuple(one.flatten().tolist()) for one in first}) == copies
    means = first.mean((2, 3))  # of each channel, which rotations leave alone
    assert torch.equal(means, means[:colors].repeat(rotations, 1))
    assert after.aux[JOINT][:copies].tolist() == [2 * copies + j for j in range(copies)]
