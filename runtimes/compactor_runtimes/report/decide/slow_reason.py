"""Why an 8-bit artifact may be slower than fp32 on a machine: from what was recorded when it was made."""

from compactor_runtimes.bundle.manifest import Artifact
from compactor_runtimes.environment import has_int8_dot


def slow_reason(artifact: Artifact) -> str:
    """Say what speaks against speed, or nothing: "no VNNI on this CPU, 14 QDQ pairs not fused"."""
    if artifact.spec.precision != "int8":
        note = artifact.made.get("note", "")
        return str(note)
    reasons = []
    if artifact.isa and not has_int8_dot(artifact.isa):
        reasons.append("no 8-bit dot products (VNNI) on this CPU")
    placed = artifact.made.get("placement", {})
    pairs = placed.get("unfused_pairs")
    if pairs and artifact.spec.quantization == "static":  # the other kind has no pairs to fuse
        reasons.append(f"{pairs} QDQ {'pair' if pairs == 1 else 'pairs'} not fused")
    if placed.get("float_ops"):
        total = placed["float_ops"] + placed.get("int8_ops", 0)
        reasons.append(f"{placed['float_ops']} of {total} products in float")
    if artifact.spec.quantization == "dynamic":
        reasons.append("ranges are computed at every run")
    return ", ".join(reasons)
