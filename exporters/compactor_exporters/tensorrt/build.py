"""From an ONNX file to an engine, with either TensorRT product; what is exported is `engine.py`'s.

1. Networks are strongly typed: the types in the graph are those of the engine. Flags are looked up by name,
   because releases drop them: TensorRT 11 has no EXPLICIT_BATCH, and all its networks are strongly typed.
2. TF32 is off: fp32 means fp32.
3. One optimisation profile spans what the ports allow, tuned for `TUNED` samples and tokens in between.
4. Layers keep their names and types, so that an inspector can say which precision each one has.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compactor_exporters.source import axis_bounds
from compactor_exporters.tensorrt.progress import Progress, monitor, watch_interrupts
from compactor_runtimes.backends.tensorrt_product import (
    first_error,
    listen,
    one_line,
    quiet_logger,
    with_quiet_logger,
)
from compactor_runtimes.bundle.manifest import InputPort
from compactor_runtimes.errors import UnfitEnvironmentError

TUNED = {"batch": 8, "tokens": 32}

Profile = dict[str, tuple[list[int], list[int], list[int]]]
"""Input name -> smallest, tuned-for and largest shape."""

_ASYMMETRIC = "non-zero zero point"
_INT32_BIAS = "input has type Int32"
_TURING = "for turing"


def profile_of(ports: Sequence[InputPort]) -> Profile:
    """Rule 3: the shapes between which an engine runs; an axis that ports share has the tightest bounds."""
    bounds = axis_bounds(ports)

    def shape(port: InputPort, which: int) -> list[int]:
        return [
            axis if isinstance(axis, int) else (*bounds[axis], _tuned(port, k, *bounds[axis]))[which]
            for k, axis in enumerate(port.axes)
        ]

    return {port.name: (shape(port, 0), shape(port, 2), shape(port, 1)) for port in ports}


def _tuned(port: InputPort, k: int, low: int, high: int) -> int:
    """The size that kernels are chosen for: some samples, a short text, an image of full size."""
    if k == 0:
        return min(max(TUNED["batch"], low), high)
    return min(max(TUNED["tokens"], low), high) if port.role in ("tokens", "mask") else high


def network_flags(trt: Any) -> int:
    """Rule 1: the bits of those flags that this release of the product still has."""
    known: Any = getattr(trt, "NetworkDefinitionCreationFlag", None)
    flags = 0
    for name in ("EXPLICIT_BATCH", "STRONGLY_TYPED"):
        if hasattr(known, name):
            flags |= 1 << int(getattr(known, name))
    return flags


def build_engine(
    trt: Any,
    path: Path,
    profile: Profile,
    *,
    gpus: Sequence[str],
    progress: Progress | None = None,
) -> tuple[bytes, list[str]]:
    """Build the engine of an ONNX file.

    Args:
        trt: the product's module, from `open_product`.
        path: the ONNX file.
        profile: from `profile_of`.
        gpus: what TensorRT for RTX builds for, as `sm89`, or `current` alone for the GPU of this machine;
            empty leaves it to the product, as it must be for TensorRT.
        progress: told of every step; what it raises cancels the build.

    Returns:
        The engine and the product's warnings.

    Raises:
        UnfitEnvironmentError: the product cannot parse the graph or build it for these GPUs.
        KeyboardInterrupt: Ctrl-C during the build.
    """
    messages = listen(trt)
    builder = with_quiet_logger(trt, "Builder")
    if builder is None:
        raise UnfitEnvironmentError(f"{trt.__name__}: {first_error(messages)}; mend the driver of the GPU")
    network = builder.create_network(network_flags(trt))
    parser = trt.OnnxParser(network, quiet_logger(trt))
    if not parser.parse(path.read_bytes()):
        raise _parser_error(trt, path, parser)
    config = builder.create_builder_config()
    configure(trt, config, gpus)
    shapes = builder.create_optimization_profile()
    for name, (low, tuned, high) in profile.items():
        shapes.set_shape(name, low, tuned, high)
    config.add_optimization_profile(shapes)
    with watch_interrupts() as watch:
        kept = config.progress_monitor = monitor(trt, watch, progress)
        engine = builder.build_serialized_network(network, config)
    del kept  # the product does not keep it alive itself
    watch.raise_for_stop()
    if engine is None:
        raise _build_error(trt, path, first_error(messages), gpus)
    return bytes(engine), messages.warnings


def configure(trt: Any, config: Any, gpus: Sequence[str]) -> None:
    """Set rules 2 and 4, and the GPUs, as in `build_engine`."""
    if hasattr(trt.BuilderFlag, "TF32"):
        config.clear_flag(trt.BuilderFlag.TF32)
    if hasattr(trt.ProfilingVerbosity, "DETAILED"):
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if gpus:
        config.num_compute_capabilities = len(gpus)
        for index, name in enumerate(gpus):
            config.set_compute_capability(getattr(trt.ComputeCapability, name.upper()), index)


def _parser_error(trt: Any, path: Path, parser: Any) -> UnfitEnvironmentError:
    """Say what the parser refused first."""
    if not parser.num_errors:
        return UnfitEnvironmentError(f"{path.name}: {trt.__name__} cannot read it; export it again")
    error = parser.get_error(0)
    node = f"{error.node_operator()} node {error.node_name()!r}" if error.node_operator() else "graph"
    hint = "leave this artifact out, or change the student"
    if _ASYMMETRIC in error.desc().lower():
        hint = "TensorRT takes symmetric int8 alone, so quantise for target trt"
    if _INT32_BIAS in error.desc():
        hint = "TensorRT takes no biases of int32, so quantise for target trt"
    return UnfitEnvironmentError(
        f"{path.name}: the parser of {trt.__name__} {trt.__version__} refuses its {node} "
        f"({one_line(error.desc())}); {hint}"
    )


def _build_error(trt: Any, path: Path, reason: str, gpus: Sequence[str]) -> UnfitEnvironmentError:
    where = f" for {', '.join(gpus)}" if gpus else ""
    hint = "leave this artifact out, or mend what it says"
    if _TURING in reason.lower():
        hint = "remove sm75 from gpus, or ask for fp16"
    return UnfitEnvironmentError(
        f"{path.name}: {trt.__name__} {trt.__version__} builds no engine{where} ({reason}); {hint}"
    )
