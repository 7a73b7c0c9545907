"""OpenVINO's counters of performance, operator by operator."""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compactor_runtimes.backends.openvino import OpenVinoRuntime, compile_model
from compactor_runtimes.backends.openvino_precisions import runtime_precisions
from compactor_runtimes.measure.anatomy import OperatorTime
from compactor_runtimes.measure.operators import Operators, place

if TYPE_CHECKING:
    from numpy.typing import NDArray


def operators(
    source: Path,
    feeds: "Mapping[str, NDArray[Any]]",
    *,
    threads: int | None = None,
    runs: int = 5,
    **settings: Any,
) -> Operators:
    """Time each operator; see `backends.operators_of`.

    What was fused into another operator, or folded away, was not run and is not listed.

    Raises:
        UsageError: the graph refuses the feeds.
        IntegrityError, UnfitEnvironmentError, MissingDependency: as in `openvino.open_openvino`.
    """
    compiled, inputs, outputs = compile_model(source, threads=threads, PERF_COUNT=True, **settings)
    types = runtime_precisions(compiled)
    total: dict[str, float] = {}
    kinds: dict[str, str] = {}
    with closing(OpenVinoRuntime(compiled, source, inputs=inputs, outputs=outputs)) as runtime:
        runtime.run(feeds)
        for _ in range(runs):
            runtime.run(feeds)
            for node in runtime.counters():
                kinds[node.node_name] = node.node_type
                spent = node.real_time.total_seconds() * 1e9
                total[node.node_name] = total.get(node.node_name, 0.0) + spent
        provider = runtime.provider
    return place(
        provider,
        [
            OperatorTime(
                name=name, kind=kind, provider=provider, precision=types.get(name, ""), ns=total[name] / runs
            )
            for name, kind in kinds.items()
        ],
    )


def operators_bf16(source: Path, feeds: "Mapping[str, NDArray[Any]]", **settings: Any) -> Operators:
    """Time each operator where floats are computed in bfloat16; see `operators`."""
    return operators(source, feeds, precision="bf16", **settings)
