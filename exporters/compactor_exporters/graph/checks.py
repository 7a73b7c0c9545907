"""The rules that an exported fp32 graph keeps, checked on the graph itself before any number is computed.

1. It is valid ONNX (full check, shapes inferred) and uses operators of the ai.onnx domain only.
2. Inputs and outputs are the ports: names, order, types; dynamic axes are dynamic, fixed ones have their
size.
3. Outputs of role `logits` are raw: no softmax at the end.
4. Each weight of more than 64 elements is a parameter or buffer of the deployed module, by value, or is what
   comes out when it is computed from those again (`derived.py`).
"""

from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import TYPE_CHECKING, Any

from compactor_exporters.graph.derived import LARGEST_CONSTANT, TracedGraph
from compactor_exporters.source import ExportSource
from compactor_runtimes.bundle.manifest import InputPort, OutputPort
from compactor_runtimes.errors import NumericGateError, UsageError, needs_extra

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

_NORMALISERS = {"Softmax", "LogSoftmax", "Sigmoid"}
_PASS_ON = {"Identity", "Cast", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Log", "Clip"}


def check_graph(model: "onnx.ModelProto", source: ExportSource, traced: TracedGraph | None = None) -> None:
    """Apply rules 1 to 4.

    Args:
        model: the graph.
        source: the student.
        traced: the graph before anything was folded; without it, weights must be there as they are.

    Raises:
        UsageError: rule 1 (operators), 3 or 4; the student must change.
        NumericGateError: rule 1 (validity) or 2; the graph does not compute what the ports promise.
    """
    with needs_extra("export"):
        import onnx

    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        first_line = str(error).strip().partition("\n")[0]
        raise NumericGateError(f"graph of {source.name!r}: is not valid ONNX ({first_line})") from error
    _check_operators(model, source)
    check_ports(model, source)
    _check_raw_logits(model, source)
    check_weights(model, source, traced)


def _check_operators(model: "onnx.ModelProto", source: ExportSource) -> None:
    """Rule 1, second half."""
    foreign = sorted(
        {f"{n.domain}:{n.op_type}" for n in _nodes(model.graph) if n.domain not in ("", "ai.onnx")}
    )
    if foreign or model.functions:
        found = foreign or sorted(f"{function.domain}:{function.name}" for function in model.functions)
        raise UsageError(
            f"graph of {source.name!r}: uses {', '.join(found)}, the canonical graph holds ai.onnx "
            f"operators only; "
            "express the layer with operators that torch translates to ai.onnx"
        )


def check_ports(model: "onnx.ModelProto", source: ExportSource) -> None:
    """Rule 2.

    Raises:
        NumericGateError: names the port and the axis that differ.
    """
    with needs_extra("export"):
        import onnx

    declared: list[tuple[str, Any, Sequence[InputPort | OutputPort]]] = [
        ("input", model.graph.input, source.inputs),
        ("output", model.graph.output, source.outputs),
    ]
    for kind, values, ports in declared:
        found, expected = [value.name for value in values], [port.name for port in ports]
        if found != expected:
            raise NumericGateError(
                f"graph of {source.name!r}: {kind}s are {found}, the ports declare {expected}"
            )
        for value, port in zip(values, ports, strict=True):
            where = f"graph of {source.name!r}: {kind} {port.name!r}"
            tensor = value.type.tensor_type
            dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
            if dtype != port.dtype:
                raise NumericGateError(f"{where} has type {dtype}, the port declares {port.dtype}")
            axes = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in tensor.shape.dim]
            _check_axes(where, axes, port.axes)


def _check_axes(where: str, found: list[str | int], expected: list[str | int]) -> None:
    """Compare the axes of one port with the graph's (an empty name is an axis of unknown size)."""
    if len(found) != len(expected):
        raise NumericGateError(f"{where} has axes {found}, the port declares {expected}")
    for axis, want in zip(found, expected, strict=True):
        if axis == want:
            continue
        if isinstance(want, str) and isinstance(axis, int):
            raise NumericGateError(
                f"{where}: axis {want!r} is frozen to {axis} in the graph, the port declares it dynamic; "
                "do not use Python numbers taken from shapes in the module's forward"
            )
        raise NumericGateError(
            f"{where}: has an axis {axis!r} where the port declares {want!r} (all: {found})"
        )


def _check_raw_logits(model: "onnx.ModelProto", source: ExportSource) -> None:
    """Rule 3: walk back from each output over nodes that leave the values' order alone."""
    producers = {name: node for node in model.graph.node for name in node.output}
    for port in source.outputs:
        node = producers.get(port.name)
        while node is not None and node.op_type in _PASS_ON:
            node = producers.get(node.input[0])
        if port.role == "logits" and node is not None and node.op_type in _NORMALISERS:
            raise UsageError(
                f"graph of {source.name!r}: output {port.name!r} ends in {node.op_type}, raw logits are "
                f"expected; "
                "return the logits from deploy(), the runtime applies softmax"
            )


def check_weights(model: "onnx.ModelProto", source: ExportSource, traced: TracedGraph | None = None) -> None:
    """Rule 4. A weight may be permuted or reshaped (what folding a transposition gives) or given by `traced`.

    Raises:
        UsageError: names the first graph constants that are not the student's.
    """
    import numpy as np

    held = [*source.module.named_parameters(), *source.module.named_buffers()]
    by_name = {
        name: tensor.detach().cpu().float().numpy() for name, tensor in held if tensor.is_floating_point()
    }
    unknown = {
        name: values
        for name, values in constants(model.graph)
        if values.dtype.kind == "f"
        and values.size > LARGEST_CONSTANT
        # A constant of one repeated value (zeros, ones, -inf masks) carries nothing that was trained.
        and not np.all(values == values.flat[0])
        and not (name in by_name and np.array_equal(values, by_name[name]))
        and not any(_is_rearranged(values, own) for own in by_name.values())
    }
    derived = set() if traced is None or not unknown else traced.gives(unknown, source.module)
    foreign = [f"{name} {list(each.shape)}" for name, each in unknown.items() if name not in derived]
    if foreign:
        raise UsageError(
            f"graph of {source.name!r}: holds weights that are not the student's own "
            f"({'; '.join(foreign[:5])}"
            f"{'; ...' if len(foreign) > 5 else ''}); keep tables and weights as parameters or buffers "
            f"of the student"
        )


def _is_rearranged(values: "NDArray[Any]", own: "NDArray[Any]") -> bool:
    """Whether `values` is `own` after a permutation of its axes and a reshape."""
    import numpy as np

    if values.size != own.size or not np.isclose(values.flat[0], own.flat).any():
        return False
    flat = values.ravel()
    axes = [axis for axis in range(own.ndim) if own.shape[axis] > 1]
    squeezed = own.squeeze()
    return any(
        np.array_equal(flat, squeezed.transpose(order).ravel()) for order in permutations(range(len(axes)))
    )


def _nodes(graph: "onnx.GraphProto") -> "Iterator[onnx.NodeProto]":
    """All nodes, those of sub-graphs included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)


def constants(graph: "onnx.GraphProto") -> "Iterator[tuple[str, NDArray[Any]]]":
    """Initializers and Constant nodes with their values, those of sub-graphs included."""
    with needs_extra("export"):
        from onnx.numpy_helper import to_array

    for initializer in graph.initializer:
        yield initializer.name, to_array(initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.HasField("t"):
                yield node.output[0], to_array(attribute.t)
            if attribute.HasField("g"):
                yield from constants(attribute.g)
