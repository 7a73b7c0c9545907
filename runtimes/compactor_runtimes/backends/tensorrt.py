"""TensorRT and TensorRT for RTX: open an engine on an NVIDIA GPU and run it.

An engine is code: it is opened only by a caller who says that its maker is trusted.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from compactor_runtimes.backends.gpu import Gpu, call, nvidia_gpu, open_cuda
from compactor_runtimes.backends.ports import Contents
from compactor_runtimes.backends.refusals import UNTRUSTED, closed, refused
from compactor_runtimes.backends.tensorrt_product import (
    Messages,
    first_error,
    listen,
    open_product,
    with_quiet_logger,
)
from compactor_runtimes.bundle.manifest import FileEntry
from compactor_runtimes.errors import IntegrityError, UnfitEnvironmentError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class EngineRuntime:
    """An engine with one execution context and stream; calls from several threads take turns."""

    def __init__(self, trt: Any, engine: Any, messages: Messages, *, gpu: Gpu, source: Path) -> None:
        """Make the context; memory on the GPU is taken when it is first needed, and kept."""
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        modes = {name: engine.get_tensor_mode(name) for name in names}
        self.inputs = [name for name in names if modes[name] == trt.TensorIOMode.INPUT]
        self.outputs = [name for name in names if modes[name] == trt.TensorIOMode.OUTPUT]
        self.provider = f"{trt.__name__} {trt.__version__} on {gpu.name} ({gpu.compute})"
        self._trt, self._engine, self._messages, self._source = trt, engine, messages, source
        self._context = engine.create_execution_context()
        if self._context is None:
            raise UnfitEnvironmentError(
                f"{source.name}: cannot be run on {gpu.name} ({first_error(messages)}); "
                "free memory of the GPU"
            )
        self._types = {name: trt.nptype(engine.get_tensor_dtype(name)) for name in names}
        self._cuda = open_cuda()
        self._stream = call(self._cuda.cudaStreamCreate)
        self._memory: dict[str, tuple[int, int]] = {}  # name of a tensor -> address and bytes
        self._lock, self._closed = Lock(), False

    def run(self, feeds: "Mapping[str, NDArray[Any]]") -> "dict[str, NDArray[Any]]":
        """Compute every output.

        Raises:
            UsageError: feeds of other names, or outside the engine's profile, or the runtime is closed.
            UnfitEnvironmentError: the GPU failed.
        """
        return self._answer(feeds, split=False)[0]

    def timed_run(self, feeds: "Mapping[str, NDArray[Any]]") -> "tuple[dict[str, NDArray[Any]], int]":
        """Compute every output as `run` does; nanoseconds of copying to and from the GPU beside them.

        The CPU waits for the GPU after each part, which `run` does at the end alone.

        Raises:
            UsageError, UnfitEnvironmentError: as in `run`.
        """
        return self._answer(feeds, split=True)

    def _answer(
        self, feeds: "Mapping[str, NDArray[Any]]", *, split: bool
    ) -> "tuple[dict[str, NDArray[Any]], int]":
        """Copy in, compute, copy out; `split` waits between them, so that copying can be timed."""
        import numpy as np

        kind = self._cuda.cudaMemcpyKind
        with self._lock:
            if self._closed:
                raise closed(self._source)
            if feeds.keys() != set(self.inputs):
                raise refused(self._source, feeds, f"inputs {', '.join(self.inputs)} expected")
            begin = perf_counter_ns()
            held = []  # host arrays must live until the stream is done with them
            for name in self.inputs:
                feed = np.ascontiguousarray(self._fitting(name, feeds[name]))
                held.append(feed)
                address = self._reserve(name, feed.nbytes)
                call(
                    self._cuda.cudaMemcpyAsync,
                    *(address, feed.ctypes.data, feed.nbytes, kind.cudaMemcpyHostToDevice, self._stream),
                )
            if split:
                call(self._cuda.cudaStreamSynchronize, self._stream)
            copied = perf_counter_ns() - begin
            outputs = {
                name: np.empty(tuple(self._context.get_tensor_shape(name)), self._types[name])
                for name in self.outputs
            }
            for name, array in outputs.items():
                self._reserve(name, array.nbytes)
            if not self._context.execute_async_v3(int(self._stream)):
                raise UnfitEnvironmentError(
                    f"{self._source.name}: the engine failed ({first_error(self._messages)}); build it again"
                )
            if split:
                call(self._cuda.cudaStreamSynchronize, self._stream)
            begin = perf_counter_ns()
            for name, array in outputs.items():
                address = self._memory[name][0]
                call(
                    self._cuda.cudaMemcpyAsync,
                    *(array.ctypes.data, address, array.nbytes, kind.cudaMemcpyDeviceToHost, self._stream),
                )
            call(self._cuda.cudaStreamSynchronize, self._stream)
            return outputs, copied + perf_counter_ns() - begin

    def layers(self) -> str:
        """What the product's inspector says of the engine's layers for the shapes of the last run: JSON."""
        inspector = self._engine.create_engine_inspector()
        inspector.execution_context = self._context
        return str(inspector.get_engine_information(self._trt.LayerInformationFormat.JSON))

    def close(self) -> None:
        """Give the memory of the GPU back."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for address, _ in self._memory.values():
                call(self._cuda.cudaFree, address)
            call(self._cuda.cudaStreamDestroy, self._stream)
            self._memory.clear()
            self._context = self._engine = None

    def _fitting(self, name: str, feed: "NDArray[Any]") -> "NDArray[Any]":
        """Return a feed whose type and shape the engine has accepted."""
        wanted = self._types[name]
        if feed.dtype != wanted or not self._context.set_input_shape(name, feed.shape):
            low, _, high = self._engine.get_tensor_profile_shape(name, 0)
            raise UsageError(
                f"{self._source.name}: the engine refuses input {name!r}: {feed.dtype}{list(feed.shape)} "
                f"found, {wanted.__name__} from {list(low)} to {list(high)} expected; "
                "give the shapes and types that the bundle's manifest states"
            )
        return feed

    def _reserve(self, name: str, size: int) -> int:
        """Let `name` have at least `size` bytes on the GPU, and tell the context where."""
        address, held = self._memory.get(name, (0, 0))
        if held < size or not address:
            if address:
                call(self._cuda.cudaFree, address)
            address = int(call(self._cuda.cudaMalloc, max(size, 1)))
            self._memory[name] = (address, size)
        self._context.set_tensor_address(name, address)
        return address


