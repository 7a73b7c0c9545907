"""Build the pool of a recipe: score, compare, choose; each step goes on where it was stopped."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from compactor.cache.folder import RunFolders
from compactor.cache.journal import Journal
from compactor.data.pool_file import POOL_FILE, PoolRecord, read_record
from compactor.data.spec import DataSpec
from compactor.label_store.header import STORE_FILE
from compactor.label_store.unfinished import jobs_of
from compactor.locate import locate
from compactor.models.problem_types import require_classifiers
from compactor.pool.candidates import open_candidates
from compactor.pool.choose import choose
from compactor.pool.compare import compare
from compactor.pool.copies import Shards
from compactor.pool.job import POOL_FOLDER, PoolJob, pool_job
from compactor.pool.scores import Embedder, features_file, forecast_features, make_scores
from compactor.progress import Reporter, SilentReporter
from compactor.recipe.load import LoadedRecipe
from compactor.run.asked import Asking
from compactor.run.behind import stages_behind
from compactor.run.data import DataSets
from compactor.run.plan import make_plan
from compactor.run.stages import StageRunner
from compactor.tasks import task_named
from compactor.teachers import Teachers, open_teacher
from compactor_runtimes.errors import IntegrityError, InterruptedRun, UsageError

ScoreAhead = Callable[[PoolJob, Path | None], None]


@dataclass(frozen=True)
class BuiltPool:
    """A pool: its file, and what it says; None while shares that other processes make are missing."""

    file: Path
    record: PoolRecord | None
    candidates: int

    def text(self) -> str:
        """One line for the terminal."""
        if self.record is None:
            return (
                f"pool: {self.file} is not there yet ({self.candidates:,} candidates in all; other shares "
                "are still missing)"
            )
        found = self.record
        removed = sum(one.images for one in found.removed)
        return (
            f"pool: {self.file} ({found.kept:,} of {found.candidates:,} images; {removed:,} near-duplicates "
            f"removed, {found.passed_over:,} passed over)"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data for --json."""
        whole = {} if self.record is None else msgspec.to_builtins(self.record)
        whole.pop("files", None)
        whole |= {"whole": self.record is not None, "candidates": self.candidates}
        return {"file": str(self.file), **whole}


def build_pool(
    loaded: LoadedRecipe,
    *,
    runs: Path,
    out: Path | None = None,
    share: tuple[int, int] = (1, 1),
    reporter: Reporter | None = None,
    deadline_s: float | None = None,
    only_scores: bool = False,
    score_ahead: ScoreAhead | None = None,
) -> BuiltPool:
    """Make the pool of a recipe; train the teachers that are stages.

    Args:
        loaded: the recipe, with a part `pool`.
        runs: folder of all runs.
        out: where the pool lies; absent = RUNS/NAME/pool.
        share: (i, n) to score the i-th of n shares only.
        reporter: where progress goes.
        deadline_s: time of `time.monotonic()` at which it stops where it can go on later.
        only_scores: end when all candidates are scored.
        score_ahead: lets other processes score before this one scores what is left.

    Raises:
        UsageError: the recipe has no part `pool`, or sources or teachers that cannot be used.
        UnfitEnvironmentError: too little space on the disk.
        InterruptedRun: stopped; what is finished is kept.
    """
    recipe, reporter = loaded.recipe, reporter or SilentReporter()
    if recipe.pool is None:
        raise UsageError(
            f"recipe {loaded.name}: has no part `pool`; add pool: {{sources: [{{dataset: FOLDER}}]}} to it"
        )
    folder = out or RunFolders(runs / recipe.name).root / POOL_FOLDER
    try:
        data = DataSets(loaded, reporter).open(_alone(recipe.data))
        for note in data.notes:
            reporter.note(f"note: data {recipe.data.dataset}: {note}")
        require_classifiers(recipe.pool_teachers, recipe.task, loaded.base)
        done = _trained(loaded, runs, folder, reporter, deadline_s)
        candidates = open_candidates(loaded, data, reporter)
        job = pool_job(loaded, folder, data, candidates, done=done)
        record = _there(job, reporter)
        if record is None:
            if score_ahead is not None:
                score_ahead(job, out)
            embedder = _opened(job, done, reporter)
            record = _make(job, embedder, reporter, share, deadline_s, only_scores=only_scores)
    except (InterruptedRun, KeyboardInterrupt) as stopped:
        said = str(stopped) or "stopped, what is finished is kept"
        raise InterruptedRun(f"{said}; go on with: {_command(loaded, runs, out)}") from None
    return BuiltPool(job.file, record, len(candidates.split))


