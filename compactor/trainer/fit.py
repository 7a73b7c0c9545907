"""The one fit(): every method trains through this loop, on one process or many, in full or mixed precision.

Losses arrive unreduced and by name; `stepper.py` reduces them to sum(weight * loss) / global count.
All randomness of the data is a function of (seed, epoch, step), so a checkpoint needs only where it stands.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list
from torch import nn

from compactor.cache.folder import CHECKPOINT
from compactor.cache.journal import Journal
from compactor.data.splits import Split
from compactor.progress import Bar, Reporter, SilentReporter
from compactor.records import Batch, Loader, Step, Training
from compactor.teachers import RememberedTeachers, Teachers
from compactor.trainer.checkpoint import load_checkpoint, save_checkpoint
from compactor.trainer.contracts import Objective, Preset, TargetPolicy
from compactor.trainer.interrupt import StopWish, stop_on_signal
from compactor.trainer.memory import keep_freed_memory
from compactor.trainer.precision import require_precision
from compactor.trainer.stepper import Stepper
from compactor_runtimes.errors import InterruptedRun, UsageError

Watch = Callable[[int, nn.Module, torch.Tensor], None]  # steps done, the student, the loss of the last step
CHECKPOINT_EVERY_S = 60.0
SHOW_EVERY_S = 0.25
SELECT = "select_"  # how the figures on select are called in an epoch's record


class Diverged(UsageError):
    """A loss is no longer finite: the settings do not train."""


@dataclass
class FitResult:
    """The trained student (the same object), one record an epoch, and the time spent over all sittings.

    `stopped` tells that the stage's `stop` ended it before its last step, `finished` what was done to the
    student after it.
    """

    student: nn.Module
    steps: int
    seconds: float
    history: list[dict[str, Any]] = field(default_factory=list)
    stopped: bool = False
    finished: str = ""


def fit(
    student: nn.Module,
    preset: Preset,
    loader_for: Callable[[int, int], Loader],
    *,
    training: Training,
    name: str,
    seed: int,
    folder: Path,
    split: Split | None = None,
    teachers: Teachers | None = None,
    each_once: Callable[[], Iterator[Batch]] | None = None,
    ask_once: bool = False,
    select: Callable[[], Iterator[Batch]] | None = None,
    evaluate: Callable[[nn.Module], dict[str, float]] | None = None,
    reporter: Reporter | None = None,
    journal: Journal | None = None,
    deadline_s: float | None = None,
    watch: Watch | None = None,
) -> FitResult:
    """Train `student` in place, going on from `folder`'s checkpoint where there is one.

    Args:
        student: module from `Batch.x` (as keywords) to {head: logits}.
        preset: weighted objectives, target policy and sampler.
        loader_for: (rank, world) -> loader of this process.
        training: epochs or steps, optimiser and schedule.
        name: the stage's, for messages and the journal.
        seed: seed of data order, views and dropout.
        folder: where the checkpoint lies.
        split: the training samples, for a sampler that groups or scores them.
        teachers: frozen teachers, where the method learns from any.
        each_once: yields all training samples without augmentation, in any order; for objectives that need
            statistics, and for teachers that are asked once.
        ask_once: samples look the same in every epoch, so the teachers are asked about each of them but once.
        select: yields all select samples, for a target policy that chooses on them.
        evaluate: figures on select samples, computed after every epoch by the main process.
        reporter: where progress goes.
        journal: where events go.
        deadline_s: time of `time.monotonic()` at which training stops as if the user had asked.
        watch: called after each step, in every process; what it raises ends the training.

    Raises:
        InterruptedRun: the user or the deadline stopped it; the checkpoint is written.
        UsageError: no training samples.
        UnfitEnvironmentError: the precision needs a GPU, and there is none.
        Diverged: the loss is no longer finite.
    """
    keep_freed_memory()
    require_precision(training.precision, f"stage {name}")
    accelerator = accelerator_for(training.precision)
    loader = loader_for(accelerator.process_index, accelerator.num_processes)
    if len(loader) < 2:
        raise UsageError(f"stage {name}: {len(loader)} training samples found, expected at least 2")
    stepper = Stepper(accelerator, student, preset, teachers, training, name=name, seed=seed)
    reporter = reporter or SilentReporter()
    _prepare(stepper, each_once, split, select)
    for note in (preset.sampler.note(), preset.target.note()):
        if note:
            reporter.note(f"{name}: {note}")
    asked_s = 0.0
    by_running = preset.teacher_bn == "eval"  # what a teacher says by the batch is another thing in each
    if ask_once and by_running and stepper.teachers is not None and not stepper.needs_teacher:
        assert each_once is not None
        with reporter.bar(f"teachers of {name}", len(loader)) as bar:
            started_s = time.perf_counter()
            stepper.teachers = RememberedTeachers(stepper.teachers, counted(each_once(), bar), folder)
            asked_s = time.perf_counter() - started_s
    run = _Run(stepper, loader, seed, folder / CHECKPOINT, journal or Journal(None), watch)
    with (
        stop_on_signal(deadline_s) as wish,
        reporter.bar(f"train {name}", run.steps) as bar,
    ):
        while run.step < run.steps and not run.is_flat():
            run.one_epoch(bar, wish)
            run.end_epoch(evaluate)
            run.stop_or_save(wish)
    seconds = run.seconds + asked_s
    result = FitResult(student, run.step, seconds, run.history, run.step < run.steps)
    if preset.finish is not None:
        result.finished = preset.finish(student)
    return result


def _prepare(
    stepper: Stepper,
    each_once: Callable[[], Iterator[Batch]] | None,
    split: Split | None,
    select: Callable[[], Iterator[Batch]] | None,
) -> None:
    """Let the parts of a preset see what they ask for: all training samples once, select samples."""
    preset, device = stepper.preset, stepper.accelerator.device
    parts: list[Objective | TargetPolicy] = [*stepper.objectives, preset.target]
    for part in parts:
        if part.needs.statistics:
            assert each_once is not None
            part.fit(stepper.teachers, (batch.to(device) for batch in each_once()))
    if split is not None:
        preset.sampler.fit(split, stepper.teachers)
    if select is not None:
        preset.target.choose(stepper.all_teachers, lambda: (batch.to(device) for batch in select()))


def counted(batches: Iterator[Batch], bar: Bar) -> Iterator[Batch]:
    """Pass batches on and show how many samples have gone by."""
    done = 0
    for batch in batches:
        yield batch
        done += batch.size
        bar.at(done)


def accelerator_for(precision: str) -> Accelerator:
    """Make an Accelerator; its process-wide state is renewed, as stages may differ in precision."""
    AcceleratorState._reset_state(reset_partial_state=False)
    mixed = {"fp32": "no"}.get(precision, precision)
    return Accelerator(cpu=not torch.cuda.is_available(), mixed_precision=mixed)


class _Run:
    """Where training stands: step, epoch and batches done since it began.

    A pass is one list of positions; it counts for one epoch, or for several where the sampler says so.
    """

    def __init__(
        self,
        stepper: Stepper,
        loader: Loader,
        seed: int,
        path: Path,
        journal: Journal,
        watch: Watch | None = None,
    ) -> None:
        self.stepper, self.loader, self.seed, self.path, self.journal = stepper, loader, seed, path, journal
        self.watch = watch
        self.training, self.name, self.sampler = stepper.training, stepper.name, stepper.preset.sampler
        per_epoch = loader.steps(self.sampler.samples(len(loader))) / self.sampler.span(0)
        self.steps = self.training.steps or self._steps(self.training.epochs or 0)
        self.epochs = self.training.epochs or self.steps / per_epoch
        self.warmup = self.training.warmup_epochs * per_epoch
        self.step, self.epoch, self.offset, self.seconds = 0, 0, 0, 0.0
        self.history: list[dict[str, Any]] = []
        if path.is_file():
            state = load_checkpoint(path)
            self.step, self.epoch, self.offset = state["step"], state["epoch"], state["offset"]
            self.seconds, self.history = state["seconds"], state["history"]
            stepper.load_state_dict(state["training"])
        self.saved_s = time.monotonic()

    def _steps(self, epochs: int) -> int:
        """Steps of all passes that `epochs` epochs take."""
        n = len(self.loader)
        return sum(self.loader.steps(self.sampler.samples(n, epoch)) for epoch in self.sampler.passes(epochs))

    def one_epoch(self, bar: Bar, wish: StopWish) -> None:
        """Run the steps of the pass at hand that are still to do."""
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((self.seed, self.epoch))))
        positions = self.sampler.positions(self.epoch, len(self.loader), rng)
        batches = self.loader.steps(len(positions))
        if not batches:
            raise UsageError(
                f"stage {self.name}: epoch {self.epoch} has {len(positions)} samples, at least 2 expected"
            )
        self.stepper.model.train()
        crops = self.stepper.preset.target.crops
        started_s, samples, shown_s = time.perf_counter(), 0, 0.0
        tick_s = started_s  # of a step's start: making its batch is part of it
        for batch in self.loader.epoch(self.epoch, positions, start=self.offset, crops=crops):
            at = Step(self.step, self.steps, self.epoch, self.epochs)
            loss = self.stepper(batch, at, warmup=self.warmup)
            self.step += 1
            self.offset += 1
            now_s = time.perf_counter()
            self.seconds, tick_s = self.seconds + now_s - tick_s, now_s
            if self.watch is not None:
                self.watch(self.step, self.stepper.student, loss)
                tick_s = time.perf_counter()  # watching is no training
            samples += batch.size * self.stepper.accelerator.num_processes
            if now_s - shown_s > SHOW_EVERY_S:
                shown_s = now_s
                bar.at(self.step, f"{samples / (now_s - started_s):.0f} samples/s  {self.text()}")
            if self.step >= self.steps:
                break
            if self.offset < batches:  # the end of an epoch is recorded first
                self.stop_or_save(wish)

    def text(self) -> str:
        """Render the terms' means.

        Raises:
            Diverged: one of them is not finite.
        """
        means = self.stepper.means()
        for name, value in means.items():
            if not np.isfinite(value):
                raise Diverged(
                    f"stage {self.name}: loss {name} became {value} by step {self.step}; "
                    f"lower lr (found {self.training.lr}) or set clip_norm"
                )
        return "  ".join(f"{name} {value:.3f}" for name, value in means.items())

    def stop_or_save(self, wish: StopWish) -> None:
        """Grant a wish to stop; otherwise keep a checkpoint now and then."""
        accelerator, stop = self.stepper.accelerator, wish.requested
        if accelerator.num_processes > 1:  # all ranks must leave at the same step
            stop = bool(accelerator.reduce(torch.tensor(int(stop), device=accelerator.device), "sum"))
        if stop and self.step < self.steps:
            self.save()
            why = " by --max-hours" if wish.late else ""
            raise InterruptedRun(
                f"stage {self.name}: stopped{why} at step {self.step} of {self.steps}, checkpoint kept"
            )
        if time.monotonic() - self.saved_s > CHECKPOINT_EVERY_S:
            self.save()

    def end_epoch(self, evaluate: Callable[[nn.Module], dict[str, float]] | None) -> None:
        """Record the epoch and keep a checkpoint."""
        self.text()  # refuses a loss that is not finite, also where no bar was shown
        accelerator = self.stepper.accelerator
        last = self.epoch + self.sampler.span(self.epoch) - 1
        record: dict[str, Any] = {"epoch": last, "step": self.step, "terms": self.stepper.means()}
        self.stepper.gather()
        if evaluate is not None and accelerator.is_main_process:
            record |= evaluate(self.stepper.student)
        if accelerator.num_processes > 1:  # all must know when to stop
            record = broadcast_object_list([record])[0]
        self.history.append(record)
        self.journal.write("epoch", stage=self.name, **record)
        self.stepper.sums, self.stepper.counted = {}, 0
        self.epoch, self.offset = self.epoch + self.sampler.span(self.epoch), 0
        self.save()
        accelerator.wait_for_everyone()

    def is_flat(self) -> bool:
        """Whether the figure of the stage's `stop` has stopped getting better; decided on the history alone.

        Raises:
            UsageError: the stage has no such figure.
        """
        rule = self.training.stop
        if rule is None or not self.history:
            return False
        key = f"{SELECT}{rule.figure}"
        if key not in self.history[-1]:
            known = [name.removeprefix(SELECT) for name in self.history[-1] if name.startswith(SELECT)]
            raise UsageError(
                f"stage {self.name}.stop.figure: {rule.figure!r} is not among the figures on select "
                f"({', '.join(known) or 'there are none'}); name one of them"
            )
        values = [record[key] for record in self.history]
        if rule.figure != "loss":  # all others are better when higher
            values = [-value for value in values]
        best, since = values[0], 0
        for value in values[1:]:
            since = 0 if value < best - rule.min_delta else since + 1
            best = min(best, value)
        return since >= rule.patience

    def save(self) -> None:
        """Write the checkpoint (main process only)."""
        self.saved_s, stepper = time.monotonic(), self.stepper
        training = stepper.state_dict() if stepper.is_sharded or stepper.accelerator.is_main_process else {}
        if stepper.accelerator.is_main_process:
            state = {
                "step": self.step,
                "epoch": self.epoch,
                "offset": self.offset,
                "seconds": self.seconds,
                "history": self.history,
                "training": training,
            }
            save_checkpoint(self.path, state)
