"""Damage to artifacts of real models that verification or a gate must find: what found each, or nothing.

ResNet-20 on CIFAR-10 and MiniLM on the packaged sentences. The control is what is not damaged: it must pass.
"""

import json
import shutil
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.export_models import MINILM, recipe_of
from compactor_runtimes.bundle.manifest import Artifact, ExportSpec

if TYPE_CHECKING:
    import onnx

    from compactor_exporters import Workspace
    from compactor_exporters.source import ExportSource
    from compactor_exporters.verify.reference import Reference

INT8 = ExportSpec(precision="int8", quantization="static")
FP16 = ExportSpec(precision="fp16")


@dataclass(frozen=True)
class Bench:
    """ResNet-20 with its answers in torch, and its artifacts in `workspace`, none of them damaged."""

    reference: "Reference"
    artifacts: dict[str, Artifact]
    workspace: "Workspace"

    @property
    def source(self) -> "ExportSource":
        """The student as the exporters see it."""
        return self.reference.source


def negatives() -> dict[str, Any]:
    """Try every case; `caught_by` is the first check that failed, or the error; None where nothing did."""
    from compactor_exporters import Workspace, export_artifact
    from compactor_exporters.verify.reference import Reference

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        source, feeds = _resnet20()
        workspace, specs = Workspace(folder), (ExportSpec(), INT8, FP16)
        artifacts = {spec.name: export_artifact(source, spec, workspace) for spec in specs}
        bench = Bench(Reference(source, feeds), artifacts, workspace)
        whole = [_caught(bench, artifact) for artifact in artifacts.values()]
        bundle = _minilm_bundle(folder / "minilm")
        whole.append(_caught_in(bundle))
        cases = [{"name": name, **(case(bench) or _NOTHING)} for name, case in CASES.items()]
        found = _another_tokenizer(bundle) or _NOTHING
        cases.append({"name": "a tokenizer of another model", **found})
    return {"cases": cases, "control_passes": not any(whole), "control": whole}


_NOTHING = {"caught_by": None, "message": ""}
Caught = dict[str, str] | None


def _frozen_batch(bench: Bench) -> Caught:
    """The logits are reshaped to a batch of 2."""
    import onnx

    def freeze(model: "onnx.ModelProto") -> None:
        [logits] = model.graph.output
        last = next(node for node in model.graph.node if logits.name in node.output)
        last.output[0] = "before"
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2, 10]), "two"))
        model.graph.node.append(onnx.helper.make_node("Reshape", ["before", "two"], [logits.name]))

    return _damaged(bench, "fp32", freeze)


def _conv_tensor(bench: Bench) -> Caught:
    return _damaged(bench, "fp32", lambda model: _change(_middle_conv(model), lambda values: values * 1.01))


