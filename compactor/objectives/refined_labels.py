"""Cross-entropy to labels that a target policy has softened, of the samples that have a label."""

from dataclasses import replace

from compactor.objectives.divergences import SoftCrossEntropy
from compactor.records import IGNORE, Batch, Outputs, Step, Target, Term


class RefinedCrossEntropy(SoftCrossEntropy):
    """Soft cross-entropy H(q, p) at temperature 1; without a label there is nothing to soften."""

    name = "refined_ce"

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        """Return {refined_ce: [B]}, valid where there is a label."""
        ((name, term),) = super().__call__(student, teacher, target, batch, step).items()
        (labels,) = batch.y.values()
        return {name: replace(term, valid=labels != IGNORE)}
