"""8-bit copies of the canonical graph, made by onnxruntime.quantization.

1. `dynamic`: weights in 8 bits, ranges of activations found at every run; no data needed. `fused` starts from
   the copy with ONNX Runtime's own operators, whose attention has an 8-bit form.
2. `static`: ranges come from real samples (QDQ format); random ones are refused, digests are kept.
3. A CPU without 8-bit dot products (VNNI, AMX, dotprod) adds two products in 16 bits, which saturate. There,
   reduced range (7-bit weights) and unsigned weights are tried, and the one nearer to fp32 is taken.
4. For TensorRT: symmetric, signed, biases in float, as its parser wants it; not run on a CPU.
"""

import tempfile
import warnings
from collections.abc import Callable
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from compactor_exporters.findings import Arrays, gap
from compactor_exporters.graph import check_ports
from compactor_exporters.idle_settings import refuse_idle
from compactor_exporters.int8_calibration import Reader, calibration_feeds, sample_digests
from compactor_exporters.int8_placement import placement
from compactor_exporters.onnx_fp32 import canonical_graph
from compactor_exporters.onnx_fused import fused_graph
from compactor_exporters.samples import batches
from compactor_exporters.source import ExportSource
from compactor_runtimes.backends.ort import open_runtime
from compactor_runtimes.bundle import file_entry
from compactor_runtimes.environment import has_int8_dot, isa_flags
from compactor_runtimes.errors import UnfitEnvironmentError, needs_extra
from compactor_runtimes.manifest import Artifact, Calibration, ExportSpec

NOT_RUN = "symmetric int8 for TensorRT: not run here, no NVIDIA GPU"
_TRIED_SAMPLES = 64


class Scheme(NamedTuple):
    """Number types: whether activations and weights are signed, and whether weights keep to 7 bits."""

    activations_signed: bool
    weights_signed: bool
    reduced: bool = False


SCHEMES = {
    "u8s8": Scheme(False, True),
    "u8s8-reduced": Scheme(False, True, reduced=True),
    "u8u8": Scheme(False, False),
    "s8s8": Scheme(True, True),
}


def can_export(spec: ExportSpec) -> str | None:
    """Name what has no effect, or cannot be, in this kind of int8; None when there is nothing."""
    for_trt = spec.target in ("trt", "trt-rtx")
    if spec.quantization == "dynamic":
        if spec.target != "ort-cpu":
            return (
                f"{spec.kind} is for ONNX Runtime alone; ask for quantization static for target {spec.target}"
            )
        if spec.scheme == "s8s8":
            return f"{spec.kind}: activations are always unsigned there; ask for u8s8, u8s8-reduced or u8u8"
        return refuse_idle(spec, "calibration", "gpus")
    if for_trt and spec.scheme not in ("auto", "s8s8"):
        return f"{spec.kind} for {spec.target} is s8s8, got scheme {spec.scheme}; remove it"
    return refuse_idle(spec, "gpus")


def export(source: ExportSource, spec: ExportSpec, folder: Path) -> Artifact:
    """Write `<spec.name>.onnx` into `folder`.

    Returns:
        The artifact, to be verified; for TensorRT with the reason why it is not run.

    Raises:
        UsageError: static quantisation without real samples.
        UnfitEnvironmentError: nothing in the graph can be quantised.
        NumericGateError: quantisation froze an axis.
    """
    with needs_extra("export"):
        import onnx

    parent = fused_graph(source, folder) if spec.fused else canonical_graph(source, folder)
    path = folder / f"{spec.name}.onnx"
    made: dict[str, Any] = {"from": "fp32-fused" if spec.fused else "fp32", "versions": _versions()}
    with tempfile.TemporaryDirectory() as scratch:
        prepared = parent if spec.fused else _prepared(parent, Path(scratch))
        operators = {node.op_type for node in onnx.load(parent, load_external_data=False).graph.node}
        if spec.quantization == "dynamic":
            made["scheme"] = _dynamic(prepared, path, spec, has_conv="Conv" in operators)
        else:
            wanted = spec.calibration or Calibration()
            feeds = calibration_feeds(source, wanted)
            made["calibration"] = {"split": wanted.split, "method": wanted.method, **sample_digests(feeds)}
            products_only = "Softmax" in operators
            made["scheme"], made["tried"] = _static(
                _Static(prepared, path, wanted, feeds, products_only, spec.target != "ort-cpu"), spec, parent
            )
    model = onnx.load(path)
    check_ports(model, source)
    made["placement"] = placement(path)
    if not any("Quantize" in node.op_type or "Integer" in node.op_type for node in model.graph.node):
        raise UnfitEnvironmentError(
            f"export of {source.name!r} as {spec.name}: none of its operators can be quantised; ship fp32"
        )
    return Artifact(
        name=spec.name,
        spec=spec,
        files=[file_entry(folder, path.name)],
        status="not-run",
        reason="" if spec.target == "ort-cpu" else NOT_RUN,
        made=made,
    )


