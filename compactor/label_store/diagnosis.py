"""What a store can teach, said before anything is trained on it: certainty, memorisation, visits, and advice.

The advice rests on what suites `ferkd` and `ferkd_premise` measured (docs/methods/fkd-ferkd.md,
benchmarks/results/); the constants below are to be revised with each further data set.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compactor.data.spec import SplitName
from compactor.label_store.calibrate import confidences
from compactor.label_store.store import LabelStore, StorePart
from compactor.label_store.visits import Visits
from compactor.records import IGNORE

FULL = 0.999  # a largest probability above it leaves a label nothing to say of other classes
SURE = 0.99
MEMORISED_SHARE = 0.5  # of views above SURE, from which on the teacher may know the training set by heart
MEMORISED_GAP = 0.05  # of its accuracy on train over that on select; ours, no measurement chose it
LOST_EPOCHS = 60  # suite ferkd_premise: 4 crops an image lost to 1 over as many; suite ferkd: over 16
PAPER_EPOCHS = 300  # of FKD and FerKD
LOST = (
    "wherever it was measured (CIFAR-10, 10,000 images, 16 epochs and 5,000 images, 30 epochs; Imagenette, "
    "2,500 images, 60 epochs)"
)


@dataclass(frozen=True)
class Diagnosis:
    """`sure` and `full` are shares of training views above SURE and FULL, None of labels without confidence.

    `right` (accuracy, views) is how often the teachers' largest class is the ground truth, by split: views of
    train, whole samples of select. It lacks a split that is not stored or whose labels nobody read. Teachers
    that were not trained here may have seen select too, and then the gap says less.
    """

    sure: float | None
    full: float | None
    right: dict[SplitName, tuple[float, int]]
    has_select: bool
    may_have_seen_select: bool
    visits: Visits | None
    is_cross_fitted: bool

    @property
    def gap(self) -> float | None:
        """By how much the teachers are better on what they were trained on; None where it is not known."""
        both = self.right.keys() >= {"train", "select"}
        return self.right["train"][0] - self.right["select"][0] if both else None

    @property
    def is_sure(self) -> bool:
        """Whether the teachers are so sure of the training views that they may know them by heart."""
        return (self.sure or 0) > MEMORISED_SHARE

    @property
    def is_memorised(self) -> bool:
        """Whether the teachers may know by heart what they labelled; cross-fitted ones have not seen it."""
        return (self.is_sure and not self.is_cross_fitted) or (self.gap or 0) > MEMORISED_GAP

    def lines(self) -> list[str]:
        """What is known, and what follows from it."""
        told = []
        if self.full is not None:
            told.append(f"full confidence: {100 * self.full:.1f}% of the training views are above {FULL}")
        told.append(self._told_right())
        if self.visits is not None:
            told.append(f"visits: {self.visits.text()}")
        return [*told, f"advice: {self.advice}"]

    @property
    def advice(self) -> str:
        """Whether several crops an image, dropping or relabelling can help, as far as it was measured."""
        return "; ".join([*_of_views(self.visits), self._of_calibration()])

    def to_json(self) -> dict[str, Any]:
        """Plain data for --json."""
        visits = self.visits
        return {
            "full_confidence": self.full,
            "accuracy": {name: {"value": value, "n": n} for name, (value, n) in self.right.items()},
            "memorisation_gap": self.gap,
            "cross_fitted": self.is_cross_fitted,
            "visits": visits
            and {
                "epochs": visits.epochs,
                "passes": visits.passes,
                "crops_per_image": visits.views,
                "of_each_recorded_view": visits.of_each_view,
            },
            "advice": self.advice,
        }

    def _told_right(self) -> str:
        if "train" not in self.right:
            return "teachers' top-1: the ground truth was not read"
        value, n = self.right["train"]
        told = f"teachers' top-1: {100 * value:.1f}% of {n:,} training views"
        if self.gap is None:
            why = "no labels there" if self.has_select else "not stored"
            return f"{told}; on select {why}, so that nothing tells what they have memorised"
        value, n = self.right["select"]
        seen = (
            ", unless they have seen select too: not all were trained here"
            if self.may_have_seen_select
            else ""
        )
        return (
            f"{told}, {100 * value:.1f}% of {n:,} whole select samples: memorisation gap "
            f"{100 * self.gap:+.1f} points{seen}"
        )

    def _of_calibration(self) -> str:
        if self.is_memorised:
            return (
                "dropping and relabelling lost where it was measured with teachers that had seen the images "
                "(CIFAR-10); labels.cross_fit asks teachers that have not, but each has fewer images then, "
                "which cost more than it brought (CIFAR-10, 5,000 images)"
            )
        return (
            "dropping and relabelling gained a little or nothing beyond noise where it was measured with "
            "teachers that had not memorised the images (CIFAR-10, cross-fitted; Imagenette)"
        )


def _of_views(visits: Visits | None) -> list[str]:
    if visits is None:
        return []
    if visits.views == 1:
        return [f"one crop an image was ahead of several {LOST}"]
    if visits.epochs <= LOST_EPOCHS:
        return [f"several crops an image lost to one {LOST}: take 1"]
    return [
        f"several crops an image were not measured over {visits.epochs:g} epochs: they lost to one {LOST}, "
        f"the papers train for {PAPER_EPOCHS}"
    ]


def diagnose(
    store: LabelStore, truth: Mapping[SplitName, NDArray[np.int64]], visits: Visits | None = None
) -> Diagnosis:
    """Look at a store.

    Args:
        store: opened.
        truth: labels of the samples of a part, int64 [rows] in the order of its ids, -100 where there is
            none; lacks parts whose labels are not known.
        visits: how often a stage would train on each sample; None: not known.
    """
    head = store.header.heads[0]
    has_confidence = store.header.payload.kind != "hard" and not head.positions
    largest = largest_of(store.train) if has_confidence else None
    right: dict[SplitName, tuple[float, int]] = {}
    for name in ("train", "select"):
        labels = truth.get(name)
        if name in store.parts and labels is not None and not head.positions and (labels != IGNORE).any():
            top, known = top_classes(store.parts[name], head.name), labels != IGNORE
            hits = top[known] == labels[known, None]
            right[name] = (float(hits.mean()), int(hits.size))
    return Diagnosis(
        sure=None if largest is None else float((largest > np.float32(SURE)).mean()),
        full=None if largest is None else float((largest > np.float32(FULL)).mean()),
        right=right,
        has_select="select" in store.parts,
        may_have_seen_select=any("stage" not in one for one in store.header.teachers),
        visits=visits,
        is_cross_fitted=store.fold_of_row is not None,
    )


def largest_of(part: StorePart) -> NDArray[np.float32]:
    """The teachers' largest probability in every view: float32 [rows, views]."""
    return confidences(part, part.ids, np.full(len(part.ids), IGNORE), "max")


def top_classes(part: StorePart, head: str) -> NDArray[np.int64]:
    """The teachers' largest class in every view: int64 [rows, views], in the order of the part's ids."""
    if part.header.payload.kind == "full":
        return np.concatenate([shard[f"{head}.p"].argmax(-1) for shard in part.shards])
    return np.concatenate([shard[f"{head}.ids"][..., 0] for shard in part.shards]).astype(np.int64)
