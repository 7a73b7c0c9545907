"""Train the stages of a recipe, or take them from the cache, and make the label stores they learn from."""

import json
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from compactor.cache.folder import CHECKPOINT, DONE, RECORDS, STUDENT, WEIGHTS, only_one
from compactor.cache.journal import Journal
from compactor.data.splits import Dataset, Split
from compactor.evaluation import select_figures, stored_answers, teacher_answers
from compactor.label_store.header import Header
from compactor.label_store.make import make_labels
from compactor.label_store.store import LabelStore, open_store
from compactor.label_store.write import StoreWriter
from compactor.locate import locate
from compactor.methods import method_named, stage_options
from compactor.methods.from_store import Stored
from compactor.models.batch_norm import batch_norms
from compactor.models.build import build_model, save_model
from compactor.models.student import Student
from compactor.progress import Reporter
from compactor.recipe.load import LoadedRecipe
from compactor.recipe.spec import STAGE, StageSpec
from compactor.records import DataInfo, head_at
from compactor.run.asked import Asking
from compactor.run.earlier import EarlierStages, write_records
from compactor.run.labels import LabelJob, divided_as, require_fit, with_runtimes
from compactor.run.moved import on_runtimes, require_movable
from compactor.run.planned import Plan, PlannedStage
from compactor.run.taught import fit_mixer, know_all, open_teachers, require_fixed_answers, start_student
from compactor.run.workers import Divide, Workers
from compactor.samplers import only_kept, sampler_options
from compactor.samplers.mix import Mixed
from compactor.tasks import Answers, Task, task_named
from compactor.teachers import Teachers, describe_teacher
from compactor.trainer.contracts import Preset
from compactor.trainer.fit import FitResult, Watch, fit
from compactor.trainer.processes import is_main_process, wait_for_all
from compactor_runtimes.errors import UsageError
from compactor_runtimes.files import write_whole

MOST_ANSWER_BYTES = 2**31  # of teachers' answers that are kept in memory instead of asking anew every epoch
VECTOR = 1024  # numbers of an embedding, as a bound
TARGETS = "targets.json"  # what a method has to say of its targets, beside the student


@dataclass
class StageRunner:
    """Run planned stages in their order; `done` holds the model folders of those that are finished, by id.

    `watch` is called after each step of a training. `notes` are what was said of the inputs, for the report.
    `workers` label ahead of this process, which makes what they leave undone.
    """

    plan: Plan
    reporter: Reporter
    journal: Journal
    deadline_s: float | None = None
    watch: Watch | None = None
    done: dict[str, Path] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    workers: Workers | None = None

    def say(self, note: str) -> None:
        """Say something of the inputs once, here and in the report."""
        if note not in self.notes:
            self.notes.append(note)
            self.reporter.note(f"note: {note}")

    def run(self, stage: PlannedStage) -> Path:
        """Train a stage, or reuse it; return its folder.

        Raises:
            InterruptedRun: the user or the deadline stopped it; what is finished is kept.
            UsageError: data, weights, labels or settings that cannot be used.
        """
        if (stage.folder / DONE).is_file():
            self.reporter.note(f"{stage.id}: reused")
            for note in json.loads((stage.folder / DONE).read_text()).get("notes", []):
                self.say(note)
            self.done[stage.id] = stage.folder / STUDENT
            return stage.folder
        store = None if stage.labels is None else self.labels(stage)
        self.done[stage.id] = train_stage(
            self.plan.loaded,
            stage,
            done=self.done,
            reporter=self.reporter,
            journal=self.journal,
            store=store,
            deadline_s=self.deadline_s,
            watch=self.watch,
            say=self.say,
        )
        return stage.folder

    def labels(self, stage: PlannedStage, share: tuple[int, int] = (1, 1)) -> LabelStore | None:
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
        assert stage.labels is not None
        job = stage.labels.completed(self.done)
        was_made = job.is_made
        if self.workers is not None and not was_made and not job.is_given:
            self.workers.label(self.plan.loaded, stage, partial(self.begin_labels, stage))
        if job.is_made:
            self.reporter.note(f"labels of {stage.id}: {'reused' if was_made else 'made'}, {job.folder}")
        else:
            teachers, wanted = self._labellers(stage, job)
            self.reporter.note(f"labels of {stage.id}: {job.describe()} -> {job.folder}")
            finished = make_labels(
                job.folder,
                divided_as(wanted, job.begun),
                job.splits,
                task_named(stage.task),
                teachers,
                batch_size=stage.spec.batch_size,
                reporter=self.reporter,
                share=share,
                deadline_s=self.deadline_s,
                fold_of_row=job.fold_of_row,
            )
            if finished is None:
                return None
        if not was_made:
            self.journal.write("labels", stage=stage.id, folder=str(job.folder), records=job.records)
        store = open_store(job.folder, reporter=self.reporter)
        require_fit(job, store.header)
        if was_made:
            self._hear([f"teacher {one.told}" for one in store.header.runtimes or ()])
            self._hear(_asking(self.plan.loaded, stage, self.reporter).store(store))
        return store

    def begin_labels(self, stage: PlannedStage, divide: Divide) -> LabelJob:
        """Begin a stage's label store, unless it was begun before, for other processes to make.

        Args:
            stage: a stage with labels.
            divide: sets the rows of the shards and the threads of what the store is to hold.
        """
        assert stage.labels is not None
        job = stage.labels.completed(self.done)
        if not job.is_made and job.begun is None:
            teachers, wanted = self._labellers(stage, job)
            ids = {name: split.rows for name, split in job.splits.items()}
            StoreWriter(job.folder, divide(wanted, stage, teachers), ids, fold_of_row=job.fold_of_row)
        return job

    def _labellers(self, stage: PlannedStage, job: LabelJob) -> tuple[Teachers, Header]:
        """The teachers, ready to label and asked beforehand, and what the store is to hold of them."""
        job.require_space()
        teachers = open_teachers(stage, self.plan.loaded.base, self.done)
        require_movable(stage, teachers, None)
        found = on_runtimes(
            stage, teachers, name=self.plan.name, reporter=self.reporter, recorded=job.recorded_runtimes
        )
        teachers = found.teachers
        self._hear(found.notes)
        self._hear(fit_mixer(stage, teachers, self.reporter))
        asking = _asking(self.plan.loaded, stage, self.reporter)
        self._hear(asking.teachers(stage.teachers, teachers, self.plan.loaded.recipe))
        return teachers, with_runtimes(job.wanted, found.ran)

    def _hear(self, notes: list[str]) -> None:
        for note in notes:
            self.say(note)


