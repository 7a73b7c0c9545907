"""Gradient policies: how the gradients of several losses become the one that the optimiser follows.

Without a policy they are summed, by one backward pass over the weighted total; a policy costs one backward
pass for each objective.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

Gradients = list[Tensor]  # of each parameter, in their order; zeros where a loss does not reach it


class GradientPolicy(Protocol):
    """The contract of a gradient policy."""

    def __call__(self, gradients: Sequence[Gradients]) -> Gradients:
        """Combine the gradients of the weighted losses, in the order of the preset's objectives."""


def one_sided_projection(gradients: Sequence[Gradients]) -> Gradients:
    """Keep the first loss's gradient g; of each other one take away what works against it.

    h -> h - min(<h, g>, 0) / |g|^2 g, with products over all parameters: what is left of h has no part along
    -g, and g itself is never changed (the one-sided form of PCGrad, Yu et al., arXiv 2001.06782, as DHKD,
    arXiv 2411.08937, uses it).
    """
    first, *others = gradients
    square = _dot(first, first)
    total = [one.clone() for one in first]
    for other in others:
        against = _dot(other, first).clamp(max=0)
        share = torch.where(square > 0, against / square, 0.0)
        for place, own, main in zip(total, other, first, strict=True):
            place += own - share.to(own.dtype) * main
    return total


def _dot(one: Gradients, other: Gradients) -> Tensor:
    """Inner product over all parameters, summed in float64."""
    return torch.stack([(a.double() * b.double()).sum() for a, b in zip(one, other, strict=True)]).sum()
