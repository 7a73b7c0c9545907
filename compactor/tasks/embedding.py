"""`task: embedding`: one vector a text, learned from a teacher's vectors; no labels are needed."""

from typing import Literal

from compactor.records import EMBEDDING, DataInfo
from compactor.tasks.texts import TextTask
from compactor_runtimes.bundle.manifest import EmbeddingPost, Post


class Embedding(TextTask):
    """See compactor.tasks.Task."""

    name = "embedding"
    head = EMBEDDING
    answers: Literal["classes", "embedding", "masked"] = "embedding"

    def post(self, info: DataInfo) -> list[Post]:
        """Divide by the length."""
        return [EmbeddingPost(output=EMBEDDING)]


TASK = Embedding()
