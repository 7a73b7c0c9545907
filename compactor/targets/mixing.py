"""Mix the views of a batch, as mixup or cutmix, with views of the same sample (SelfMix) or of any other.

SelfMix (FerKD, arXiv 2312.17473) mixes two views of one image, so that image and label change little. The
paper's exact procedure is not published: this follows FKD's mixer (switch 0.5, Beta(0.8, 0.8) for mixup,
Beta(1, 1) for cutmix, lam corrected for the box that was clipped), with partners of the same image alone.
"""

from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from compactor.records import LAM, PARTNER, Batch

MIXUP_ALPHA, CUTMIX_ALPHA, SWITCH = 0.8, 1.0, 0.5


def mix_batch(batch: Batch, *, within_samples: bool, kind: Literal["either", "cutmix"] = "either") -> Batch:
    """Mix every image input of the batch with its partner's, and note partner [B] and lam [B] in `aux`.

    `either` is cutmix or mixup, at even chances for each batch. Randomness is torch's own generator, which
    checkpoints keep.
    """
    partner = same_sample_partners(batch.id) if within_samples else torch.randperm(batch.size)
    rng = np.random.default_rng(int(torch.randint(2**62, (1,))))
    pixels = {name: value for name, value in batch.x.items() if value.dim() == 4}
    if kind == "cutmix" or rng.random() < SWITCH:
        lam = float(rng.beta(CUTMIX_ALPHA, CUTMIX_ALPHA))
        height, width = next(iter(pixels.values())).shape[-2:]
        top, bottom, left, right = _box(lam, height, width, rng)
        lam = 1 - (bottom - top) * (right - left) / (height * width)
        mixed = {name: _paste(value, partner, (top, bottom, left, right)) for name, value in pixels.items()}
    else:
        lam = float(rng.beta(MIXUP_ALPHA, MIXUP_ALPHA))
        mixed = {name: lam * value + (1 - lam) * value[partner] for name, value in pixels.items()}
    aux = {PARTNER: partner.to(batch.id.device), LAM: torch.full((batch.size,), lam, device=batch.id.device)}
    return replace(batch, x={**batch.x, **mixed}, aux={**batch.aux, **aux})


def same_sample_partners(ids: Tensor) -> Tensor:
    """For each row, another row of the same sample: int64 [B], a permutation.

    The rows of a sample form one random cycle, so that none is its own partner unless it is alone.
    """
    ids = ids.cpu()
    shuffled = torch.randperm(len(ids))
    order = shuffled[torch.argsort(ids[shuffled], stable=True)]  # by sample, at random within it
    sample = ids[order]
    first = torch.cat([torch.ones(1, dtype=torch.bool), sample[1:] != sample[:-1]])
    start = torch.cummax(torch.where(first, torch.arange(len(ids)), 0), 0).values
    last = torch.cat([first[1:], torch.ones(1, dtype=torch.bool)])
    following = torch.where(last, start, torch.arange(len(ids)) + 1)
    partner = torch.empty_like(order)
    partner[order] = order[following]
    return partner


def _box(lam: float, height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of a box with area share 1 - lam around a random centre, clipped."""
    ratio = float(np.sqrt(1 - lam))
    half_height, half_width = int(height * ratio) // 2, int(width * ratio) // 2
    row, column = int(rng.integers(height)), int(rng.integers(width))
    return (
        max(row - half_height, 0),
        min(row + half_height, height),
        max(column - half_width, 0),
        min(column + half_width, width),
    )


def _paste(values: Tensor, partner: Tensor, box: tuple[int, int, int, int]) -> Tensor:
    top, bottom, left, right = box
    pasted = values.clone()
    pasted[..., top:bottom, left:right] = values[partner][..., top:bottom, left:right]
    return pasted
