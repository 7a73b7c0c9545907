"""ONNX Runtime's plug-in providers: wheels beside plain onnxruntime, each a library that it registers.

1. The whole graph runs on the provider, or the session is refused: nothing is left to the CPU in silence.
2. Floats are computed in float32 where a provider would take fewer bits of itself.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from compactor_runtimes.backends.ort import OrtRuntime, failures, session_options, start_session, wrap
from compactor_runtimes.backends.ort_operators import profile, to_operators
from compactor_runtimes.backends.ports import Contents
from compactor_runtimes.cores import limited_cores
from compactor_runtimes.errors import UnfitEnvironmentError, UsageError, needs_extra, one_line
from compactor_runtimes.measure.operators import Operators, place

if TYPE_CHECKING:
    from numpy.typing import NDArray

_REGISTERING = Lock()


class Plugin(NamedTuple):
    """A wheel: how it is imported, kinds of devices in the order in which they are taken, and its options."""

    wheel: Callable[[], Any]
    kinds: tuple[str, ...]
    options: Callable[[str, int | None], dict[str, str]]


def _openvino_wheel() -> Any:
    with needs_extra("ort-ep-openvino"):
        import onnxruntime_ep_openvino
    return onnxruntime_ep_openvino


def _tensorrt_rtx_wheel() -> Any:
    with needs_extra("ort-ep-tensorrt-rtx"):
        import onnxruntime_ep_nv_tensorrt_rtx
    return onnxruntime_ep_nv_tensorrt_rtx


def _webgpu_wheel() -> Any:
    with needs_extra("ort-ep-webgpu"):
        import onnxruntime_ep_webgpu
    return onnxruntime_ep_webgpu


def _openvino_options(kind: str, threads: int | None) -> dict[str, str]:
    """Rule 2; OpenVINO's threads are its own. An NPU has no float32 to ask for."""
    if kind == "NPU":
        return {}
    settings = {"EXECUTION_MODE_HINT": "ACCURACY", "INFERENCE_PRECISION_HINT": "f32"}
    if threads is not None and kind == "CPU":
        settings["INFERENCE_NUM_THREADS"] = str(threads)
    return {"load_config": json.dumps({kind: settings})}


def _no_options(kind: str, threads: int | None) -> dict[str, str]:
    return {}


PLUGINS = {
    "ort-openvino": Plugin(_openvino_wheel, ("CPU", "GPU", "NPU"), _openvino_options),
    "ort-tensorrt-rtx": Plugin(_tensorrt_rtx_wheel, ("GPU",), _no_options),
    # its CPU is one that plays a GPU, where the provider is allowed to take it
    "ort-webgpu": Plugin(_webgpu_wheel, ("GPU", "CPU"), _no_options),
}
"""Name of a runtime -> its wheel."""


def open_plugin(
    name: str,
    source: Path,
    *,
    threads: int | None = None,
    device: str | None = None,
    content: Contents | None = None,
    **options: Any,
) -> OrtRuntime:
    """Open an ONNX file on a device of a plug-in provider.

    Args:
        name: a key of `PLUGINS`.
        source: the .onnx file; external data must lie beside it.
        threads: threads within one operator, of a provider that computes on the CPU.
        device: "cpu", "gpu" or "npu"; None takes the first that the provider has in the order of its row.
        content: what `source` and its external data hold; None = it is read from the disk.
        options: as in `ort.session_options`.

    Raises:
        MissingDependency: the wheel or ONNX Runtime is not installed.
        UnfitEnvironmentError: the provider has no such device here, or would leave a part to the CPU.
        IntegrityError: the file is missing or is no model.
        UsageError: no such device or `threads`.
    """
    settings, provider = _settings(name, source, threads=threads, device=device, **options)
    return wrap(start_session(source, settings, None, content), source, provider)


def operators_of_plugin(
    name: str,
    source: Path,
    feeds: "Mapping[str, NDArray[Any]]",
    *,
    threads: int | None = None,
    runs: int = 5,
    **options: Any,
) -> Operators:
    """Time the operators; a provider that compiles the graph makes one of it. See `backends.operators_of`.

    Raises:
        UsageError: the graph refuses the feeds.
        MissingDependency, UnfitEnvironmentError, IntegrityError: as in `open_plugin`.
    """
    settings, provider = _settings(name, source, threads=threads, **options)
    profiled, _ = profile(source, feeds, settings, None, runs=runs)
    return place(provider, to_operators(profiled))


