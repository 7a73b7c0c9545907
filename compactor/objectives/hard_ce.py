"""Cross-entropy to the ground truth in `batch.y`, the one objective that reads labels; -100 is ignored."""

import torch.nn.functional as F

from compactor.objectives import LogitObjective
from compactor.records import IGNORE, Batch, Outputs, Step, Target, Term


class HardCrossEntropy(LogitObjective):
    """Cross-entropy with optional label smoothing: 1 - eps on the label, eps spread over all C classes."""

    def __init__(self, label_smoothing: float = 0.0) -> None:
        """Set eps in [0, 1)."""
        self.label_smoothing = label_smoothing

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        """Return {hard_ce: [B] or [B, L]}, valid where there is a label."""
        terms = {}
        for head, labels in batch.y.items():
            logits = student.logits[head].float()
            loss = F.cross_entropy(
                logits.flatten(0, -2),
                labels.flatten(),
                ignore_index=IGNORE,
                label_smoothing=self.label_smoothing,
                reduction="none",
            ).view(labels.shape)
            terms["hard_ce" if len(batch.y) == 1 else f"hard_ce.{head}"] = Term(loss, labels != IGNORE)
        return terms
