"""Labels, pools' scores and trainings on workers, before the command goes on with what they made.

A command that has `--on` gives these to what it calls; without it everything is made in its own process, in
the same folders. So what workers leave undone is made there, and what cannot be made fails there as ever.
"""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from compactor.cache.digest import digest_of
from compactor.cache.folder import DONE
from compactor.cache.journal import Journal
from compactor.clean.items import WORK
from compactor.label_store.header import Header
from compactor.label_store.probe import divided, seconds_a_record
from compactor.label_store.unfinished import jobs_of
from compactor.label_store.write import StoreWriter
from compactor.launch.drive import drive
from compactor.launch.order import Order, RecipeText, StageItem
from compactor.launch.train_item import trained_of
from compactor.launch.where import Where
from compactor.pool.job import PoolJob
from compactor.progress import Reporter
from compactor.recipe.load import LoadedRecipe
from compactor.recipe.spec import STAGE
from compactor.run.behind import stages_behind
from compactor.run.planned import Plan, PlannedStage
from compactor.run.stages import StageRunner
from compactor.run.taught import own_device
from compactor.run.workers import Begin
from compactor.tasks import task_named
from compactor.teachers import Teachers


@dataclass(frozen=True)
class Ahead:
    """Has work done by workers; `runs` is the folder of all runs, which they see under the same path."""

    where: Where
    runs: Path
    reporter: Reporter
    deadline_s: float | None = None

    def label(self, loaded: LoadedRecipe, stage: PlannedStage, begin: Begin) -> None:
        """Have a stage's labels made, in shards that are measured once and kept with the store."""
        job = begin(self._divided)
        begun = job.begun
        if begun is None or job.is_made:
            return
        order = Order(
            kind="labels",
            folder=str(job.folder.absolute()),
            runs=str(self.runs.absolute()),
            recipes=[RecipeText.of(loaded)],
            stage=stage.id,
            threads=begun.threads or self.where.threads,
            on=self.where.text,
        )
        files = {one.number: job.folder / one.file for one in jobs_of(begun)}
        self._drive(order, files, f"labels of {stage.id}")

    def score(self, job: PoolJob, out: Path | None) -> None:
        """Have the candidates of a pool scored."""
        StoreWriter(job.scores, job.header, {"train": job.candidates.split.rows})
        order = Order(
            kind="scores",
            folder=str(job.scores.absolute()),
            runs=str(self.runs.absolute()),
            recipes=[RecipeText.of(job.loaded)],
            out=None if out is None else str(out.absolute()),
            threads=self.where.threads,
            on=self.where.text,
        )
        files = {one.number: job.scores / one.file for one in jobs_of(job.header)}
        self._drive(order, files, f"scores of {job.loaded.recipe.name}")

    def train(self, plans: list[Plan], *, sealed: bool = False) -> None:
        """Train the stages of plans, those that build on nothing unfinished at once, until none is left.

        Args:
            plans: of recipes or of seeds; a stage that several have is trained once.
            sealed: whether trainings see nothing of the report split.
        """
        failed: set[Path] = set()
        while todo := _ready(plans, failed):
            for at, stage in todo.values():
                if stage.labels is not None and not stage.labels.is_made:
                    done = trained_of(plans[at])
                    runner = StageRunner(plans[at], self.reporter, Journal(None), done=done)
                    self.label(plans[at].loaded, stage, partial(runner.begin_labels, stage))
            self._train_at_once(plans, todo, sealed=sealed)
            failed |= {folder for folder in todo if not (folder / DONE).is_file()}

    def _train_at_once(
        self, plans: list[Plan], todo: dict[Path, tuple[int, PlannedStage]], *, sealed: bool
    ) -> None:
        folder = plans[0].root / WORK / digest_of([[str(one) for one in todo], sealed])[:12]
        order = Order(
            kind="stages",
            folder=str(folder.absolute()),
            runs=str(self.runs.absolute()),
            recipes=[RecipeText.of(plan.loaded) for plan in plans],
            items=[StageItem(at, stage.id) for at, stage in todo.values()],
            threads=self.where.threads,
            processes=self.where.processes,
            sealed=sealed,
            on=self.where.text,
        )
        files = order.files()
        for number, stage_folder in enumerate(todo):
            if not (stage_folder / DONE).is_file():  # what was tried before, or taken away since
                files[number].unlink(missing_ok=True)
        self._drive(order, files, f"train {len(todo)} stages")

    def _drive(self, order: Order, files: dict[int, Path], title: str) -> None:
        drive(order, self.where, files, title=title, reporter=self.reporter, deadline_s=self.deadline_s)

    def _divided(self, wanted: Header, stage: PlannedStage, teachers: Teachers) -> Header:
        assert stage.labels is not None
        where = self.where
        threads = min(where.threads, len(os.sched_getaffinity(0)))
        teachers.to(own_device())  # where workers have them
        seconds = seconds_a_record(
            wanted,
            stage.labels.splits["train"],
            task_named(stage.task),
            teachers,
            batch_size=stage.spec.batch_size,
            threads=threads,
        )
        found = divided(wanted, seconds, workers=where.workers, threads=where.threads, shards=where.shards)
        rows = next(part.shard_rows for part in found.parts if part.split == "train")
        self.reporter.note(
            f"labels of {stage.id}: {1 / seconds:,.0f} records a second with {threads} threads here, "
            f"{len(jobs_of(found)):,} shards of {rows:,} samples"
        )
        return found


def _ready(plans: list[Plan], failed: set[Path]) -> dict[Path, tuple[int, PlannedStage]]:
    """Stages that are not trained and build on trained ones alone: by folder, with their plan's place."""
    found: dict[Path, tuple[int, PlannedStage]] = {}
    for at, plan in enumerate(plans):
        trained = trained_of(plan)
        for stage in plan.stages:
            behind = stages_behind(plan.loaded.recipe, [f"{STAGE}{stage.id}"])
            needs = {one.id for one in behind} - {stage.id}
            if stage.id not in trained and stage.folder not in failed and needs <= trained.keys():
                found.setdefault(stage.folder, (at, stage))
    return found
