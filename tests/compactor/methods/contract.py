"""One small training of any method, for the contract that all of them keep: what `train` needs is made here.

A method that needs more than the rest says so in SPECIAL: another student, other teachers.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from compactor.data.image_loader import ImageLoader, eval_batches
from compactor.data.spec import AugmentSpec
from compactor.methods import method_named, parse_options
from compactor.models.build import build_model
from compactor.models.classifier import Backbone, ImageClassifier
from compactor.recipe.spec import ModelSpec
from compactor.teachers import Teachers
from compactor.trainer.contracts import Preset
from compactor.trainer.fit import FitResult, fit
from compactor.trainer.processes import end_processes
from tests import toys

# not trained by this harness: they need a label store or token ids, and have trainings of their own
ELSEWHERE = {"fkd", "ferkd", "encoder", "embedding"}


@dataclass(frozen=True)
class Special:
    """What a method's training needs instead of the usual student and teacher."""

    options: dict[str, Any] | None = None
    student: Callable[[int], nn.Module] = lambda seed: toys.classifier(seed)
    teachers: Callable[[], list[nn.Module]] = lambda: [toys.classifier(seed=8)]


def widened(seed: int) -> nn.Module:
    """A student without BatchNorm whose classes have two subclasses each."""
    from compactor.models.subclasses import widen

    student = toys.classifier(seed)
    torch.manual_seed(seed)
    widen(student, 2, "toy")
    return student


def old_teacher() -> nn.Module:
    """A teacher of the last and the first class."""
    torch.manual_seed(8)
    of_two = toys.info(classes=[toys.CLASSES[2], toys.CLASSES[0]])
    return ImageClassifier(Backbone(toys.Mlp(num_classes=2), [0.5], [0.5]), of_two)


# three classes are too few for a discriminator, whose training tests of its own cover
SPECIAL: dict[str, Special] = {
    "kd": Special(options={"divergence": "dkd", "soft_weight": 0.5}),  # the toy has no feature maps
    "meal_v2": Special(options={"hard_weight": 1.0, "discriminator": None}),
    "weight_aligning": Special(teachers=lambda: [old_teacher()]),
    "lelp": Special(student=widened),
    "first": Special(options={"soft_weight": 0.5, "k": 2}),
    "self_distillation": Special(teachers=lambda: [toys.classifier(seed) for seed in (8, 9, 10)]),
}
USUAL = Special()


def batch_norm_student(seed: int) -> nn.Module:
    """A small network with BatchNorm, whose statistics have to survive a checkpoint."""
    spec = ModelSpec(model="cifar:resnet8", options={"width": 4})
    return build_model(spec, toys.info(channels=3), base=Path(), seed=seed)


def preset_of(name: str) -> Preset:
    """The preset of a method on live teachers, with options that make every part of it work."""
    from tests.compactor.methods.test_methods import OPTIONS

    method = method_named(name, "here")
    assert method.build is not None
    special = SPECIAL.get(name, USUAL)
    options = OPTIONS[name] if special.options is None else special.options
    return method.build(parse_options(method, options, "here"))


def train(
    name: str, folder: Path, *, seed: int = 0, preset: Preset | None = None, **training: Any
) -> FitResult:
    """Train a student by a method on 26 samples, 3 epochs of batches of 7: uneven shares of two processes."""
    folder.mkdir(exist_ok=True)
    special = SPECIAL.get(name, USUAL)
    taught = method_named(name, "here").learns_from_teachers
    stage = toys.stage(method=name, batch_size=7, **{"lr": 0.02, **training})
    split = toys.split(26)
    return fit(
        special.student(seed),
        preset or preset_of(name),
        lambda rank, world: ImageLoader(
            split,
            batch_size=stage.batch_size,
            augment=AugmentSpec(crop="pad", padding=1, flip=True),
            seed=3,
            rank=rank,
            world=world,
        ),
        training=stage,
        name=stage.id,
        seed=3,
        folder=folder,
        split=split,
        teachers=Teachers(special.teachers()) if taught else None,
        each_once=lambda: eval_batches(split, 8),
        select=lambda: eval_batches(toys.split(12, seed=1), 8),
    )


def stopping(preset: Preset, at: int) -> Preset:
    """The same preset, which asks for a stop in the middle of a step."""
    import os
    import signal

    inner = preset.target
    make = inner.make

    def stop(batch: Any, teacher: Any, step: Any) -> Any:
        if step.step == at:
            os.kill(os.getpid(), signal.SIGINT)
        return make(batch, teacher, step)

    inner.make = stop  # type: ignore[method-assign]
    return replace(preset, target=inner)


if __name__ == "__main__":  # one of two processes: METHODS (by comma) FOLDER
    torch.set_num_threads(1)
    for method in sys.argv[1].split(","):
        result = train(method, Path(sys.argv[2]) / method)
        if torch.distributed.get_rank() == 0:
            torch.save(result.student.state_dict(), Path(sys.argv[2]) / f"{method}.pt")
    end_processes()
