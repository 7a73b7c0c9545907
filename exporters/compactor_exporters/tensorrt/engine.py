"""Export engines of TensorRT and of TensorRT for RTX: `<spec.name>-<GPUs>.engine`.

An engine comes from the ONNX graph of its precision, which is exported for it first; how it is built is
`build.py`'s. TensorRT for RTX needs no GPU to build and makes one engine for several generations of
them; TensorRT builds on and for the GPU of this machine. Engines are verified where a GPU is; elsewhere they
wait for `compactor doctor --gpu`.
"""

import hashlib
import time
from importlib.util import find_spec
from pathlib import Path

from compactor_exporters.idle_settings import refuse_idle
from compactor_exporters.onnx_fp32 import canonical_graph
from compactor_exporters.source import ExportSource
from compactor_exporters.tensorrt.build import build_engine, profile_of
from compactor_exporters.tensorrt.progress import Progress
from compactor_exporters.workspace import Workspace
from compactor_runtimes.backends.gpu import nvidia_gpu
from compactor_runtimes.backends.tensorrt_product import PRODUCTS, open_product
from compactor_runtimes.bundle.manifest import Artifact, ExportSpec, Target
from compactor_runtimes.bundle.open import file_entry
from compactor_runtimes.environment import gpu_names
from compactor_runtimes.errors import MissingDependency
from compactor_runtimes.files import write_whole
from compactor_runtimes.tables import nearest

GPUS = ("sm75", "sm80", "sm86", "sm89", "sm120", "sm121")
"""Compute capabilities that TensorRT for RTX builds for."""

TURING = "sm75"
PORTABLE = "sm80-and-later"
"""What an RTX engine runs on when no GPUs are named: NVIDIA's default, Ampere and everything after it."""


def can_export(spec: ExportSpec) -> str | None:
    """Say what is missing here, or which settings have no effect on an engine; None when it can be built."""
    idle = ["scheme", "override"]
    idle += ["calibration"] if spec.precision == "fp32" else []
    idle += ["gpus"] if spec.format == "tensorrt" else []
    reason = refuse_idle(spec, *idle)
    if reason is not None:
        return reason
    if spec.required:
        return (
            f"{spec.kind} cannot be required: an engine is verified only where its GPU is, so a bundle "
            "must not depend on it; remove required, and require the ONNX artifact of this precision"
        )
    for gpu in spec.gpus:
        if gpu not in GPUS:
            return f"gpus: {gpu!r} is not built for by TensorRT for RTX; {nearest(gpu, list(GPUS))}"
    package = PRODUCTS[spec.format]
    if find_spec(package) is None:
        needs = "; it builds engines only where an NVIDIA GPU and its driver are"
        return f"{MissingDependency(package, spec.format)}{needs if spec.format == 'tensorrt' else ''}"
    if spec.format == "tensorrt" and not gpu_names():
        return (
            "TensorRT builds engines only on the GPU that will run them, and no NVIDIA GPU with a driver was "
            "found here; export on such a machine, or ask for format tensorrt-rtx, which needs none"
        )
    parent = _parent(spec)
    if parent is None:
        return None
    from compactor_exporters import can_export as can_export_parent  # circular at the top

    return can_export_parent(parent)


def export(
    source: ExportSource, spec: ExportSpec, workspace: Workspace, *, progress: Progress | None = None
) -> Artifact:
    """Build the engines of `spec` into the workspace.

    Args:
        source: the student.
        spec: what to export; `can_export` gave no reason against it.
        workspace: where the engines go, and beside them a folder with the graph they come from.
        progress: told of each step of a build; what it raises cancels the build.

    Returns:
        The artifact with status "not-run": its files were built. Where no NVIDIA GPU is, so that they cannot
        be verified either, it has the reason.

    Raises:
        MissingDependency: the product is not installed.
        UnfitEnvironmentError: it refuses the graph.
        KeyboardInterrupt: Ctrl-C during a build.
    """
    trt = open_product(spec.format)
    graph, origin = _graph(source, spec, workspace)
    profile = profile_of(source.inputs)
    names, warnings = [], []
    started = time.perf_counter()
    for gpus in _groups(spec):
        engine, told = build_engine(trt, graph, profile, gpus=gpus, progress=progress)
        names.append(f"{spec.name}-{'-'.join(gpus or _default_gpus(spec))}.engine")
        write_whole(workspace.folder / names[-1], engine)
        warnings += told
    built_for = spec.gpus or _default_gpus(spec)
    return Artifact(
        name=spec.name,
        spec=spec,
        files=[file_entry(workspace.folder, name) for name in names],
        status="not-run",
        reason=_reason(built_for),
        made={
            **origin,
            "product": spec.format,
            "version": trt.__version__,
            "gpus": built_for,
            "profile": {
                name: dict(zip(("min", "opt", "max"), shapes, strict=True))
                for name, shapes in profile.items()
            },
            "tf32": False,
            "seconds": round(time.perf_counter() - started, 2),
            "warnings": list(dict.fromkeys(warnings)),
        },
    )


def _parent(spec: ExportSpec) -> ExportSpec | None:
    """The ONNX export that the engine comes from; None for the canonical graph."""
    target: Target = "trt" if spec.format == "tensorrt" else "trt-rtx"
    if spec.precision == "fp16":
        return ExportSpec(precision="fp16", target=target, calibration=spec.calibration)
    if spec.precision == "int8":  # symmetric, which both products need
        return ExportSpec(precision="int8", quantization="static", target="trt", calibration=spec.calibration)
    return None


def _graph(source: ExportSource, spec: ExportSpec, workspace: Workspace) -> tuple[Path, dict[str, object]]:
    """Return the ONNX file to build from, and what `made` says of it."""
    parent = _parent(spec)
    if parent is None:
        path, origin = canonical_graph(source, workspace), {"from": ExportSpec().name}
        return path, {**origin, "from_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    from compactor_exporters import export_artifact  # circular at the top

    inner = workspace.inside(f"{spec.name}-graph")
    made = export_artifact(source, parent, inner)
    file = made.files[0]
    return inner.folder / file.path, {"from": parent.name, "from_sha256": file.sha256, "graph": made.made}


def _groups(spec: ExportSpec) -> list[list[str]]:
    """One engine serves all generations but Turing, which NVIDIA advises to build for on its own."""
    later = [gpu for gpu in dict.fromkeys(spec.gpus) if gpu != TURING]
    turing = [TURING] if TURING in spec.gpus else []
    return [group for group in (later, turing) if group] or [[]]


def _default_gpus(spec: ExportSpec) -> list[str]:
    return [PORTABLE] if spec.format == "tensorrt-rtx" else [nvidia_gpu().compute]


def _reason(gpus: list[str]) -> str:
    built = f"engines built for {', '.join(gpus)}, not run"
    if gpu_names():
        return ""
    return f"{built}: no NVIDIA GPU here; on such a machine run `compactor doctor --gpu --trust BUNDLE`"
