"""What OpenVINO's compiled model says of the number types that it computes in."""

from typing import Any

from compactor_runtimes.measure.operators import MOVERS

_NO_TYPE = ("undef", "dynamic", "unspecified")


def runtime_precisions(compiled: Any, *, computing: bool = False) -> dict[str, str]:
    """Name of an operator of the compiled model -> the number type in which it computes, "" if unsaid.

    `computing` leaves out what only moves data.
    """
    found = {}
    for node in compiled.get_runtime_model().get_ordered_ops():
        told = node.get_rt_info()
        if computing and ("layerType" not in told or str(told["layerType"].value) in MOVERS):
            continue
        precision = str(told["runtimePrecision"].value) if "runtimePrecision" in told else ""
        found[node.friendly_name] = _said(precision)
    return found


def _said(precision: str) -> str:
    """As ONNX Runtime's are said: 8 bits are `i8`, signed or not."""
    if precision in _NO_TYPE:
        return ""
    return "i8" if precision == "u8" else precision