def probe_plugin(name: str) -> str:
    """Say on which devices a plug-in provider can run here.

    Raises:
        MissingDependency, UnfitEnvironmentError: on none, and why.
    """
    found = devices(name)
    return f"{found[0].ep_name} on " + ", ".join(_said(device) for device in found)


def devices(name: str) -> list[Any]:
    """Register a wheel's library, once in a process, and list its devices in the order of its row.

    Raises:
        MissingDependency: the wheel or ONNX Runtime is not installed.
        UnfitEnvironmentError: ONNX Runtime cannot load the library, or it knows no device of this machine.
    """
    with needs_extra("ort"):
        import onnxruntime as ort

    plugin = PLUGINS[name]
    wheel = plugin.wheel()
    provider = wheel.get_ep_name()
    with _REGISTERING:
        # another part of the process may have registered it, under whatever name
        if not any(device.ep_name == provider for device in _listed(ort)) and name not in _registered:
            broken: tuple[type[Exception], ...] = (*failures(), OSError, RuntimeError)
            try:
                ort.register_execution_provider_library(f"compactor-{name}", wheel.get_library_path())
            except broken as error:
                raise UnfitEnvironmentError(
                    f"runtime {name!r}: ONNX Runtime {ort.__version__} cannot load {wheel.__name__} "
                    f"({one_line(error)}); install what it needs or ask for another runtime"
                ) from error
            _registered.add(name)
        found = [device for device in _listed(ort) if device.ep_name == provider]
    order = [device for kind in plugin.kinds for device in found if _kind(device) == kind]
    if not order:
        here = ", ".join(sorted({_said(device) for device in _listed(ort)}))
        raise UnfitEnvironmentError(
            f"runtime {name!r}: {provider} knows none of this machine's devices ({here}); "
            "use a machine that has one, or ask for another runtime"
        )
    return order


_registered: set[str] = set()


def _settings(
    name: str, source: Path, *, threads: int | None, device: str | None = None, **options: Any
) -> tuple[Any, str]:
    """Options of a session on one device of the plug-in, and the name of its provider."""
    settings = session_options(threads=threads, **options)
    found = devices(name)
    if device is not None:
        kinds = PLUGINS[name].kinds
        if device.upper() not in kinds:
            known = ", ".join(kind.lower() for kind in kinds)
            raise UsageError(f"device of runtime {name!r}: got {device!r}, expected one of: {known}")
        found = [one for one in found if _kind(one) == device.upper()]
        if not found:
            raise UnfitEnvironmentError(
                f"{source.name}: runtime {name!r} has no {device} here (it has {probe_plugin(name)}); "
                "ask for another device"
            )
    chosen = found[0]
    own = limited_cores() if threads is None else threads
    settings.add_provider_for_devices([chosen], PLUGINS[name].options(_kind(chosen), own))
    settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")  # rule 1
    return settings, chosen.ep_name


def _listed(ort: Any) -> list[Any]:
    """All devices of all providers; an ONNX Runtime from before plug-ins lists none."""
    if not hasattr(ort, "get_ep_devices"):
        raise UnfitEnvironmentError(
            f"ONNX Runtime {ort.__version__} takes no plug-in providers; install onnxruntime 1.24 or later"
        )
    return list(ort.get_ep_devices())


def _kind(device: Any) -> str:
    return str(device.device.type).rpartition(".")[2]


def _said(device: Any) -> str:
    return f"{device.device.vendor} {_kind(device)}"


open_openvino = partial(open_plugin, "ort-openvino")
open_tensorrt_rtx = partial(open_plugin, "ort-tensorrt-rtx")
open_webgpu = partial(open_plugin, "ort-webgpu")
operators_openvino = partial(operators_of_plugin, "ort-openvino")
operators_tensorrt_rtx = partial(operators_of_plugin, "ort-tensorrt-rtx")
operators_webgpu = partial(operators_of_plugin, "ort-webgpu")
probe_openvino = partial(probe_plugin, "ort-openvino")
probe_tensorrt_rtx = partial(probe_plugin, "ort-tensorrt-rtx")
probe_webgpu = partial(probe_plugin, "ort-webgpu")
