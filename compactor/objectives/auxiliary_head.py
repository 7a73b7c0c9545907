"""Dual-head distillation: a second, train-only head is pulled to the teachers' logits, the main one is not.

Yang et al., "Dual-Head Knowledge Distillation: Enhancing Logits Utilization with an Auxiliary Head" (arXiv
2411.08937), as its authors' code trains it.
"""

import math
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from compactor.objectives import LogitObjective
from compactor.objectives.train_only import (
    ON_PENULTIMATE,
    class_count,
    linear_head,
    mlp_head,
    of_first_head,
    penultimate,
    penultimate_width,
)
from compactor.records import Batch, Outputs, Step, Target, Term

HEADS = {"linear": linear_head, "mlp": mlp_head}


class AuxiliaryHead(LogitObjective):
    """L = T^2 sum_c log cosh((s_c - t_c) / 2T): logits s of a head of its own, t the teachers' mean logits.

    It equals the paper's BinaryKL with normalised logits, T^2 sum_c KL((1/2, 1/2) || (sigma(d_c), 1 -
    sigma(d_c))), d = (s - t) / T. Every sample counts, labelled or not.
    """

    needs = ON_PENULTIMATE

    def __init__(self, kind: Literal["linear", "mlp"], temperature: float) -> None:
        """Choose the head and T."""
        self.kind, self.temperature = kind, temperature
        self.head: nn.Module = nn.Identity()

    def setup(self, student: nn.Module, teachers: list[nn.Module]) -> nn.Module:
        """Make the head."""
        self.head = HEADS[self.kind](penultimate_width(student), class_count(student))
        return self.head

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        """Return {aux: [B]}."""
        assert teacher is not None
        _, theirs = of_first_head(teacher)
        ours = self.head(penultimate(student)).float()
        return {"aux": Term(logit_distance(ours, theirs, self.temperature))}


def logit_distance(ours: Tensor, theirs: Tensor, temperature: float) -> Tensor:
    """The loss [B] of logits [B, C]; its gradient is T / 2 tanh((s - t) / 2T), bounded by T / 2."""
    half = (ours - theirs) / (2 * temperature)
    # log cosh x = x + log(1 + e^-2x) - log 2, without overflow for any x
    return temperature**2 * (half + F.softplus(-2 * half) - math.log(2)).sum(-1)
