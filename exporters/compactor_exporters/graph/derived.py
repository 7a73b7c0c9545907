"""Constants that are computed from the student's own weights: they are computed again, and compared.

A forward may read a table by an index or standardise a kernel; torch traces the nodes that do so, and folding
makes one constant of them, which is none of the student's weights by value.

1. What is computed again is the graph as torch traced it, before anything is folded: the nodes before a value
   that depend on no input. Each constant keeps the name of its value.
2. Whole weights enter from the module and not from the graph, by name. Of everything else only integers up to
   `LARGEST_CONSTANT` elements and floats of one repeated number enter, not more than `LARGEST_CONSTANT`
   different ones: a vector of an adapter is neither, nor is what was made of it.
3. ONNX Runtime computes it, one node after the other. The constant must be the same but for rounding.
"""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from compactor_runtimes.backends import open_runtime
from compactor_runtimes.errors import needs_extra
from compactor_runtimes.files import writing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import onnx
    import onnx_ir as ir
    import torch
    from numpy.typing import NDArray

# Constants up to this size (scales, epsilons, means of a normalisation) are part of the computation, not
# weights.
LARGEST_CONSTANT = 64

ROUNDING = 1e-5  # of the largest magnitude: kernels that sum in another order differ by less
_RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli"}


@dataclass(frozen=True)
class TracedGraph:
    """A graph as torch traced it: nodes by the values that they give, and what else it holds by name."""

    nodes: "dict[str, onnx.NodeProto]"
    held: "dict[str, ir.TensorProtocol]"
    opset: int

    def gives(self, constants: "Mapping[str, NDArray[Any]]", module: "torch.nn.Module") -> set[str]:
        """Name those of `constants` that come out again when they are computed from the module's weights."""
        own: dict[str, torch.Tensor] = {}  # a tied weight has two names
        own.update(module.named_parameters(remove_duplicate=False))
        own.update(module.named_buffers(remove_duplicate=False))
        found = {name: parts for name in constants if (parts := self._parts(name, own)) is not None}
        if not found:
            return set()
        needed = {name: node for parts in found.values() for name, node in parts.items()}
        again = self._computed(list(found), needed, own)
        return {name for name, values in again.items() if _is_same(constants[name], values)}

    def _parts(self, name: str, own: "Mapping[str, torch.Tensor]") -> "dict[str, onnx.NodeProto] | None":
        """The nodes that compute a value, by the first value of each; None where rule 2 is broken."""
        parts: dict[str, onnx.NodeProto] = {}
        brought: list[NDArray[Any]] = []
        queue = [name]
        while queue:
            value = queue.pop()
            node, held = self.nodes.get(value), self.held.get(value)
            if node is not None and node.output[0] not in parts:
                if node.op_type in _RANDOM or any(one.HasField("g") for one in node.attribute):
                    return None
                parts[node.output[0]] = node
                queue += [one for one in node.input if one]
                brought += _written(node)
            elif held is not None and not (value in own and own[value].shape == tuple(held.shape)):
                brought.append(held.numpy())
            elif node is None and held is None:  # an input
                return None
        return parts if _is_no_weight(brought) else None

    def _computed(
        self, names: list[str], needed: "dict[str, onnx.NodeProto]", own: "Mapping[str, torch.Tensor]"
    ) -> "dict[str, NDArray[Any]]":
        """Rule 3; weights are inputs of the graph that is run, and what remains is part of it."""
        with needs_extra("export"):
            import onnx
        nodes = [node for name, node in self.nodes.items() if needed.get(name) is node]  # in their order
        given = {name for node in nodes for name in node.input if name in self.held}
        given |= {name for name in names if name in self.held}
        feeds = {name: own[name].detach().cpu().numpy() for name in sorted(given) if name in own}
        graph = onnx.helper.make_graph(
            nodes,
            "again",
            [
                onnx.helper.make_tensor_value_info(
                    name, onnx.helper.np_dtype_to_tensor_dtype(values.dtype), values.shape
                )
                for name, values in feeds.items()
            ],
            [onnx.ValueInfoProto(name=name) for name in names],
            [
                onnx.numpy_helper.from_array(self.held[name].numpy(), name)
                for name in sorted(given - feeds.keys())
            ],
        )
        opset = onnx.helper.make_opsetid("", self.opset)
        model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10)
        with TemporaryDirectory(prefix="derived-") as folder:
            file = Path(folder) / "again.onnx"
            with writing(file):
                onnx.save_model(model, file)
            with closing(open_runtime("ort-cpu", file, optimization="none")) as runtime:
                return runtime.run(feeds)


def traced_graph(model: "ir.Model") -> TracedGraph:
    """Keep what a graph computes before it is folded; weights stay where they are."""
    with needs_extra("export"):
        import onnx_ir as ir

    nodes: dict[str, onnx.NodeProto] = {}
    for node in model.graph:
        written = ir.serde.serialize_node(node)
        del written.metadata_props[:]
        nodes |= dict.fromkeys([one for one in written.output if one], written)
    held = {
        name: value.const_value
        for name, value in model.graph.initializers.items()
        if value.const_value is not None
    }
    return TracedGraph(nodes, held, model.opset_imports[""])


def _is_no_weight(brought: "list[NDArray[Any]]") -> bool:
    """Rule 2, on all numbers that do not come from the module."""
    whole = [values for values in brought if values.dtype.kind in "iub"]
    floats = [values for values in brought if values.dtype.kind not in "iub" and values.size]
    return (
        all(values.size <= LARGEST_CONSTANT for values in whole)
        and all((values == values.flat[0]).all() for values in floats)
        and len({float(values.flat[0]) for values in floats}) <= LARGEST_CONSTANT
    )


def _written(node: "onnx.NodeProto") -> "Iterator[NDArray[Any]]":
    """What numbers a node brings itself: those of a Constant, the others' are settings."""
    import numpy as np

    with needs_extra("export"):
        from onnx.helper import get_attribute_value
        from onnx.numpy_helper import to_array

    for attribute in node.attribute if node.op_type in ("Constant", "ConstantOfShape") else ():
        if attribute.HasField("t"):
            yield to_array(attribute.t)
        elif attribute.name.startswith(("value_float", "value_int")):
            yield np.asarray(get_attribute_value(attribute))


def _is_same(found: "NDArray[Any]", again: "NDArray[Any]") -> bool:
    """Whether two arrays are the same but for rounding; infinities of a mask are at the same places."""
    import numpy as np

    if found.shape != again.shape or found.dtype != again.dtype:
        return False
    finite = np.isfinite(again)
    if not np.array_equal(found[~finite], again[~finite], equal_nan=True):
        return False
    largest = float(np.abs(again).max(initial=0.0, where=finite))
    return bool((np.abs(found[finite] - again[finite]) <= ROUNDING * largest).all())
