"""A stage's teachers put on the runtimes that its recipe names, before anything is labelled or trained."""

import fcntl
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from compactor.data.spec import AugmentSpec
from compactor.models.student import Student
from compactor.progress import Reporter
from compactor.recipe.spec import moved
from compactor.records import TeacherRan, TeacherRuntimeName
from compactor.release.runtime_choice import choose
from compactor.release.teacher_runtimes import GRAPHS, Moving, Workplace
from compactor.run.planned import PlannedStage
from compactor.run.taught import own_device
from compactor.tasks import task_named
from compactor.teachers import Teachers
from compactor.trainer.contracts import Preset
from compactor_runtimes.errors import UsageError


@dataclass(frozen=True)
class MovedTeachers:
    """Teachers as they will answer, what computes those that were moved, and what is to be said of it."""

    teachers: Teachers
    ran: list[TeacherRan] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def require_movable(stage: PlannedStage, teachers: Teachers, preset: Preset | None) -> None:
    """Refuse runtimes under what reads more of a teacher than its answers.

    Args:
        stage: with its teachers' entries.
        teachers: the same, opened in torch.
        preset: of a stage that learns from live teachers.

    Raises:
        UsageError: the mixer, an objective or BatchNorm by the batch needs the model in torch.
    """
    entries = moved(stage.teachers)
    if not entries:
        return
    at, one = f"stage {stage.id}", next(iter(entries.values()))
    fix = f"remove runtime: {one.runtime} from teacher {one.model}"
    if teachers.mixer.needs:
        read = ", ".join(sorted(teachers.mixer.needs))
        raise UsageError(
            f"{at}.mixer: reads the feature {read} of every teacher, which only torch shows; {fix}, "
            "or the mixer"
        )
    if preset is None:
        return
    first = 0 if preset.taught_by is None else next(iter(preset.taught_by), 0)
    for needs in (preset.target.needs, *(objective.needs for objective, _ in preset.objectives)):
        if needs.teacher and first in entries:
            raise UsageError(
                f"{at}.{needs.option}: compares the feature {', '.join(sorted(needs.teacher))} of teacher "
                f"{entries[first].model}, which only torch shows; remove its runtime"
            )
    graphs = [each for each in entries.values() if each.runtime in GRAPHS or each.runtime == "auto"]
    if preset.teacher_bn == "batch" and graphs:
        raise UsageError(
            f"{at}.options.teacher_bn: batch normalises by the batch, but a graph has its statistics within; "
            f"set it to eval, or remove runtime: {graphs[0].runtime} from teacher {graphs[0].model}"
        )


def on_runtimes(
    stage: PlannedStage,
    teachers: Teachers,
    *,
    name: str,
    reporter: Reporter,
    recorded: Mapping[int, TeacherRuntimeName] | None = None,
) -> MovedTeachers:
    """Put a stage's teachers on the runtimes that their entries name; those of torch stay as they are.

    Args:
        stage: with its teachers' entries.
        teachers: the same, opened in torch.
        name: of the recipe, for the bundles.
        reporter: where progress goes.
        recorded: what `auto` chose for a store that was begun, by place.

    Raises:
        AccuracyGateError: one answers too far from torch.
        UsageError, NumericGateError, UnfitEnvironmentError: one cannot be exported or run here.
    """
    entries = moved(stage.teachers)
    if not entries:
        return MovedTeachers(teachers)
    models, found = list(teachers.models), MovedTeachers(teachers)
    for number, entry in entries.items():
        model = models[number]
        assert isinstance(model, Student)
        title = f"teacher {entry.model} on {entry.runtime}"
        with _one_at_a_time(stage.folders.all_teachers) as scratch, reporter.bar(title, 1) as bar:
            place = Workplace(
                task=task_named(stage.task),
                data=stage.data,
                name=name,
                kept=stage.folders.teachers,
                scratch=scratch,
                device=own_device(),
                augment=AugmentSpec() if stage.data.info.image is None else stage.spec.augment,
                tell=partial(bar.at, 0),
            )
            moving = Moving(model, entry, place)
            runtime = (recorded or {}).get(number, entry.runtime)
            if runtime == "auto":
                choice = choose(moving, batch_size=stage.spec.batch_size)
                runtime = choice.runtime
                found.notes.extend(choice.told)
            models[number] = answers = moving.open(runtime)
            found.ran.append(moving.ran(runtime, answers, number))
            bar.at(1)
        found.notes.append(f"teacher {found.ran[-1].told}")
    return MovedTeachers(Teachers(models, teachers.mixer), found.ran, found.notes)


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[Path]:
    """Wait for other processes that move teachers of the same recipe; yield a folder for files on the way."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        scratch = folder / ".moving"
        shutil.rmtree(scratch, ignore_errors=True)  # of a process that was killed
        scratch.mkdir()
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