def _prepared(parent: Path, folder: Path) -> Path:
    """Fold BatchNorm and constants, so that ranges are taken of what is really computed."""
    with needs_extra("ort"):
        from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = folder / "prepared.onnx"
    _quietly(lambda: quant_pre_process(str(parent), str(prepared), skip_symbolic_shape=True))
    return prepared


def _dynamic(prepared: Path, path: Path, spec: ExportSpec, *, has_conv: bool) -> str:
    """Rule 1. ONNX Runtime's ConvInteger takes unsigned weights only."""
    with needs_extra("ort"):
        from onnxruntime.quantization import QuantType, quantize_dynamic

    name: str = spec.scheme
    if name == "auto":
        name = "u8u8" if has_conv else "u8s8" if has_int8_dot(isa_flags()) else "u8s8-reduced"
    scheme = SCHEMES[name]
    _quietly(
        lambda: quantize_dynamic(
            str(prepared),
            str(path),
            per_channel=not has_conv,
            reduce_range=scheme.reduced,
            weight_type=QuantType.QInt8 if scheme.weights_signed else QuantType.QUInt8,
            extra_options={"MatMulConstBOnly": True},
        )
    )
    return name


class _Static(NamedTuple):
    """What one static quantisation needs.

    With `products_only`, matrix products and embeddings alone are quantised: the mask that attention adds is
    as large as a number can be, and takes the whole range of the sum it enters.
    """

    prepared: Path
    path: Path
    wanted: Calibration
    feeds: Arrays
    products_only: bool
    symmetric: bool

    def quantise(self, scheme: Scheme) -> None:
        """Write the graph, its ranges taken anew."""
        with needs_extra("ort"):
            from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

        methods = {
            "minmax": CalibrationMethod.MinMax,
            "entropy": CalibrationMethod.Entropy,
            "percentile": CalibrationMethod.Percentile,
        }
        symmetric = {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False}
        _quietly(
            lambda: quantize_static(
                str(self.prepared),
                str(self.path),
                Reader(self.feeds),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv", "MatMul", "Gemm", "Gather"] if self.products_only else None,
                per_channel=True,
                reduce_range=scheme.reduced,
                activation_type=QuantType.QInt8 if scheme.activations_signed else QuantType.QUInt8,
                weight_type=QuantType.QInt8 if scheme.weights_signed else QuantType.QUInt8,
                calibrate_method=methods[self.wanted.method],
                extra_options=symmetric if self.symmetric else {},
            )
        )


def _static(job: _Static, spec: ExportSpec, reference: Path) -> tuple[str, dict[str, float]]:
    """Rules 2 to 4: the scheme that was taken, and the error of each that was tried."""
    names: list[str]
    if job.symmetric or spec.scheme != "auto":
        names = ["s8s8" if job.symmetric else spec.scheme]
    else:
        names = ["u8s8"] if has_int8_dot(isa_flags()) else ["u8s8-reduced", "u8u8"]
    tried: dict[str, float] = {}
    for name in names:
        job.quantise(SCHEMES[name])
        tried[name] = _error(reference, job.path, job.feeds)
    best = min(tried, key=tried.__getitem__)
    if best != names[-1]:
        job.quantise(SCHEMES[best])
    return best, tried


def _error(reference: Path, path: Path, feeds: Arrays) -> float:
    """Largest difference of any output from the canonical graph's, on calibration samples."""
    first = next(batches(feeds, _TRIED_SAMPLES))
    with closing(open_runtime(reference)) as one:
        expected = one.run(first)
    with closing(open_runtime(path)) as other:
        found = other.run(first)
    return max(gap(expected[name], found[name]) for name in expected)


def _quietly(step: Callable[[], object]) -> None:
    """Run a step of onnxruntime.quantization, whose warnings (types guessed, opset) are no news here."""
    import logging

    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            step()
    finally:
        root.setLevel(level)


def _versions() -> dict[str, str]:
    return {"onnxruntime": version("onnxruntime"), "onnx": version("onnx")}
