"""8-bit copies of the canonical graph, made by onnxruntime.quantization.

1. `dynamic`: weights in 8 bits, ranges of activations found at every run; no data needed. `fused` starts from
   the copy with ONNX Runtime's own operators; its attention gives up the projections (`attention.py`).
2. `static`: ranges come from real samples (QDQ format); random ones are refused, digests are kept.
3. Which number types are tried depends on the CPU (`scheme.py`); the nearest to fp32 is taken.
4. For TensorRT: symmetric, signed, biases in float, as its parser wants it; not run on a CPU.
"""

import io
import tempfile
import warnings
from collections.abc import Callable
from contextlib import closing, redirect_stdout
from importlib.metadata import version
from pathlib import Path
from typing import Any

from compactor_exporters.graph.checks import check_ports
from compactor_exporters.idle_settings import refuse_idle
from compactor_exporters.int8.attention import split_attention
from compactor_exporters.int8.calibration import (
    Reader,
    calibration_feeds,
    sample_digests,
    without_common_padding,
)
from compactor_exporters.int8.scheme import SCHEMES, Scheme, dynamic_candidates, static_candidates
from compactor_exporters.onnx_fp32 import canonical_graph
from compactor_exporters.onnx_fused import fused_graph
from compactor_exporters.ort_view import int8_placement
from compactor_exporters.source import ExportSource
from compactor_exporters.verify.findings import Arrays, gap
from compactor_exporters.verify.samples import batches
from compactor_exporters.verify.text_samples import TextPorts, text_ports
from compactor_exporters.workspace import Workspace
from compactor_runtimes.backends import open_runtime
from compactor_runtimes.bundle.manifest import Artifact, Calibration, ExportSpec
from compactor_runtimes.bundle.open import file_entry
from compactor_runtimes.environment import isa_flags
from compactor_runtimes.errors import IntegrityError, UnfitEnvironmentError, needs_extra
from compactor_runtimes.files import writing

NOT_RUN = "symmetric int8 for TensorRT: not run here, no NVIDIA GPU"
_TRIED_SAMPLES = 64


def can_export(spec: ExportSpec) -> str | None:
    """Name what has no effect, or cannot be, in this kind of int8; None when there is nothing."""
    if spec.quantization == "dynamic":
        if spec.target != "ort-cpu":
            return (
                f"{spec.kind} is for ONNX Runtime alone; ask for quantization static for target {spec.target}"
            )
        if spec.scheme == "s8s8":
            return f"{spec.kind}: activations are always unsigned there; ask for u8s8, u8s8-reduced or u8u8"
        return refuse_idle(spec, "calibration", "gpus")
    if _for_tensorrt(spec) and spec.scheme not in ("auto", "s8s8"):
        return f"{spec.kind} for {spec.target} is s8s8, got scheme {spec.scheme}; remove it"
    return refuse_idle(spec, "gpus")


def export(source: ExportSource, spec: ExportSpec, workspace: Workspace) -> Artifact:
    """Write `<spec.name>.onnx` into the workspace.

    Returns:
        The artifact, to be verified; for TensorRT with the reason why it is not run.

    Raises:
        UsageError: static quantisation without real samples.
        UnfitEnvironmentError: nothing in the graph can be quantised, or not in this way.
        NumericGateError: quantisation froze an axis.
    """
    with needs_extra("export"):
        import onnx

    parent = fused_graph(source, workspace) if spec.fused else canonical_graph(source, workspace)
    folder = workspace.folder
    path = folder / f"{spec.name}.onnx"
    made: dict[str, Any] = {"from": "fp32-fused" if spec.fused else "fp32", "versions": _versions()}
    model = onnx.load(parent)
    operators = {node.op_type for node in model.graph.node}
    with tempfile.TemporaryDirectory() as scratch:
        prepared = Path(scratch) / "prepared.onnx"
        if spec.fused:
            made["attention_split"] = split_attention(model)
            with writing(prepared):
                onnx.save_model(model, prepared)
        else:
            _fold(parent, prepared, source)
        if spec.quantization == "dynamic":
            made |= _dynamic(source, spec, parent, prepared, path, has_conv="Conv" in operators)
        else:
            made |= _static(source, spec, parent, prepared, path, products_only="Softmax" in operators)
    if SCHEMES[made["scheme"]].saturates:
        made["saturates_without"] = "vnni"
    model = onnx.load(path)
    if not any("Quantize" in node.op_type or "Integer" in node.op_type for node in model.graph.node):
        raise UnfitEnvironmentError(
            f"export of {source.name!r} as {spec.name}: none of its operators can be quantised; ship fp32"
        )
    check_ports(model, source)
    _check_loads(path, source, made["scheme"])
    made["placement"] = int8_placement(path)
    return Artifact(
        name=spec.name,
        spec=spec,
        files=[file_entry(folder, path.name)],
        status="not-run",
        reason=NOT_RUN if _for_tensorrt(spec) else "",
        made=made,
    )


def _for_tensorrt(spec: ExportSpec) -> bool:
    return spec.target in ("trt", "trt-rtx")


