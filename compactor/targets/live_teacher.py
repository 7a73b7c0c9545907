"""Soft labels from teachers that run beside the student, on the very tensor that the student sees."""

from typing import Literal

from compactor.records import Batch, Outputs, Soft, Step, Target, activation_of
from compactor.targets.mixing import mix_batch
from compactor.trainer.contracts import TargetPolicy


class LiveTeacher(TargetPolicy):
    """Use the mixed teachers' mean probabilities, or what their mean logits become."""

    def __init__(
        self, average: Literal["probabilities", "logits"] = "probabilities", *, cutmix: bool = False
    ) -> None:
        """Say what is averaged over several teachers (with one, both are the same), and whether views mix."""
        self.average, self.cutmix = average, cutmix

    def transform(self, batch: Batch) -> Batch:
        """Mix the images before anyone sees them: what teachers say of a mixed image needs no mixing."""
        return mix_batch(batch, within_samples=False, kind="cutmix") if self.cutmix else batch

    def make(self, batch: Batch, teacher: Outputs | None, step: Step) -> Target:
        """Make a dense soft target for every head of the teachers."""
        assert teacher is not None
        assert teacher.log_probs is not None
        if self.average == "probabilities":
            return Target({head: Soft(log_p=log_p) for head, log_p in teacher.log_probs.items()})
        return Target(
            {
                head: Soft(log_p=logits if activation_of(head) == "sigmoid" else logits.log_softmax(-1))
                for head, logits in teacher.logits.items()
            }
        )
