"""Number types of int8: what each scheme is, and which are worth trying where the graph will run.

A CPU without 8-bit dot products (VNNI, AMX, dotprod) adds two products of 8 bits in 16 bits, which saturates
when weights are signed and use all 8 bits. Weights of 7 bits, or unsigned ones, do not.
"""

from typing import NamedTuple

from compactor_runtimes.bundle.manifest import ExportSpec
from compactor_runtimes.environment import has_int8_dot

SAFE = ["u8s8-reduced", "u8u8"]


class Scheme(NamedTuple):
    """Number types: whether activations and weights are signed, and whether weights keep to 7 bits."""

    activations_signed: bool
    weights_signed: bool
    reduced: bool = False

    @property
    def saturates(self) -> bool:
        """Whether sums are wrong on a CPU without 8-bit dot products."""
        return self.weights_signed and not self.reduced


SCHEMES = {
    "u8s8": Scheme(False, True),
    "u8s8-reduced": Scheme(False, True, reduced=True),
    "u8u8": Scheme(False, False),
    "s8s8": Scheme(True, True),
}


def static_candidates(spec: ExportSpec, isa: list[str]) -> list[str]:
    """Schemes to try, the nearest to fp32 to be taken; `isa` is of the CPU at hand.

    TensorRT takes s8s8 alone. A web page runs on CPUs of all kinds, so what is exact on each is tried.
    """
    if spec.target in ("trt", "trt-rtx"):
        return ["s8s8"]
    if spec.scheme != "auto":
        return [spec.scheme]
    return ["u8s8"] if has_int8_dot(isa) and spec.target != "web" else SAFE


def dynamic_candidates(spec: ExportSpec, isa: list[str], *, has_conv: bool, has_samples: bool) -> list[str]:
    """Likewise; the first of `SAFE` where there are no samples to compare on.

    The ConvInteger of ONNX Runtime takes signed weights since lately only: u8u8 runs on every release.
    """
    if spec.scheme != "auto":
        return [spec.scheme]
    if has_conv:
        return ["u8u8"]
    if has_int8_dot(isa):
        return ["u8s8"]
    return SAFE if has_samples else SAFE[:1]
