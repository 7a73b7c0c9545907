"""Compute the rows of what subjects score where any number of labels may be true of a sample."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compactor_runtimes.report.contents import AccuracyRow, Kind, LabelRow, PairedRow
from compactor_runtimes.report.format import MAP
from compactor_runtimes.report.rows import difference_row
from compactor_runtimes.stats import multi_label

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class LabelAnswers:
    """What a subject said of N samples: logits [N, C], and the threshold of each label's probability [C]."""

    logits: "NDArray[np.floating]"
    thresholds: list[float]

    @property
    def decided(self) -> "NDArray[np.bool_]":
        """Which labels it answers, bool [N, C]."""
        return multi_label.decided(self.logits, self.thresholds)


def labels_accuracy_row(
    subject: str,
    kind: Kind,
    answers: LabelAnswers,
    labels: "NDArray[np.int64]",
    *,
    teacher: LabelAnswers | None,
    parameters: int | None,
    size_bytes: int | None,
    split: str,
    labelled: bool = True,
) -> AccuracyRow:
    """Score one subject against labels [N, C] (rows of -100 left out) and its teacher's answers.

    `labelled` False says that the labels are the teachers' answers: calibration, which needs the truth, is
    left out.
    """
    known = multi_label.known_rows(labels)
    found = multi_label.map_interval(answers.logits, labels)
    agreement = kl = None
    if teacher is not None:
        agreement = float((teacher.decided == answers.decided)[known].mean())
        kl = multi_label.mean_bernoulli_kl(teacher.logits[known], answers.logits[known])
    return AccuracyRow(
        subject=subject,
        kind=kind,
        metric=MAP,
        value=found.value,
        low=found.low,
        high=found.high,
        n=found.n,
        agreement_with_teacher=agreement,
        kl_to_teacher=kl,
        ece=multi_label.label_ece(answers.logits, labels) if labelled else None,
        parameters=parameters,
        size_bytes=size_bytes,
        split=split,
        macro_f1=multi_label.macro_f1(answers.decided, labels),
        micro_f1=multi_label.micro_f1(answers.decided, labels),
    )


def labels_paired_row(
    a: str,
    b: str,
    *,
    step: str,
    a_logits: "NDArray[np.floating]",
    b_logits: "NDArray[np.floating]",
    labels: "NDArray[np.int64]",
) -> PairedRow:
    """Compare the mAP of two subjects on the same samples, by a paired bootstrap."""
    found = multi_label.map_difference(a_logits, b_logits, labels)
    return difference_row(a, b, step=step, interval=found.interval, p=found.p, mcnemar_p=None)


def label_rows(
    answers: Mapping[str, LabelAnswers], labels: "NDArray[np.int64]", names: list[str]
) -> list[LabelRow]:
    """Average precision and F1 of each label, in the order of `names`.

    Args:
        answers: what each subject said.
        labels: [N, C], rows of -100 left out.
        names: of the labels [C].
    """
    samples = labels[multi_label.known_rows(labels)].sum(0)
    precisions = {name: multi_label.average_precisions(one.logits, labels) for name, one in answers.items()}
    f1 = {name: multi_label.f1_of_labels(one.decided, labels) for name, one in answers.items()}
    return [
        LabelRow(
            label=label,
            n=int(samples[at]),
            threshold={name: one.thresholds[at] for name, one in answers.items()},
            average_precision={name: _finite(values[at]) for name, values in precisions.items()},
            f1={name: _finite(values[at]) for name, values in f1.items()},
        )
        for at, label in enumerate(names)
    ]


def _finite(value: "np.float64") -> float | None:
    return float(value) if value == value else None