def open_tensorrt(
    source: Path, *, threads: int | None = None, trust: bool = False, content: Contents | None = None
) -> EngineRuntime:
    """Open an engine of TensorRT; see `open_engine`."""
    return open_engine(source, "tensorrt", threads=threads, trust=trust, content=content)


def open_tensorrt_rtx(
    source: Path, *, threads: int | None = None, trust: bool = False, content: Contents | None = None
) -> EngineRuntime:
    """Open an engine of TensorRT for RTX; see `open_engine`."""
    return open_engine(source, "tensorrt-rtx", threads=threads, trust=trust, content=content)


def probe_tensorrt() -> str:
    """Say on which GPU engines of TensorRT can run here; see `_probe`."""
    return _probe("tensorrt")


def probe_tensorrt_rtx() -> str:
    """Say on which GPU engines of TensorRT for RTX can run here; see `_probe`."""
    return _probe("tensorrt-rtx")


def _probe(format: str) -> str:
    """Raise MissingDependency or UnfitEnvironmentError where engines can run on none."""
    trt, gpu = open_product(format), nvidia_gpu()
    return f"{trt.__name__} {trt.__version__} on {gpu.name} ({gpu.compute})"


def open_engine(
    source: Path, format: str, *, threads: int | None, trust: bool, content: Contents | None = None
) -> EngineRuntime:
    """Open the engine file `source` with the product of `format` on the first GPU.

    Of a `content` nothing is read from the disk.

    Raises:
        UsageError: without `trust`, or with `threads`, of which an engine has none.
        IntegrityError: no such file.
        MissingDependency: the product is not installed.
        UnfitEnvironmentError: no NVIDIA GPU, or the engine is not for this GPU or this release.
    """
    if not trust:
        raise UsageError(f"{source.name}: {UNTRUSTED}")
    if threads is not None:
        raise UsageError(f"threads: got {threads}, expected None, because an engine runs on the GPU")
    if content is None and not source.is_file():
        raise IntegrityError(f"{source}: no such file; copy or export the engine again")
    trt = open_product(format)
    try:
        gpu = nvidia_gpu()
    except UnfitEnvironmentError as error:
        raise UnfitEnvironmentError(f"{source.name}: {error}") from error
    messages = listen(trt)
    held = source.read_bytes() if content is None else content[source.name]
    engine = with_quiet_logger(trt, "Runtime").deserialize_cuda_engine(held)
    if engine is None:
        raise UnfitEnvironmentError(
            f"{source.name}: {trt.__name__} {trt.__version__} cannot open it on {gpu.name} ({gpu.compute}): "
            f"{first_error(messages)}; build the engine again for this GPU with this release"
        )
    return EngineRuntime(trt, engine, messages, gpu=gpu, source=source)


def file_for_this_gpu(files: Sequence[FileEntry]) -> FileEntry:
    """Choose among an artifact's engine files the one whose name has this GPU's capability, or the first.

    Raises:
        UnfitEnvironmentError: several files, and no NVIDIA GPU to choose by.
    """
    if len(files) == 1:
        return files[0]
    compute = nvidia_gpu().compute
    return next((each for each in files if compute in Path(each.path).stem.split("-")), files[0])
