"""Export a student to its canonical ONNX graph: ai.onnx operators, float32, raw logits, weights as trained.

The rules that the graph must keep are in `graph/checks.py`; `verify/` asks whether its numbers are right.
"""

import gc
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from importlib.metadata import version
from inspect import Parameter, signature
from itertools import count
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compactor_exporters.graph.attention_ranks import four_axes
from compactor_exporters.graph.checks import check_graph
from compactor_exporters.graph.derived import TracedGraph, traced_graph
from compactor_exporters.graph.rules import graph_rules
from compactor_exporters.idle_settings import refuse_idle
from compactor_exporters.source import ExportSource
from compactor_exporters.workspace import Workspace
from compactor_runtimes.bundle.manifest import Artifact, ExportSpec
from compactor_runtimes.bundle.open import file_entry
from compactor_runtimes.errors import NumericGateError, UsageError, needs_extra
from compactor_runtimes.files import write_whole, writing

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir
    import torch

# The opset in which the exporter of torch writes its operators: any other one would be a second translation,
# with its own mistakes, and this one is read by every ONNX Runtime and TensorRT release of the last years.
OPSET = 18

# Constants of more elements are weights to onnxslim: nothing that it folds (shapes, axes) is as large.
LARGEST_FOLDED = 1024

# Fusions of onnxslim that compute new weights. Left out, so that each weight in the file can be compared with
# the student's own; ONNX Runtime makes them again when it loads the graph.
_WEIGHT_FUSIONS = [
    "FusionConvAdd",
    "FusionConvTransposeAdd",
    "FusionConvBN",
    "FusionConvTransposeBN",
    "FusionConvMul",
    "FusionConvTransposeMul",
    "FusionGemm",
    "FusionGemmMul",
    "FusionGemmAdd",
    "FusionPadConv",
]

_STATIC_DIMENSION = re.compile(r"static shape of (\d+) for dimension inputs\[(\d+)\]\.shape\[(\d+)\]")


def export(source: ExportSource, spec: ExportSpec, workspace: Workspace) -> Artifact:
    """Write `<spec.name>.onnx` into the workspace, whose canonical graph it is from then on.

    Returns:
        The artifact with status "not-run".

    Raises:
        UsageError: torch cannot trace the module, or the graph breaks a rule of `graph/checks.py`.
        NumericGateError: an axis that the ports declare dynamic is frozen.
    """
    with needs_extra("export"):
        import onnx

    with _no_garbage_collection():
        model = _slim(*_translate(source), source)
    _strip_traces(model)
    folder = workspace.folder
    folder.mkdir(parents=True, exist_ok=True)
    workspace.graphs.shapes = _save_shapes(model, folder / f"{spec.name}.shapes")
    drop_shapes(model)
    onnx.helper.set_model_props(
        model, {"name": source.name, "task": source.task, "compactor": version("compactor-toolkit")}
    )
    path = folder / f"{spec.name}.onnx"
    with writing(path):
        onnx.save_model(model, path)
    workspace.graphs.canonical = path
    return Artifact(name=spec.name, spec=spec, files=[file_entry(folder, path.name)], status="not-run")


def can_export(spec: ExportSpec) -> str | None:
    """Name the settings that have no effect here; None when there are none."""
    return refuse_idle(spec, "scheme", "calibration", "gpus")


def canonical_graph(source: ExportSource, workspace: Workspace) -> Path:
    """Where the canonical graph lies; it is traced into the workspace if no exporter has done so before."""
    if workspace.graphs.canonical is None:
        export(source, ExportSpec(), workspace.inside("canonical"))
    assert workspace.graphs.canonical is not None
    return workspace.graphs.canonical


