"""ONNX Runtime's profiler: a second session that writes down what each node did, read and removed at once."""

import json
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from compactor_runtimes.backends.ort import CPU, CUDA, session_options, start_session, wrap
from compactor_runtimes.measure.anatomy import OperatorTime
from compactor_runtimes.measure.operators import Node, Operators, Shapes, place

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NODE, _RUN = "_kernel_time", "model_run"
_FLOATS = {"float": "f32", "float16": "f16", "bfloat16": "bf16", "double": "f64"}
_OTHERS = {"int8": "i8", "uint8": "i8", "int16": "i16", "int32": "i32", "int64": "i64"}
# By these their names say that they multiply 8-bit numbers, whatever else they read and write.
_QUANTIZED = ("QLinear", "QGemm", "QAttention", "ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul")


def operators_cpu(source: Path, feeds: "Mapping[str, NDArray[Any]]", **settings: Any) -> Operators:
    """Time the operators on the CPU; see `operators`."""
    return operators(source, feeds, CPU, **settings)


def operators_cuda(source: Path, feeds: "Mapping[str, NDArray[Any]]", **settings: Any) -> Operators:
    """Time the operators on the first NVIDIA GPU: how long the CPU took to start them; see `operators`."""
    return operators(source, feeds, CUDA, **settings)


def operators(
    source: Path,
    feeds: "Mapping[str, NDArray[Any]]",
    provider: str,
    *,
    threads: int | None = None,
    runs: int = 5,
    **options: Any,
) -> Operators:
    """Time each operator of a session on `provider`; see `backends.operators_of`.

    Raises:
        UsageError: the graph refuses the feeds.
        IntegrityError, UnfitEnvironmentError: as in `ort.open_session`.
    """
    settings = session_options(threads=threads, **options)
    profiled, _ = profile(source, feeds, settings, provider, runs=runs)
    return place(provider, to_operators(profiled))


def executed_nodes(
    source: Path, feeds: "Mapping[str, NDArray[Any]]"
) -> "tuple[list[Node], dict[str, NDArray[Any]]]":
    """Run a graph as it is written, nothing optimised, once on the CPU.

    Returns:
        its nodes as they ran, with the shapes of their weights too, and its outputs.

    Raises:
        UsageError: the graph refuses the feeds.
        IntegrityError, MissingDependency: as in `ort.open_session`.
    """
    settings = session_options(threads=1, optimization="none")
    # a weight that was packed for its kernel is no input any more
    settings.add_session_config_entry("session.disable_prepacking", "1")
    runs, outputs = profile(source, feeds, settings, CPU, runs=1)
    return runs[0], outputs


def to_operators(runs: list[list[Node]]) -> list[OperatorTime]:
    """Average the nodes of runs by name; what runs more than once in a run, in a loop, is added up."""
    nodes: dict[str, Node] = {}
    total: dict[str, int] = {}
    for run in runs:
        for node in run:
            nodes.setdefault(node.name, node)
            total[node.name] = total.get(node.name, 0) + node.ns
    return [
        OperatorTime(
            name=name,
            kind=node.kind,
            provider=node.provider,
            precision=precision_of(node),
            ns=total[name] / len(runs),
        )
        for name, node in nodes.items()
    ]


def precision_of(node: Node) -> str:
    """In which type a node computes: 8-bit by its name, that of its first float, or of its first output."""
    if node.kind.startswith(_QUANTIZED):
        return "i8"
    types = [name for name, _ in (*node.inputs, *node.outputs)]
    floats = [_FLOATS[name] for name in types if name in _FLOATS]
    if floats:
        return floats[0]
    last = node.outputs[0][0] if node.outputs else ""
    return _OTHERS.get(last, last)


def profile(
    source: Path, feeds: "Mapping[str, NDArray[Any]]", options: Any, provider: str | None, *, runs: int
) -> "tuple[list[list[Node]], dict[str, NDArray[Any]]]":
    """Run a session `runs` times after a first one, which does not count.

    Args:
        source: the .onnx file.
        feeds: arrays by name of input.
        options: of the session; the profiler is added.
        provider: the provider that must run it; None where the options name devices.
        runs: 1 or more.

    Returns:
        the nodes of each run, and the outputs of the last.

    Raises:
        UsageError: the graph refuses the feeds.
        IntegrityError, UnfitEnvironmentError: as in `ort.start_session`.
    """
    options.enable_profiling = True
    with TemporaryDirectory(prefix="compactor-") as folder:
        options.profile_file_prefix = str(Path(folder) / "run")
        session = start_session(source, options, provider)
        try:
            with closing(wrap(session, source, provider or session.get_providers()[0])) as runtime:
                for _ in range(runs + 1):
                    outputs = runtime.run(feeds)
        finally:
            written = Path(session.end_profiling())
        events = json.loads(written.read_text(encoding="utf-8"))
    return _runs(events)[1:], outputs


def _runs(events: list[dict[str, Any]]) -> list[list[Node]]:
    """Cut the nodes where a run ends; an event is written when it is over."""
    found: list[list[Node]] = [[]]
    for event in events:
        name = event["name"]
        if name == _RUN:
            found.append([])
        elif event["cat"] == "Node" and name.endswith(_NODE):
            told = event["args"]
            found[-1].append(
                Node(
                    name=name.removesuffix(_NODE),
                    kind=told["op_name"],
                    provider=told["provider"],
                    inputs=_shapes(told.get("input_type_shape", [])),
                    outputs=_shapes(told.get("output_type_shape", [])),
                    ns=event["dur"] * 1000,
                )
            )
    return found[:-1]


def _shapes(told: list[dict[str, list[int]]]) -> Shapes:
    return [(name, axes) for one in told for name, axes in one.items()]
