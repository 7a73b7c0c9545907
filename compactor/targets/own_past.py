"""Labels softened by what the student itself last said of the same sample; no teacher.

Kim et al., "Self-Knowledge Distillation with Progressive Refinement of Targets" (arXiv 2006.12000), as its
authors' code trains it.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from compactor.records import Batch, Needs, Outputs, Soft, Step, Target
from compactor.trainer.contracts import TargetPolicy
from compactor.trainer.processes import gather_rows

if TYPE_CHECKING:
    from compactor.teachers import Teachers


class OwnPast(TargetPolicy):
    """(1 - alpha_e) onehot(y) + alpha_e P[sample], alpha_e = alpha (e + 1) / E in epoch e of E, from 0.

    1. P is float16 [n, C] by training sample, in memory and in every checkpoint: 2 n C bytes.
    2. In epoch 0, and for a sample that was not visited yet, P is the label itself.
    3. After a step P is the softmax of the training-mode forward: augmented, with dropout and BatchNorm as
       they train. A sample that occurs twice in a step keeps the later one.
    4. Each of several processes holds what all of them saw.
    5. Where an epoch counts for several, e is the first of them; of a training by steps E = steps / steps of
       an epoch, and alpha_e never exceeds alpha.
    """

    needs = Needs(statistics=True)

    def __init__(self, alpha: float) -> None:
        """Set alpha in (0, 1], the share of the past at the end."""
        self.alpha = alpha
        self.ids = torch.empty(0, dtype=torch.int64)  # [n], ascending
        self.labels = torch.empty(0, dtype=torch.int64)  # [n]
        self.past: Tensor | None = None  # P, once C is known

    def fit(self, teachers: "Teachers | None", batches: Iterator[Batch]) -> None:
        """Learn which samples there are."""
        seen = [(batch.id.cpu(), next(iter(batch.y.values())).cpu()) for batch in batches]
        ids, labels = (torch.cat(one) for one in zip(*seen, strict=True))
        self.ids, order = ids.sort()
        self.labels = labels[order]

    def share(self, step: Step) -> float:
        """alpha_e."""
        return self.alpha * min(1.0, (step.epoch + 1) / step.epochs)

    def make(self, batch: Batch, teacher: Outputs | None, step: Step) -> Target:
        """Soften the labels of the batch; rows without a label get what no objective may read."""
        ((head, labels),) = batch.y.items()
        known = labels.clamp(min=0).unsqueeze(-1)
        if self.past is None or step.epoch == 0:
            ones = torch.ones_like(known, dtype=torch.float32)
            return Target({head: Soft(ids=known, p=ones, tail=torch.zeros_like(ones[:, 0]))})
        said = self.past[self.rows(batch.id)].float().to(labels.device)
        share = self.share(step)
        mixed = share * said / said.sum(-1, keepdim=True)  # float16 does not sum to 1 exactly
        mixed.scatter_add_(1, known, torch.full_like(known, 1 - share, dtype=mixed.dtype))
        return Target({head: Soft(log_p=mixed.log())})

    def observe(self, batch: Batch, student: Outputs) -> None:
        """Keep what the student said."""
        (logits,) = student.logits.values()
        ids, said = gather_rows(batch.id), gather_rows(logits.float().softmax(-1))
        if self.past is None:
            # of samples without a label nothing is ever read
            self.past = F.one_hot(self.labels.clamp(min=0), said.shape[-1]).half()
        # numpy promises that the last of several values for one row stays
        self.past.numpy()[self.rows(ids).numpy()] = said.half().cpu().numpy()

    def rows(self, ids: Tensor) -> Tensor:
        """Where samples lie in P: int64 [B]."""
        return torch.searchsorted(self.ids, ids.cpu())

    def state_dict(self) -> dict[str, Any]:
        """P, once there is one."""
        return {} if self.past is None else {"past": self.past}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take P back."""
        self.past = state.get("past")
