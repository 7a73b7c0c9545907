"""`task: text-classification`: one label a text; raw inputs are texts or UTF-8 files."""

from typing import Literal

from compactor.records import DataInfo
from compactor.tasks.texts import TextTask
from compactor_runtimes.bundle.manifest import Post, SoftmaxPost


class TextClassification(TextTask):
    """See compactor.tasks.Task."""

    name = "text-classification"
    head = "label"
    answers: Literal["classes", "embedding", "masked"] = "classes"

    def post(self, info: DataInfo) -> list[Post]:
        """Softmax over the labels."""
        return [SoftmaxPost(output="logits", labels=self.head)]


TASK = TextClassification()
