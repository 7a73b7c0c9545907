"""What number types a graph's weights really have: asked for fp16 and got fp32 must not go unnoticed."""

from collections import Counter
from pathlib import Path

from compactor_runtimes.bundle.manifest import Check
from compactor_runtimes.errors import needs_extra

# Types that count as the precision; such a graph also keeps biases, scales and some layers in fp32.
_TYPES = {"fp32": {"float32"}, "fp16": {"float16"}, "int8": {"int8", "uint8"}}
_LEAST_SHARE = 0.5

PRECISION_CHECK = "precision"


def weight_bytes(path: Path) -> dict[str, int]:
    """Bytes of a graph's constants by number type, sub-graphs included."""
    with needs_extra("export"):
        import onnx

    from compactor_exporters.graph.checks import constants

    found: Counter[str] = Counter()
    for _, values in constants(onnx.load(path).graph):
        found[values.dtype.name] += values.nbytes
    return dict(found)


def judge_precision(path: Path, precision: str) -> Check:
    """Check that at least half of the weights, by number, are of the precision that was asked for."""
    import numpy as np

    counts = {
        name: size // np.dtype(name).itemsize
        for name, size in weight_bytes(path).items()
        if name in set().union(*_TYPES.values())
    }
    held = sum(count for name, count in counts.items() if name in _TYPES[precision])
    share = held / max(sum(counts.values()), 1)
    listed = ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items())) or "none"
    return Check(
        name=PRECISION_CHECK,
        passed=share >= _LEAST_SHARE,
        value=share,
        limit=_LEAST_SHARE,
        detail=f"asked for {precision}, weights found: {listed}",
    )
