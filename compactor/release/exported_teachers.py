"""Teachers as one ONNX graph in a bundle of its own, made once and kept by all that decides it.

1. One teacher is exported as it is. Several are one graph, which answers as `compactor/torch_runtime.py` lets
   them answer: with the log of the mean probabilities, the log-odds of the mean ones, or the mean direction.
2. The graph is verified against the teachers in torch, and its golden cases by the runtime that serves it.
3. What was made is kept under a digest of the teachers' files and code, of samples and versions. What fails
   is not kept, and is tried again each time.
4. Each kind of artifact is a bundle of its own; 8 bits are calibrated on real samples of the data.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from dataclasses import replace as replace_field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import torch
from msgspec.structs import replace
from torch import Tensor, nn

from compactor.cache.code import code_digest
from compactor.cache.digest import SHIPPING_TOOLS, digest_of, file_digest, tool_versions
from compactor.cache.folder import CONFIG
from compactor.data.splits import Dataset, Split
from compactor.mixers import DEFAULT_MIXER, MIXERS
from compactor.mixers.averages import MEANS
from compactor.models import WRAPPERS
from compactor.models.bundled import OnnxBackbone
from compactor.models.references import model_sources
from compactor.models.student import Student
from compactor.recipe.spec import ModelSpec
from compactor.records import HEADS
from compactor.release.calibration import arrays_of, calibration_samples
from compactor.tasks import TASKS, Task
from compactor_exporters import EXPORTERS, ExportSource, Workspace, can_export, export_artifact
from compactor_exporters.bundle_writer import BundleContents, move_into_place, write_bundle
from compactor_exporters.source import axis_bounds
from compactor_exporters.verify.artifact import verify_artifact
from compactor_runtimes.bundle.manifest import Artifact, ExportSpec, InputPort
from compactor_runtimes.bundle.open import Bundle, open_bundle
from compactor_runtimes.errors import (
    CompactorError,
    IntegrityError,
    InterruptedRun,
    NumericGateError,
    UnfitEnvironmentError,
    UsageError,
)
from compactor_runtimes.golden.verify import verify_bundle
from compactor_runtimes.units import scaled

GOLDEN_SAMPLES = 8
FP32 = ExportSpec()
SEED = 0  # of the draw of calibration samples
LARGEST_FILE = 2**31 - 2**20  # an ONNX file holds 2 GiB with its graph
TOOLS = (*SHIPPING_TOOLS, "onnx-ir", "onnxslim")

Tell = Callable[[str], None]


class MixedTeachers(nn.Module):
    """Teachers that answer together; takes and returns tensors as `Student.deploy()` does."""

    shares: Tensor

    def __init__(self, models: Sequence[Student], weights: Sequence[float] | None = None) -> None:
        """Hold the teachers.

        Args:
            models: at least two, whose inputs and outputs are those of the first.
            weights: one > 0 for each; absent = equal ones.
        """
        super().__init__()
        self.members = nn.ModuleList([model.deploy() for model in models])
        self.means = [MEANS[HEADS[port.labels or port.name].activation] for port in models[0].outputs]
        asked = torch.tensor(weights or [1.0] * len(models), dtype=torch.float64)
        self.register_buffer("shares", (asked / asked.sum()).float())
        self.eval().requires_grad_(False)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return one tensor for each output: log-probabilities, log-odds or directions."""
        answers = [member(*tensors) for member in self.members]
        mixed = []
        for place, mean in enumerate(self.means):
            means, log_probs = mean([answer[place] for answer in answers], self.shares)
            mixed.append(means if log_probs is None else log_probs)
        return tuple(mixed)


@dataclass(frozen=True)
class ExportedTeachers:
    """Teachers as one verified ONNX graph; `bundle` lies where it is kept."""

    bundle: Bundle

    @property
    def artifact(self) -> Artifact:
        """The only one of the bundle."""
        return self.bundle.manifest.main.artifacts[0]

    @property
    def file(self) -> Path:
        """The graph."""
        return self.bundle.file(self.artifact.files[0].path)