def _make(
    job: PoolJob,
    embedder: Embedder,
    reporter: Reporter,
    share: tuple[int, int],
    deadline_s: float | None,
    *,
    only_scores: bool,
) -> PoolRecord | None:
    """Take the three steps, or the first alone."""
    split = job.candidates.split
    size = job.require_space(forecast_features(len(split), embedder.width))
    reporter.note(f"pool of {job.loaded.recipe.name}: {len(split):,} candidates, {size} -> {job.folder}")
    header = make_scores(
        job.scores, job.header, split, embedder, reporter=reporter, share=share, deadline_s=deadline_s
    )
    jobs = jobs_of(job.header)
    shards = Shards(split.rows, jobs, [job.scores / features_file(one) for one in jobs])
    if header is None or only_scores:
        return None
    copies = compare(job, shards, embedder, reporter=reporter, deadline_s=deadline_s)
    return choose(job, shards, copies, reporter)


def _alone(spec: DataSpec) -> DataSpec:
    """The recipe's data without what is mixed into them, which may be this very pool."""
    return msgspec.structs.replace(spec, also=[])


def _trained(
    loaded: LoadedRecipe, runs: Path, folder: Path, reporter: Reporter, deadline_s: float | None
) -> dict[str, Path]:
    """Train the stages that score, or take them from the cache; return their model folders by id.

    Raises:
        UsageError: one of them trains on the pool that is to be made.
    """
    recipe = loaded.recipe
    needed = stages_behind(recipe, recipe.pool_teachers)
    if not needed:
        return {}
    for stage in needed:
        for entry in recipe.stage_data(stage).also:
            if _is_file(entry.dataset, loaded.base, folder / POOL_FILE):
                raise UsageError(
                    f"stage {stage.id}: scores the images of the pool that it is to be trained on itself "
                    f"({entry.dataset}); give it data of its own without also, or move also to the data of "
                    "the stages that learn from it"
                )
    changes: dict[str, Any] = {"stages": needed, "pool": None, "reject": None}
    plan = make_plan(
        msgspec.structs.replace(loaded, recipe=msgspec.structs.replace(recipe, **changes)),
        runs,
        data=DataSets(loaded, reporter),
    )
    plan.require_stages()
    runner = StageRunner(plan, reporter, Journal(None), deadline_s)
    for planned in plan.stages:
        runner.run(planned)
    return runner.done


def _is_file(named: str, base: Path, file: Path) -> bool:
    """Whether a recipe's path means that file, which need not exist."""
    if not named.endswith(".json"):
        return False
    try:
        return locate(named, base, what="data.also").resolve() == file.resolve()
    except UsageError:
        return not file.exists()


def _there(job: PoolJob, reporter: Reporter) -> PoolRecord | None:
    """What is there already, if it is just this pool; says why another one is replaced."""
    if not job.file.is_file():
        return None
    try:
        record, _ = read_record(job.file)
    except IntegrityError as error:
        reporter.note(f"pool: made again: {error}")
        return None
    if record.key != job.key:
        reporter.note(f"pool {job.file}: is replaced: {_difference(record, job)}")
        return None
    gone = [name for name in record.files if not (job.folder / name).is_file()]
    shards = [one.file for one in jobs_of(job.header) if not (job.scores / one.file).is_file()]
    if gone or shards:
        reporter.note(f"pool {job.file}: made again: {(gone + shards)[0]} is missing")
        if shards:
            (job.scores / STORE_FILE).unlink(missing_ok=True)
        return None
    reporter.note(f"pool: reused, {job.file}")
    return record


def _difference(record: PoolRecord, job: PoolJob) -> str:
    """In what a pool differs from the one that is asked for, in a few words."""
    if record.scores_key == job.scores_key:
        settings = msgspec.to_builtins(job.spec)
        changed = [name for name in settings if record.settings.get(name) != settings[name]]
        parts = [f"pool.{name} {record.settings.get(name)} became {settings[name]}" for name in changed]
        return f"{'; '.join(parts) or 'data or code changed'}; its scores are used again"
    if record.recipe != job.loaded.recipe.name:
        return f"it was made for recipe {record.recipe}"
    if record.teachers != job.header.teachers:
        return "other teachers, or other weights"
    found = [(one.digest, one.kept >= 0) for one in record.sources]
    if [digest for digest, _ in found] != [one.digest for one in job.candidates.sources]:
        return "other sources, or other contents"
    return "other data, settings, versions or code"


def _opened(job: PoolJob, done: dict[str, Path], reporter: Reporter) -> Embedder:
    """Open the teachers and ask them first whether they know the recipe's classes."""
    loaded, references = job.loaded, job.loaded.recipe.pool_teachers
    models = [open_teacher(one, job.data.info, loaded.base, done) for one in references]
    teachers = Teachers(models)
    task = task_named(loaded.recipe.task)
    asking = Asking("pool", job.data, task, reporter, loaded.at_most is not None)
    for note in asking.teachers(references, teachers, loaded.recipe):
        reporter.note(f"note: {note}")
    return Embedder(teachers, task, batch_size=job.spec.batch_size, precision=job.spec.precision)


def _command(loaded: LoadedRecipe, runs: Path, out: Path | None) -> str:
    command = loaded.command(runs, verb="pool").replace("compactor pool", "compactor pool build", 1)
    return command if out is None else f"{command} --out {out}"
