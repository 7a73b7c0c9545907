"""What a sampler may learn of the stages before its own; `compactor.run.earlier` finds it out."""

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from compactor.teachers import Teachers


class Earlier(Protocol):
    """Answers are of the training samples of the sampler's own stage, in their order; references `stage:ID`.

    They are the same in all processes.
    """

    def probabilities(self, reference: str) -> "NDArray[np.float64]":
        """What that stage's student says of each whole sample: softmax [n, C] of the first head."""

    def records(self, reference: str) -> "dict[str, NDArray[Any]]":
        """Arrays that the stage's sampler and targets kept beside its student."""

    def teachers_accuracy(self, teachers: "Teachers") -> float | None:
        """Share of labelled select samples that teachers are right on; None where there are none."""
