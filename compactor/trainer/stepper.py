"""One optimiser step: teachers, student, target, weighted reduction of the terms, backward, update."""

from contextlib import nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from compactor.models.batch_norm import on_batch_statistics
from compactor.models.features import Feature, capture
from compactor.models.student import features_named
from compactor.records import Batch, Outputs, Step, Target, Training
from compactor.teachers import Teachers
from compactor.trainer.contracts import Preset
from compactor.trainer.optimizer import TrainOnly, make_optimizer
from compactor.trainer.schedule import lr_factor
from compactor_runtimes.errors import UnfitEnvironmentError, UsageError


class Stepper:
    """Student, objectives, teachers and optimiser, placed and wrapped for this process."""

    def __init__(
        self,
        accelerator: Accelerator,
        student: nn.Module,
        preset: Preset,
        teachers: Teachers | None,
        training: Training,
        *,
        name: str,
        seed: int,
    ) -> None:
        """Set the objectives up; `seed` decides their train-only weights, alike in all processes.

        Raises:
            UsageError: an objective names a feature that a model does not have, or has no teacher to read.
        """
        self.accelerator, self.preset, self.training, self.name = accelerator, preset, training, name
        self.is_sharded = bool(training.sharding) and accelerator.num_processes > 1
        _require_shardable(self.is_sharded, preset, name)
        if training.sync_batch_norm and accelerator.num_processes > 1:
            student = _with_synced_batch_norm(student, accelerator, name)
        self.student = student if self.is_sharded else student.to(accelerator.device)
        self.all_teachers = self._placed(teachers) if teachers else None
        self.teachers = self.all_teachers.at(preset.taught_by) if self.all_teachers else None
        self.objectives = [objective for objective, _ in preset.objectives]
        models = [] if self.teachers is None else self.teachers.models
        self.needs_student: dict[str, Feature] = {}
        self.needs_teacher: dict[str, Feature] = {}
        for needs in (preset.target.needs, *(objective.needs for objective in self.objectives)):
            at = f"stage {name}.{needs.option}"
            if needs.teacher and not models:
                raise UsageError(
                    f"{at}: compares features of a teacher, but none runs beside the student; leave the "
                    "option out, or remove labels to learn from live teachers"
                )
            self.needs_student |= features_named(needs.student, student, "student", at=at)
            self.needs_teacher |= features_named(needs.teacher, models[0], "teacher", at=at) if models else {}
        torch.manual_seed(seed)
        made = [(objective, objective.setup(student, models)) for objective in self.objectives]
        beside = [
            TrainOnly(module.to(accelerator.device), objective.lr, objective.as_student)
            for objective, module in made
            if module is not None
        ]
        self.train_only = [one.module for one in beside]
        self.peers = [one.module for one in beside if one.as_student]
        if self.is_sharded:
            from compactor.trainer.sharding import sharded_copy

            self.trained = self.model = sharded_copy(student, accelerator.device)
            self.optimizer = accelerator.prepare(
                make_optimizer(training, self.trained, beside, is_divided=True)
            )
        else:
            self.trained = self.student
            optimizer = make_optimizer(training, student, beside)
            self.model, self.optimizer = accelerator.prepare(student, optimizer)
        # from here on the generator only serves dropout, which should differ between processes
        torch.manual_seed(seed + accelerator.process_index)
        self.sums: dict[str, Tensor] = {}  # of each term's means over the `counted` steps of this epoch
        self.counted = 0

    def _placed(self, teachers: Teachers) -> Teachers:
        if not self.is_sharded:
            return teachers.to(self.accelerator.device)
        from compactor.trainer.sharding import divided_teachers

        return divided_teachers(teachers, self.accelerator.device)

    def __call__(self, batch: Batch, at: Step, *, warmup: float) -> Tensor:
        """Do one step on this process's part of the batch; return its loss, a number without gradient."""
        factor = lr_factor(
            at,
            warmup=warmup,
            schedule=self.training.schedule,
            milestones=self.training.milestones,
            gamma=self.training.gamma,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * (factor if group["scheduled"] else 1.0)
        batch = self.preset.target.transform(batch.to(self.accelerator.device))
        # DDP averages gradients as a backward pass makes them, which a policy has to see apart
        apart = self.preset.gradients is not None
        with self.accelerator.autocast(), self.accelerator.no_sync(self.model) if apart else nullcontext():
            taught = self.teach(batch)
            with capture(self.trained, self.needs_student) as seen:
                output = Outputs(logits=self.model(**batch.x), features=seen)
            target = self.preset.target.make(batch, taught, at)
            losses = self.reduce(output, taught, target, batch, at)
        total = sum(losses[1:], losses[0])
        if apart:
            self._backward_apart(losses)
        else:
            self.accelerator.backward(total)
        self._average_train_only()
        if self.training.clip_norm is not None:
            self.accelerator.clip_grad_norm_(self.trained.parameters(), self.training.clip_norm)
            for peer in self.peers:  # gradients are unscaled by now
                nn.utils.clip_grad_norm_(peer.parameters(), self.training.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        with torch.no_grad():
            self.preset.target.observe(batch, output)
        return total.detach()

    def teach(self, batch: Batch) -> Outputs | None:
        """What the teachers say of a batch, their BatchNorm as the preset asks for; None without."""
        if self.teachers is None or self.preset.teachers_once:
            return None
        by_batch = self.preset.teacher_bn == "batch"
        with on_batch_statistics(self.teachers.models if by_batch else []):
            return self.teachers(batch, self.needs_teacher)

    def reduce(
        self, output: Outputs, taught: Outputs | None, target: Target, batch: Batch, at: Step
    ) -> list[Tensor]:
        """Weigh the terms and sum those of each objective; each is kept by name, unweighted, for the log."""
        totals = []
        world = self.accelerator.num_processes
        for objective, weight in self.preset.objectives:
            total = torch.zeros((), device=self.accelerator.device)
            scale = weight(at) if callable(weight) else weight
            for name, term in objective(output, taught, target, batch, at).items():
                valid = torch.ones_like(term.loss, dtype=torch.bool) if term.valid is None else term.valid
                count = valid.sum()
                if world > 1:
                    count = self.accelerator.reduce(count, "sum")
                weights = self.preset.sampler.weights(name, term, output, batch, at)
                loss = term.loss.where(valid, 0.0)
                for factor in (weights, target.weight):
                    loss = loss if factor is None else loss * _beside(factor, loss)
                # DDP averages gradients over processes, so each one's share counts `world` times
                mean = loss.sum() / count.clamp(min=1) * world
                total = total + scale * self.preset.head_weights.get(name.rpartition(".")[2], 1.0) * mean
                self.sums[name] = self.sums.get(name, 0) + mean.detach()
            totals.append(total)
        self.counted += 1
        return totals

    def means(self) -> dict[str, float]:
        """Mean of each term over the steps counted so far."""
        return {name: float(value) / max(self.counted, 1) for name, value in self.sums.items()}

    def gather(self) -> None:
        """Give the student the weights of its divided copy, in the main process; all call it at once."""
        if self.is_sharded:
            state = self._whole(self.trained.state_dict())
            if self.accelerator.is_main_process:
                self.student.load_state_dict(state)

    def _whole(self, state: dict[str, Any]) -> dict[str, Any]:
        """A state without divided tensors."""
        if not self.is_sharded:
            return state
        from compactor.trainer.sharding import whole

        found: dict[str, Any] = whole(state)
        return found

    def state_dict(self) -> dict[str, Any]:
        """Everything that a checkpoint must hold of training; of a divided student all call it at once."""
        scaler = self.accelerator.scaler
        return {
            "student": self._whole(self.trained.state_dict()),
            "train_only": [module.state_dict() for module in self.train_only],
            "optimizer": self._whole(self.optimizer.state_dict()),
            "target": self.preset.target.state_dict(),
            "sampler": self.preset.sampler.state_dict(),
            "scaler": scaler.state_dict() if scaler else None,
            "sums": self.sums,
            "counted": self.counted,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        optimizer = state["optimizer"]
        if self.is_sharded:
            from compactor.trainer.sharding import divided_like, load_whole

            load_whole(self.trained, state["student"])
            optimizer = divided_like(self.optimizer, optimizer)
        else:
            self.student.load_state_dict(state["student"])
        for module, saved in zip(self.train_only, state["train_only"], strict=True):
            module.load_state_dict(saved)
        self.optimizer.load_state_dict(optimizer)
        self.preset.target.load_state_dict(state["target"])
        self.preset.sampler.load_state_dict(state["sampler"])
        if state["scaler"] is not None and self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.sums, self.counted = state["sums"], state["counted"]

    def _backward_apart(self, losses: list[Tensor]) -> None:
        """Let the preset's policy make one gradient of those of the losses, averaged over processes.

        Train-only modules have the sum of theirs: what is deployed is what must not be pulled two ways.
        """
        assert self.preset.gradients is not None
        parameters = [one for one in self.student.parameters() if one.requires_grad]
        beside = [one for module in self.train_only for one in module.parameters() if one.requires_grad]
        apart, scaler = [], self.accelerator.scaler
        for number, loss in enumerate(losses):
            last = number == len(losses) - 1
            found = torch.autograd.grad(
                loss if scaler is None else scaler.scale(loss),
                [*parameters, *beside],
                retain_graph=not last,
                allow_unused=True,
            )
            own = found[: len(parameters)]
            apart.append(
                [
                    torch.zeros_like(one) if gradient is None else gradient
                    for one, gradient in zip(parameters, own, strict=True)
                ]
            )
            for one, gradient in zip(beside, found[len(parameters) :], strict=True):
                if gradient is not None:
                    one.grad = gradient if one.grad is None else one.grad + gradient
        if self.accelerator.num_processes > 1:
            apart = [[self.accelerator.reduce(one, "mean") for one in gradients] for gradients in apart]
        for one, gradient in zip(parameters, self.preset.gradients(apart), strict=True):
            one.grad = gradient

    def _average_train_only(self) -> None:
        """Average the gradients that DDP does not: the train-only modules are not wrapped."""
        if self.accelerator.num_processes > 1:
            for module in self.train_only:
                for parameter in module.parameters():
                    if parameter.grad is not None:
                        parameter.grad = self.accelerator.reduce(parameter.grad, "mean")


def _require_shardable(is_sharded: bool, preset: Preset, name: str) -> None:
    """Refuse methods that pull a student's gradients apart, which no process then has whole."""
    if is_sharded and preset.gradients is not None:
        raise UsageError(
            f"stage {name}.sharding: the method makes one gradient of several, which needs whole gradients; "
            "remove sharding"
        )


def _with_synced_batch_norm(student: nn.Module, accelerator: Accelerator, name: str) -> nn.Module:
    """The student with BatchNorm that sees the batches of all processes; the names of weights stay."""
    if accelerator.device.type == "cpu":
        raise UnfitEnvironmentError(
            f"stage {name}.sync_batch_norm: torch has it on GPUs alone, and there is none; set it to false"
        )
    synced: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(student)  # type: ignore[no-untyped-call]
    return synced


def _beside(weight: Tensor, loss: Tensor) -> Tensor:
    """A weight of each sample [B] as one of each of its tokens [B, 1]; others have the loss's shape."""
    return weight.view(*weight.shape, *[1] * (loss.dim() - weight.dim()))
