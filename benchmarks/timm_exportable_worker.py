"""One timm model through export and verification, with random weights: `python -m ... MODEL` prints JSON.

The image is the smallest that the model answers on; one of a fixed size gets its own.
"""

import json
import sys
import time
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

SIDES = (64, 96, 128, 160, 192, 224, 256)
CLASSES = 10
LARGEST_BATCH = 4  # what is asked is whether the graph computes the same, and not how fast
SAMPLES = 16  # as many as the noise of a student is measured on


def exported(name: str) -> dict[str, Any]:
    """Build, export and verify a model as a release does."""
    from compactor.models.student import parameter_count
    from compactor.recipe.spec import ModelSpec
    from compactor_runtimes.errors import CompactorError

    spec, told = ModelSpec(model=f"timm:{name}"), {"reason": "", "step": "build"}
    student, started_s = None, time.perf_counter()
    try:
        student = _smallest(spec, name)
        told["step"] = "export and verify"
        _ship(student)
    except CompactorError as error:
        told["reason"] = str(error)
    assert student is not None or told["reason"]
    if student is not None:
        told |= {"parameters": parameter_count(student), "image": astuple(student.image)}
    told["seconds"] = round(time.perf_counter() - started_s, 1)
    told["passed"] = not told["reason"]
    return told


def _ship(student: Any) -> None:
    """Export and verify fp32 on crops of photographs, in batches of up to LARGEST_BATCH.

    Raises:
        CompactorError: a step of it failed.
    """
    from dataclasses import replace

    import numpy as np
    from msgspec import structs

    from compactor.evaluation import student_answers
    from compactor.progress import SilentReporter
    from compactor.release.artifacts import export_and_judge, export_source, require_fit
    from compactor.release.sample_inputs import sample_split
    from compactor.tasks import task_named
    from compactor_runtimes.bundle.manifest import ExportSpec

    task = task_named(student.info.task)
    select = replace(sample_split(student.info), rows=np.arange(SAMPLES))
    source = export_source(student, "subject", student.info.task)
    (port,) = source.inputs
    source = replace(source, inputs=[structs.replace(port, max=[LARGEST_BATCH, *port.max[1:]])])
    with TemporaryDirectory() as folder:
        shipment = export_and_judge(
            source,
            [ExportSpec()],
            None,
            Path(folder),
            student=student_answers(student, task.batches(select)),
            teacher=None,
            select=select,
            reporter=SilentReporter(),
            has_truth=False,
        )
        require_fit(shipment)


def info_of(height: int, width: int, channels: int) -> Any:
    """Data of images of a size."""
    from compactor.records import IMAGES, LABEL, DataInfo, ImageInfo

    classes = {LABEL: [f"class {number}" for number in range(CLASSES)]}
    return DataInfo(IMAGES, classes, image=ImageInfo(height, width, channels))


def _smallest(spec: Any, name: str) -> Any:
    """Build a model for the smallest images that it answers on.

    Raises:
        UsageError: it answers on none.
    """
    import timm
    import torch

    from compactor.models.build import build_model
    from compactor_runtimes.errors import UsageError

    config = timm.get_pretrained_cfg(name)
    channels, *own = config.input_size if config else (3, 224, 224)
    fixed = config is not None and config.fixed_input_size
    sizes = [] if fixed else [(side, side) for side in SIDES if side < min(own)]
    for height, width in [*sizes, own]:
        student = build_model(spec, info_of(height, width, channels), base=Path.cwd()).eval()
        with suppress(RuntimeError, AssertionError, ValueError), torch.no_grad():
            if all(bool(answer.isfinite().all()) for answer in student(**student.example()).values()):
                return student
    raise UsageError(f"model timm:{name}: does not answer on images of {own[0]} x {own[1]}")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(exported(sys.argv[1])) + "\n")
