"""Train-only networks on what a linear layer makes a sample's logits of: further heads, and projectors.

They shape the student while it learns, and no part of them is deployed.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from compactor.models.student import Student
from compactor.records import PENULTIMATE, Needs, Outputs

ON_PENULTIMATE = Needs(student=frozenset({PENULTIMATE}))
HIDDEN, HEAD_DROPOUT = 200, 0.1  # of a head with a hidden layer, as in DHKD's code
PROJECTOR_DROPOUT = 0.5  # as in the code of ND


class PartNorm(nn.BatchNorm1d):
    """BatchNorm by this process's part of the batch; a single row is normalised by the running statistics.

    Where a last batch leaves a process one row, plain BatchNorm stops the training.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise [B, D]."""
        if len(input) > 1 or not self.training:
            return super().forward(input)
        return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


def penultimate(outputs: Outputs) -> Tensor:
    """The feature [B, D] in float32."""
    return outputs.features[PENULTIMATE].float()


def penultimate_width(model: nn.Module) -> int:
    """D, of a model that has the feature."""
    assert isinstance(model, Student)
    return model.features[PENULTIMATE].width


def class_count(student: nn.Module) -> int:
    """C of a student that answers with one class a sample."""
    assert isinstance(student, Student)
    return student.info.num_classes()


def linear_head(width: int, outputs: int) -> nn.Module:
    """One linear layer D -> outputs."""
    return nn.Linear(width, outputs)


def mlp_head(width: int, outputs: int) -> nn.Module:
    """Linear, dropout 0.1, BatchNorm, ReLU, linear, with 200 units between (DHKD, arXiv 2411.08937)."""
    return nn.Sequential(
        nn.Linear(width, HIDDEN),
        nn.Dropout(HEAD_DROPOUT),
        PartNorm(HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, outputs),
    )


def projector(width: int, outputs: int) -> nn.Module:
    """BatchNorm, dropout 0.5, linear: a student's feature in a teacher's space (ND, arXiv 2305.17007)."""
    return nn.Sequential(PartNorm(width), nn.Dropout(PROJECTOR_DROPOUT), nn.Linear(width, outputs))


def of_first_head(outputs: Outputs) -> tuple[str, Tensor]:
    """Name and logits [B, C] in float32 of a model's one head."""
    (head, logits), *_ = outputs.logits.items()
    return head, logits.float()
