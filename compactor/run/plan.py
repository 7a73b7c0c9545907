"""Plan a run: open its data, find every stage's key, and see what is there already; nothing is trained.

`run` and `label` carry the plan out, and what training costs is counted from it (`planned.py`).
"""

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from compactor.cache.code import code_digest
from compactor.cache.digest import TOOLS, digest_of, tool_versions
from compactor.cache.folder import CHECKPOINT, DONE, STUDENT, RunFolders
from compactor.data.augment_policy import policy_of
from compactor.label_store.header import read_header
from compactor.methods import METHODS, method_named, stage_options, teaching
from compactor.mixers import DEFAULT_MIXER, MIXERS
from compactor.models import WRAPPERS
from compactor.models.problem_types import require_classifiers
from compactor.models.references import Identities, model_sources
from compactor.progress import SilentReporter
from compactor.recipe.cross_fit import told_start
from compactor.recipe.load import LoadedRecipe
from compactor.recipe.spec import STAGE, ModelSpec, StageSpec, moved
from compactor.release.rejection import require_rejectable
from compactor.release.teacher_runtimes import require_usable
from compactor.run.data import DataSets
from compactor.run.known_classes import told_models, who_judges
from compactor.run.labels import MOVES, LabelJob, label_job, require_fit
from compactor.run.planned import Action, Plan, PlannedExport, PlannedStage
from compactor.run.tokenizers import with_tokenizers_compared
from compactor.samplers import SAMPLERS, sampler_options
from compactor.targets import TARGETS
from compactor.tasks import TASKS, task_named
from compactor.trainer.precision import require_precision, told_precision
from compactor_exporters import can_export
from compactor_runtimes.errors import UnfitEnvironmentError, UsageError

if TYPE_CHECKING:
    from compactor.data.splits import Dataset

ALWAYS = (
    "compactor.trainer.fit",
    "compactor.models.build",
    "compactor.teachers",
    "compactor.evaluation",
    MIXERS[DEFAULT_MIXER],
)
FROM_STORE = ("compactor.methods.from_store", "compactor.label_store.store")
BY_CLASS = "compactor.models.class_rows"  # starts a student from a stage of other classes
TRAINS = ("compactor.run.stages", "compactor.run.taught", "compactor.run.moved")  # bring them together
# reads earlier stages for samplers, with what ALWAYS names
EARLIER = ("compactor.run.earlier", "compactor_runtimes.stats.softmax")


def make_plan(loaded: LoadedRecipe, runs: Path, *, data: DataSets | None = None) -> Plan:
    """Plan a recipe; opens the data sets for their digests, trains nothing.

    Args:
        loaded: the recipe.
        runs: folder of all runs.
        data: the recipe's data sets, where progress is to be shown.

    Raises:
        UsageError: data or weights that are missing or cannot be used, or a class to reject that the data
            have not.
    """
    recipe = loaded.recipe
    planner = _Planner(loaded, RunFolders(runs / recipe.name), data or DataSets(loaded, SilentReporter()))
    for spec in recipe.stages:
        planner.add(spec)
    last = recipe.stages[-1] if recipe.stages else None
    judged: Dataset | None = None
    if last is None:  # what a stage would have checked
        assert recipe.student is not None
        require_classifiers([recipe.student, *recipe.teachers], recipe.task, loaded.base)
        judged = with_tokenizers_compared(
            planner.data.open(recipe.data), student=recipe.student, teachers=recipe.teachers, base=loaded.base
        )
        planner.known.model(recipe.student)
    elif last.id not in planner.blocked:
        judged = planner.stages[-1].data
    judges = tuple(recipe.teachers) if last is None else teaching(last, recipe.stage_teachers(last))
    notes = planner.notes
    if judged is not None:
        require_rejectable(recipe.reject, judged, smoke=loaded.at_most is not None)
        if last is None:
            notes += told_models(recipe.student, judges, judged, loaded.base, trains=False)
        judges, told = who_judges(judges, last, judged, loaded.base, planner.stages)
        notes += told
    return Plan(
        loaded=loaded,
        root=planner.folders.root,
        stages=planner.stages,
        blocked=planner.blocked,
        exports=[PlannedExport(spec, can_export(spec) or "") for spec in recipe.export],
        data=judged,
        judges=judges,
        notes=tuple(dict.fromkeys(notes)),
    )


