"""Train the stages of a recipe, or take them from the cache, and make the label stores they learn from."""

import json
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from compactor.cache.folder import CHECKPOINT, DONE, STUDENT, WEIGHTS, RunFolders, only_one
from compactor.cache.journal import Journal
from compactor.data.splits import Dataset, Split
from compactor.evaluation import select_figures, stored_answers, teacher_answers
from compactor.label_store.make import make_labels
from compactor.label_store.store import LabelStore, open_store
from compactor.locate import locate
from compactor.methods import method_named, parse_options
from compactor.methods.from_store import Stored
from compactor.models.build import build_model, load_encoder, load_model_folder, load_weights, save_model
from compactor.models.student import Student
from compactor.progress import Reporter
from compactor.recipe.load import LoadedRecipe
from compactor.recipe.spec import STAGE, ModelSpec, Recipe, StageSpec
from compactor.records import DataInfo
from compactor.run.data import DataSets
from compactor.run.labels import LabelJob, label_job, require_fit
from compactor.run.plan import Plan
from compactor.samplers.mix import mixed_sampler
from compactor.tasks import Answers, Task, task_named
from compactor.teachers import Teachers
from compactor.trainer.contracts import Preset
from compactor.trainer.fit import FitResult, fit
from compactor.trainer.processes import is_main_process, wait_for_all
from compactor_runtimes.errors import UsageError
from compactor_runtimes.files import write_whole

MOST_ANSWER_BYTES = 2**31  # of teachers' answers that are kept in memory instead of asking anew every epoch
VECTOR = 1024  # numbers of an embedding, as a bound
TARGETS = "targets.json"  # what a method has to say of its targets, beside the student


@dataclass
class StageRunner:
    """Run stages in the recipe's order; `done` holds the model folders of those that are finished, by id.

    `folder` says where a stage lies (default: where all runs of the recipe share it).
    """

    loaded: LoadedRecipe
    plan: Plan
    data: DataSets
    reporter: Reporter
    journal: Journal
    deadline_s: float | None = None
    folder: Callable[[StageSpec, str], Path] | None = None
    done: dict[str, Path] = field(default_factory=dict)

    def run(self, stage: StageSpec) -> Path:
        """Train a stage, or reuse it; return its folder.

        Raises:
            InterruptedRun: the user or the deadline stopped it; what is finished is kept.
            UsageError: data, weights, labels or settings that cannot be used.
        """
        digest = self.plan.digests[stage.id]
        place = self.folder or (lambda one, key: RunFolders(self.plan.root).stage(one.id, key))
        folder = place(stage, digest)
        if (folder / DONE).is_file():
            self.reporter.note(f"{stage.id}: reused")
            self.done[stage.id] = folder / STUDENT
            return folder
        store = None if stage.labels is None else self.labels(stage)
        self.done[stage.id] = train_stage(
            self.loaded,
            stage,
            folder,
            digest=digest,
            done=self.done,
            data=self.data,
            reporter=self.reporter,
            journal=self.journal,
            store=store,
            deadline_s=self.deadline_s,
        )
        return folder

    def job(self, stage: StageSpec) -> LabelJob:
        """The label store that a stage learns from, made or not."""
        recipe = self.loaded.recipe
        opened = self.data.open(recipe.stage_data(stage), recipe.stage_task(stage))
        return label_job(self.loaded, stage, opened, RunFolders(self.plan.root), self.plan.digests, self.done)

    def labels(self, stage: StageSpec, share: tuple[int, int] = (1, 1)) -> LabelStore | None:
        """Make what is missing of a stage's label store and open it.

        Args:
            stage: a stage with labels.
            share: (i, n) to make the i-th of n shares only.

        Returns:
            The store; None while shares that others make are missing.

        Raises:
            InterruptedRun: stopped; finished shards are kept.
            IntegrityError: the store is damaged.
            UsageError: a given store does not fit.
            UnfitEnvironmentError: too little space on the disk.
        """
        job, recipe = self.job(stage), self.loaded.recipe
        if job.is_made:
            self.reporter.note(f"labels of {stage.id}: reused, {job.folder}")
        else:
            job.require_space()
            self.reporter.note(f"labels of {stage.id}: {job.describe()} -> {job.folder}")
            info = self.data.open(recipe.stage_data(stage), recipe.stage_task(stage)).info
            references = recipe.stage_teachers(stage)
            finished = make_labels(
                job.folder,
                job.wanted,
                job.splits,
                task_named(recipe.stage_task(stage)),
                Teachers([open_teacher(one, info, self.loaded.base, self.done) for one in references]),
                batch_size=stage.batch_size,
                reporter=self.reporter,
                share=share,
                deadline_s=self.deadline_s,
            )
            if finished is None:
                return None
            self.journal.write("labels", stage=stage.id, folder=str(job.folder), records=job.records)
        store = open_store(job.folder, reporter=self.reporter)
        require_fit(job, store.header)
        return store


