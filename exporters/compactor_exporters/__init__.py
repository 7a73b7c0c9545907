"""From a trained student to exported artifacts: the table of exporters and how one is called.

Verification and its gates (`verify/`) and bundle writing (`bundle_writer.py`) are apart.
"""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from compactor_exporters.source import ExportSource, check_deploy_weights
from compactor_exporters.workspace import Workspace
from compactor_runtimes.bundle.manifest import Artifact, ExportSpec
from compactor_runtimes.errors import MissingDependency, UnfitEnvironmentError
from compactor_runtimes.tables import nearest

__all__ = ["EXPORTERS", "ExportSource", "Workspace", "can_export", "export_artifact"]

# kind of an ExportSpec -> module with two functions: can_export(spec) -> reason | None, light and quick, and
# export(source, spec, workspace) -> Artifact with status "not-run"
EXPORTERS = {
    "onnx/fp32": "compactor_exporters.onnx_fp32",
    "onnx/fp32/fused": "compactor_exporters.onnx_fused",
    "onnx/fp32/optimum": "compactor_exporters.onnx_optimum",
    "onnx/fp16": "compactor_exporters.fp16.export",
    "onnx/int8/dynamic": "compactor_exporters.int8.export",
    "onnx/int8/dynamic/fused": "compactor_exporters.int8.export",
    "onnx/int8/static": "compactor_exporters.int8.export",
    "tensorrt/fp32": "compactor_exporters.tensorrt.engine",
    "tensorrt/fp16": "compactor_exporters.tensorrt.engine",
    "tensorrt/int8": "compactor_exporters.tensorrt.engine",
    "tensorrt-rtx/fp32": "compactor_exporters.tensorrt.engine",
    "tensorrt-rtx/fp16": "compactor_exporters.tensorrt.engine",
    "tensorrt-rtx/int8": "compactor_exporters.tensorrt.engine",
}

_EXPORT_PACKAGES = ("torch", "onnx", "onnx_ir", "onnxscript", "onnxslim")


def can_export(spec: ExportSpec) -> str | None:
    """Say why this release, or this machine, cannot export `spec`; None when it can. Loads nothing heavy."""
    if spec.kind not in EXPORTERS:
        return f"{spec.kind} has no exporter in this release; {nearest(spec.kind, EXPORTERS)}"
    for package in _EXPORT_PACKAGES:
        if find_spec(package) is None:
            return str(MissingDependency(package, "export"))
    reason: str | None = _exporter(spec).can_export(spec)
    return reason


def export_artifact(
    source: ExportSource,
    spec: ExportSpec,
    workspace: Workspace,
    *,
    progress: Callable[[str, int, int], None] | None = None,
) -> Artifact:
    """Export `source` as `spec` says into the workspace.

    Args:
        source: the student.
        spec: what to make of it.
        workspace: where files go; all artifacts of one student share it, and so trace it once.
        progress: told the phase of an engine's build, steps done and steps in all; others are quick.

    Returns:
        The artifact with status "not-run" and without a reason: it is to be verified. With a reason: it
        cannot run on this machine, and the reason says what would run it.

    Raises:
        UnfitEnvironmentError: `can_export` gives a reason.
        UsageError: the module holds weights that are not the student's, or its graph is not acceptable.
        NumericGateError: an axis that the ports declare dynamic is frozen in the graph.
    """
    reason = can_export(spec)
    if reason is not None:
        raise UnfitEnvironmentError(f"export of {spec.name!r}: {reason}")
    check_deploy_weights(source)
    workspace.folder.mkdir(parents=True, exist_ok=True)
    told = {"progress": progress} if spec.format != "onnx" else {}
    artifact: Artifact = _exporter(spec).export(source, spec, workspace, **told)
    return artifact


def _exporter(spec: ExportSpec) -> Any:
    return import_module(EXPORTERS[spec.kind])
