"""Objectives on embeddings: where a vector points, and how alike the vectors of a batch are to each other."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compactor.models.student import Student
from compactor.objectives import LogitObjective
from compactor.records import EMBEDDING, Batch, Outputs, Step, Target, Term
from compactor_runtimes.errors import UsageError


class EmbeddingObjective(LogitObjective):
    """An objective that reads the teacher's embedding beside the student's."""

    def pair(self, student: Outputs, teacher: Outputs | None) -> tuple[Tensor, Tensor]:
        """Return both embeddings in float32, [B, D] and [B, D']."""
        assert teacher is not None
        return student.logits[EMBEDDING].float(), teacher.logits[EMBEDDING].float()


class Cosine(EmbeddingObjective):
    """Cosine distance 1 - cos(student, teacher) (DistilBERT, arXiv 1910.01108, section 3).

    A student of other dimensions gets a linear map to the teacher's, which only training
    uses.
    """

    projection: nn.Linear | None = None

    def setup(self, student: nn.Module, teachers: list[nn.Module]) -> nn.Module | None:
        """Make the map where dimensions differ."""
        ours, theirs = embedding_dimensions(student), embedding_dimensions(teachers[0])
        self.projection = nn.Linear(ours, theirs, bias=False) if ours != theirs else None
        return self.projection

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        """Return {cosine: [B]}, in [0, 2]."""
        ours, theirs = self.pair(student, teacher)
        if self.projection is not None:
            ours = self.projection(ours).float()
        return {"cosine": Term(1 - F.cosine_similarity(ours, theirs, dim=-1))}


class Similarity(EmbeddingObjective):
    """Similarity-preserving distillation (Tung and Mori, arXiv 1907.09682) on cosine similarities.

    Sample i's loss is mean_j (cos(s_i, s_j) - cos(t_i, t_j))^2 over the other samples j of this process's
    part of the batch, so with several processes each one compares its own samples only. Student and teacher
    may have different dimensions.
    """

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        """Return {similarity: [B]}; a sample without others has loss 0."""
        ours, theirs = (F.normalize(one, dim=-1) for one in self.pair(student, teacher))
        with torch.autocast(ours.device.type, enabled=False):  # similarities near 1 need float32
            gap = ours @ ours.T - theirs @ theirs.T  # 0 on the diagonal: each is 1 with itself
        return {"similarity": Term(gap.square().sum(-1) / max(len(gap) - 1, 1))}


def embedding_dimensions(model: nn.Module) -> int:
    """Dimensions of a model's embedding.

    Raises:
        UsageError: the model has none.
    """
    ports = model.outputs if isinstance(model, Student) else []
    for port in ports:
        if port.name == EMBEDDING and isinstance(port.axes[-1], int):
            return port.axes[-1]
    raise UsageError(
        f"method embedding: {type(model).__name__} gives no embedding but "
        f"{', '.join(port.name for port in ports) or 'nothing that it declares'}; set task: embedding"
    )
