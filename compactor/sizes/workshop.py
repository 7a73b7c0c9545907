"""Build one model of `plan --sizes` with random weights, count it, export it."""

import dataclasses
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from compactor.data.splits import Dataset, Split
from compactor.models.build import build_model
from compactor.models.parameter_parts import parameter_parts
from compactor.models.student import Student, parameter_count
from compactor.recipe.load import LoadedRecipe
from compactor.recipe.spec import ModelSpec
from compactor.release.artifacts import export_source
from compactor.release.measurement import lay_out_assets
from compactor.sizes.ladder import display_name
from compactor.tasks import Task, task_named
from compactor_exporters import Workspace, can_export, export_artifact
from compactor_runtimes.backends import choose_runtime
from compactor_runtimes.bundle.manifest import ExportSpec
from compactor_runtimes.errors import MissingDependency, UnfitEnvironmentError, UsageError
from compactor_runtimes.measure.measurement import Candidate

if TYPE_CHECKING:
    from torch import Tensor, nn

LOOKED_AT = 9  # samples of which the one of median size is counted
ONNX = ExportSpec()
WITHOUT_WEIGHTS = ("encoder", "hf", "package")  # text families that can be built from shapes alone
# module, package and extra of what the measuring processes need: better said before the first export
TOOLS = (("onnxruntime", "onnxruntime", "ort"),)


@dataclass(frozen=True)
class Counts:
    """Parameters, in all and (text encoders) by part, and FLOPs of one sample."""

    parameters: int
    flops: int
    parts: dict[str, int] | None = None


class Workshop:
    """Builds, counts and exports models for one data set into one folder."""

    def __init__(self, loaded: LoadedRecipe, data: Dataset, folder: Path) -> None:
        """Take the sample whose FLOPs are counted."""
        self.loaded, self.data, self.folder = loaded, data, folder
        self.task = task_named(data.info.task)
        self.feed = typical_feed(self.task, data.select)
        self.exports = 0

    @property
    def feed_shapes(self) -> dict[str, list[int]]:
        """Shapes of the counted sample."""
        return {name: list(value.shape) for name, value in self.feed.items()}

    def samples(self, count: int) -> list[Path]:
        """Write raw samples to measure with."""
        return self.task.raws(self.data.select, count, self.folder / "samples")

    def build(self, model: ModelSpec) -> Student:
        """Build a model with random weights, whatever weights its entry names."""
        seed = self.loaded.recipe.seed
        return build_model(replace(model, weights=None), self.data.info, base=self.loaded.base, seed=seed)

    def count(self, model: ModelSpec) -> Counts:
        """Count parameters and FLOPs; a text encoder's weights take no memory.

        Raises:
            UsageError: it cannot be built, or does not take the data set's samples.
        """
        import torch

        is_light = self.data.info.text is not None and model.family in WITHOUT_WEIGHTS
        with torch.device("meta") if is_light else nullcontext():
            student = self.build(model)
        inputs = [self.feed[port.name] for port in student.inputs]
        try:
            flops = count_flops(student.deploy(), inputs)
        except (RuntimeError, AssertionError, ValueError) as error:
            first_line = str(error).partition("\n")[0].rstrip(".")
            raise UsageError(
                f"model {display_name(model)}: does not take samples of shape "
                f"{', '.join(str(list(one.shape)) for one in inputs)} ({first_line}); name another "
                "candidate, or set data.image_size or data.max_tokens"
            ) from error
        return Counts(parameter_count(student), flops, parameter_parts(student))

    def export(self, model: ModelSpec, name: str) -> Candidate:
        """Export a model as ONNX fp32, ready to be measured.

        Raises:
            UsageError: torch cannot trace it, or its graph is not acceptable.
            NumericGateError: an axis is frozen.
        """
        student = self.build(model)
        source = export_source(student, name, self.data.info.task)
        self.exports += 1
        folder = self.folder / str(self.exports)
        artifact = export_artifact(source, ONNX, Workspace(folder))
        lay_out_assets(source, folder)
        return Candidate(
            name=name,
            runtime=choose_runtime(artifact),
            source=str(folder / artifact.files[0].path),
            digest=artifact.files[0].sha256,
            pre=source.pre,
            post=source.post,
            labels=source.labels,
            size_bytes=sum(file.bytes for file in artifact.files),
            assets=str(folder),
            parameters=parameter_count(student),
        )


def check_tools() -> None:
    """Refuse to start what cannot be exported or measured here.

    Raises:
        UnfitEnvironmentError: names the package that is missing.
    """
    reason = can_export(ONNX)
    if reason is not None:
        raise UnfitEnvironmentError(f"--sizes measures ONNX files, and they cannot be made here: {reason}")
    for module, package, extra in TOOLS:
        if find_spec(module) is None:
            raise MissingDependency(package, extra)


def typical_feed(task: Task, split: Split) -> "dict[str, Tensor]":
    """Inputs of one sample alone: the one of median size among the first few, as texts differ in length."""
    feeds = [
        next(task.batches(dataclasses.replace(split, rows=split.rows[at : at + 1]))).x
        for at in range(min(LOOKED_AT, len(split)))
    ]
    ordered = sorted(feeds, key=lambda feed: sum(value.numel() for value in feed.values()))
    return ordered[(len(ordered) - 1) // 2]


def count_flops(module: "nn.Module", inputs: "Sequence[Tensor]") -> int:
    """FLOPs of one forward pass: matrix products and convolutions, a multiply-add counted as 2.

    Additions, activations and normalisation are left out, as is usual. A module on the meta device is counted
    from shapes.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    without_values = any(parameter.is_meta for parameter in module.parameters())
    # transformers asks fake tensors, not those of the meta device, nothing that depends on a mask's values
    shapes = FakeTensorMode(allow_non_fake_inputs=True) if without_values else None
    # the counter does not know the fused attention of CPUs; the plain one is the same two products
    with (
        torch.no_grad(),
        sdpa_kernel(SDPBackend.MATH),
        shapes or nullcontext(),
        FlopCounterMode(display=False) as counter,
    ):
        module(*(inputs if shapes is None else [shapes.from_tensor(one.to("meta")) for one in inputs]))
    return int(counter.get_total_flops())
