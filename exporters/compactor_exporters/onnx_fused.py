"""A copy of the canonical graph in ONNX Runtime's own operators (com.microsoft), for ONNX Runtime alone.

One operator computes an attention block, another adds a bias and takes its Gelu.

1. Only exact fusions: the same formula in one kernel. An approximation is never put in a formula's place.
2. Ports stay those of the canonical graph: names, types, dynamic axes.
3. Nothing is bound to the CPU at hand: blocked layouts are left to ONNX Runtime, which makes them on loading.
4. It loads on a CPU; kernels that only other devices have are refused here, not by the user's process.
5. Residual sums and normalisations stay apart: SkipLayerNormalization takes four times as long on a CPU, for
   it adds up one number after the other; its variance (mean of squares less square of mean) is less exact.
"""

from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from compactor_exporters.graph.checks import check_ports
from compactor_exporters.graph.packed_projections import packed_projection_rules
from compactor_exporters.idle_settings import refuse_idle
from compactor_exporters.onnx_fp32 import canonical_graph, drop_shapes
from compactor_exporters.source import ExportSource
from compactor_exporters.workspace import Workspace
from compactor_runtimes.backends import open_runtime
from compactor_runtimes.bundle.manifest import Artifact, ExportSpec
from compactor_runtimes.bundle.open import file_entry
from compactor_runtimes.errors import IntegrityError, UnfitEnvironmentError, needs_extra
from compactor_runtimes.files import write_whole, writing

if TYPE_CHECKING:
    import onnx_ir as ir

DOMAIN = "com.microsoft"
LARGEST_PACKED = 2**28  # elements; packed weights of attention may be as large as the model is wide


def export(source: ExportSource, spec: ExportSpec, workspace: Workspace) -> Artifact:
    """Write `<spec.name>.onnx` into the workspace.

    Returns:
        The artifact with status "not-run".

    Raises:
        UnfitEnvironmentError: nothing in this graph fuses, or this ONNX Runtime cannot load what was fused.
        NumericGateError: a port changed.
    """
    with needs_extra("export"):
        import onnx_ir as ir

    folder = workspace.folder
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{spec.name}.onnx"
    write_whole(path, fused_graph(source, workspace).read_bytes())
    return Artifact(
        name=spec.name,
        spec=spec,
        files=[file_entry(folder, path.name)],
        status="not-run",
        made={
            "from": ExportSpec().name,
            "fused": count_fused(ir.load(path).graph),
            "onnxscript": version("onnxscript"),
            "onnxruntime": version("onnxruntime"),
        },
    )


def can_export(spec: ExportSpec) -> str | None:
    """Name the settings that have no effect here; None when there are none."""
    return refuse_idle(spec, "scheme", "calibration", "gpus")


def fused_graph(source: ExportSource, workspace: Workspace) -> Path:
    """Where the fused copy lies; it is made in the workspace if no exporter has done so before.

    Raises:
        UnfitEnvironmentError: nothing in this graph fuses, or this ONNX Runtime cannot load what was fused.
        NumericGateError: a port changed.
    """
    graphs = workspace.graphs
    if graphs.fused is None:
        canonical = canonical_graph(source, workspace)
        assert graphs.shapes is not None  # it is written with the canonical graph
        model = _with_shapes(canonical, graphs.shapes)
        graphs.fused = _fuse(source, model, workspace.folder / "fused" / canonical.name)
    return graphs.fused


def count_fused(graph: "ir.Graph") -> dict[str, int]:
    """How many operators of com.microsoft a graph holds, by name."""
    return dict(sorted(Counter(node.op_type for node in graph if node.domain == DOMAIN).items()))


def _fuse(source: ExportSource, model: "ir.Model", path: Path) -> Path:
    with needs_extra("export"):
        import onnx
        import onnx_ir as ir
        import onnx_ir.passes.common as passes
        from onnxscript import rewriter
        from onnxscript.rewriter.ort_fusions import optimize_for_ort

    _keep_residual_sums(model.graph)
    for rule in packed_projection_rules():
        rewriter.rewrite(model, [rule])
    _fold(model)
    optimize_for_ort(model)
    if not count_fused(model.graph):
        raise UnfitEnvironmentError(
            f"export of {source.name!r}: ONNX Runtime has nothing to fuse in this graph; use the canonical "
            "graph, which computes the same"
        )
    for node in model.graph:
        _drop_unused_outputs(node)
    _fold(model)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    passes.RemoveUnusedNodesPass()(model)
    passes.RemoveUnusedOpsetsPass()(model)
    passes.ClearMetadataAndDocStringPass()(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    fused = ir.to_proto(model)
    drop_shapes(fused)
    with writing(path):
        onnx.save_model(fused, path)
    try:
        open_runtime("ort-cpu", path).close()
    except IntegrityError as error:
        raise UnfitEnvironmentError(
            f"export of {source.name!r}: the fused graph does not load ({error}); use the canonical graph"
        ) from error
    check_ports(fused, source)
    return path


def _with_shapes(canonical: Path, shapes: Path) -> "ir.Model":
    """The canonical graph with the shapes of its values, without which nothing is known to fit a fusion."""
    with needs_extra("export"):
        import onnx
        import onnx_ir as ir

    model = onnx.load(canonical)
    del model.graph.value_info[:]
    model.graph.value_info.extend(onnx.GraphProto.FromString(shapes.read_bytes()).value_info)
    return ir.from_proto(model)


def _keep_residual_sums(graph: "ir.Graph") -> None:
    """Rule 5: an Add before a LayerNormalization is written as Sum, the same of two values."""
    for node in graph:
        value = node.inputs[0] if node.op_type == "LayerNormalization" else None
        before = value.producer() if value is not None else None
        if before is not None and before.op_type == "Add":
            before.op_type = "Sum"


def _fold(model: "ir.Model") -> None:
    """Cut or pack the weights of query, key and value, however large they are."""
    with needs_extra("export"):
        from onnxscript import optimizer

    optimizer.fold_constants(model, input_size_limit=LARGEST_PACKED, output_size_limit=LARGEST_PACKED)


def _drop_unused_outputs(node: "ir.Node") -> None:
    """Cut the optional outputs at the end that nobody reads: a kernel that sees them named writes them."""
    if node.domain != DOMAIN:
        return
    used = [number for number, value in enumerate(node.outputs) if value.uses() or value.is_graph_output()]
    if used and used[-1] + 1 < len(node.outputs):
        node.resize_outputs(used[-1] + 1)
