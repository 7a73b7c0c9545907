"""Top-k answers of a teacher, recalibrated: P'_i = exp(P_i / c) / sum_j exp(P_j / c) over k probabilities P.

The rule of FIRST (as its paper has it; the released script does something else). c is given, or chosen on
select samples so that the expected calibration error is least.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compactor.data.spec import Quantization
from compactor.label_store.store import StorePart
from compactor.records import IGNORE, Batch, Hard, Outputs, Soft, Step, Target
from compactor.targets.live_teacher import LiveTeacher
from compactor.targets.stored import StoredLabels
from compactor.trainer.contracts import TargetPolicy
from compactor_runtimes.errors import UsageError
from compactor_runtimes.stats.metrics import ece

if TYPE_CHECKING:
    from compactor.teachers import Teachers

BINS = 10
COARSE = range(10, 101, 10)  # hundredths of c
FINE, STEP = 10, 2  # hundredths around the best coarse value, and between two fine ones
READ_AS: Quantization = (
    "marginal-smoothing"  # the reading of stored labels that keeps the k probabilities as they are
)


class Recalibrated(TargetPolicy):
    """What `answers` says of each sample, cut to its k largest classes and recalibrated.

    `select` are a label store's answers on select samples; live teachers are asked instead.
    """

    def __init__(
        self, answers: LiveTeacher | StoredLabels, *, k: int, c: float | None, select: StorePart | None = None
    ) -> None:
        """Take who answers, how many classes count, and c in (0, 1] (absent: chosen on select)."""
        self.answers, self.k, self.c, self.select = answers, k, c, select
        self.crops = answers.crops
        self.chosen: dict[str, float] = {}
        self.errors: dict[str, tuple[float, float]] = {}  # before, after; by head

    @classmethod
    def from_store(
        cls, part: StorePart, select: StorePart | None, *, seed: int, k: int, c: float | None
    ) -> "Recalibrated":
        """Recalibrate what a label store keeps of the views of `part`; its `select` part chooses c."""
        return cls(StoredLabels(part, seed=seed, quantization=READ_AS, k=k), k=k, c=c, select=select)

    @classmethod
    def from_teachers(cls, *, k: int, c: float | None) -> "Recalibrated":
        """Recalibrate the mean probabilities of live teachers."""
        return cls(LiveTeacher(), k=k, c=c)

    def choose(self, teachers: "Teachers | None", select: Callable[[], Iterator[Batch]]) -> None:
        """Choose c of each head, unless it is given.

        Raises:
            UsageError: select has no labels, or the label store does not hold its samples.
        """
        if self.c is not None:
            return
        said: dict[str, list[tuple[Tensor, Tensor]]] = {}
        for batch in select():
            for head, soft in self._on_select(teachers, batch).items():
                p, ids = largest(soft, self.k)
                labels = batch.y[head]
                known = labels != IGNORE
                place = place_of(labels, ids.to(labels.device))
                said.setdefault(head, []).append((p[known.to(p.device)].cpu(), place[known].cpu()))
        for head, found in said.items():
            probs, places = (torch.cat(one).numpy() for one in zip(*found, strict=True))
            if not len(places):
                raise UsageError(
                    f"options.c: absent, and no select sample has a {head!r} to choose it by; give c, "
                    "such as 0.3"
                )
            self.chosen[head] = best_c(probs, places)
            after = recalibrate(torch.from_numpy(probs), self.chosen[head]).numpy()
            self.errors[head] = (ece(probs, places, bins=BINS), ece(after, places, bins=BINS))

    def _on_select(self, teachers: "Teachers | None", batch: Batch) -> Mapping[str, Soft]:
        """What is known of select samples: from the live teachers, or from the store."""
        if teachers is not None:
            made = self.answers.make(batch, teachers(batch), Step(0, 1, 0, 1)).heads
            return {head: soft for head, soft in made.items() if not isinstance(soft, Hard)}
        ids = batch.id.cpu().numpy()
        if self.select is None or not np.isin(ids, self.select.ids).all():
            raise UsageError(
                "options.c: absent, and the label store holds no answers on select to choose it by; give c, "
                "such as 0.3, or label again with labels.evaluation: true"
            )
        records = self.select.records(ids, np.zeros(len(ids), dtype=np.int64))
        return {
            head.name: self.select.soft(records, head.name, READ_AS, self.k)
            for head in self.select.header.heads
        }

    def make(self, batch: Batch, teacher: Outputs | None, step: Step) -> Target:
        """The k largest classes of each head with their recalibrated probabilities, which sum to 1."""
        heads: dict[str, Soft | Hard] = {}
        for head, soft in self.answers.make(batch, teacher, step).heads.items():
            assert isinstance(soft, Soft)
            p, ids = largest(soft, self.k)
            c = self.chosen[head] if self.c is None else self.c
            heads[head] = Soft(ids=ids, p=recalibrate(p, c), tail=torch.zeros_like(p[..., 0]))
        return Target(heads)

    def summary(self) -> dict[str, Any]:
        """C, and the calibration error on select before and after, where it was chosen."""
        if self.c is not None:
            return {"recalibration": {"c": self.c}}
        return {
            "recalibration": {
                head: {"c": c, "ece_before": self.errors[head][0], "ece_after": self.errors[head][1]}
                for head, c in self.chosen.items()
            }
        }

    def note(self) -> str:
        """The same in a line."""
        told = [
            f"c {c:g} of {head!r} chosen on select: the teacher's calibration error there goes from "
            f"{self.errors[head][0]:.4f} to {self.errors[head][1]:.4f}"
            for head, c in self.chosen.items()
        ]
        return "; ".join(told)


def largest(soft: Soft, k: int) -> tuple[Tensor, Tensor]:
    """The k largest probabilities [..., k], descending, and their classes; of fewer classes all."""
    if soft.log_p is not None:
        p, ids = soft.log_p.float().exp().topk(min(k, soft.log_p.shape[-1]), dim=-1)
        return p, ids
    assert soft.p is not None
    assert soft.ids is not None
    return soft.p[..., :k].float(), soft.ids[..., :k].long()


def recalibrate(p: Tensor, c: float) -> Tensor:
    """P'_i = exp(P_i / c) / sum_j exp(P_j / c) over the last dimension; the order of classes stays."""
    return (p / c).softmax(-1)


def place_of(labels: Tensor, ids: Tensor) -> Tensor:
    """Place 0..k-1 of each label [...] among the classes [..., k]; k where it is none of them."""
    is_there = ids == labels.unsqueeze(-1)
    return torch.where(is_there.any(-1), is_there.int().argmax(-1), ids.shape[-1])


def best_c(probs: NDArray[np.float32], places: NDArray[np.int64]) -> float:
    """The c in (0, 1] of least expected calibration error, 10 bins: steps of .1, then of .02 around the best.

    Args:
        probs: the k largest probabilities [N, k].
        places: of the label among them, see `place_of`.
    """
    values = torch.from_numpy(probs).double()

    def error(hundredths: int) -> float:
        return ece(recalibrate(values, hundredths / 100).numpy(), places, bins=BINS)

    coarse = min(COARSE, key=error)
    fine = [one for one in range(coarse - FINE + STEP, coarse + FINE, STEP) if 0 < one <= 100]
    return min(fine, key=error) / 100
