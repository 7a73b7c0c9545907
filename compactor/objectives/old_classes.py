"""A student that learns new classes keeps what an old model says of its own, and is made even afterwards.

Zhao, Xiao, Gan, Zhang, Xia, "Maintaining Discrimination and Fairness in Class Incremental Learning" (WA,
arXiv 1911.07053).
"""

import torch
from torch import Tensor, nn

from compactor.data.class_names import listed
from compactor.models.class_order import last_linear
from compactor.models.student import Student
from compactor.objectives import LogitObjective
from compactor.records import Batch, Outputs, Step, Target, Term
from compactor_runtimes.errors import UsageError


class OldClassCrossEntropy(LogitObjective):
    """-sum_c softmax(t / T)_c log softmax(s_old / T)_c over the old classes alone, both sides, without T^2.

    `setup` finds the old classes among the student's by name; the loss's weight and `align` hang on them.
    """

    def __init__(self, temperature: float, weight: float | None) -> None:
        """Set T, and the share of the loss (None: the old classes' share of all)."""
        self.temperature, self.given = temperature, weight
        self.old = torch.empty(0, dtype=torch.int64)  # columns of the student, in the teacher's order
        self.count, self.head = 0, ""
        self.names: list[str] = []

    def setup(self, student: nn.Module, teachers: list[nn.Module]) -> nn.Module | None:
        """Find the teacher's classes among the student's; nothing is trained.

        Raises:
            UsageError: the teacher does not know some of the classes alone, or the student's last layer is
                not one linear layer, whose rows could be aligned.
        """
        (teacher,) = teachers
        assert isinstance(student, Student)
        assert isinstance(teacher, Student)
        self.head = student.info.heads[0].name
        ours, self.names = student.info.classes[self.head], teacher.info.classes[self.head]
        if not set(self.names) < set(ours):
            raise UsageError(
                f"method weight_aligning: the teacher knows {listed(self.names)}, the data have "
                f"{listed(ours)}; expected a teacher of some of the data's classes, so that others are new"
            )
        if last_linear(student, self.head) is None:
            raise UsageError(
                f"method weight_aligning: the last layer of the student's {type(student.backbone).__name__} "
                "is not one linear layer with a row for each class, so no rows can be aligned; name another "
                "student, without subclasses"
            )
        self.old, self.count = torch.tensor([ours.index(name) for name in self.names]), len(ours)
        return None

    @property
    def share(self) -> float:
        """Lambda, the share of this loss; C_old / C unless it is given."""
        return len(self.old) / self.count if self.given is None else self.given

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        """Return {"old_classes": [B]}."""
        assert teacher is not None
        own = student.logits[self.head].float()
        said = teacher.logits[self.head].float() / self.temperature
        log_p = torch.log_softmax(own[:, self.old.to(own.device)] / self.temperature, dim=-1)
        return {"old_classes": Term(-(said.softmax(-1) * log_p).sum(-1))}

    def align(self, student: nn.Module) -> str:
        """Scale the rows of the new classes to the old ones' mean norm, and say by how much."""
        assert isinstance(student, Student)
        layer = last_linear(student, self.head)
        assert layer is not None  # setup saw it
        gamma = align_rows(layer.weight, self.old.to(layer.weight.device))
        new = [name for name in student.info.classes[self.head] if name not in self.names]
        return (
            f"weights aligned: the rows of {listed(new)} are multiplied by gamma {gamma:.4f}, the mean norm "
            f"of the rows of {listed(self.names)} over theirs"
        )


@torch.no_grad()
def align_rows(weight: Tensor, old: Tensor) -> float:
    """Multiply the rows that are not old by gamma = mean |w_old| / mean |w_new|, in place.

    Args:
        weight: [C, D] of the last layer; its bias stays as it is.
        old: int64 [C_old], the rows of the old classes.

    Returns:
        Gamma; 1 where it is done again, or where all new rows are zero.
    """
    is_new = torch.ones(len(weight), dtype=torch.bool, device=weight.device)
    is_new[old] = False
    norms = weight.double().norm(dim=1)
    size = norms[is_new].mean()
    gamma = float(norms[~is_new].mean() / size) if size > 0 else 1.0
    weight[is_new] *= gamma
    return gamma
