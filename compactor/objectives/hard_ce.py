"""Cross-entropy to the ground truth in `batch.y`, the one objective that reads labels; -100 is ignored."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from compactor.objectives import LogitObjective
from compactor.records import IGNORE, Batch, Needs, Outputs, Step, Target, Term, activation_of
from compactor.trainer.contracts import Weighted
from compactor_runtimes.errors import UsageError

if TYPE_CHECKING:
    from compactor.teachers import Teachers


class HardCrossEntropy(LogitObjective):
    """Cross-entropy with optional label smoothing: 1 - eps on the label, eps spread over all C classes.

    Balanced class weights multiply each sample's loss by n / (C * n_c): n labelled training samples, n_c of
    the sample's class, C classes that occur. The mean stays one over samples, so that the weights are 1 on
    average over the training set, but not in every batch.

    On a sigmoid head it is the binary cross-entropy of each label, summed over labels (a row of -100 has
    none); smoothing moves each target to (1 - eps) y + eps / 2, and labels are not weighed.
    """

    def __init__(
        self, label_smoothing: float = 0.0, *, class_weights: Literal["none", "balanced"] = "none"
    ) -> None:
        """Set eps in [0, 1), and whether classes are weighed by how rare they are."""
        self.label_smoothing, self.class_weights = label_smoothing, class_weights
        self.needs = Needs(statistics=class_weights == "balanced")
        self.weights: dict[str, Tensor] = {}  # by head, [classes up to the last that occurs]

    def fit(self, teachers: "Teachers | None", batches: Iterator[Batch]) -> None:
        """Count the labels of every head.

        Raises:
            UsageError: there are none, or a head answers with any number of labels.
        """
        counts: dict[str, Tensor] = {}
        for batch in batches:
            for head, labels in batch.y.items():
                if activation_of(head) == "sigmoid":
                    raise UsageError(
                        f"option class_weights: balanced weighs single classes, but {head!r} are any number "
                        "of labels; set it to none"
                    )
                counts[head] = _sum(
                    counts.get(head), torch.bincount(labels[labels != IGNORE].flatten().cpu())
                )
        for head, found in counts.items():
            if not found.any():
                raise UsageError(
                    f"option class_weights: balanced was asked for, but no training sample has a {head!r}; "
                    "set it to none"
                )
            shares = found.sum() / ((found > 0).sum() * found.double())  # infinite where a class never occurs
            self.weights[head] = shares.where(found > 0, 0.0).float()

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        """Return {hard_ce: [B] or [B, L]}, valid where there is a label."""
        terms = {}
        for head, labels in batch.y.items():
            logits = student.logits[head].float()
            name = "hard_ce" if len(batch.y) == 1 else f"hard_ce.{head}"
            if activation_of(head) == "sigmoid":
                terms[name] = _of_labels(logits, labels, self.label_smoothing)
                continue
            loss = F.cross_entropy(
                logits.flatten(0, -2),
                labels.flatten(),
                ignore_index=IGNORE,
                label_smoothing=self.label_smoothing,
                reduction="none",
            ).view(labels.shape)
            if head in self.weights:
                loss = loss * self.weights[head].to(loss.device)[labels.clamp(min=0)]
            terms[name] = Term(loss, labels != IGNORE)
        return terms


def share_of_labels(soft_weight: float) -> list[Weighted]:
    """The cross-entropy that a soft part of weight w leaves 1 - w; none of w = 1, which reads no label."""
    return [(HardCrossEntropy(), 1 - soft_weight)] if soft_weight < 1 else []


def _of_labels(logits: Tensor, labels: Tensor, smoothing: float) -> Term:
    """Binary cross-entropy [B] summed over the labels [B, C] that are known; valid where any is."""
    known = labels != IGNORE
    targets = (1 - smoothing) * labels.clamp(min=0).float() + smoothing / 2
    loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return Term(torch.where(known, loss, 0.0).sum(-1), known.any(-1))


def _sum(first: Tensor | None, second: Tensor) -> Tensor:
    """Add two counts, of which either may know more classes."""
    if first is None:
        return second
    size = max(len(first), len(second))
    return F.pad(first, (0, size - len(first))) + F.pad(second, (0, size - len(second)))
