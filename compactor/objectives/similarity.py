"""Similarity-preserving distillation (Tung and Mori, arXiv 1907.09682) on cosine similarities.

Sample i's loss is mean_j (cos(s_i, s_j) - cos(t_i, t_j))^2 over the other samples j of this process's part of
the batch, so with several processes each one compares its own samples only.
"""

import torch
import torch.nn.functional as F

from compactor.objectives.embedding import EmbeddingObjective
from compactor.records import Batch, Outputs, Step, Target, Term


class Similarity(EmbeddingObjective):
    """Match of in-batch similarities; student and teacher may have different dimensions."""

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        """Return {similarity: [B]}; a sample without others has loss 0."""
        ours, theirs = (F.normalize(one, dim=-1) for one in self.pair(student, teacher))
        with torch.autocast(ours.device.type, enabled=False):  # similarities near 1 need float32
            gap = ours @ ours.T - theirs @ theirs.T  # 0 on the diagonal: each is 1 with itself
        return {"similarity": Term(gap.square().sum(-1) / max(len(gap) - 1, 1))}
