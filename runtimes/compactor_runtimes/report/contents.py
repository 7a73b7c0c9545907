"""The records that a report consists of: what was found, in plain numbers; what they mean is said here.

`rows.py`, `score_rows.py` and `reject_rows.py` compute the rows, `report_json.py` reads and writes a report.
"""

from typing import Any, Literal

from compactor_runtimes.bundle.manifest import Artifact, Check, Record
from compactor_runtimes.measure.anatomy import Anatomy
from compactor_runtimes.measure.measurement import Measurement
from compactor_runtimes.stats.metrics import Interval, Verdict

# 2 added the choice among variants, 3 scores of slots, 4 runtimes, 5 notes on inputs, rejected answers and
# single labels, 6 where time and memory go
REPORT_VERSION = 6
READABLE_VERSIONS = (1, 2, 3, 4, 5, 6)
Kind = Literal["teacher", "student", "artifact"]
Decision = Literal["chosen", "not chosen", "rejected", "not run"]


class AccuracyRow(Record, frozen=True):
    """What one subject scores on `n` samples of `split`, with a 95% interval; shares in [0, 1], KL in nats.

    `metric` is `accuracy`, `agreement` where there are no labels (with the teachers' top class), `mAP` where
    any number of labels may be true (against the teachers' where there are none), or `rank correlation` for
    embeddings (with the teachers' similarities). `agreement_with_teacher` is the share of equal top classes,
    with mAP that of equal decisions on labels, for embeddings the mean cosine. `kl_to_teacher` is
    KL(teacher || subject), summed over labels with mAP; both are None for the teacher itself.
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
    micro_f1: float | None = None


class ScoreRow(Record, frozen=True):
    """What a subject scores on intents and slots, a share with its 95% interval over the `n` samples.

    `metric` is `intent accuracy`, `slot F1` (spans, micro) or `exact match`. `relative_error_change` is
    (error - teacher's error) / teacher's error, negative is better; None for the teacher, without one, or
    where it makes no error. Its 95% interval is from `relative_low` to `relative_high`, which is None where
    the teacher errs so rarely that there is no bound.
    """

    subject: str
    kind: Kind
    metric: Literal["intent accuracy", "slot F1", "exact match"]
    value: float
    low: float
    high: float
    n: int
    split: str
    relative_error_change: float | None = None
    relative_low: float | None = None
    relative_high: float | None = None


class RejectRow(Record, frozen=True):
    """What a subject rejects and keeps; shares in [0, 1] with 95% intervals.

    `threshold` was chosen on select: the student's for all artifacts, the teachers' own for them. `rejected`
    is the share of all answers, `kept_accuracy` of the answers that are kept the share that is right.
    `out_of_scope` is the class that means "none of these", empty where there is none: an answer of that class
    is rejected too, `in_scope_accuracy` is the share of samples of other classes whose answer is kept and
    right, `out_of_scope_recall` the share of that class's samples whose answer is rejected. None where there
    are no such samples.
    """

    subject: str
    kind: Kind
    threshold: float
    split: str
    rejected: Interval
    kept_accuracy: Interval | None = None
    out_of_scope: str = ""
    in_scope_accuracy: Interval | None = None
    out_of_scope_recall: Interval | None = None


class PairedRow(Record, frozen=True):
    """What the step from `a` to `b` gained on the same `n` samples: b - a in points, 95% interval.

    `step` names it (`distillation`, `export fp32`); a loss is negative, and inside the noise it is `noise`.
    `mcnemar_p` is None where a sample is not right or wrong as a whole (mAP).
    """

    a: str
    b: str
    step: str
    difference_points: float
    low: float
    high: float
    n: int
    mcnemar_p: float | None
    verdict: Verdict


class Curve(Record, frozen=True):
    """How one stage trained: for each epoch (from 0) the mean of every loss term and the figures on select.

    None stands where an epoch has no such number.
    """

    stage: str
    epochs: list[int]
    terms: dict[str, list[float | None]]
    select: dict[str, list[float | None]]


class ClassRow(Record, frozen=True):
    """One class of the report split: its `n` samples, and recall and F1 of each subject, shares in [0, 1]."""

    label: str
    n: int
    recall: dict[str, float]
    f1: dict[str, float]


class LabelRow(Record, frozen=True):
    """One label of which any number may be true: `n` report samples have it; all other numbers by subject.

    `threshold` is the probability from which on it is answered, `average_precision` is None where no sample
    has the label or all have, `f1` where none has it and none was answered.
    """

    label: str
    n: int
    threshold: dict[str, float]
    average_precision: dict[str, float | None]
    f1: dict[str, float | None]


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


class Variant(Record, frozen=True):
    """What became of one artifact when one was chosen, and why in words.

    `artifact` is its name, `subject` its name in the rows of accuracy and cost. `speed` is how many times as
    fast as the artifact `against` it computes one sample (above 1 is faster; from `speed_low` to `speed_high`
    by the extreme block medians; `speed_verdict` is `noise` where these overlap), `smaller` how many times
    smaller it is. All are None where there is nothing to compare with, or no valid time on both sides.
    """

    artifact: str
    subject: str
    decision: Decision
    reason: str
    against: str = ""
    speed: float | None = None
    speed_low: float | None = None
    speed_high: float | None = None
    speed_verdict: Verdict | None = None
    smaller: float | None = None


class Report(Record, frozen=True):
    """Everything one run found out; `environment` is what `environment.describe()` found.

    `labelled` is False where no sample had a label: then "accuracy" is agreement with the teachers.
    `shipped` is the subject that is recommended, empty where none is; `choice` says for each artifact why,
    and is empty where nothing ships.
    `notes` say how the inputs were read: what was left out or cut, whose classes are whose.
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
    scores: list[ScoreRow] = []
    rejects: list[RejectRow] = []
    curves: list[Curve] = []
    classes: list[ClassRow] = []
    labels: list[LabelRow] = []
    confusion: Confusion | None = None
    examples: list[Example] = []
    shipped: str = ""
    choice: list[Variant] = []
    labelled: bool = True
    notes: list[str] = []
    anatomies: list[Anatomy] = []
    report_digest: str = ""
    provenance: dict[str, Any] = {}
    schema_version: int = REPORT_VERSION