def _asking(loaded: LoadedRecipe, stage: PlannedStage, reporter: Reporter) -> Asking:
    return Asking(stage.id, stage.data, task_named(stage.task), reporter, loaded.at_most is not None)


def train_stage(
    loaded: LoadedRecipe,
    stage: PlannedStage,
    *,
    done: Mapping[str, Path],
    reporter: Reporter,
    journal: Journal,
    store: LabelStore | None = None,
    deadline_s: float | None = None,
    watch: Watch | None = None,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Train a stage into its folder and return its model folder; an interrupted training goes on there.

    Args:
        loaded: the recipe.
        stage: the stage, as planned.
        done: model folders of earlier stages by id.
        reporter: where progress goes.
        journal: where events go.
        store: the label store of a stage with `labels`, which takes the place of its teachers.
        deadline_s: time of `time.monotonic()` at which training stops as if the user had asked.
        watch: called after each step; what it raises ends the training.
        say: called with what is to be said of models and teachers.

    Raises:
        InterruptedRun: the user or the deadline stopped it; the checkpoint is kept.
        UsageError: data, weights or settings that cannot be used, or another process trains this stage.
    """
    folder, spec, data = stage.folder, stage.spec, stage.data
    folder.mkdir(parents=True, exist_ok=True)
    with only_one(folder) if is_main_process() else nullcontext():
        recipe, task = loaded.recipe, task_named(stage.task)
        seed = recipe.seed if spec.seed is None else spec.seed
        student = build_model(stage.student, data.info, base=loaded.base, seed=seed, trains=True)
        started = ""
        if spec.init is not None:
            file = _init_file(spec.init, loaded.base, done)
            started = start_student(student, spec.init, file, recipe, stage.task)
        teachers = open_teachers(stage, loaded.base, done) if store is None and stage.teachers else None
        earlier = EarlierStages(task, data, loaded.base, done)
        preset = _preset(spec, data.train, seed, store, earlier)
        notes = [*_class_notes(stage, student, teachers), *([started] if started else [])]
        if teachers is not None:
            require_fixed_answers(preset, stage)
            require_movable(stage, teachers, preset)
            found = on_runtimes(stage, teachers, name=recipe.name, reporter=reporter)
            teachers = found.teachers
            notes += found.notes
            notes += fit_mixer(stage, teachers, reporter)
            notes += _asking(loaded, stage, reporter).teachers(stage.teachers, teachers, recipe)
        notes += _batch_norm_notes(preset, stage, teachers)
        for note in notes:
            (say or reporter.note)(note)
        _check_heads(preset, data.info, spec)
        teaching = None if teachers is None else teachers.at(preset.taught_by)
        chosen = sampler_options(spec, f"stage {spec.id}")
        if (parts := data.train.parts) and not (chosen is not None and chosen.mixes):
            preset = replace(preset, sampler=Mixed(parts))
        result = fit(
            student,
            preset,
            lambda rank, world: task.loader(data.train, spec, seed=seed, rank=rank, world=world),
            training=spec,
            name=stage.id,
            seed=seed,
            folder=folder,
            split=data.train,
            teachers=teachers,
            each_once=lambda: task.each_once(data.train),
            ask_once=task.is_fixed and answer_bytes(data) <= MOST_ANSWER_BYTES,
            select=lambda: iter(task.batches(data.select)),
            evaluate=select_figures(
                task,
                data.select,
                _taught(task, data.select, teaching, store) if know_all(teaching, data.info) else None,
            ),
            reporter=reporter,
            journal=journal,
            deadline_s=deadline_s,
            watch=watch,
        )
        if result.finished:
            notes.append(f"{stage.id}: {result.finished}")
            (say or reporter.note)(notes[-1])
        if is_main_process():
            mixed = {} if teachers is None else teachers.mixer.summary()
            if summary := preset.target.summary() | preset.sampler.summary() | mixed:
                write_whole(folder / TARGETS, json.dumps(summary, indent=1).encode())
            write_records(folder / RECORDS, preset.target.kept() | preset.sampler.kept())
            save_model(student, stage.student, folder / STUDENT)
            _conclude(folder, stage.digest, result, notes)
            _tell(stage, result, reporter, journal)
    wait_for_all()  # the next stage reads what the main process has just written
    return folder / STUDENT


def _class_notes(stage: PlannedStage, student: Student, teachers: Teachers | None) -> list[str]:
    """How classes, weights and image sizes of the models became those that are needed."""
    models: list[tuple[str, Student]] = [(stage.student.model, student)]
    for reference, model in zip(stage.teachers, teachers.models if teachers else (), strict=False):
        if isinstance(model, Student):
            models.append((describe_teacher(reference), model))
    kept = stage.spec.init is None  # else its classes are those of the weights that it starts from
    notes = [
        (name, note)
        for name, model in models
        for note in (model.size_note, model.class_note if kept or model is not student else "")
    ]
    return [f"model {name}: {note}" for name, note in notes if note]


def _batch_norm_notes(preset: Preset, stage: PlannedStage, teachers: Teachers | None) -> list[str]:
    """Say where teachers have no BatchNorm that could normalise by the batch."""
    if teachers is None or preset.teacher_bn == "eval":
        return []
    named = zip(map(describe_teacher, stage.teachers), teachers.models, strict=True)
    return [
        f"teacher {name}: has no BatchNorm, so teacher_bn: batch has no effect on it"
        for name, model in named
        if not batch_norms(model)
    ]


def _tell(stage: PlannedStage, result: FitResult, reporter: Reporter, journal: Journal) -> None:
    """Say how a stage went, on the screen and in the journal."""
    shown = [
        f", {name.replace('_', ' ')} {value:.4f}"
        for name, value in result.history[-1].items()
        if name.startswith("select_")
    ]
    early = ", stopped as its figure is flat" if result.stopped else ""
    reporter.note(f"{stage.id}: {result.steps} steps in {result.seconds:.1f} s{early}{''.join(shown)}")
    journal.write(
        "stage", id=stage.id, digest=stage.digest, steps=result.steps, seconds=round(result.seconds, 3)
    )


def _preset(
    stage: StageSpec, split: Split, seed: int, store: LabelStore | None, earlier: EarlierStages
) -> Preset:
    """Build the stage's method, on live teachers or on a label store, and the sampler that it names."""
    at = f"stage {stage.id}"
    method = method_named(stage.method, at)
    options, sampler = stage_options(method, stage, at), sampler_options(stage, at)
    if store is None:
        assert method.build is not None  # checked when the recipe was loaded
        preset = method.build(options)
    else:
        assert method.build_stored is not None
        assert stage.labels is not None
        split = only_kept(split, sampler, seed)
        store.train.positions(split.rows)  # refuses a store that lacks samples before any training
        told = Stored(store.train, split, stage, stage.labels, seed, store.parts.get("select"))
        preset = method.build_stored(options, told)
    return preset if sampler is None else replace(preset, sampler=sampler.build(stage, seed, earlier))


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
    words = head_at(data.info.heads, "word") is not None
    tokens = data.info.text.max_tokens if words and data.info.text else 1
    return 4 * len(data.train) * tokens * width


def _taught(
    task: Task, split: Split, teachers: Teachers | None, store: LabelStore | None
) -> Callable[[], Answers] | None:
    """How to learn what the teachers say on a split: from them, or from the store that has it; else None."""
    if store is not None:
        answers = stored_answers(store, split)
        return None if answers is None else lambda: answers
    return None if teachers is None else lambda: teacher_answers(teachers, task.batches(split))


def _conclude(folder: Path, digest: str, result: FitResult, notes: list[str]) -> None:
    """Mark a stage as trained; its student is saved, so that the optimiser's state would only take space."""
    record = {"digest": digest, "steps": result.steps, "seconds": result.seconds, "history": result.history}
    record |= {"notes": notes} if notes else {}
    write_whole(folder / DONE, json.dumps(record, indent=1).encode())
    (folder / CHECKPOINT).unlink(missing_ok=True)


def _init_file(init: str, base: Path, done: Mapping[str, Path]) -> Path:
    if init.startswith(STAGE):
        return done[init.removeprefix(STAGE)] / WEIGHTS
    return locate(init, base, what="init")
