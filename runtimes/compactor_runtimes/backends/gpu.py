"""The NVIDIA GPU of this machine as CUDA sees it; `environment.gpu_names` asks the driver's own tool."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from compactor_runtimes.errors import UnfitEnvironmentError, needs_extra


@dataclass(frozen=True)
class Gpu:
    """Its name, and its compute capability written as `sm89`."""

    name: str
    compute: str


def open_cuda() -> Any:
    """Import the Python bindings of the CUDA runtime.

    Raises:
        MissingDependency: they are not installed.
    """
    with needs_extra("tensorrt-rtx"):
        from cuda.bindings import runtime
    return runtime


def nvidia_gpu() -> Gpu:
    """Describe the GPU that CUDA takes first.

    Raises:
        UnfitEnvironmentError: there is none, or its driver does not work.
        MissingDependency: the CUDA bindings are not installed.
    """
    cuda = open_cuda()
    error, count = cuda.cudaGetDeviceCount()
    if error != cuda.cudaError_t.cudaSuccess or not count:
        raise UnfitEnvironmentError(
            f"not run: no NVIDIA GPU that CUDA can use ({error.name}); "
            "use a machine with an NVIDIA GPU and its driver"
        )
    found = call(cuda.cudaGetDeviceProperties, 0)
    name = found.name.decode() if isinstance(found.name, bytes) else str(found.name)
    return Gpu(name=name.rstrip("\0"), compute=f"sm{found.major}{found.minor}")


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of the CUDA bindings and return its one result, or None.

    Raises:
        UnfitEnvironmentError: CUDA reports an error.
    """
    error, *results = function(*arguments)
    if error.value:
        raise UnfitEnvironmentError(
            f"CUDA: {function.__name__} failed with {error.name}; free memory of the GPU or mend its driver"
        )
    return results[0] if results else None
