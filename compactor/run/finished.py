"""Hand a finished student over to the release: with the teachers that judge it, the data, and its story."""

from pathlib import Path
from typing import Any

import msgspec

from compactor.cache.digest import SHIPPING_TOOLS, tool_versions
from compactor.cache.folder import RunFolders
from compactor.cache.journal import Journal
from compactor.label_store.store import LabelStore
from compactor.models.build import build_model, load_model_folder, save_model
from compactor.recipe.spec import STAGE, ModelSpec
from compactor.release.job import ReleaseJob, ReportHead, Teacher
from compactor.release.training_curves import curves
from compactor.run.planned import Plan
from compactor.run.stages import StageRunner
from compactor.teachers import describe_teacher, open_teacher, teacher_provenance
from compactor.version import VERSION
from compactor_runtimes.errors import UsageError


def release_job(plan: Plan, runner: StageRunner, run: Path, journal: Journal) -> ReleaseJob:
    """Describe what a run ships: the last stage's student or, without stages, the recipe's own.

    Args:
        plan: of the run.
        runner: has run its stages.
        run: the run's folder, which takes everything that the release writes.
        journal: where events go.

    Raises:
        UsageError: the recipe's student, or a teacher, has random weights.
    """
    recipe = plan.loaded.recipe
    assert plan.data is not None  # the plan was runnable
    if plan.stages:
        spec, student_folder = plan.stages[-1].student, runner.done[plan.stages[-1].id]
    else:  # trained elsewhere: it goes straight to release
        assert recipe.student is not None  # checked when the recipe was loaded
        spec, student_folder = recipe.student, run / "student"
        _save_student(plan, spec, student_folder)
    names = [describe_teacher(reference) for reference in plan.judges]
    return ReleaseJob(
        name=recipe.name,
        task_name=recipe.task,
        data=plan.data,
        student=load_model_folder(student_folder),
        student_folder=student_folder,
        folder=run,
        exports=recipe.export,
        gates=recipe.gates,
        measure=recipe.measure,
        wish=recipe.choose,
        reject=recipe.reject,
        reporter=runner.reporter,
        provenance=_provenance(plan),
        licences=recipe.licences,
        head=ReportHead(
            title=spec.model + (f" from {' + '.join(names)}" if names else ""),
            curves=curves({stage.id: runner.done[stage.id].parent for stage in plan.stages}),
            notes=runner.notes,
        ),
        teachers=[_teacher(plan, number, runner.done, run) for number in range(len(plan.judges))],
        store=_speaks_for_teachers(plan, runner),
        is_smoke=plan.loaded.at_most is not None,
        kept_teachers=RunFolders(plan.root).teachers,
        journal=journal,
    )


def _save_student(plan: Plan, spec: ModelSpec, folder: Path) -> None:
    assert plan.data is not None
    model = build_model(spec, plan.data.info, base=plan.loaded.base)
    if model.untrained:
        raise UsageError(
            f"student {spec.model}: its weights hold no {', '.join(model.untrained[:2])}, so these are "
            "random; add a stage that trains it, or give weights that hold them"
        )
    save_model(model, spec, folder)


def _teacher(plan: Plan, number: int, done: dict[str, Path], run: Path) -> Teacher:
    """Open one of those that judge; one that is no stage is saved into the run's folder first."""
    reference = plan.judges[number]
    if isinstance(reference, str):
        folder = done[reference.removeprefix(STAGE)]
    else:
        assert plan.data is not None
        folder = run / "teachers" / str(number)
        save_model(open_teacher(reference, plan.data.info, plan.loaded.base, done), reference, folder)
    return Teacher(describe_teacher(reference), folder, load_model_folder(folder))


def _speaks_for_teachers(plan: Plan, runner: StageRunner) -> LabelStore | None:
    """The last stage's label store where its teachers are not at hand: it knows what they said."""
    if plan.judges or not plan.stages or plan.stages[-1].labels is None:
        return None
    return runner.labels(plan.stages[-1])


def _provenance(plan: Plan) -> dict[str, Any]:
    data, recipe = plan.data, plan.loaded.recipe
    assert data is not None
    return {
        "compactor": VERSION,
        "recipe": msgspec.to_builtins(recipe),
        "stages": plan.digests,
        **({"labels": plan.labels} if plan.labels else {}),
        "teachers": [teacher_provenance(reference, plan.digests) for reference in plan.judges],
        "data": {split.name: split.digest for split in (data.train, data.select, data.report)},
        "versions": tool_versions(SHIPPING_TOOLS),
        "seed": recipe.seed,
    }
