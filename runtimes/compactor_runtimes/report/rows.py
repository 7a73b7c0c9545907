"""Compute the rows of a report from arrays: what a subject scores, and what a step changed."""

from typing import TYPE_CHECKING

from compactor_runtimes.report.contents import AccuracyRow, Kind, PairedRow
from compactor_runtimes.stats import metrics
from compactor_runtimes.stats.softmax import softmax

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def accuracy_row(
    subject: str,
    kind: Kind,
    *,
    logits: "ArrayLike",
    labels: "ArrayLike",
    teacher_logits: "ArrayLike | None",
    parameters: int | None,
    size_bytes: int | None,
    split: str,
    labelled: bool = True,
) -> AccuracyRow:
    """Score one subject's logits [..., C] against labels [...] (-100 ignored) and its teacher's logits.

    `labelled` False says that the labels are the teachers' top classes: the score is then called agreement,
    and calibration, which needs the truth, is left out.
    """
    right = metrics.correct(logits, labels)
    low, high = metrics.wilson(int(right.sum()), len(right))
    agreement = kl = None
    if teacher_logits is not None:
        agreement = metrics.agreement(teacher_logits, logits, labels)
        kl = metrics.mean_kl(teacher_logits, logits, labels)
    return AccuracyRow(
        subject=subject,
        kind=kind,
        metric="accuracy" if labelled else "agreement",
        value=float(right.mean()),
        low=low,
        high=high,
        n=len(right),
        agreement_with_teacher=agreement,
        kl_to_teacher=kl,
        ece=metrics.ece(softmax(logits, "float64"), labels) if labelled else None,
        parameters=parameters,
        size_bytes=size_bytes,
        split=split,
        macro_f1=metrics.macro_f1(logits, labels),
    )


def fidelity_row(
    subject: str,
    kind: Kind,
    *,
    embeddings: "ArrayLike",
    teacher_embeddings: "ArrayLike",
    parameters: int | None,
    size_bytes: int | None,
    split: str,
) -> AccuracyRow:
    """Score one subject's embeddings [N, D] by how well they keep the teacher's similarities [N, Dt].

    The mean cosine with the teacher is given where both have the same dimension and for no teacher, whose
    cosine with itself says nothing.
    """
    import numpy as np

    own, taught = np.asarray(embeddings), np.asarray(teacher_embeddings)
    interval = metrics.rank_correlation(taught, own)
    comparable = kind != "teacher" and own.shape == taught.shape
    return AccuracyRow(
        subject=subject,
        kind=kind,
        metric="rank correlation",
        value=interval.value,
        low=interval.low,
        high=interval.high,
        n=interval.n,
        agreement_with_teacher=float(metrics.cosines(taught, own).mean()) if comparable else None,
        kl_to_teacher=None,
        ece=None,
        parameters=parameters,
        size_bytes=size_bytes,
        split=split,
    )


def paired_row(
    a: str, b: str, *, step: str, correct_a: "ArrayLike", correct_b: "ArrayLike", seed: int = 0
) -> PairedRow:
    """Compare two subjects by the correctness, bool [N], of each on the same samples (one seed)."""
    interval = metrics.bootstrap_difference(correct_a, correct_b, seed=seed)
    p = metrics.mcnemar(correct_a, correct_b).p
    return difference_row(a, b, step=step, interval=interval, p=p, mcnemar_p=p)


def difference_row(
    a: str, b: str, *, step: str, interval: metrics.Interval, p: float, mcnemar_p: float | None
) -> PairedRow:
    """Say what the headline gained from a to b, a share, and whether that is noise by p, two-sided."""
    return PairedRow(
        a=a,
        b=b,
        step=step,
        difference_points=100 * interval.value,
        low=100 * interval.low,
        high=100 * interval.high,
        n=interval.n,
        mcnemar_p=mcnemar_p,
        verdict=metrics.noise_verdict(interval, p),
    )
