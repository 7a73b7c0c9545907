"""Cast the canonical graph to float16, except where the student's own numbers do not fit into it.

1. Inputs and outputs stay float32: an artifact in float16 takes the place of any other.
2. Nodes that `overflow.py` names stay in float32, and so do operators that ONNX Runtime's converter
   knows to have no float16 form.
3. Between two nodes in float32 nothing is rounded: the converter casts each result to float16 and back,
   which would overflow on the way.
4. The graph is valid ONNX, keeps the ports, and ONNX Runtime opens it.
"""

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compactor_exporters.fp16.overflow import MASK, OVERFLOW, kept_in_fp32, largest_activations
from compactor_exporters.graph.checks import check_ports
from compactor_exporters.idle_settings import refuse_idle
from compactor_exporters.onnx_fp32 import canonical_graph
from compactor_exporters.ort_view import note_on_fp16
from compactor_exporters.source import ExportSource
from compactor_exporters.verify.findings import Arrays
from compactor_exporters.verify.samples import size
from compactor_exporters.workspace import Workspace
from compactor_runtimes.backends import open_runtime
from compactor_runtimes.bundle.manifest import Artifact, Calibration, ExportSpec
from compactor_runtimes.bundle.open import file_entry
from compactor_runtimes.errors import IntegrityError, NumericGateError, needs_extra
from compactor_runtimes.files import writing

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

SAMPLES = 32
NO_KERNEL = "no float16 operator"


def can_export(spec: ExportSpec) -> str | None:
    """Name the settings that have no effect here; None when there are none."""
    if spec.calibration is not None and spec.calibration.method != Calibration().method:
        return f"{spec.kind} takes no calibration.method, its samples only tell magnitudes; remove that"
    return refuse_idle(spec, "scheme", "gpus")


def export(source: ExportSource, spec: ExportSpec, workspace: Workspace) -> Artifact:
    """Write `<spec.name>.onnx` into the workspace.

    Returns:
        The artifact with status "not-run".

    Raises:
        UsageError: torch cannot trace the module, or its graph breaks a rule of `graph/checks.py`.
        NumericGateError: the graph has no valid form in float16, or an axis of it is frozen.
    """
    with needs_extra("export"):
        import onnx
        import onnx_ir as ir

    canonical = canonical_graph(source, workspace)
    feeds, origin = _samples(source, spec)
    largest = largest_activations(canonical, feeds, batch=source.axis_bounds[source.batch_axis][0])
    model = ir.load(canonical)
    _name_nodes(model.graph)
    kept = kept_in_fp32(model.graph, largest)
    cast = _cast(ir.to_proto(model), [node for group in kept.values() for node in group])
    folder = workspace.folder
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{spec.name}.onnx"
    with writing(path):
        onnx.save_model(cast, path)
    _check(cast, path, source)
    note = note_on_fp16(path) if spec.target == "ort-cpu" else None
    names = {reason: [str(node.name) for node in group] for reason, group in kept.items()}
    unknown = sorted({node.op_type for node in model.graph} & _without_kernel())
    masks = {value.name for rule in (OVERFLOW, MASK) for node in kept.get(rule, []) for value in node.outputs}
    return Artifact(
        name=spec.name,
        spec=spec,
        files=[file_entry(folder, path.name)],
        status="not-run",
        made={
            "from": ExportSpec().name,
            "kept_fp32": names | ({NO_KERNEL: unknown} if unknown else {}),
            "largest_activation": max(value for name, value in largest.items() if name not in masks),
            "samples": size(feeds),
            "samples_from": origin,
            "onnxruntime": version("onnxruntime"),
            **({"note": note} if note else {}),
        },
    )


def _samples(source: ExportSource, spec: ExportSpec) -> tuple[Arrays, str]:
    """Real samples where there are data, the source's example otherwise, and a word on which."""
    wanted = spec.calibration or Calibration(samples=SAMPLES)
    if source.calibration is not None:
        return source.calibration(wanted), wanted.split
    return {name: tensor.cpu().numpy() for name, tensor in source.example.items()}, "example input"


def _name_nodes(graph: "ir.Graph") -> None:
    """Give each node a name of its own, by which the converter is told to leave it alone."""
    taken: set[str] = set()
    for number, node in enumerate(graph):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{number}"
        taken.add(node.name)


def _without_kernel() -> set[str]:
    with needs_extra("ort"):
        from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST

    return set(DEFAULT_OP_BLOCK_LIST)


def _cast(model: "onnx.ModelProto", kept: "list[ir.Node]") -> "onnx.ModelProto":
    """Rules 1 to 3."""
    with needs_extra("export"):
        import onnx_ir as ir
        import onnx_ir.passes.common as passes
    with needs_extra("ort"):
        from onnxruntime.transformers.float16 import convert_float_to_float16

    # The converter would take a constant's entry among the values for a float16 result, which it is not.
    constant = {each.name for each in model.graph.initializer}
    values = [value for value in model.graph.value_info if value.name not in constant]
    del model.graph.value_info[:]
    model.graph.value_info.extend(values)
    converted: Any = convert_float_to_float16(
        model,
        keep_io_types=True,
        op_block_list=sorted(_without_kernel()),
        node_block_list=[node.name for node in kept],
    )
    half = ir.from_proto(converted)
    _drop_round_trips(half.graph)
    passes.RemoveUnusedNodesPass()(half)
    passes.TopologicalSortPass()(half)  # the converter appends its casts at the end
    sorted_half: onnx.ModelProto = ir.to_proto(half)
    return sorted_half


def _drop_round_trips(graph: "ir.Graph") -> None:
    """Rule 3: where a cast to float16 is cast back to float32, hand on what came before both."""
    with needs_extra("export"):
        import onnx_ir as ir

    for node in list(graph):
        value, back = node.inputs[0] if node.op_type == "Cast" else None, node.outputs[0]
        there = value.producer() if value is not None else None
        if there is None or there.op_type != "Cast" or back.dtype != ir.DataType.FLOAT:
            continue
        before = there.inputs[0]
        assert before is not None
        if before.dtype != ir.DataType.FLOAT:
            continue
        if back.is_graph_output():
            before.name, back.name = back.name, None
            before.shape = back.shape
        back.replace_all_uses_with(before, replace_graph_outputs=True)


def _check(model: "onnx.ModelProto", path: Path, source: ExportSource) -> None:
    """Rule 4; `path` is where the model lies."""
    with needs_extra("export"):
        import onnx

    try:
        onnx.checker.check_model(model, full_check=True)
        open_runtime("ort-cpu", path).close()
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, IntegrityError) as error:
        first_line = str(error).strip().partition("\n")[0]
        raise NumericGateError(
            f"graph of {source.name!r}: is of no use once cast to float16 ({first_line}); "
            "leave out fp16 for this student"
        ) from error
    check_ports(model, source)
