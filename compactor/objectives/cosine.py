"""Cosine distance of embeddings: 1 - cos(student, teacher) (DistilBERT, arXiv 1910.01108, section 3)."""

import torch.nn.functional as F
from torch import nn

from compactor.objectives.embedding import EmbeddingObjective, embedding_dimensions
from compactor.records import Batch, Outputs, Step, Target, Term


class Cosine(EmbeddingObjective):
    """1 - cos; a student of other dimensions gets a linear map to the teacher's, which only training uses."""

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
