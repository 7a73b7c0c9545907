"""The report of one run: truth (accuracy, agreement, calibration), cost (latency, memory, size) and gates.

Raw samples are kept and every summary is derived from them. `report_terminal.py` draws it.
"""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from compactor_runtimes import metrics
from compactor_runtimes.errors import IntegrityError
from compactor_runtimes.manifest import Artifact, Check, Record
from compactor_runtimes.measure.records import Measurement
from compactor_runtimes.metrics import Verdict
from compactor_runtimes.report_terminal import render_terminal

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = [
    "AccuracyRow",
    "ClassRow",
    "Confusion",
    "Curve",
    "Example",
    "Kind",
    "PairedRow",
    "Report",
    "accuracy_row",
    "paired_row",
    "read_report",
    "render_terminal",
    "write_report",
]

REPORT_VERSION = 1
REPORT_FILE = "report.json"
Kind = Literal["teacher", "student", "artifact"]


class AccuracyRow(Record, frozen=True):
    """What one subject scores on `n` samples of `split`, with a 95% interval; shares in [0, 1], KL in nats.

    `metric` is `accuracy`, `agreement` where there are no labels (with the teachers' top class), or
    `rank correlation` for embeddings (with the teachers' similarities). `agreement_with_teacher` is the share
    of equal top classes, for embeddings the mean cosine. `kl_to_teacher` is KL(teacher || subject); both are
    None for the teacher itself.
    """

    subject: str
    kind: Kind
    metric: str
    value: float
    low: float
    high: float
    n: int
    agreement_with_teacher: float | None
    kl_to_teacher: float | None
    ece: float | None
    parameters: int | None
    size_bytes: int | None
    split: str
    macro_f1: float | None = None


class PairedRow(Record, frozen=True):
    """What the step from `a` to `b` gained on the same `n` samples: b - a in points, 95% interval.

    `step` names it (`distillation`, `export fp32`); a loss is negative, and inside the noise it is `noise`.
    """

    a: str
    b: str
    step: str
    difference_points: float
    low: float
    high: float
    n: int
    mcnemar_p: float
    verdict: Verdict


class Curve(Record, frozen=True):
    """How one stage trained: for each epoch the mean of every loss term and the figures on select."""

    stage: str
    epochs: list[int]
    terms: dict[str, list[float]]
    select: dict[str, list[float]]


class ClassRow(Record, frozen=True):
    """One class of the report split: its `n` samples, and recall and F1 of each subject, shares in [0, 1]."""

    label: str
    n: int
    recall: dict[str, float]
    f1: dict[str, float]


class Confusion(Record, frozen=True):
    """How often `subject` answered class j (column) for class i (row): counts [C, C]."""

    subject: str
    labels: list[str]
    counts: list[list[int]]


class Example(Record, frozen=True):
    """A report sample that the student gets wrong and the teacher right; confidences in [0, 1].

    `image` is a data URI of a PNG, `text` the text; one of them is there.
    """

    id: int
    truth: str
    student: str
    student_confidence: float
    teacher: str
    teacher_confidence: float
    image: str | None = None
    text: str | None = None


class Report(Record, frozen=True):
    """Everything one run found out; `environment` is what `environment.describe()` found.

    `labelled` is False where no sample had a label: then "accuracy" is agreement with the teachers.
    `provenance` holds recipe, digests, versions and seed; `report_digest` identifies the report samples.
    """

    title: str
    recipe: str
    task: str
    environment: dict[str, Any]
    accuracy: list[AccuracyRow]
    paired: list[PairedRow]
    measurements: list[Measurement]
    gates: list[Check]
    artifacts: list[Artifact]
    recommendation: str
    curves: list[Curve] = []
    classes: list[ClassRow] = []
    confusion: Confusion | None = None
    examples: list[Example] = []
    shipped: str = ""
    labelled: bool = True
    report_digest: str = ""
    provenance: dict[str, Any] = {}
    schema_version: int = REPORT_VERSION


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
) -> AccuracyRow:
    """Score one subject's logits [..., C] against labels [...] (-100 ignored) and its teacher's logits."""
    right = metrics.correct(logits, labels)
    low, high = metrics.wilson(int(right.sum()), len(right))
    agreement = kl = None
    if teacher_logits is not None:
        agreement = metrics.agreement(teacher_logits, logits, labels)
        kl = metrics.mean_kl(teacher_logits, logits, labels)
    return AccuracyRow(
        subject=subject,
        kind=kind,
        metric="accuracy",
        value=float(right.mean()),
        low=low,
        high=high,
        n=len(right),
        agreement_with_teacher=agreement,
        kl_to_teacher=kl,
        ece=metrics.ece(metrics.softmax(logits), labels),
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
    return PairedRow(
        a=a,
        b=b,
        step=step,
        difference_points=100 * interval.value,
        low=100 * interval.low,
        high=100 * interval.high,
        n=interval.n,
        mcnemar_p=p,
        verdict=metrics.noise_verdict(interval, p),
    )


def write_report(report: Report, folder: Path) -> Path:
    """Write `report.json` into `folder` (created if need be), whole or not at all; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / REPORT_FILE
    text = msgspec.json.format(msgspec.json.encode(report), indent=1)
    # one line for a list of numbers, or raw samples would take a line each (a string holds no raw newline)
    text = re.sub(rb"\[\n[-+.\deE,\s]*\]", lambda found: re.sub(rb"\s+", b"", found[0]), text)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(text + b"\n")
    os.replace(partial, path)
    return path


def read_report(path: Path) -> Report:
    """Read a report that `write_report` wrote.

    Raises:
        IntegrityError: missing, damaged, or of another schema version.
    """
    try:
        content = path.read_bytes()
        version = msgspec.json.decode(content).get("schema_version")
    except (OSError, msgspec.DecodeError, AttributeError) as error:
        raise IntegrityError(f"{path}: is not a report ({error}); run the measurement again") from error
    if version != REPORT_VERSION:
        raise IntegrityError(
            f"{path}: schema version {version!r} found, this release reads {REPORT_VERSION}; "
            "use the compactor-toolkit release that wrote it"
        )
    try:
        return msgspec.json.decode(content, type=Report)
    except msgspec.ValidationError as error:
        raise IntegrityError(f"{path}: {error}; the report is damaged, run the measurement again") from error