def _scalar(bench: Bench) -> Caught:
    """The number of median magnitude among those of a convolution in the middle."""

    def one(values: NDArray[Any]) -> NDArray[Any]:
        flat = values.ravel()
        flat[np.argsort(np.abs(flat))[flat.size // 2]] *= 1.01
        return values

    return _damaged(bench, "fp32", lambda model: _change(_middle_conv(model), one))


def _swapped_outputs(bench: Bench) -> Caught:
    """Two outputs alike in name and shape: the answers to an image and to its mirror image."""
    import torch
    from torch import nn

    from compactor_exporters import Workspace, export_artifact
    from compactor_exporters.verify.reference import Reference

    class Both(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return *self.model(image), *self.model(image.flip(-1))

    def swap(model: "onnx.ModelProto") -> None:
        names = [port.name for port in model.graph.output]
        for node in model.graph.node:
            for place, name in enumerate(node.output):
                if name in names:
                    node.output[place] = names[1 - names.index(name)]

    [logits] = bench.source.outputs
    twice = [msgspec.structs.replace(logits, name=name) for name in ("logits", "mirrored")]
    source = replace(bench.source, module=Both(bench.source.module).eval(), outputs=twice)
    workspace = Workspace(bench.workspace.folder / "both")
    both = Bench(
        Reference(source, bench.reference.feeds),
        {"fp32": export_artifact(source, ExportSpec(), workspace)},
        workspace,
    )
    assert _caught(both, both.artifacts["fp32"]) is None
    return _damaged(both, "fp32", swap)


def _zero_ranges(bench: Bench) -> Caught:
    from compactor_exporters import export_artifact

    def black(wanted: Any) -> dict[str, NDArray[Any]]:
        return {name: np.zeros_like(values) for name, values in bench.reference.feeds.items()}

    workspace = bench.workspace.inside("zeros")
    source = replace(bench.source, calibration=black)
    return _caught(replace(bench, workspace=workspace), export_artifact(source, INT8, workspace))


def _no_digests(bench: Bench) -> Caught:
    artifact = bench.artifacts[INT8.name]
    told = {name: value for name, value in artifact.made["calibration"].items() if name != "sample_sha256"}
    return _caught(bench, msgspec.structs.replace(artifact, made={**artifact.made, "calibration": told}))


def _overflow(bench: Bench) -> Caught:
    """A million times a convolution's weights, which float16 does not hold."""

    def grow(values: NDArray[Any]) -> NDArray[Any]:
        with np.errstate(over="ignore"):
            return (values.astype(np.float32) * 1e6).astype(np.float16)

    return _damaged(bench, FP16.name, lambda model: _change(_middle_conv(model), grow))


CASES: dict[str, Callable[[Bench], Caught]] = {
    "a frozen batch axis": _frozen_batch,
    "two outputs swapped": _swapped_outputs,
    "one convolution x 1.01": _conv_tensor,
    "one number x 1.01": _scalar,
    "int8 ranges from black images": _zero_ranges,
    "calibration without digests of its samples": _no_digests,
    "an overflow of float16": _overflow,
}


def _another_tokenizer(bundle: Path) -> Caught:
    """The words in alphabetical order, as another model numbers them; the digests tell nothing."""
    from compactor_runtimes.bundle.manifest import encode_manifest
    from compactor_runtimes.bundle.open import MANIFEST, file_entry, open_bundle

    manifest = open_bundle(bundle).manifest
    path = bundle / "assets" / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    words = [word for word in vocabulary if not word.startswith("[")]
    numbers = sorted(vocabulary[word] for word in words)
    vocabulary.update(zip(sorted(words), numbers, strict=True))
    path.write_text(json.dumps(tokenizer), encoding="utf-8")
    files = [file_entry(bundle, entry.path) for entry in manifest.files]
    (bundle / MANIFEST).write_bytes(encode_manifest(msgspec.structs.replace(manifest, files=files)))
    return _caught_in(bundle)


def _damaged(bench: Bench, name: str, damage: "Callable[[onnx.ModelProto], None]") -> Caught:
    """Verify a damaged copy of an artifact."""
    import onnx

    from compactor_runtimes.bundle.open import file_entry

    artifact, workspace = bench.artifacts[name], bench.workspace.inside("damaged")
    folder = workspace.folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    file = artifact.files[0].path
    model = onnx.load(bench.workspace.folder / file)
    damage(model)
    onnx.save(model, folder / file)
    changed = msgspec.structs.replace(artifact, files=[file_entry(folder, file)])
    return _caught(replace(bench, workspace=workspace), changed)


def _middle_conv(model: "onnx.ModelProto") -> "onnx.TensorProto":
    """Weights of the convolution in the middle of the graph."""
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    name = convolutions[len(convolutions) // 2].input[1]
    return next(each for each in model.graph.initializer if each.name == name)


def _change(tensor: "onnx.TensorProto", change: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
    from onnx.numpy_helper import from_array, to_array

    values = to_array(tensor)
    tensor.CopyFrom(from_array(change(values.copy()).astype(values.dtype), tensor.name))


def _caught(bench: Bench, artifact: Artifact) -> Caught:
    """What of verification and of the agreement gate, as a recipe has them by default, an artifact fails."""
    from compactor.recipe.spec import GatesSpec
    from compactor_exporters.verify.artifact import verify_against
    from compactor_exporters.verify.gates import judge_agreement
    from compactor_runtimes.backends import open_files
    from compactor_runtimes.errors import CompactorError

    try:
        found = verify_against(bench.reference, artifact, bench.workspace)
        checks = found.checks
        if found.ships:
            with closing(open_files(artifact, bench.workspace.folder.joinpath)) as runtime:
                answers = runtime.run(bench.reference.feeds)["logits"].argmax(-1)
            said = [known.outputs["logits"].argmax(-1) for known in bench.reference.groups["real-samples"]]
            precision = artifact.spec.precision
            least = GatesSpec().artifact_vs_student.min_agreement[precision]
            checks = [judge_agreement(np.concatenate(said) == answers, least, precision=precision)]
    except CompactorError as error:
        return {"caught_by": type(error).__name__, "message": str(error)}
    failed = [check for check in checks if not check.passed]
    return {"caught_by": failed[0].name, "message": failed[0].detail} if failed else None


def _caught_in(bundle: Path) -> Caught:
    """What `compactor verify` says."""
    from compactor_runtimes.errors import CompactorError
    from compactor_runtimes.golden.verify import verify_bundle

    try:
        failed = [row for row in verify_bundle(bundle).rows if not row.passed]
    except CompactorError as error:
        return {"caught_by": type(error).__name__, "message": str(error)}
    return {"caught_by": failed[0].check, "message": failed[0].detail} if failed else None


def _resnet20() -> "tuple[ExportSource, dict[str, NDArray[Any]]]":
    """The source, calibrated on train, and real samples of select."""
    from compactor.models.build import build_model
    from compactor.progress import SilentReporter
    from compactor.release.artifacts import export_source
    from compactor.release.calibration import arrays_of
    from compactor.run.data import DataSets
    from compactor.tasks import task_named

    loaded = recipe_of("resnet20")
    assert loaded.recipe.student is not None
    data = DataSets(loaded, SilentReporter()).open(loaded.recipe.data)
    student = build_model(loaded.recipe.student, data.info, base=loaded.base).eval()
    batch = task_named(loaded.recipe.task).batch(data.select, data.select.rows, None)
    return export_source(student, "resnet20", loaded.recipe.task, data=data), arrays_of(batch)


def _minilm_bundle(place: Path) -> Path:
    from compactor.progress import SilentReporter
    from compactor.release.export_model import export_model
    from compactor.release.variants import parse_variants

    export_model(MINILM, specs=parse_variants("fp32"), bundle=place, reporter=SilentReporter())
    return place