def export_teachers(
    models: Sequence[Student],
    folders: Sequence[Path],
    task: Task,
    select: Split,
    *,
    name: str,
    kept: Callable[[str], Path],
    scratch: Path,
    tell: Tell = lambda what: None,
    spec: ExportSpec = FP32,
    data: Dataset | None = None,
) -> ExportedTeachers:
    """Open what is kept of these teachers, or export, verify and keep them.

    Args:
        models: the teachers, with the classes and inputs of the data.
        folders: their model folders, which say what they are.
        task: theirs.
        select: gives the real samples that the graph is verified on.
        name: of the bundle.
        kept: digest -> the folder that the bundle has.
        scratch: a folder for files on the way, which goes afterwards.
        tell: told what is being done.
        spec: the kind of artifact.
        data: what 8 bits are calibrated on, for which static ones ask.

    Raises:
        UsageError: they cannot be one graph, or cannot be traced.
        NumericGateError: the graph does not answer as they do.
        UnfitEnvironmentError: this machine cannot export.
    """
    folder = kept(teachers_digest(folders, task, select, spec=spec, data=data))
    try:
        return ExportedTeachers(open_bundle(folder))
    except (UsageError, IntegrityError):  # there is none, or a damaged one: it is made again
        shutil.rmtree(folder, ignore_errors=True)
    try:
        source = teachers_source(models, task, name)
        if data is not None:
            source = replace_field(source, calibration=partial(calibration_samples, task, data, seed=SEED))
        artifact = _exported(source, spec, task, select, scratch, tell)
        tell("write and verify the bundle")
        bundle = write_bundle(
            scratch / "bundle",
            BundleContents(
                source=source,
                artifacts=[artifact],
                artifact_folder=scratch,
                student_folder=None,  # their weights lie in their own folders
                raws=task.raws(select, GOLDEN_SAMPLES, scratch / "raws")
                + task.edge_raws(select, scratch / "raws"),
                default_artifact=artifact.name,
            ),
        )
        verify_bundle(bundle, trust=True).raise_for_gate()  # made here
        folder.parent.mkdir(parents=True, exist_ok=True)
        move_into_place(bundle, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return ExportedTeachers(open_bundle(folder))


def why_not(error: Exception) -> str:
    """The reason of a failed export in one line; what ends the run goes on up."""
    if isinstance(error, InterruptedRun):
        raise error
    said = str(error).strip().partition("\n")[0]
    return said if isinstance(error, CompactorError) else f"{type(error).__name__}: {said}"


def teachers_source(models: Sequence[Student], task: Task, name: str) -> ExportSource:
    """Describe teachers to the exporters, by rule 1.

    Raises:
        UsageError: one is exported already, they are too large, or their inputs or outputs differ.
    """
    first = models[0]
    for model in models:
        if isinstance(model.backbone, OnnxBackbone):
            raise UsageError(
                f"teachers: {model.backbone.saved_model} is a graph already and cannot be put into one with "
                "others; name the model that it was exported from"
            )
        if [_kind(port) for port in model.inputs] != [_kind(port) for port in first.inputs] or (
            model.outputs != first.outputs
        ):
            raise UsageError(
                "teachers: their inputs or outputs differ, one graph needs the same; name teachers alike"
            )
    size = sum(tensor.nbytes for model in models for tensor in model.state_dict().values())
    if size > LARGEST_FILE:
        raise UsageError(
            f"teachers: their weights take {scaled(size, 'B')}, an ONNX file holds {scaled(2**31, 'B')}; "
            "leave measure.teacher at torch"
        )
    module = first.deploy() if len(models) == 1 else MixedTeachers(models)
    return ExportSource(
        name=name,
        task=first.info.task,
        module=module,
        example=first.example(),
        inputs=_tightest(models),
        outputs=first.outputs,
        pre=task.pre(first.info),
        post=task.post(first.info),
        labels=first.info.classes,
        student_weights=dict([*module.named_parameters(), *module.named_buffers()]),
        assets=task.assets(first.info),
    )


def teachers_digest(
    folders: Sequence[Path],
    task: Task,
    select: Split,
    *,
    spec: ExportSpec = FP32,
    data: Dataset | None = None,
) -> str:
    """Identify what an export of these teachers depends on, by rules 3 and 4."""
    teachers, code = [], [EXPORTERS[spec.kind], MIXERS[DEFAULT_MIXER], __name__]
    for folder in folders:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        code += [*model_sources(ModelSpec(model=config["model"])), WRAPPERS[config["task"]]]
        code.append(TASKS[config["task"]])
        files = sorted(path for path in folder.iterdir() if path.is_file())
        teachers.append({path.name: file_digest(path) for path in files})
    return digest_of(
        {
            "teachers": teachers,
            "select": select.digest,
            "code": code_digest(code),
            "versions": tool_versions(TOOLS),
            **({} if spec == FP32 else {"artifact": msgspec.to_builtins(spec)}),
            **({} if data is None else {"calibrated": data.train.digest}),
        }
    )


def _exported(
    source: ExportSource, spec: ExportSpec, task: Task, select: Split, scratch: Path, tell: Tell
) -> Artifact:
    """Rules 1 and 2.

    Raises:
        UnfitEnvironmentError, UsageError, NumericGateError: see `export_teachers`.
    """
    workspace = Workspace(scratch)
    if (reason := can_export(spec)) is not None:
        raise UnfitEnvironmentError(f"teachers: {reason}")
    tell("export")
    artifact = export_artifact(source, spec, workspace)
    feeds = arrays_of(next(task.batches(select)))
    artifact = verify_artifact(source, artifact, workspace, feeds=feeds, progress=tell)
    if artifact.status != "verified":
        raise NumericGateError(f"teachers: their graph is {artifact.status}: {artifact.reason}")
    return artifact


def _kind(port: InputPort) -> tuple[Any, ...]:
    return port.name, port.dtype, port.axes


def _tightest(models: Sequence[Student]) -> list[InputPort]:
    """The inputs of the first, as large as all of them take."""
    bounds = axis_bounds([port for model in models for port in model.inputs])
    return [
        replace(
            port,
            min=[bounds[axis][0] if isinstance(axis, str) else axis for axis in port.axes],
            max=[bounds[axis][1] if isinstance(axis, str) else axis for axis in port.axes],
        )
        for port in models[0].inputs
    ]
