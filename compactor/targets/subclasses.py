"""LELP's targets: how a live teacher's probability of a class divides over subclasses that it never named.

p(c, s | x) = q_c softmax_s(V_c (h - mu_c) / beta) with the teacher's probabilities q at a temperature and its
penultimate features h (arXiv 2409.20449). What V and mu are is in subclass_directions.py.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from compactor.models.student import features_named
from compactor.records import IGNORE, PENULTIMATE, SUBCLASSES, Batch, Needs, Outputs, Soft, Step, Target
from compactor.targets.subclass_directions import Directions, find_directions, null_space, subclass_log_p
from compactor.trainer.contracts import TargetPolicy
from compactor_runtimes.errors import UsageError

if TYPE_CHECKING:
    from compactor.teachers import Teachers

SHOWN = 3  # classes in a note


class SubclassTargets(TargetPolicy):
    """Probabilities are those of all teachers, mixed; features and directions are the first one's.

    Each training sample belongs to its labelled class, or without a label to the teachers' top class. `serve`
    says what student the targets are for, before `fit` is called.
    """

    needs = Needs(teacher=frozenset({PENULTIMATE}), statistics=True)

    def __init__(self, *, temperature: float, beta: float | None, null_space: bool, seed: int) -> None:
        """Set how sharp classes and subclasses are (beta absent: the scores' spread)."""
        self.temperature, self.beta, self.null_space, self.seed = temperature, beta, null_space, seed
        self.head, self.names, self.subclasses = "", [""], 1
        self.directions: Directions | None = None

    def serve(self, head: str, names: list[str], subclasses: int) -> None:
        """Make targets of `subclasses` for each of the named classes of a head."""
        self.head, self.names, self.subclasses = head, names, subclasses

    def fit(self, teachers: "Teachers | None", batches: Iterator[Batch]) -> None:
        """Find the directions from the features of all training samples, which are held meanwhile.

        Raises:
            UsageError: the projection was asked for, but no linear layer makes the teacher's logits, or it
                leaves nothing.
        """
        assert teachers is not None
        first = teachers.models[0]
        wanted = features_named(self.needs.teacher, first, "teacher", at=self.needs.option)
        kept = null_space(_last_layer(first, wanted[PENULTIMATE].path)) if self.null_space else None
        features, classes = [], []
        for batch in batches:
            outputs = teachers(batch, wanted)
            features.append(outputs.features[PENULTIMATE].float().cpu())
            classes.append(self._class_of(batch, outputs).cpu())
        found = find_directions(
            torch.cat(features),
            torch.cat(classes),
            num_classes=len(self.names),
            count=self.subclasses,
            seed=self.seed,
            kept=kept,
        )
        self.beta = found.spread if self.beta is None else self.beta
        self.directions = found.to(teachers.device)

    def _class_of(self, batch: Batch, outputs: Outputs) -> Tensor:
        """Each sample's label, or the teachers' top class where there is none: int64 [B]."""
        assert outputs.log_probs is not None
        top = outputs.log_probs[self.head].argmax(-1)
        labels = batch.y.get(self.head)
        return top if labels is None else torch.where(labels == IGNORE, top, labels)

    def make(self, batch: Batch, teacher: Outputs | None, step: Step) -> Target:
        """The target {subclasses: log p [B, C * S]}, in float32 also under autocast."""
        assert teacher is not None
        assert teacher.log_probs is not None
        assert self.directions is not None
        assert self.beta is not None
        features = teacher.features[PENULTIMATE].float()
        with torch.autocast(features.device.type, enabled=False):
            log_q = (teacher.log_probs[self.head].float() / self.temperature).log_softmax(-1)
            log_p = subclass_log_p(log_q, self.directions.scores(features), self.beta)
        return Target({SUBCLASSES: Soft(log_p=log_p)})

    def summary(self) -> dict[str, Any]:
        """How subclasses are told apart, and the classes that vary in fewer directions than they have."""
        return {"subclasses": {"of_a_class": self.subclasses, "beta": self.beta, "fewer": self._fewer()}}

    def note(self) -> str:
        """The same in a line."""
        fewer = self._fewer()
        shown = ", ".join(f"{name!r} {rank}" for name, rank in list(fewer.items())[:SHOWN])
        told = f"; {len(fewer)} classes vary in fewer directions: {shown}" if fewer else ""
        more = ", ..." if len(fewer) > SHOWN else ""
        return f"{self.subclasses} subclasses a class, beta {self.beta:.4g}{told}{more}"

    def _fewer(self) -> dict[str, int]:
        assert self.directions is not None
        ranks = self.directions.ranks.tolist()
        return {name: rank for name, rank in zip(self.names, ranks, strict=True) if rank < self.subclasses}


def _last_layer(teacher: nn.Module, path: str) -> Tensor:
    layer = teacher.get_submodule(path)
    if not isinstance(layer, nn.Linear):
        raise UsageError(
            f"options.null_space: the teacher's logits are made by a {type(layer).__name__}, expected a "
            "linear layer with a null space; set null_space: false"
        )
    return layer.weight.detach()
