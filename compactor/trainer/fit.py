"""The one fit(): every method trains through this loop, on one process or many, in full or mixed precision.

Losses arrive unreduced and by name; the loop weighs, reduces to sum(weight * loss) / global count, and logs
them. All randomness of the data is a function of (seed, epoch, step), so that resuming needs a step number
and no more.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from numpy.typing import NDArray
from torch import Tensor, nn

from compactor.methods import Preset
from compactor.models.features import capture
from compactor.progress import Bar, Reporter, SilentReporter
from compactor.recipe import StageSpec
from compactor.records import Batch, Outputs, Step
from compactor.run.journal import Journal
from compactor.teachers import Teachers
from compactor.trainer.checkpoint import load_checkpoint, save_checkpoint
from compactor.trainer.interrupt import StopWish, stop_on_signal
from compactor.trainer.optimizer import make_optimizer
from compactor.trainer.schedule import lr_factor
from compactor_runtimes.errors import InterruptedRun, UsageError

CHECKPOINT = "training.pt"
CHECKPOINT_EVERY_S = 60.0
SHOW_EVERY_S = 0.25


class Loader(Protocol):
    """What the loop asks of a data loader."""

    def epoch(self, epoch: int, positions: NDArray[np.int64], *, start: int = 0) -> Iterator[Batch]:
        """Yield this rank's part of every global batch, skipping the first `start` ones."""

    def steps(self, n: int) -> int:
        """Number of global batches for n samples."""

    def __len__(self) -> int:
        """Number of samples."""


@dataclass
class FitResult:
    """The trained student (the same object), one record an epoch, and the time spent over all sittings."""

    student: nn.Module
    steps: int
    seconds: float
    history: list[dict[str, Any]] = field(default_factory=list)


def accelerator_for(precision: str) -> Accelerator:
    """Make an Accelerator; its process-wide state is renewed, as stages may differ in precision."""
    AcceleratorState._reset_state(reset_partial_state=False)
    return Accelerator(
        cpu=not torch.cuda.is_available(),
        mixed_precision={"fp32": "no"}.get(precision, precision),
        step_scheduler_with_optimizer=False,
    )