def train_stage(
    loaded: LoadedRecipe,
    stage: StageSpec,
    folder: Path,
    *,
    digest: str,
    done: Mapping[str, Path],
    data: DataSets,
    reporter: Reporter,
    journal: Journal,
    store: LabelStore | None = None,
    deadline_s: float | None = None,
) -> Path:
    """Train a stage into `folder` and return its model folder.

    Args:
        loaded: the recipe.
        stage: the stage.
        folder: the stage's own folder; an interrupted training goes on from there.
        digest: the stage's cache key, kept with the result.
        done: model folders of earlier stages by id.
        data: the recipe's data sets.
        reporter: where progress goes.
        journal: where events go.
        store: the label store of a stage with `labels`, which takes the place of its teachers.
        deadline_s: time of `time.monotonic()` at which training stops as if the user had asked.

    Raises:
        InterruptedRun: the user or the deadline stopped it; the checkpoint is kept.
        UsageError: data, weights or settings that cannot be used, or another process trains this stage.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with only_one(folder) if is_main_process() else nullcontext():
        recipe, task = loaded.recipe, task_named(loaded.recipe.stage_task(stage))
        opened = data.open(recipe.stage_data(stage), recipe.stage_task(stage))
        seed = recipe.seed if stage.seed is None else stage.seed
        spec = recipe.stage_student(stage)
        student = build_model(spec, opened.info, base=loaded.base, seed=seed)
        if stage.init is not None:
            file = _init_file(stage.init, loaded.base, done)
            if _task_of(stage.init, recipe) in (None, recipe.stage_task(stage)):
                load_weights(student.backbone, file)
            else:  # trained for something else: its heads are of no use here
                load_encoder(student.backbone, file)
        teachers = None
        if store is None and method_named(stage.method, "").learns_from_teachers:
            references = recipe.stage_teachers(stage)
            teachers = Teachers([open_teacher(one, opened.info, loaded.base, done) for one in references])
        preset = _preset(stage, opened.train, seed, store)
        _check_heads(preset, opened.info, stage)
        if parts := opened.train.parts:
            preset = replace(preset, sampler=mixed_sampler(preset.sampler, parts, name=f"stage {stage.id}"))
        if is_main_process() and (summary := preset.target.summary()):
            write_whole(folder / TARGETS, json.dumps(summary, indent=1).encode())
            reporter.note(f"{stage.id}: {preset.target.note()}")
        result = fit(
            student,
            preset,
            lambda rank, world: task.loader(opened.train, stage, seed=seed, rank=rank, world=world),
            stage=stage,
            seed=seed,
            folder=folder,
            teachers=teachers,
            each_once=lambda: task.each_once(opened.train),
            ask_once=task.is_fixed and answer_bytes(opened) <= MOST_ANSWER_BYTES,
            evaluate=select_figures(task, opened.select, _taught(task, opened.select, teachers, store)),
            reporter=reporter,
            journal=journal,
            deadline_s=deadline_s,
        )
        if is_main_process():
            save_model(student, spec, folder / STUDENT)
            _conclude(folder, digest, result)
            shown = [
                f", {name.replace('_', ' ')} {value:.4f}"
                for name, value in result.history[-1].items()
                if name.startswith("select_")
            ]
            early = ", stopped as its figure is flat" if result.stopped else ""
            reporter.note(
                f"{stage.id}: {result.steps} steps in {result.seconds:.1f} s{early}{''.join(shown)}"
            )
            journal.write(
                "stage", id=stage.id, digest=digest, steps=result.steps, seconds=round(result.seconds, 3)
            )
    wait_for_all()  # the next stage reads what the main process has just written
    return folder / STUDENT


def _preset(stage: StageSpec, split: Split, seed: int, store: LabelStore | None) -> Preset:
    """Build the stage's method, on live teachers or on a label store."""
    method = method_named(stage.method, f"stage {stage.id}")
    options = parse_options(method, stage.options, f"stage {stage.id}")
    if store is None:
        assert method.build is not None  # checked when the recipe was loaded
        return method.build(options)
    assert method.build_stored is not None
    assert stage.labels is not None
    store.train.positions(split.rows)  # refuses a store that lacks samples before any training
    return method.build_stored(options, Stored(store.train, split, stage, stage.labels, seed))


