"""`task: intent-slots`: one intent a text and a BIO label for each of its words, from one encoder."""

from typing import Literal

from compactor.records import INTENT, SLOT, DataInfo
from compactor.tasks.texts import TextTask
from compactor_runtimes.bundle.manifest import BioPost, Post, SoftmaxPost


class IntentSlots(TextTask):
    """See compactor.tasks.Task; the intent is the headline, slots are scored beside it."""

    name = "intent-slots"
    head = label_head = INTENT
    word_head = SLOT
    answers: Literal["classes", "embedding", "masked"] = "classes"

    def post(self, info: DataInfo) -> list[Post]:
        """Softmax over the intents; BIO labels to spans."""
        return [
            SoftmaxPost(output=f"{INTENT}_logits", labels=INTENT),
            BioPost(output=f"{SLOT}_logits", labels=SLOT),
        ]


TASK = IntentSlots()
