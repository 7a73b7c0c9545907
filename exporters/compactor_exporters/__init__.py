"""From a trained student to exported artifacts: the table of exporters and how one is called.

Verification (`verify`), gates (`gates`) and bundle writing (`bundle_writer`) are modules of their own.
"""

from importlib.util import find_spec
from pathlib import Path

from compactor_exporters.source import ExportSource, check_deploy_weights
from compactor_runtimes.errors import MissingDependency, UnfitEnvironmentError
from compactor_runtimes.manifest import Artifact, ExportSpec
from compactor_runtimes.tables import resolve

__all__ = ["EXPORTERS", "ExportSource", "can_export", "export_artifact"]

# format/precision -> (source, ExportSpec, folder) -> Artifact with status "not-run"
EXPORTERS = {
    "onnx/fp32": "compactor_exporters.onnx_fp32:export",
}

_EXPORT_PACKAGES = ("torch", "onnx", "onnx_ir", "onnxscript", "onnxslim")


def can_export(spec: ExportSpec) -> str | None:
    """Say why this release, or this machine, cannot export `spec`; None when it can. Loads nothing heavy."""
    kind = f"{spec.format}/{spec.precision}"
    if kind not in EXPORTERS:
        return f"{kind} has no exporter in this release (known: {', '.join(sorted(EXPORTERS))})"
    idle = [key for key in ("quantization", "calibration", "parent", "gpus") if getattr(spec, key)]
    if spec.precision == "fp32" and idle:
        return f"{kind} takes no {' and no '.join(idle)}; remove that or ask for another precision"
    for package in _EXPORT_PACKAGES:
        if find_spec(package) is None:
            return str(MissingDependency(package, "export"))
    return None


def export_artifact(source: ExportSource, spec: ExportSpec, folder: Path) -> Artifact:
    """Export `source` as `spec` says into `folder`; the artifact's status is "not-run" until it is verified.

    Raises:
        UnfitEnvironmentError: `can_export` gives a reason.
        UsageError: the module holds weights that are not the student's, or its graph is not acceptable.
        NumericGateError: an axis that the ports declare dynamic is frozen in the graph.
    """
    reason = can_export(spec)
    if reason is not None:
        raise UnfitEnvironmentError(f"export of {spec.name!r}: {reason}")
    check_deploy_weights(source)
    folder.mkdir(parents=True, exist_ok=True)
    artifact: Artifact = resolve(EXPORTERS[f"{spec.format}/{spec.precision}"])(source, spec, folder)
    return artifact
