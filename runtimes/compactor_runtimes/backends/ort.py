"""ONNX Runtime: open an .onnx file as a session on one provider, and on no other, and run it.

The CPU and CUDA are the same code; TF32 is off on CUDA, so that fp32 means fp32.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from threading import Lock, Timer
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from compactor_runtimes.backends.ports import Contents, Port
from compactor_runtimes.backends.refusals import check_threads, closed, refused
from compactor_runtimes.cores import limited_cores, usable_cores
from compactor_runtimes.errors import (
    IntegrityError,
    MissingDependency,
    TimeLimitError,
    UnfitEnvironmentError,
    UsageError,
    needs_extra,
    one_line,
)
from compactor_runtimes.files import writing

if TYPE_CHECKING:
    from numpy.typing import NDArray

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_PROVIDER_OPTIONS = {CUDA: {"use_tf32": "0"}}
_NO_FALLBACK = "fallback to CPU EP has been explicitly disabled"
_TYPES = {"float": "float32", "double": "float64"}  # its names of types that are not numpy's
_NOWHERE = os.devnull  # a folder that cannot be: data beside a graph that were not given are not found
_DEVICES = {CUDA: "cuda"}  # whose memory is not the CPU's
_FEW_CORES = 2
_QUIET = 4  # log fatal errors only: all others come back as exceptions and must not be printed as well


class OrtRuntime:
    """An ONNX Runtime session behind the Runtime protocol."""

    def __init__(self, session: Any, source: Path, refusals: tuple[type[Exception], ...]) -> None:
        """Wrap an open session; `refusals` are the exceptions by which it rejects feeds."""
        inputs, outputs = session.get_inputs(), session.get_outputs()
        self.inputs: list[str] = [port.name for port in inputs]
        self.outputs: list[str] = [port.name for port in outputs]
        self.ports = {port.name: _port(port) for port in (*inputs, *outputs)}
        self.provider: str = session.get_providers()[0]
        self._device = _DEVICES.get(self.provider)
        self._session = session
        self._source = source
        self._refusals = refusals
        self._stops: set[Callable[[], None]] = set()
        self._lock = Lock()

    def run(self, feeds: "Mapping[str, NDArray[Any]]") -> "dict[str, NDArray[Any]]":
        """Compute every output.

        Raises:
            UsageError: the graph refuses feeds of these shapes or types, or the runtime is closed.
        """
        try:
            return dict(zip(self.outputs, self._session.run(self.outputs, feeds), strict=True))
        except UsageError:  # our own, which is a ValueError too
            raise
        except self._refusals as error:
            raise refused(self._source, feeds, one_line(error)) from error

    def run_within(self, feeds: "Mapping[str, NDArray[Any]]", seconds: float) -> "dict[str, NDArray[Any]]":
        """Compute every output, or stop after `seconds`, or when `cancel` is called.

        ONNX Runtime looks between operators, also within loops; an operator that has begun goes on.

        Raises:
            TimeLimitError: it was stopped.
            UsageError: as in `run`.
        """
        from onnxruntime import RunOptions

        options, stopped = RunOptions(), False
        options.log_severity_level = _QUIET

        def stop() -> None:
            nonlocal stopped
            stopped = options.terminate = True

        timer = Timer(seconds, stop)
        timer.daemon = True
        with self._lock:
            self._stops.add(stop)
        timer.start()
        try:
            return dict(zip(self.outputs, self._session.run(self.outputs, feeds, options), strict=True))
        except UsageError:
            raise
        except self._refusals as error:
            if stopped:
                raise TimeLimitError(
                    f"{self._source.name}: stopped, {seconds:g} s allowed; give smaller inputs or more time"
                ) from error
            raise refused(self._source, feeds, one_line(error)) from error
        finally:
            timer.cancel()
            with self._lock:
                self._stops.discard(stop)

    def cancel(self) -> None:
        """Stop what `run_within` computes now, in whatever threads."""
        with self._lock:
            stops = list(self._stops)
        for stop in stops:
            stop()

    def timed_run(self, feeds: "Mapping[str, NDArray[Any]]") -> "tuple[dict[str, NDArray[Any]], int]":
        """Compute every output; nanoseconds of copying to and from a device are told beside them.

        On the CPU arrays are read in place, and nothing is copied.

        Raises:
            UsageError: as in `run`.
        """
        if self._device is None:
            return self.run(feeds), 0
        # a binding refuses by a plain RuntimeError
        refusals: tuple[type[Exception], ...] = (*self._refusals, RuntimeError)
        try:
            return self._run_on_device(feeds, self._device)
        except UsageError:
            raise
        except refusals as error:
            raise refused(self._source, feeds, one_line(error)) from error

    def _run_on_device(
        self, feeds: "Mapping[str, NDArray[Any]]", device: str
    ) -> "tuple[dict[str, NDArray[Any]], int]":
        from onnxruntime import OrtValue

        binding = self._session.io_binding()
        begin = perf_counter_ns()
        for name, feed in feeds.items():
            binding.bind_ortvalue_input(name, OrtValue.ortvalue_from_numpy(feed, device, 0))
        binding.synchronize_inputs()
        copied = perf_counter_ns() - begin
        for name in self.outputs:
            binding.bind_output(name, device)
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        begin = perf_counter_ns()
        found = binding.copy_outputs_to_cpu()
        return dict(zip(self.outputs, found, strict=True)), copied + perf_counter_ns() - begin

    def close(self) -> None:
        """Drop the session and its memory."""
        self._session = _Closed(self._source)


def _port(port: Any) -> Port:
    """Type and sizes as the graph says them; of an output that it says nothing of the shape is empty."""
    kind = port.type.removeprefix("tensor(").removesuffix(")")
    axes = [size if isinstance(size, int) else None for size in port.shape or []]
    return Port(_TYPES.get(kind, kind), axes or None)


class _Closed:
    """Stands in for a session that was released, so that `run` needs no check of its own."""

    def __init__(self, source: Path) -> None:
        self._source = source

    def run(self, *_: object) -> NoReturn:
        raise closed(self._source)

    def io_binding(self) -> NoReturn:
        raise closed(self._source)


def open_cpu(source: Path, *, threads: int | None = None, **options: Any) -> OrtRuntime:
    """Open an ONNX file on the CPU; see `open_session`."""
    return open_session(source, CPU, threads=threads, **options)


def open_cuda(source: Path, *, threads: int | None = None, **options: Any) -> OrtRuntime:
    """Open an ONNX file on the first NVIDIA GPU; see `open_session`.

    Raises:
        MissingDependency: ONNX Runtime is not installed at all.
    """
    if find_spec("onnxruntime") is None:
        raise MissingDependency("onnxruntime-gpu", "ort-gpu")
    return open_session(source, CUDA, threads=threads, **options)


def probe_cpu() -> str:
    """Say what runs on the CPU here.

    Raises:
        MissingDependency: ONNX Runtime is not installed.
    """
    return _probe(CPU)


def probe_cuda() -> str:
    """Say what runs on an NVIDIA GPU here.

    Raises:
        MissingDependency, UnfitEnvironmentError: nothing does, and why.
    """
    from compactor_runtimes.environment import gpu_names

    if find_spec("onnxruntime") is None:
        raise MissingDependency("onnxruntime-gpu", "ort-gpu")
    said, gpus = _probe(CUDA), gpu_names()
    if not gpus:
        raise UnfitEnvironmentError("no NVIDIA GPU that nvidia-smi can see; use a machine with one")
    return f"{said} on {gpus[0].partition(',')[0]}"


def _probe(provider: str) -> str:
    with needs_extra("ort"):
        import onnxruntime as ort

    available = ort.get_available_providers()
    if provider not in available:
        raise UnfitEnvironmentError(
            f"provider {provider} is not in this onnxruntime (it has {', '.join(available)}); "
            "install the build that has it"
        )
    return f"ONNX Runtime {ort.__version__}, {provider}"


def open_session(
    source: Path,
    provider: str,
    *,
    threads: int | None = None,
    optimization: Literal["all", "extended", "none"] = "all",
    spinning: bool | None = None,
    optimised: Path | None = None,
    content: Contents | None = None,
) -> OrtRuntime:
    """Open an ONNX file; the session runs on `provider` or not at all.

    Args:
        source: the .onnx file; external data must lie beside it.
        provider: the execution provider that must compute the graph.
        threads: threads within one operator; None leaves it to ONNX Runtime (one per core), or takes the
            usable cores where a quota or affinity leaves fewer than the machine has.
        optimization: graph optimisation level; `extended` leaves the layout of values alone.
        spinning: threads wait for the next call by spinning, which takes cores from others; None = where more
            than two can be used, for of fewer they would take the one that the caller needs.
        optimised: where to write the graph as it was optimised for this machine; None writes none.
        content: what `source` and its external data hold; None = it is read from the disk.

    Raises:
        IntegrityError: the file is missing or is not a model that ONNX Runtime can read.
        UnfitEnvironmentError: `provider` is not in this build, or the session fell back to another.
        UsageError: `threads` is below 1 or absurd.
    """
    options = session_options(threads=threads, optimization=optimization, spinning=spinning)
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
    with writing(optimised) if optimised is not None else nullcontext():
        session = start_session(source, options, provider, content)
    return wrap(session, source, provider)


def session_options(
    *,
    threads: int | None = None,
    optimization: Literal["all", "extended", "none"] = "all",
    spinning: bool | None = None,
) -> Any:
    """Make the options of a session; see `open_session`.

    Raises:
        MissingDependency: ONNX Runtime is not installed.
        UsageError: `threads` is below 1 or absurd.
    """
    with needs_extra("ort"):
        import onnxruntime as ort

    check_threads(threads)
    threads = limited_cores() if threads is None else threads
    options = ort.SessionOptions()
    options.log_severity_level = _QUIET
    options.inter_op_num_threads = 1
    if threads is not None:
        options.intra_op_num_threads = threads
    spins = usable_cores() > _FEW_CORES if spinning is None else spinning
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spins else "0")
    levels = {
        "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
        "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
        "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    }
    options.graph_optimization_level = levels[optimization]
    return options


def start_session(source: Path, options: Any, provider: str | None, content: Contents | None = None) -> Any:
    """Read a file into a session on `provider`; None where the options name the devices themselves.

    Of a `content` nothing is read from the disk, and external data that are not in it are refused.

    Raises:
        IntegrityError: the file is missing or is not a model that ONNX Runtime can read.
        UnfitEnvironmentError: `provider` is not in this build.
    """
    import onnxruntime as ort

    if content is None and not source.is_file():
        raise IntegrityError(f"{source}: no such file; copy or export the model again")
    model: str | bytes = str(source)
    if content is not None:
        model = content[source.name]
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", _NOWHERE)
        others = {name: held for name, held in content.items() if name != source.name}
        if others:
            held = list(others.values())
            options.add_external_initializers_from_files_in_memory(list(others), held, list(map(len, held)))
    available = ort.get_available_providers()
    if provider is not None and provider not in available:
        raise UnfitEnvironmentError(
            f"{source.name}: provider {provider} is not in this onnxruntime (it has {', '.join(available)}); "
            "install the build that has it or ask for another provider"
        )
    chosen = {} if provider is None else {"providers": [(provider, _PROVIDER_OPTIONS.get(provider, {}))]}
    try:
        session = ort.InferenceSession(model, options, **chosen)
    except _unfit() as error:
        raise UnfitEnvironmentError(
            f"{source.name}: its provider failed to start ({one_line(error)}); "
            "mend the driver or ask for another runtime"
        ) from error
    except _unreadable() as error:
        if _NO_FALLBACK in str(error):
            raise UnfitEnvironmentError(
                f"{source.name}: its provider would leave a part of the graph to the CPU; "
                "ask for another runtime"
            ) from error
        raise IntegrityError(
            f"{source}: ONNX Runtime {ort.__version__} cannot read it as a model ({one_line(error)}); "
            "copy or export the model again"
        ) from error
    # By default a session whose provider fails in a run prints a line and goes on with the CPU.
    session.disable_fallback()
    return session


def wrap(session: Any, source: Path, provider: str) -> OrtRuntime:
    """Put a session behind the Runtime protocol.

    Raises:
        UnfitEnvironmentError: it runs on another provider than `provider`.
    """
    found = session.get_providers()[0]
    if found != provider:
        raise UnfitEnvironmentError(
            f"{source.name}: asked for {provider}, the session runs on {found}; "
            "mend the driver or ask for the other"
        )
    return OrtRuntime(session, source, (*_state_errors(), ValueError, RuntimeError, TypeError))


def failures() -> tuple[type[Exception], ...]:
    """Exceptions by which ONNX Runtime says what is not about a file's bytes; they have no common base."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return (state.Fail, state.InvalidArgument, state.RuntimeException)


def _state_errors() -> tuple[type[Exception], ...]:
    """All exceptions of ONNX Runtime's own; they have no common base."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return tuple(one for one in vars(state).values() if isinstance(one, type) and issubclass(one, Exception))


def _unfit() -> tuple[type[Exception], ...]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return (state.EPFail,)


def _unreadable() -> tuple[type[Exception], ...]:
    return (*_state_errors(), RuntimeError, ValueError)
