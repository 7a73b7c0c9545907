"""Self-distillation with ground truth: targets a * onehot(y) + (1 - a) * p of the network before.

Borup, Andersen, "Even your Teacher Needs Guidance: Ground-Truth Targets Dampen Regularization Imposed by
Self-Distillation" (NeurIPS 2021, arXiv 2102.13088). a is given, or chosen on select samples in closed form.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from compactor.records import IGNORE, Batch, Outputs, Soft, Step, Target
from compactor.trainer.contracts import TargetPolicy
from compactor_runtimes.errors import UsageError

if TYPE_CHECKING:
    from compactor.teachers import Teachers


class MixedWithTruth(TargetPolicy):
    """The teacher is the network before; where a sample has no label its target is the teacher's alone.

    To choose a, two networks that learned like the student are asked on select: `pure` followed the network
    before alone, `ground` the labels alone. They are places among the stage's teachers and teach nothing.
    """

    def __init__(self, alpha: float | None, *, pure: int = 0, ground: int = 0) -> None:
        """Set a in [0, 1), absent: chosen from the teachers at these places."""
        self.alpha, self.pure, self.ground = alpha, pure, ground
        self.chosen: dict[str, float] = {}

    @torch.no_grad()
    def choose(self, teachers: "Teachers | None", select: Callable[[], Iterator[Batch]]) -> None:
        """Choose a of each head, unless it is given.

        Raises:
            UsageError: select has no labels.
        """
        if self.alpha is not None:
            return
        assert teachers is not None
        products: dict[str, list[Tensor]] = {}
        for batch in select():
            pure, ground = (teachers.models[place](**batch.x) for place in (self.pure, self.ground))
            for head, labels in batch.y.items():
                known = labels != IGNORE
                distilled, fitted = (one[head][known].double().softmax(-1).cpu() for one in (pure, ground))
                found = torch.stack(inner_products(labels[known].cpu(), distilled, fitted))
                products.setdefault(head, []).append(torch.cat([found, known.sum().double().cpu()[None]]))
        for head, parts in products.items():
            towards, square, count = torch.stack(parts).sum(0).tolist()
            if not count:
                raise UsageError(
                    f"options.alpha: auto found, but no select sample has a {head!r} to choose it by; "
                    "give a number"
                )
            self.chosen[head] = best_alpha(towards, square)

    def make(self, batch: Batch, teacher: Outputs | None, step: Step) -> Target:
        """Mix labels and answers by head, in float32."""
        assert teacher is not None
        assert teacher.log_probs is not None
        heads = {}
        for head, log_p in teacher.log_probs.items():
            alpha = self.chosen[head] if self.alpha is None else self.alpha
            heads[head] = Soft(log_p=mixed(log_p.float(), batch.y.get(head), alpha))
        return Target(heads)

    def summary(self) -> dict[str, Any]:
        """The weights of the ground truth."""
        return {"alpha": self.chosen if self.alpha is None else self.alpha}

    def note(self) -> str:
        """Those that were chosen, in a line."""
        if self.alpha is not None:
            return ""
        return "chosen on select: " + ", ".join(
            f"alpha {alpha:.4g} of {head!r}" for head, alpha in self.chosen.items()
        )


def mixed(log_p: Tensor, labels: Tensor | None, alpha: float) -> Tensor:
    """Log of alpha * onehot(y) + (1 - alpha) * p [..., C]; log p where there is no label."""
    if labels is None:
        return log_p
    onehot = F.one_hot(labels.clamp(min=0), log_p.shape[-1])
    target = (alpha * onehot + (1 - alpha) * log_p.exp()).log()
    return torch.where((labels == IGNORE).unsqueeze(-1), log_p, target)


def inner_products(labels: Tensor, distilled: Tensor, fitted: Tensor) -> tuple[Tensor, Tensor]:
    """<y - f_D, f_GT - f_D> and ||f_GT - f_D||^2 over samples and classes.

    Args:
        labels: int64 [N].
        distilled: f_D, probabilities [N, C] of the purely distilled fit.
        fitted: f_GT, those of the ground-truth fit.
    """
    apart = fitted - distilled
    return ((F.one_hot(labels, apart.shape[-1]) - distilled) * apart).sum(), apart.square().sum()


def best_alpha(towards: float, square: float) -> float:
    """The a in [0, 1] for which a f_GT + (1 - a) f_D is nearest to y; 1 where both fits are equal.

    It is exact where fits are linear in their targets (kernel ridge regression), and a guess for networks.
    """
    return min(max(towards / square, 0.0), 1.0) if square > 0 else 1.0
