"""What is released: a finished student, who judges it, and what is asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compactor.cache.journal import Journal
from compactor.data.splits import Dataset, Split
from compactor.evaluation import stored_answers, student_answers, teacher_answers
from compactor.label_store.store import LabelStore
from compactor.models.student import Student
from compactor.progress import Reporter
from compactor.recipe.spec import GatesSpec, MeasureSpec, RejectSpec
from compactor.tasks import Answers, Task, task_named
from compactor.teachers import Teachers
from compactor_runtimes.bundle.manifest import ExportSpec
from compactor_runtimes.measure.wish import Wish
from compactor_runtimes.report import Curve


@dataclass(frozen=True)
class Teacher:
    """A teacher that the student is compared with: its name for tables, its model folder, and the model."""

    name: str
    folder: Path
    model: Student


@dataclass(frozen=True)
class ReportHead:
    """What a report tells of how the student came about: how its stages trained, how inputs were read."""

    title: str
    curves: list[Curve] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ReleaseJob:
    """One release; the student, the artifacts and everything else that is written lies in `folder`.

    `gates` is None where nothing but the numbers can be judged (random weights). `head` is None where the
    samples are our own: they have no labels, so that agreement is judged, accuracy is not, and no report is
    written. `store` is a label store that speaks for teachers which are not at hand. `reject` says how the
    threshold of rejected answers is chosen; None rejects nothing. A `is_smoke` release proves nothing, so
    nobody asks whether its student is good enough. `kept_teachers` says for a digest where exported teachers
    are kept; None keeps them in `folder`, where no other release finds them.
    """

    name: str
    task_name: str
    data: Dataset
    student: Student
    student_folder: Path
    folder: Path
    exports: Sequence[ExportSpec]
    gates: GatesSpec | None
    measure: MeasureSpec
    reporter: Reporter
    provenance: dict[str, Any]
    licences: dict[str, str] = field(default_factory=dict)
    head: ReportHead | None = None
    teachers: Sequence[Teacher] = ()
    store: LabelStore | None = None
    is_smoke: bool = False
    wish: Wish = Wish()  # noqa: RUF009 (frozen)
    reject: RejectSpec | None = None
    kept_teachers: Callable[[str], Path] | None = None
    journal: Journal = field(default_factory=lambda: Journal(None))

    @property
    def task(self) -> Task:
        """The student's task."""
        return task_named(self.task_name)

    @property
    def artifact_folder(self) -> Path:
        """Where the exported files go."""
        return self.folder / "artifacts"

    @property
    def report_folder(self) -> Path:
        """Where the report and what everyone answered go."""
        return self.folder / "report"

    @property
    def models(self) -> list[Student]:
        """The teachers' models."""
        return [teacher.model for teacher in self.teachers]

    def student_says(self, split: Split) -> Answers:
        """What the torch student answers on a split."""
        return student_answers(self.student, self.task.batches(split))

    def teachers_say(self, split: Split) -> Answers | None:
        """What the teachers answer on a split, as far as they, or a label store, know it."""
        if self.teachers:
            return teacher_answers(Teachers(self.models), self.task.batches(split))
        return None if self.store is None else stored_answers(self.store, split)
