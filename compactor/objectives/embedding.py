"""What objectives on embeddings share: the pair of vectors that they compare."""

from torch import Tensor, nn

from compactor.models.student import EMBEDDING, Student
from compactor.objectives import LogitObjective
from compactor.records import Outputs
from compactor_runtimes.errors import UsageError


class EmbeddingObjective(LogitObjective):
    """An objective that reads the teacher's embedding beside the student's."""

    def pair(self, student: Outputs, teacher: Outputs | None) -> tuple[Tensor, Tensor]:
        """Return both embeddings in float32, [B, D] and [B, D']."""
        assert teacher is not None
        return student.logits[EMBEDDING].float(), teacher.logits[EMBEDDING].float()


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
