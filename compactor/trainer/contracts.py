"""What the training loop runs: objectives, a target policy and a sampler, put together by a method.

Those who implement these contracts stand above the trainer, one file each, found by name through a table.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from compactor.records import Batch, Crops, Needs, Outputs, Step, Target, Term

if TYPE_CHECKING:  # a method's options are checked where torch is not installed
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from compactor.data.splits import Split
    from compactor.teachers import Teachers
    from compactor.trainer.gradients import GradientPolicy


class Objective(Protocol):
    """The contract of an objective."""

    needs: Needs
    lr: float | None
    """Constant learning rate of the train-only module; None = the student's at every step."""
    as_student: bool
    """Whether the train-only module's weights decay, and its gradients are clipped, as the student's are."""

    def setup(self, student: "nn.Module", teachers: "list[nn.Module]") -> "nn.Module | None":
        """Make the train-only module (a projector, a critic), which is optimised but never exported."""

    def fit(self, teachers: "Teachers | None", batches: Iterator[Batch]) -> None:
        """See every training sample once, in order and without augmentation, if `needs.statistics`."""

    def __call__(
        self, student: Outputs, teacher: Outputs | None, target: Target, batch: Batch, step: Step
    ) -> dict[str, Term]:
        """Return the named, unreduced, unweighted losses."""


class TargetPolicy:
    """Where soft labels come from; this one makes none, for objectives that read the labels of the batch.

    It leaves the batch alone and keeps no state; others override what they need.
    """

    needs: Needs = Needs()
    """Features of the first teacher that `make` reads, and whether `fit` is to see the training samples."""
    crops: "Callable[[NDArray[np.int64], int], Crops] | None" = None
    """Replays recorded views: (ids of a global batch, epoch) -> their crops; None lets the loader draw."""

    def fit(self, teachers: "Teachers | None", batches: Iterator[Batch]) -> None:
        """See every training sample once, in order and without augmentation, if `needs.statistics`."""

    def choose(self, teachers: "Teachers | None", select: Callable[[], Iterator[Batch]]) -> None:
        """Choose on select samples, before training, what is not given: a weight, a temperature.

        `teachers` are all of the stage, also those that make no targets (`Preset.taught_by`).
        Each call of `select` yields all of them once, as they are deployed. Like `fit`, it runs again when a
        training goes on, and has to come to the same.
        """

    def summary(self) -> dict[str, Any]:
        """What is worth keeping about the targets, known before training: plain values for a JSON file."""
        return {}

    def note(self) -> str:
        """The same in a line for the screen."""
        return ""

    def transform(self, batch: Batch) -> Batch:
        """Change the batch before any forward; it may grow."""
        return batch

    def make(self, batch: Batch, teacher: Outputs | None, step: Step) -> Target:
        """Make the target of a batch from the mixed teachers' outputs."""
        return Target()

    def observe(self, batch: Batch, student: Outputs) -> None:
        """See the student's outputs after the forward, without gradient."""

    def state_dict(self) -> dict[str, Any]:
        """State to keep in a checkpoint: tensors and plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the state of a checkpoint back."""

    def kept(self) -> "dict[str, NDArray[Any]]":
        """Arrays that are kept beside the trained student, for later stages, by name."""
        return {}


class Sampler:
    """Every sample once, in stored order, all weights one; others override what they need.

    All methods must be functions of their arguments and of what `fit` saw, so that a resumed run repeats it.
    """

    def state_dict(self) -> dict[str, Any]:
        """What `fit` decided by rounded scores, as tensors for a checkpoint: a resumed run keeps it."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back, in the place of what `fit` came to this time."""

    def kept(self) -> "dict[str, NDArray[Any]]":
        """Arrays that are kept beside the trained student, for later stages, by name."""
        return {}

    def summary(self) -> dict[str, Any]:
        """What is worth keeping about the samples that are visited, known once `fit` saw them."""
        return {}

    def note(self) -> str:
        """The same in a line for the screen."""
        return ""

    def fit(self, split: "Split", teachers: "Teachers | None") -> None:
        """See the training samples once, before training, to group or score them."""

    def span(self, epoch: int) -> int:
        """Return for how many epochs the pass that begins with `epoch` counts."""
        return 1

    def passes(self, epochs: int) -> Iterator[int]:
        """Yield the epochs at which the passes of `epochs` epochs begin."""
        epoch = 0
        while epoch < epochs:
            yield epoch
            epoch += self.span(epoch)

    def samples(self, n: int, epoch: int = 0) -> int:
        """Return how many samples that pass visits, which sets the length of training."""
        return n

    def positions(self, epoch: int, n: int, rng: "np.random.Generator") -> "NDArray[np.int64]":
        """Return positions 0..n-1 to visit, in order; `rng` depends on the seed and the epoch alone."""
        import numpy as np

        return np.arange(n, dtype=np.int64)

    def weights(self, name: str, term: Term, student: Outputs, batch: Batch, step: Step) -> "Tensor | None":
        """Return weights >= 0 of the term's shape (None: ones), for sum(w * loss) / valid count."""
        return None


Weighted = tuple[Objective, float | Callable[[Step], float]]


@dataclass(frozen=True)
class Preset:
    """What the trainer runs: weighted objectives, the source of targets, which samples an epoch visits.

    `head_weights` multiply the terms of single heads, where there are several (absent: 1). `teacher_bn` says
    whether the teachers' BatchNorm layers normalise by the batch while they teach (SSLD), or by their running
    statistics, as in all else. `gradients` makes one gradient of those of the objectives (absent: their sum).
    `finish` changes the trained student before it is kept, and says in a line what it did. `teachers_once`
    says that teachers are heard before training alone, by `fit` or `choose`, and run beside no step.
    `taught_by` are the places of the teachers that make targets, mixed (absent: all); the others only help to
    choose.
    """

    objectives: list[Weighted]
    target: TargetPolicy
    sampler: Sampler
    head_weights: Mapping[str, float] = field(default_factory=dict)
    teacher_bn: Literal["batch", "eval"] = "eval"
    gradients: "GradientPolicy | None" = None
    finish: "Callable[[nn.Module], str] | None" = None
    teachers_once: bool = False
    taught_by: tuple[int, ...] | None = None
