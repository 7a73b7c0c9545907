"""OpenVINO: compile an .onnx file for the CPU and run it.

1. Floats are computed in float32 or not at all: left to itself OpenVINO takes bfloat16 on some CPUs, and even
   where float16 is asked for. What of a graph is in 8 bits stays so. bfloat16 is asked for by name, and then
   it must be what the CPU computes in, and what the compiled model says of itself.
2. Feeds are checked here. OpenVINO converts other types, and answers on other shapes with what it had before.
3. Its telemetry is off: on import it would write into the home folder and look its host up.
4. A thread keeps its stack for signals (`signal_stack.py`), which a model would change as it comes and goes.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Literal

from compactor_runtimes.backends.ports import Contents, Port, placed
from compactor_runtimes.backends.refusals import check_threads, closed, refused
from compactor_runtimes.backends.signal_stack import kept_signal_stack
from compactor_runtimes.cores import limited_cores
from compactor_runtimes.errors import IntegrityError, UnfitEnvironmentError, needs_extra, one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

_IMPORTING = Lock()
_TELEMETRY = "openvino_telemetry"
_SINK = "/sink_port_0"  # what its reader of ONNX appends to the name of an output


class OpenVinoRuntime:
    """A compiled model with one request; calls from several threads take turns."""

    def __init__(self, compiled: Any, source: Path, *, inputs: list[str], outputs: list[str]) -> None:
        """Wrap a compiled model; `inputs` and `outputs` are the names of its ports in order."""
        from openvino import __version__

        self.inputs, self.outputs = inputs, outputs
        precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        self.provider = f"OpenVINO {__version__.partition('-')[0]} on CPU"
        self.provider += "" if precision == "f32" else f" in {precision}"
        ports = zip([*inputs, *outputs], [*compiled.inputs, *compiled.outputs], strict=True)
        self.ports = {name: _port(port) for name, port in ports}
        with kept_signal_stack():
            self._request = compiled.create_infer_request()
        self._source, self._lock = source, Lock()

    def run(self, feeds: "Mapping[str, NDArray[Any]]") -> "dict[str, NDArray[Any]]":
        """Compute every output.

        Raises:
            UsageError: the graph refuses feeds of these names, shapes or types, or the runtime is closed.
        """
        return self.timed_run(feeds)[0]

    def timed_run(self, feeds: "Mapping[str, NDArray[Any]]") -> "tuple[dict[str, NDArray[Any]], int]":
        """Compute every output as `run` does; nanoseconds of copying in and out are told beside them.

        Raises:
            UsageError: as in `run`.
        """
        with self._lock:
            if self._request is None:
                raise closed(self._source)
            self._check(feeds)
            begin = perf_counter_ns()
            for index, name in enumerate(self.inputs):
                tensor = self._request.get_input_tensor(index)
                tensor.shape = feeds[name].shape
                tensor.data[...] = feeds[name]
            copied = perf_counter_ns() - begin
            try:
                self._request.infer(share_outputs=True)
            except RuntimeError as error:
                raise refused(self._source, feeds, one_line(error)) from error
            begin = perf_counter_ns()
            outputs = {
                name: self._request.get_output_tensor(index).data.copy()
                for index, name in enumerate(self.outputs)
            }
            return outputs, copied + perf_counter_ns() - begin

    def counters(self) -> list[Any]:
        """What OpenVINO counted of the operators that the last run executed, in its own records.

        Raises:
            UsageError: the runtime is closed.
        """
        with self._lock:
            if self._request is None:
                raise closed(self._source)
            told = self._request.profiling_info
            return [node for node in told if node.status == node.Status.EXECUTED]

    def close(self) -> None:
        """Drop the compiled model and its memory."""
        with self._lock, kept_signal_stack():
            self._request = None

    def _check(self, feeds: "Mapping[str, NDArray[Any]]") -> None:
        """Rule 2."""
        if set(feeds) != set(self.inputs):
            raise refused(self._source, feeds, f"inputs {', '.join(self.inputs)} expected")
        for name in self.inputs:
            wanted, axes, shape = self.ports[name].dtype, self.ports[name].axes or [], feeds[name].shape
            fits = len(shape) == len(axes) and all(
                axis in (None, size) for axis, size in zip(axes, shape, strict=True)
            )
            if not fits or feeds[name].dtype != wanted:
                raise refused(self._source, feeds, f"{wanted}{_shape(axes)} expected for {name!r}")


def open_openvino(
    source: Path, *, threads: int | None = None, content: Contents | None = None
) -> OpenVinoRuntime:
    """Compile an ONNX file for the CPU.

    Args:
        source: the .onnx file; external data must lie beside it.
        threads: threads of one run; None leaves it to OpenVINO (one per core), or takes the usable cores
            where a quota or affinity leaves fewer than the machine has.
        content: what `source` and its external data hold; None = it is read from the disk.

    Raises:
        IntegrityError: the file is missing or is not a model that OpenVINO can read.
        UnfitEnvironmentError: OpenVINO cannot compile it here, or would compute in less than float32.
        UsageError: `threads` is below 1 or absurd.
    """
    compiled, inputs, outputs = compile_model(source, threads=threads, content=content)
    return OpenVinoRuntime(compiled, source, inputs=inputs, outputs=outputs)


def open_openvino_bf16(
    source: Path, *, threads: int | None = None, content: Contents | None = None
) -> OpenVinoRuntime:
    """Compile an ONNX file for the CPU so that its floats are computed in bfloat16; see `open_openvino`.

    Raises:
        UnfitEnvironmentError: this CPU has no such instructions, or nothing of the graph would use them.
    """
    compiled, inputs, outputs = compile_model(source, threads=threads, precision="bf16", content=content)
    return OpenVinoRuntime(compiled, source, inputs=inputs, outputs=outputs)


def probe() -> str:
    """Say on what OpenVINO computes here.

    Raises:
        MissingDependency: it is not installed.
    """
    return _probe()[0]


def probe_bf16() -> str:
    """Say on what OpenVINO computes in bfloat16 here.

    Raises:
        MissingDependency: it is not installed.
        UnfitEnvironmentError: this CPU has no such instructions.
    """
    said, capabilities = _probe()
    if "BF16" not in capabilities:
        raise UnfitEnvironmentError("this CPU has no instructions for bf16; use one that has")
    return f"{said}, in bf16"


def _probe() -> tuple[str, list[str]]:
    with needs_extra("openvino"), _no_telemetry():
        import openvino
    core = openvino.Core()
    name = " ".join(core.get_property("CPU", "FULL_DEVICE_NAME").split())
    version = openvino.__version__.partition("-")[0]
    return f"OpenVINO {version} on {name}", list(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def compile_model(
    source: Path,
    *,
    threads: int | None = None,
    precision: Literal["f32", "bf16"] = "f32",
    content: Contents | None = None,
    **more: Any,
) -> tuple[Any, list[str], list[str]]:
    """Compile an ONNX file as `open_openvino` does; `more` are further properties of OpenVINO.

    Returns:
        the compiled model, and the names of its inputs and outputs in order.
    """
    with needs_extra("openvino"), _no_telemetry():
        import openvino
        from openvino.frontend import FrontEndManager

    check_threads(threads)
    if content is not None:  # it reads graphs with external data from files alone
        with placed(content) as folder:
            return compile_model(folder / source.name, threads=threads, precision=precision, **more)
    if not source.is_file():
        raise IntegrityError(f"{source}: no such file; copy or export the model again")
    version = openvino.__version__.partition("-")[0]
    core = openvino.Core()
    try:
        # its readers of other formats, tried next, would print their complaints
        if not FrontEndManager().load_by_framework("onnx").supported(str(source)):
            raise RuntimeError("it is no ONNX file")
        model = core.read_model(source)
    except RuntimeError as error:
        raise IntegrityError(
            f"{source}: OpenVINO {version} cannot read it as a model ({one_line(error)}); "
            "copy or export the model again, or ask for another runtime"
        ) from error
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise UnfitEnvironmentError(
            f"{source.name}: this CPU has no instructions for bf16; ask for runtime 'openvino'"
        )
    inputs = [port.node.friendly_name for port in model.inputs]
    outputs = [port.node.friendly_name.removesuffix(_SINK) for port in model.outputs]
    settings: dict[str, Any] = {
        "EXECUTION_MODE_HINT": "ACCURACY" if precision == "f32" else "PERFORMANCE",
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        **more,
    }
    threads = limited_cores() if threads is None else threads
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    try:
        with kept_signal_stack():
            compiled = core.compile_model(model, "CPU", settings)
    except RuntimeError as error:
        raise UnfitEnvironmentError(
            f"{source.name}: OpenVINO {version} cannot compile it for this CPU ({one_line(error)}); "
            "ask for another runtime"
        ) from error
    found = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if found != precision:
        raise UnfitEnvironmentError(
            f"{source.name}: asked for {precision}, OpenVINO {version} computes in {found}; "
            "ask for another runtime"
        )
    if precision != "f32" and not _computes_in(compiled, precision):
        raise UnfitEnvironmentError(
            f"{source.name}: OpenVINO {version} computes nothing of it in {precision}; "
            "ask for runtime 'openvino'"
        )
    return compiled, inputs, outputs


def _computes_in(compiled: Any, precision: str) -> bool:
    """Whether an operator that does more than move data is in this type in the model as it was compiled."""
    from compactor_runtimes.backends.openvino_precisions import runtime_precisions

    return precision in runtime_precisions(compiled, computing=True).values()


@contextmanager
def _no_telemetry() -> Iterator[None]:
    """Rule 3: what is imported in the block finds no such package, and takes OpenVINO's own empty stand-in.

    There is no variable for it; where somebody imported OpenVINO before, it is theirs to decide. Threads take
    turns, so that none takes another's mark for the package.
    """
    with _IMPORTING:
        if "openvino" in sys.modules:
            yield
            return
        before = sys.modules.get(_TELEMETRY)
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # as the import system asks for it
        try:
            yield
        finally:
            sys.modules.pop(_TELEMETRY, None)
            if before is not None:
                sys.modules[_TELEMETRY] = before


def _port(port: Any) -> Port:
    """Type and sizes of an input or output; a type that numpy lacks keeps OpenVINO's name."""
    shape, kind = port.partial_shape, port.element_type
    known = shape.rank.is_static
    axes = [axis.get_length() if axis.is_static else None for axis in shape] if known else None
    try:
        return Port(kind.to_dtype().name, axes)
    except RuntimeError:
        return Port(str(kind.get_type_name()), axes)


def _shape(axes: list[int | None]) -> str:
    return "[" + ", ".join("any" if axis is None else str(axis) for axis in axes) + "]"
