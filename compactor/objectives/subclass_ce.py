"""Cross-entropy of a student's subclass scores to the targets that LELP makes of a teacher's features."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import nn

from compactor.models.student import Student
from compactor.records import SUBCLASSES, Batch, Needs, Outputs, Soft, Step, Target, Term
from compactor.targets.subclasses import SubclassTargets

if TYPE_CHECKING:
    from compactor.teachers import Teachers


class SubclassCrossEntropy:
    """-sum_{c,s} p(c, s | x) log softmax(z)_{cs}, over all C * S scores z of the student (arXiv 2409.20449).

    The student is at temperature 1. With one subclass a class, or a target that divides each class as the
    student does, its gradient is that of soft cross-entropy on the folded logits.
    """

    needs = Needs(student=frozenset({SUBCLASSES}))
    lr: float | None = None
    as_student = False

    def __init__(self, targets: SubclassTargets) -> None:
        """Take who makes the targets, which has to know the student's subclasses."""
        self.targets = targets

    def setup(self, student: nn.Module, teachers: list[nn.Module]) -> nn.Module | None:
        """Tell the targets what student they are for; train nothing beside it."""
        assert isinstance(student, Student)
        (head,) = student.info.heads  # only such students have subclasses
        names = list(head.labels)
        self.targets.serve(head.name, names, student.features[SUBCLASSES].width // len(names))
        return None

    def fit(self, teachers: "Teachers | None", batches: Iterator[Batch]) -> None:
        """Leave the statistics to the targets."""

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        """Return {subclass_ce: [B]}."""
        soft = target.heads[SUBCLASSES]
        assert isinstance(soft, Soft)
        assert soft.log_p is not None
        log_p = student.features[SUBCLASSES].float().log_softmax(-1)
        return {"subclass_ce": Term(-(soft.log_p.exp() * log_p).sum(-1))}