def _check_heads(preset: Preset, info: DataInfo, stage: StageSpec) -> None:
    """Refuse weights of heads that the data does not have."""
    for head in preset.head_weights:
        if head not in info.classes:
            raise UsageError(
                f"stage {stage.id}.options.head_weights: there is no head {head!r}, the task's are "
                f"{', '.join(info.classes)}; name one of them"
            )


def answer_bytes(data: Dataset) -> int:
    """Memory of float32 logits on all training samples; texts count as if they were as long as can be."""
    width = sum(len(names) for names in data.info.classes.values()) or VECTOR
    words = any(labels.ndim == 2 for labels in data.train.labels.values())
    tokens = data.info.text.max_tokens if words and data.info.text else 1
    return 4 * len(data.train) * tokens * width


def _task_of(init: str, recipe: Recipe) -> str | None:
    """The task that a stage's init was trained for; None for a weights file, which must fit as a whole."""
    stages = {f"{STAGE}{stage.id}": stage for stage in recipe.stages}
    return recipe.stage_task(stages[init]) if init in stages else None


def _taught(
    task: Task, split: Split, teachers: Teachers | None, store: LabelStore | None
) -> Callable[[], Answers] | None:
    """How to learn what the teachers say on a split: from them, or from the store that has it; else None."""
    if store is not None:
        answers = stored_answers(store, split)
        return None if answers is None else lambda: answers
    return None if teachers is None else lambda: teacher_answers(teachers, task.batches(split))


def _conclude(folder: Path, digest: str, result: FitResult) -> None:
    """Mark a stage as trained; its student is saved, so that the optimiser's state would only take space."""
    record = {"digest": digest, "steps": result.steps, "seconds": result.seconds, "history": result.history}
    write_whole(folder / DONE, json.dumps(record, indent=1).encode())
    (folder / CHECKPOINT).unlink(missing_ok=True)


def open_teacher(reference: ModelSpec | str, info: DataInfo, base: Path, done: Mapping[str, Path]) -> Student:
    """Open a teacher: the student of an earlier stage, or a model with weights."""
    if isinstance(reference, str):
        return load_model_folder(done[reference.removeprefix(STAGE)])
    model = build_model(reference, info, base=base).eval()
    if model.untrained:
        raise UsageError(
            f"teacher {reference.model}: its weights hold no {', '.join(model.untrained[:2])}, so these are "
            "random; train it in a stage of its own and name that stage as the teacher"
        )
    return model


def describe_teacher(reference: ModelSpec | str) -> str:
    """A teacher's name for tables."""
    return reference.removeprefix(STAGE) if isinstance(reference, str) else reference.model


def teacher_provenance(reference: ModelSpec | str, digests: Mapping[str, str]) -> dict[str, object]:
    """What the manifest says of a teacher: its recipe entry, or the stage and its cache key."""
    if isinstance(reference, str):
        return {"stage": reference.removeprefix(STAGE), "digest": digests[reference.removeprefix(STAGE)]}
    plain: dict[str, object] = msgspec.to_builtins(reference)
    return plain


def _init_file(init: str, base: Path, done: Mapping[str, Path]) -> Path:
    if init.startswith(STAGE):
        return done[init.removeprefix(STAGE)] / WEIGHTS
    return locate(init, base, what="init")
