"""One part of a MEAL V2 step, in a process of its own: prints one JSON line of step times."""

import json
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.foundation_worker import BATCH, WARMUP, step_seconds_of, synthetic_model, synthetic_split

STEPS = 24


def live_step() -> list[float]:
    """Steps of fit() with two live teachers and the discriminator, augmentation included."""
    from compactor.methods.meal_v2 import DiscriminatorOptions, Options, build
    from compactor.recipe.spec import StageSpec
    from compactor.teachers import Teachers

    preset = build(Options(discriminator=DiscriminatorOptions(reduction=2)))
    stage = StageSpec(id="bench", method="meal_v2", steps=STEPS + 1, batch_size=BATCH)
    with tempfile.TemporaryDirectory() as folder:
        teachers = Teachers([_model("resnet56"), _model("resnet44")])
        return step_seconds_of(_model("resnet8"), preset, stage, Path(folder), teachers)


def student_step() -> list[float]:
    """The hand-written loop with the student alone; as fit() does, it keeps the memory of a step."""
    from benchmarks.peers.bare_loop import step_seconds
    from compactor.trainer.memory import keep_freed_memory

    keep_freed_memory()
    pixels, labels = _tensors()
    return step_seconds(_model("resnet8"), pixels, labels, steps=STEPS, batch=BATCH)


def forward(name: str) -> list[float]:
    """One teacher's forward passes, with the same memory."""
    import torch

    from compactor.trainer.memory import keep_freed_memory

    keep_freed_memory()
    model, (pixels, _) = _model(name).eval(), _tensors()
    seconds = []
    with torch.no_grad():
        for start in range(0, len(pixels), BATCH):
            started = perf_counter()
            model(pixels[start : start + BATCH])
            seconds.append(perf_counter() - started)
    return seconds


def _tensors() -> Any:
    import torch

    split = synthetic_split(BATCH * STEPS)
    pixels = torch.from_numpy(split.inputs).permute(0, 3, 1, 2).float().div(255)
    return pixels.contiguous(memory_format=torch.channels_last), torch.from_numpy(split.labels["label"])


def _model(name: str) -> Any:
    return synthetic_model(f"cifar:{name}")


if __name__ == "__main__":
    found = {"live_step": live_step, "student_step": student_step}.get(
        sys.argv[1], lambda: forward(sys.argv[1])
    )()
    print(json.dumps({"step_s": [float(value) for value in np.asarray(found)[WARMUP:]]}))
