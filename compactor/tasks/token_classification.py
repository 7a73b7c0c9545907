"""`task: token-classification`: a BIO label for each word of a text; accuracy counts words."""

from typing import Literal

from compactor.records import SLOT, DataInfo
from compactor.tasks.texts import TextTask
from compactor_runtimes.bundle.manifest import BioPost, Post


class TokenClassification(TextTask):
    """See compactor.tasks.Task."""

    name = "token-classification"
    head = word_head = SLOT
    label_head = None
    answers: Literal["classes", "embedding", "masked"] = "classes"

    def post(self, info: DataInfo) -> list[Post]:
        """BIO labels to spans."""
        return [BioPost(output=f"{SLOT}_logits", labels=SLOT)]


TASK = TokenClassification()
