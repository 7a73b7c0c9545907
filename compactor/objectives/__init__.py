"""Objectives: what the student is pulled towards, as named losses that are not yet reduced.

Logit objectives read only `target`, so a label store can stand in for a teacher; feature objectives read
`teacher.features`. The trainer weighs, reduces and logs. A new objective is one file and the line of a
method; the contract is `compactor.trainer.contracts.Objective`.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import nn

from compactor.records import Batch, Needs

if TYPE_CHECKING:
    from compactor.teachers import Teachers


class LogitObjective:
    """What objectives on logits share: they need no features and train nothing of their own."""

    needs = Needs()
    lr: float | None = None
    as_student = False

    def setup(self, student: nn.Module, teachers: list[nn.Module]) -> nn.Module | None:
        """Make nothing."""
        return None

    def fit(self, teachers: "Teachers | None", batches: Iterator[Batch]) -> None:
        """Need no statistics."""