def _fold(parent: Path, prepared: Path, source: ExportSource) -> None:
    """Fold BatchNorm and constants, so that ranges are taken of what is really computed."""
    with needs_extra("ort"):
        from onnxruntime.quantization.shape_inference import quant_pre_process

    _quietly(
        lambda: quant_pre_process(str(parent), str(prepared), skip_symbolic_shape=True), source, prepared
    )


def _dynamic(
    source: ExportSource, spec: ExportSpec, parent: Path, prepared: Path, path: Path, *, has_conv: bool
) -> dict[str, Any]:
    """Rule 1. Products share one scale with convolutions, which know no scale per channel there."""
    with needs_extra("ort"):
        from onnxruntime.quantization import QuantType, quantize_dynamic

    def quantise(scheme: Scheme) -> None:
        _quietly(
            lambda: quantize_dynamic(
                str(prepared),
                str(path),
                per_channel=not has_conv,
                reduce_range=scheme.reduced,
                weight_type=QuantType.QInt8 if scheme.weights_signed else QuantType.QUInt8,
                extra_options={"MatMulConstBOnly": True},
            ),
            source,
            path,
        )

    has_samples = source.calibration is not None
    names = dynamic_candidates(spec, isa_flags(), has_conv=has_conv, has_samples=has_samples)
    if len(names) == 1:
        quantise(SCHEMES[names[0]])
        return {"scheme": names[0]}
    feeds = calibration_feeds(source, Calibration(samples=_TRIED_SAMPLES))
    return _nearest(names, quantise, parent, path, feeds, text_ports(source))


def _static(
    source: ExportSource, spec: ExportSpec, parent: Path, prepared: Path, path: Path, *, products_only: bool
) -> dict[str, Any]:
    """Rules 2 and 4.

    With `products_only`, matrix products and embeddings alone are quantised: the mask that attention adds is
    as large as a number can be, and takes the whole range of the sum it enters.
    """
    with needs_extra("ort"):
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    methods = {
        "minmax": CalibrationMethod.MinMax,
        "entropy": CalibrationMethod.Entropy,
        "percentile": CalibrationMethod.Percentile,
    }
    wanted = spec.calibration or Calibration()
    feeds, texts = calibration_feeds(source, wanted), text_ports(source)
    options: dict[str, Any] = {"CalibStridedMinMax": 1}  # batch by batch, whatever the method; see Reader
    if _for_tensorrt(spec):
        options |= {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False}

    def quantise(scheme: Scheme) -> None:
        _quietly(
            lambda: quantize_static(
                str(prepared),
                str(path),
                Reader(feeds, texts),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv", "MatMul", "Gemm", "Gather"] if products_only else None,
                per_channel=True,
                reduce_range=scheme.reduced,
                activation_type=QuantType.QInt8 if scheme.activations_signed else QuantType.QUInt8,
                weight_type=QuantType.QInt8 if scheme.weights_signed else QuantType.QUInt8,
                calibrate_method=methods[wanted.method],
                extra_options=options,
            ),
            source,
            path,
        )

    taken = _nearest(static_candidates(spec, isa_flags()), quantise, parent, path, feeds, texts)
    return {
        "calibration": {"split": wanted.split, "method": wanted.method, **sample_digests(feeds)},
        **taken,
    }


def _nearest(
    names: list[str],
    quantise: Callable[[Scheme], None],
    reference: Path,
    path: Path,
    feeds: Arrays,
    texts: TextPorts | None,
) -> dict[str, Any]:
    """Rule 3: leave the graph of the best scheme in `path`; the error of each that was tried."""
    few = without_common_padding(next(batches(feeds, _TRIED_SAMPLES)), texts)
    with closing(open_runtime("ort-cpu", reference)) as one:
        expected = one.run(few)
    tried: dict[str, float] = {}
    for name in names:
        quantise(SCHEMES[name])
        with closing(open_runtime("ort-cpu", path)) as other:
            found = other.run(few)
        tried[name] = max(gap(expected[output], found[output]) for output in expected)
    best = min(tried, key=tried.__getitem__)
    if best != names[-1]:
        quantise(SCHEMES[best])
    return {"scheme": best, "tried": tried}


def _check_loads(path: Path, source: ExportSource, scheme: str) -> None:
    """A kernel that this ONNX Runtime does not have (signed weights of ConvInteger) is refused here."""
    try:
        open_runtime("ort-cpu", path).close()
    except IntegrityError as error:
        raise UnfitEnvironmentError(
            f"export of {source.name!r}: ONNX Runtime cannot load its own int8 graph of scheme {scheme} "
            f"({error}); ask for another scheme, or for quantization static"
        ) from error


def _quietly(step: Callable[[], object], source: ExportSource, path: Path) -> None:
    """Run a step of onnxruntime.quantization that writes `path`; its prints and warnings are no news here.

    Raises:
        UnfitEnvironmentError: it refuses the graph.
    """
    import logging

    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with writing(path), warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            step()
    except ValueError as error:  # its class for everything that it cannot do
        first_line = str(error).strip().partition("\n")[0]
        raise UnfitEnvironmentError(
            f"export of {source.name!r}: onnxruntime.quantization refuses the graph ({first_line}); "
            "ask for another quantization or calibration method, or ship fp32"
        ) from error
    finally:
        root.setLevel(level)


def _versions() -> dict[str, str]:
    return {"onnxruntime": version("onnxruntime"), "onnx": version("onnx")}
