"""Export a student to its canonical ONNX graph: ai.onnx operators, float32, raw logits, weights as trained.

The rules that the graph must keep are in `graph.py`; whether its numbers are right is `verify.py`'s question.
"""

import re
import warnings
from collections.abc import Callable
from importlib.metadata import version
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compactor_exporters.graph import check_graph
from compactor_exporters.idle_settings import refuse_idle
from compactor_exporters.source import ExportSource
from compactor_runtimes.bundle import file_entry
from compactor_runtimes.errors import NumericGateError, UsageError, needs_extra
from compactor_runtimes.manifest import Artifact, ExportSpec

if TYPE_CHECKING:
    import onnx

# The opset in which the exporter of torch writes its operators: any other one would be a second translation,
# with its own mistakes, and this one is read by every ONNX Runtime and TensorRT release of the last years.
OPSET = 18

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


def export(source: ExportSource, spec: ExportSpec, folder: Path) -> Artifact:
    """Write `<spec.name>.onnx` into `folder`.

    Returns:
        The artifact with status "not-run".

    Raises:
        UsageError: torch cannot trace the module, or the graph breaks a rule of `graph.py`.
        NumericGateError: an axis that the ports declare dynamic is frozen.
    """
    with needs_extra("export"):
        import onnx

    plain = _translate(source)
    check_graph(plain, source)
    model = _slim(plain, source)
    _strip_traces(model)
    onnx.helper.set_model_props(
        model, {"name": source.name, "task": source.task, "compactor": version("compactor-toolkit")}
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{spec.name}.onnx"
    onnx.save_model(model, path)
    source.traced["onnx"] = path
    return Artifact(name=spec.name, spec=spec, files=[file_entry(folder, path.name)], status="not-run")


def can_export(spec: ExportSpec) -> str | None:
    """Name the settings that have no effect here; None when there are none."""
    return refuse_idle(spec, "scheme", "calibration", "gpus")


def canonical_graph(source: ExportSource, folder: Path) -> Path:
    """Where the canonical graph lies; it is traced into `folder` if no exporter has done so before."""
    if "onnx" not in source.traced:
        export(source, ExportSpec(), folder / "canonical")
    return source.traced["onnx"]


def _translate(source: ExportSource) -> "onnx.ModelProto":
    """Trace the module and translate it, without any rewriting that touches weights."""
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
    with warnings.catch_warnings():
        # Two inputs that share an axis name get one symbol, as they should; torch warns about each such pair.
        warnings.filterwarnings(
            "ignore", message=r"# The axis name: .* will not be used", category=UserWarning
        )
        try:
            program = torch.onnx.export(
                source.module,
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
    for _ in range(2):  # removing a bias of zeros makes more of the graph constant
        optimizer.fold_constants(program.model)
        rewriter.rewrite(
            program.model,
            [rules.remove_optional_bias_from_conv_rule, rules.no_op_cast_rule, rules.no_op_expand_rule],
        )
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(program.model)
    passes.RemoveUnusedNodesPass()(program.model)
    model: onnx.ModelProto = program.model_proto
    return model


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


def _slim(plain: "onnx.ModelProto", source: ExportSource) -> "onnx.ModelProto":
    """Return a smaller graph of the same weights and interface, or `plain` where onnxslim breaks a rule."""
    with needs_extra("export"):
        import onnxslim

    slim: Any = onnxslim.slim(_copy(plain), skip_fusion_patterns=_WEIGHT_FUSIONS)
    try:
        check_graph(slim, source)
    except (UsageError, NumericGateError):
        return plain  # it has been checked already and is only larger
    return slim if len(slim.graph.node) <= len(plain.graph.node) else plain


def _copy(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Copy a model, because onnxslim changes its argument."""
    copy = type(model)()
    copy.CopyFrom(model)
    return copy


def _strip_traces(model: "onnx.ModelProto") -> None:
    """Remove torch's notes: they hold source paths of the exporting machine and outweigh small models."""
    for holder in (model, model.graph, *model.graph.node, *model.graph.value_info):
        del holder.metadata_props[:]
    for described in (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output):
        described.doc_string = ""


def _takes_any_number(forward: Callable[..., Any]) -> bool:
    """Whether a forward is declared as forward(*tensors), whose shapes torch wants one level deeper."""
    kinds = [parameter.kind for parameter in signature(forward).parameters.values()]
    return kinds == [Parameter.VAR_POSITIONAL]
