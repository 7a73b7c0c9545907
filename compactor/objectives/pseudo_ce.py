"""Cross-entropy to hard labels that a target policy makes; -100 is ignored."""

import torch.nn.functional as F

from compactor.objectives import LogitObjective
from compactor.records import IGNORE, Batch, Hard, Outputs, Step, Target, Term


class PseudoCrossEntropy(LogitObjective):
    """-log p_y of the target's class y; soft targets are left to others."""

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        """Return {pseudo_ce: [B]}, valid where the target has a class."""
        terms = {}
        for head, one in target.heads.items():
            if isinstance(one, Hard):
                logits = student.logits[head].float()
                loss = F.cross_entropy(logits, one.labels, ignore_index=IGNORE, reduction="none")
                terms["pseudo_ce"] = Term(loss, one.labels != IGNORE)
        return terms