def _translate(source: ExportSource) -> "tuple[onnx.ModelProto, TracedGraph]":
    """Trace the module and translate it; return the graph with its constants folded, and what was traced."""
    with needs_extra("export"):
        import onnx_ir.passes.common as passes
        import torch
        from onnxscript import optimizer, rewriter
        from onnxscript.rewriter.rules import common as rules

    dims = {
        name: torch.export.Dim(name, min=low, max=high) for name, (low, high) in source.axis_bounds.items()
    }
    shapes = tuple(
        {k: dims[a] for k, a in enumerate(port.axes) if isinstance(a, str)} for port in source.inputs
    )
    # without gradients: for weights that want one, torch attends by another formula, with other strides
    with warnings.catch_warnings(), torch.no_grad(), four_axes():
        # Two inputs that share an axis name get one symbol, as they should; torch warns about each such pair.
        warnings.filterwarnings(
            "ignore", message=r"# The axis name: .* will not be used", category=UserWarning
        )
        try:
            program = torch.onnx.export(
                _row_major(source.module),
                tuple(source.example[port.name] for port in source.inputs),
                dynamo=True,
                dynamic_shapes=(shapes,) if _takes_any_number(source.module.forward) else shapes,
                input_names=[port.name for port in source.inputs],
                output_names=[port.name for port in source.outputs],
                opset_version=OPSET,
                external_data=False,
                optimize=False,  # it would fold BatchNorm into weights and keep their names
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise _explain(error, source) from error
    assert program is not None
    _name_apart(program.model.graph)
    traced = traced_graph(program.model)
    for _ in range(2):  # removing a bias of zeros makes more of the graph constant
        optimizer.fold_constants(program.model)
        rewriter.rewrite(
            program.model,
            [
                rules.remove_optional_bias_from_conv_rule,
                rules.no_op_cast_rule,
                rules.no_op_expand_rule,
                rules.no_op_transpose_rule,
                *graph_rules(),
            ],
        )
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(program.model)
    passes.RemoveUnusedNodesPass()(program.model)
    model: onnx.ModelProto = program.model_proto
    return model, traced


def _name_apart(graph: "ir.Graph") -> None:
    """Rename values that torch named by their operator (`index`, `add`) and the module a weight."""
    taken = {value.name for node in graph for value in node.outputs} | set(graph.initializers)
    for value in (value for node in graph for value in node.outputs):
        if value.name in graph.initializers and not value.is_graph_output():
            value.name = next(name for k in count() if (name := f"{value.name}.{k}") not in taken)


def _row_major(module: "torch.nn.Module") -> "torch.nn.Module":
    """Give a module whose activations lie row by row, as those of ONNX do.

    Where they follow weights of another layout (channels last), torch writes gathers in the place of views.
    """
    with needs_extra("export"):
        import torch

    if all(weight.is_contiguous() for weight in module.parameters() if weight.dim() in (4, 5)):
        return module
    return deepcopy(module).to(memory_format=torch.contiguous_format)


def _explain(error: RuntimeError, source: ExportSource) -> NumericGateError | UsageError:
    """Turn torch's page of advice into one sentence."""
    frozen = _STATIC_DIMENSION.search(str(error))
    if frozen:
        size, index, axis = (int(group) for group in frozen.groups())
        port = source.inputs[index]
        return NumericGateError(
            f"export of {source.name!r}: axis {port.axes[axis]!r} of input {port.name!r} is frozen to "
            f"{size} by the "
            "module's forward, the port declares it dynamic; do not use Python numbers taken from "
            "shapes there"
        )
    first_line = str(error.__cause__ or error).strip().partition("\n")[0]
    return UsageError(
        f"export of {source.name!r}: torch cannot trace the module ({first_line}); "
        "change its forward so that torch.export accepts it"
    )


def _slim(plain: "onnx.ModelProto", traced: TracedGraph, source: ExportSource) -> "onnx.ModelProto":
    """Return a checked graph: a smaller one of the same weights, or `plain` where onnxslim breaks a rule.

    Raises:
        UsageError: `plain` breaks a rule of `graph/checks.py` itself.
        NumericGateError: likewise.
    """
    with needs_extra("export"):
        import onnxslim

    bare, weights = _without_weights(plain)
    slim: onnx.ModelProto = onnxslim.slim(bare, skip_fusion_patterns=_WEIGHT_FUSIONS)
    _put_back(slim, weights)
    if len(slim.graph.node) <= len(plain.graph.node):
        with suppress(UsageError, NumericGateError):
            check_graph(slim, source, traced)
            return slim
    check_graph(plain, source, traced)
    return plain


def _without_weights(model: "onnx.ModelProto") -> "tuple[onnx.ModelProto, dict[str, onnx.TensorProto]]":
    """Copy a graph with its large weights as inputs; onnxslim copies and infers it several times over."""
    with needs_extra("export"):
        import onnx

    weights = {each.name: each for each in model.graph.initializer if prod(each.dims) > LARGEST_FOLDED}
    bare = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    bare.graph.name = model.graph.name
    bare.graph.node.extend(model.graph.node)
    bare.graph.input.extend(model.graph.input)
    bare.graph.input.extend(
        onnx.helper.make_tensor_value_info(name, each.data_type, each.dims) for name, each in weights.items()
    )
    bare.graph.output.extend(model.graph.output)
    bare.graph.value_info.extend(model.graph.value_info)
    bare.graph.initializer.extend(each for each in model.graph.initializer if each.name not in weights)
    return bare, weights


def _put_back(model: "onnx.ModelProto", weights: "dict[str, onnx.TensorProto]") -> None:
    """Turn the inputs that stand for weights into the weights again."""
    ports = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(ports)
    used = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(each for name, each in weights.items() if name in used)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Tracing makes millions of objects that live to its end; a search for dead ones is a tenth of it."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _strip_traces(model: "onnx.ModelProto") -> None:
    """Remove torch's notes: they hold source paths of the exporting machine and outweigh small models."""
    for holder in (model, model.graph, *model.graph.node, *model.graph.value_info):
        del holder.metadata_props[:]
    for described in (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output):
        described.doc_string = ""


def _save_shapes(model: "onnx.ModelProto", path: Path) -> Path:
    """Write the shapes of the values inside the graph to a file of their own, for exporters that fuse."""
    with needs_extra("export"):
        import onnx

    write_whole(path, onnx.GraphProto(value_info=model.graph.value_info).SerializeToString())
    return path


def drop_shapes(model: "onnx.ModelProto") -> None:
    """Leave the types of the values inside a graph, but not their shapes, which cost speed.

    By them, ONNX Runtime plans its memory (a vision transformer is up to a tenth slower), and finds residual
    sums to turn into SkipLayerNormalization, whose CPU kernel takes four times as long as what it replaces.
    """
    for value in model.graph.value_info:
        value.type.tensor_type.ClearField("shape")


def _takes_any_number(forward: Callable[..., Any]) -> bool:
    """Whether a forward is declared as forward(*tensors), whose shapes torch wants one level deeper."""
    kinds = [parameter.kind for parameter in signature(forward).parameters.values()]
    return kinds == [Parameter.VAR_POSITIONAL]