class _Planner:
    """Plans stages in their order: each needs the keys, and perhaps the weights, of those before it."""

    def __init__(self, loaded: LoadedRecipe, folders: RunFolders, data: DataSets) -> None:
        self.loaded, self.folders, self.data = loaded, folders, data
        self.known = Identities(loaded.base)
        self.stages: list[PlannedStage] = []
        self.blocked: dict[str, str] = {}
        self.digests: dict[str, str] = {}
        self.done: dict[str, Path] = {}
        self.notes: list[str] = []

    def add(self, spec: StageSpec) -> None:
        """Plan a stage, or note why it cannot run here."""
        try:
            stage = self._planned(spec)
        except UnfitEnvironmentError as error:
            self.blocked[spec.id] = str(error)
            return
        self.stages.append(stage)
        self.digests[spec.id] = stage.digest
        if stage.action == "reuse":
            self.done[spec.id] = stage.folder / STUDENT

    def _planned(self, spec: StageSpec) -> PlannedStage:
        recipe = self.loaded.recipe
        task = recipe.stage_task(spec)
        learns = method_named(spec.method, f"stage {spec.id}").learns_from_teachers
        teachers = tuple(recipe.stage_teachers(spec) if learns else ())
        student = recipe.stage_student(spec)
        require_classifiers(teachers, task, self.loaded.base, learners=[student])
        for one in moved(teachers).values():
            require_usable(one.runtime, task_named(task))
        require_precision(spec.precision, f"stage {spec.id}")
        policy_of(spec.augment)  # so that a package it lacks is missed before anything is trained
        data = with_tokenizers_compared(
            self.data.open(recipe.stage_data(spec), task),
            student=student,
            teachers=teachers,
            init=spec.init,
            stages=self.stages,
            base=self.loaded.base,
        )
        at = f"stage {spec.id}"
        if (sampler := sampler_options(spec, at)) is not None:
            sampler.check_rows(data.train, f"{at}.sampler", smoke=self.loaded.at_most is not None)
        labels = None
        if spec.labels is not None:
            labels = label_job(
                self.loaded, spec, data, self.folders, self.digests, self.done, known=self.known
            )
            _require_usable(labels)
        computes = self._computes(spec, task, teachers, stored=labels is not None)
        digest = self._digest(spec, task, teachers, data.digest, labels, computes)
        folder = self.folders.stage(spec.id, digest)
        action, why = _stage_action(folder)
        learner = student if spec.init is None else None
        self.notes += [*_method_told(spec), *told_start(recipe, spec)]
        self.notes += told_precision(spec.precision, f"stage {spec.id}")
        self.notes += told_models(learner, teachers, data, self.loaded.base, stage=spec, stages=self.stages)
        return PlannedStage(
            *(spec, task, student, teachers, data, labels, computes, digest, folder, self.folders),
            action,
            why,
        )

    def _computes(
        self, spec: StageSpec, task: str, teachers: tuple[ModelSpec | str, ...], *, stored: bool
    ) -> tuple[str, ...]:
        """Name the modules that, with TRAINS, decide what a stage comes to, as `code_digest` takes them."""
        recipe = self.loaded.recipe
        models = [recipe.stage_student(spec), *(one for one in teachers if isinstance(one, ModelSpec))]
        method = method_named(spec.method, f"stage {spec.id}")
        found = [*ALWAYS, TASKS[task], WRAPPERS[task], METHODS[spec.method]]
        found += [TARGETS[name] for name in method.targets]
        found += [target for model in models for target in model_sources(model)]
        found += ["compactor.samplers.mix"] if recipe.stage_data(spec).also else []
        found += [SAMPLERS[spec.chosen_sampler.name]] if spec.chosen_sampler else []
        found += [MIXERS[spec.chosen_mixer.name]] if spec.chosen_mixer else []
        found += [BY_CLASS] if (spec.init or "").startswith(STAGE) else []
        found += FROM_STORE if stored else ()
        found += MOVES if moved(teachers) else ()
        return tuple(dict.fromkeys(found))

    def _digest(
        self,
        spec: StageSpec,
        task: str,
        teachers: tuple[ModelSpec | str, ...],
        data: str,
        labels: LabelJob | None,
        computes: tuple[str, ...],
    ) -> str:
        """Cache key; an earlier stage, or a label store, that the stage refers to enters by its own key.

        Raises:
            UsageError: a weights file is missing.
            UnfitEnvironmentError: it refers to a stage that cannot run here.
        """
        recipe, known = self.loaded.recipe, self.known
        student = recipe.stage_student(spec)
        return digest_of(
            {
                "stage": msgspec.to_builtins(spec)
                | {"student": None, "teachers": None, "data": None}
                | ({"sampler": msgspec.to_builtins(spec.chosen_sampler)} if spec.chosen_sampler else {})
                | ({"mixer": msgspec.to_builtins(spec.chosen_mixer)} if spec.chosen_mixer else {}),
                "seed": recipe.seed if spec.seed is None else spec.seed,
                "task": task,
                "data": data,
                "student": known.model(student),
                "init": known.reference(spec.init, self.digests),
                "sampler_reads": [known.reference(one, self.digests) for one in _sampler_reads(spec)],
                "labels": None if labels is None else labels.digest,
                "teachers": [known.reference(teacher, self.digests) for teacher in teachers],
                "versions": tool_versions(TOOLS),
                "source": code_digest(computes, alone=[*TRAINS, *EARLIER]),
            }
        )


def _method_told(spec: StageSpec) -> list[str]:
    """What a stage's method has to say of its options."""
    at = f"stage {spec.id}"
    method = method_named(spec.method, at)
    said = method.told(stage_options(method, spec, at), spec) if method.told else []
    return [f"{at}: {note}" for note in said]


def _sampler_reads(spec: StageSpec) -> list[str]:
    """The earlier stages that a stage's sampler reads."""
    sampler = sampler_options(spec, f"stage {spec.id}")
    return [] if sampler is None else sampler.references


def _require_usable(job: LabelJob) -> None:
    """Refuse a store that the stage cannot learn from.

    Raises:
        UsageError: a given store is not finished, or holds something else than the stage asks for.
    """
    if job.is_made:
        require_fit(job, read_header(job.folder))
    elif job.is_given:
        raise UsageError(
            f"stage {job.stage.id}.labels.store: {job.folder} is no finished label store; finish it with "
            "`compactor label`, or remove labels.store to make one"
        )


def _stage_action(folder: Path) -> tuple[Action, str]:
    if (folder / DONE).is_file():
        return "reuse", "trained before with the same settings, data, weights, versions and source"
    if (folder / CHECKPOINT).is_file():
        return "resume", "a checkpoint of an interrupted run is there"
    return "run", ""