def fit(
    student: nn.Module,
    preset: Preset,
    loader_for: Callable[[int, int], Loader],
    *,
    stage: StageSpec,
    seed: int,
    folder: Path,
    teachers: Teachers | None = None,
    evaluate: Callable[[nn.Module], dict[str, float]] | None = None,
    reporter: Reporter | None = None,
    journal: Journal | None = None,
) -> FitResult:
    """Train `student` in place, going on from `folder`'s checkpoint where there is one.

    Args:
        student: module from `Batch.x` (as keywords) to {head: logits}.
        preset: weighted objectives, target policy and sampler.
        loader_for: (rank, world) -> loader of this process.
        stage: epochs or steps, optimiser and schedule.
        seed: seed of data order, views and dropout.
        folder: where the checkpoint lies.
        teachers: frozen teachers, where the method learns from any.
        evaluate: figures on select samples, computed after every epoch by the main process.
        reporter: where progress goes.
        journal: where events go.

    Raises:
        InterruptedRun: the user stopped it; the checkpoint is written.
        UsageError: no training samples, or the loss is no longer finite.
    """
    run = _Run(student, preset, loader_for, stage, seed, folder, teachers, journal or Journal(None))
    with stop_on_signal() as wish, (reporter or SilentReporter()).bar(f"train {stage.id}", run.steps) as bar:
        for epoch in range(run.step // run.steps_per_epoch, run.epochs):
            if run.step < run.steps:
                run.one_epoch(epoch, bar, wish)
                run.end_epoch(epoch, evaluate)
                run.stop_or_save(wish)
    run.save()
    return FitResult(student, run.step, run.seconds, run.history)


class _Run:
    """The state of one fit; everything that a checkpoint holds is here."""

    def __init__(
        self,
        student: nn.Module,
        preset: Preset,
        loader_for: Callable[[int, int], Loader],
        stage: StageSpec,
        seed: int,
        folder: Path,
        teachers: Teachers | None,
        journal: Journal,
    ) -> None:
        self.stage, self.seed, self.preset, self.journal = stage, seed, preset, journal
        self.path = folder / CHECKPOINT
        self.accelerator = accelerator_for(stage.precision)
        self.world = self.accelerator.num_processes
        self.loader = loader_for(self.accelerator.process_index, self.world)
        if len(self.loader) < 2:
            raise UsageError(
                f"stage {stage.id}: {len(self.loader)} training samples found, expected at least 2"
            )
        device = self.accelerator.device
        self.student = student.to(device)
        self.teachers = teachers.to(device) if teachers else None
        models = [] if teachers is None else teachers.models
        made = [objective.setup(student, models) for objective, _ in preset.objectives]
        self.train_only = [module.to(device) for module in made if module is not None]
        optimizer = make_optimizer(stage, student, self.train_only)
        self.needs_student = frozenset().union(
            *(objective.needs.student for objective, _ in preset.objectives)
        )
        self.needs_teacher = frozenset().union(
            *(objective.needs.teacher for objective, _ in preset.objectives)
        )

        first = preset.sampler.positions(0, len(self.loader), self._rng(0))
        self.steps_per_epoch = self.loader.steps(len(first))
        self.steps = stage.steps or (stage.epochs or 0) * self.steps_per_epoch
        self.epochs = -(-self.steps // self.steps_per_epoch)
        self.warmup = stage.warmup_epochs * self.steps_per_epoch
        self.step, self.seconds = 0, 0.0
        self.history: list[dict[str, Any]] = []
        self.sums: dict[str, Tensor] = {}  # of each term's means over the `counted` steps of this epoch
        self.counted = 0
        torch.manual_seed(
            seed + self.accelerator.process_index
        )  # dropout differs by rank, the rest is seeded by step
        self.model, self.optimizer = self.accelerator.prepare(student, optimizer)
        if self.path.is_file():
            self.load()
        self.saved_s = time.monotonic()

    def _rng(self, epoch: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(np.random.SeedSequence((self.seed, epoch))))

    def one_epoch(self, epoch: int, bar: Bar, wish: StopWish) -> None:
        """Run the steps of one epoch that are still to do."""
        positions = self.preset.sampler.positions(epoch, len(self.loader), self._rng(epoch))
        self.model.train()
        started_s, images, shown_s = time.perf_counter(), 0, 0.0
        for batch in self.loader.epoch(epoch, positions, start=self.step - epoch * self.steps_per_epoch):
            tick_s = time.perf_counter()
            self.train_step(batch, epoch)
            now_s = time.perf_counter()
            self.seconds += now_s - tick_s
            images += batch.size * self.world
            if now_s - shown_s > SHOW_EVERY_S:
                shown_s = now_s
                bar.at(self.step, f"{images / (now_s - started_s):.0f} samples/s  {self._text()}")
            if self.step >= self.steps:
                break
            if self.step % self.steps_per_epoch:  # the end of an epoch is recorded first
                self.stop_or_save(wish)

    def train_step(self, batch: Batch, epoch: int) -> None:
        """One optimiser step on one batch."""
        at = Step(self.step, self.steps, epoch, self.epochs)
        factor = lr_factor(self.step, steps=self.steps, warmup=self.warmup, schedule=self.stage.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        batch = self.preset.target.transform(batch.to(self.accelerator.device))
        with self.accelerator.autocast():
            taught = self.teachers(batch, self.needs_teacher) if self.teachers else None
            with capture(self.student, self.needs_student) as seen:
                output = Outputs(logits=self.model(**batch.x), features=seen)
            target = self.preset.target.make(batch, taught, at)
            total = self.reduce(output, taught, target, batch, at)
        self.accelerator.backward(total)
        if self.world > 1:
            for module in self.train_only:  # the student is synchronised by DDP, these are not wrapped
                for parameter in module.parameters():
                    if parameter.grad is not None:
                        parameter.grad = self.accelerator.reduce(parameter.grad, "mean")
        if self.stage.clip_norm is not None:
            self.accelerator.clip_grad_norm_(self.student.parameters(), self.stage.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        with torch.no_grad():
            self.preset.target.observe(batch, output)
        self.step += 1

    def reduce(self, output: Outputs, taught: Outputs | None, target: Any, batch: Batch, at: Step) -> Tensor:
        """Weigh and sum the terms; log each one under its own name, unweighted."""
        total = torch.zeros((), device=self.accelerator.device)
        for objective, weight in self.preset.objectives:
            scale = weight(at) if callable(weight) else weight
            for name, term in objective(output, taught, target, batch, at).items():
                count = (
                    torch.tensor(term.loss.numel(), device=total.device)
                    if term.valid is None
                    else term.valid.sum()
                )
                if self.world > 1:
                    count = self.accelerator.reduce(count, "sum")
                loss = term.loss
                for factor in (
                    self.preset.sampler.weights(name, term, output, batch, at),
                    target.weight,
                    term.valid,
                ):
                    loss = loss if factor is None else loss * factor
                # DDP averages gradients over processes, so each one's share counts `world` times
                mean = loss.sum() / count.clamp(min=1) * self.world
                total = total + scale * mean
                self.sums[name] = self.sums.get(name, 0) + mean.detach()
        self.counted += 1
        return total

    def _means(self) -> dict[str, float]:
        return {name: float(value) / max(self.counted, 1) for name, value in self.sums.items()}

    def _text(self) -> str:
        means = self._means()
        for name, value in means.items():
            if not np.isfinite(value):
                raise UsageError(
                    f"stage {self.stage.id}: loss {name} became {value} by step {self.step}; "
                    f"lower lr (found {self.stage.lr}) or set clip_norm"
                )
        return "  ".join(f"{name} {value:.3f}" for name, value in means.items())

    def stop_or_save(self, wish: StopWish) -> None:
        """Grant a wish to stop; otherwise keep a checkpoint now and then."""
        stop = wish.requested
        if self.world > 1:  # all ranks must leave at the same step
            stop = bool(
                self.accelerator.reduce(torch.tensor(int(stop), device=self.accelerator.device), "sum")
            )
        if stop and self.step < self.steps:
            self.save()
            raise InterruptedRun(
                f"stage {self.stage.id}: stopped at step {self.step} of {self.steps}, checkpoint kept"
            )
        if time.monotonic() - self.saved_s > CHECKPOINT_EVERY_S:
            self.save()

    def end_epoch(self, epoch: int, evaluate: Callable[[nn.Module], dict[str, float]] | None) -> None:
        """Record the epoch and keep a checkpoint."""
        self._text()  # refuses a loss that is not finite, also where no bar was shown
        record: dict[str, Any] = {"epoch": epoch, "step": self.step, "terms": self._means()}
        if evaluate is not None and self.accelerator.is_main_process:
            record |= evaluate(self.student)
        self.history.append(record)
        self.sums, self.counted = {}, 0
        self.journal.write("epoch", stage=self.stage.id, **record)
        self.save()
        self.accelerator.wait_for_everyone()

    def save(self) -> None:
        """Write the checkpoint (main process only)."""
        self.saved_s = time.monotonic()
        if not self.accelerator.is_main_process:
            return
        save_checkpoint(
            self.path,
            {
                "step": self.step,
                "seconds": self.seconds,
                "history": self.history,
                "sums": self.sums,
                "counted": self.counted,
                "student": self.student.state_dict(),
                "train_only": [module.state_dict() for module in self.train_only],
                "optimizer": self.optimizer.state_dict(),
                "target": self.preset.target.state_dict(),
                "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler else None,
            },
        )

    def load(self) -> None:
        """Go on from the checkpoint."""
        state = load_checkpoint(self.path)
        self.step, self.seconds, self.history = state["step"], state["seconds"], state["history"]
        self.sums, self.counted = state["sums"], state["counted"]
        self.student.load_state_dict(state["student"])
        for module, saved in zip(self.train_only, state["train_only"], strict=True):
            module.load_state_dict(saved)
        self.optimizer.load_state_dict(state["optimizer"])
        self.preset.target.load_state_dict(state["target"])
        if state["scaler"] is not None and self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(state["scaler"])
