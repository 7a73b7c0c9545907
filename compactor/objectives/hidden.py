"""Match of last hidden states, token by token (DistilBERT, arXiv 1910.01108; TinyBERT, arXiv 1909.10351).

L = mean over real tokens of (1 / d_t) * |W h_s - h_t|^2, or of 1 - cos(W h_s, h_t). W: d_s -> d_t has no
bias, serves training alone, and is left out where widths are equal. Of pre-LayerNorm encoders the states are
those after the last LayerNorm.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import torch.nn.functional as F
from torch import nn

from compactor.models.student import Student
from compactor.records import MASK, STATES, Batch, Needs, Outputs, Step, Target, Term

if TYPE_CHECKING:
    from compactor.teachers import Teachers


class HiddenMatch:
    """Distance of the student's last hidden states to the first teacher's."""

    needs = Needs(student=frozenset({STATES}), teacher=frozenset({STATES}), option="options.hidden_weight")
    lr: float | None = None
    as_student = False

    def __init__(self, distance: Literal["mse", "cosine"] = "mse") -> None:
        """Choose the distance."""
        self.distance = distance
        self.projection: nn.Linear | None = None

    def setup(self, student: nn.Module, teachers: list[nn.Module]) -> nn.Module | None:
        """Make W where widths differ."""
        ours, theirs = _width(student), _width(teachers[0])
        self.projection = nn.Linear(ours, theirs, bias=False) if ours != theirs else None
        return self.projection

    def fit(self, teachers: "Teachers | None", batches: Iterator[Batch]) -> None:
        """Need no statistics."""

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        """Return {hidden: [B, L]}, valid at real tokens."""
        assert teacher is not None
        ours, theirs = student.features[STATES], teacher.features[STATES].float()
        ours = (ours if self.projection is None else self.projection(ours)).float()
        if self.distance == "mse":
            loss = (ours - theirs).square().mean(-1)
        else:
            loss = 1 - F.cosine_similarity(ours, theirs, dim=-1)
        return {"hidden": Term(loss, batch.x[MASK] == 1)}


def _width(model: nn.Module) -> int:
    assert isinstance(model, Student)
    return model.features[STATES].width
