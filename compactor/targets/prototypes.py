"""Hard labels for samples without one, by the nearest class prototype of an encoder, and how sure they are.

The weights of WAD: a sample that lies between two classes, or is of none of them, has next to no weight.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from compactor.models.student import features_named
from compactor.records import IGNORE, Batch, Hard, Needs, Outputs, Step, Target
from compactor.trainer.contracts import TargetPolicy
from compactor_runtimes.errors import UsageError

if TYPE_CHECKING:
    from compactor.teachers import Teachers

OPTION = "options.feature"


class Prototypes(TargetPolicy):
    """The prototype of a class is the mean feature of its labelled samples, seen whole by the first teacher.

    1. A sample without a label gets the class whose prototype has the largest cosine with its feature, and
       that cosine less the second largest as its weight.
    2. A labelled sample has weight 1 and no label here: its own is read from the batch.
    3. The first head with one label a sample counts.
    """

    def __init__(self, feature: str) -> None:
        """Name the teacher's feature [B, D]."""
        self.feature = feature
        self.needs = Needs(teacher=frozenset({feature}), option=OPTION, statistics=True)
        self.head = ""
        self.found: dict[int, tuple[int, float]] = {}  # of samples without a label: class and weight

    def fit(self, teachers: "Teachers | None", batches: Iterator[Batch]) -> None:
        """Embed all training samples, make prototypes of the labelled ones and label the others.

        Raises:
            UsageError: no head with one label a sample, no vectors, or labels of fewer than two classes.
        """
        assert teachers is not None
        wanted = features_named(frozenset({self.feature}), teachers.models[0], "teacher", at=OPTION)
        vectors, labels, ids = [], [], []
        for batch in batches:
            head = next((name for name, one in batch.y.items() if one.dim() == 1), None)
            if head is None:
                raise UsageError("method wad: labels samples of one class each, this task has none such")
            self.head = head
            vectors.append(teachers(batch, wanted).features[self.feature].float().cpu())
            labels.append(batch.y[head].cpu())
            ids.append(batch.id.cpu())
        z, y, number = torch.cat(vectors), torch.cat(labels), torch.cat(ids)
        if z.dim() != 2:
            raise UsageError(
                f"{OPTION}: {self.feature!r} of the teacher has shape {list(z.shape[1:])} a sample, expected "
                "one vector; name another feature"
            )
        classes = torch.unique(y[y != IGNORE])
        if len(classes) < 2:
            raise UsageError(
                f"method wad: {len(classes)} classes have labelled samples, at least 2 are needed to tell "
                "them apart"
            )
        prototypes = torch.stack([z[y == one].mean(0) for one in classes])
        unknown = y == IGNORE
        nearest, weight = pseudo_labels(cosines(z[unknown], prototypes))
        self.found = {
            one: (label, sure)
            for one, label, sure in zip(
                number[unknown].tolist(), classes[nearest].tolist(), weight.tolist(), strict=True
            )
        }

    def make(self, batch: Batch, teacher: Outputs | None, step: Step) -> Target:
        """Give each sample its label and weight."""
        device = batch.id.device
        found = [self.found.get(one, (IGNORE, 1.0)) for one in batch.id.tolist()]
        labels = torch.tensor([label for label, _ in found], dtype=torch.int64, device=device)
        weight = torch.tensor([sure for _, sure in found], dtype=torch.float32, device=device)
        return Target({self.head: Hard(labels)}, weight=weight)

    def summary(self) -> dict[str, Any]:
        """How many samples were labelled, and the mean of their weights."""
        weights = [sure for _, sure in self.found.values()]
        return {"pseudo_labels": len(weights), "mean_weight": sum(weights) / max(len(weights), 1)}

    def note(self) -> str:
        """The same in words."""
        told = self.summary()
        return (
            f"{told['pseudo_labels']:,} samples labelled by prototypes, mean weight {told['mean_weight']:.3f}"
        )


def cosines(z: Tensor, prototypes: Tensor) -> Tensor:
    """Cosine [n, C] of each vector [n, D] with each prototype [C, D]."""
    return F.normalize(z, dim=1) @ F.normalize(prototypes, dim=1).T


def pseudo_labels(similarity: Tensor) -> tuple[Tensor, Tensor]:
    """The class of the largest cosine [n], and by how much it leads the second [n]."""
    top = similarity.topk(2, dim=1)
    return top.indices[:, 0], top.values[:, 0] - top.values[:, 1]
