"""A table of what each kind of label store takes and loses, from the runs of the label store suite."""

from typing import Any


def table(content: dict[str, Any]) -> str:
    """Bytes of a crop (all files over crops) and KL(teachers' mean || label as it is read), in nats."""
    result = next(run["result"] for run in content["runs"] if run["settings"]["subject"] == "size")
    by_kind: dict[tuple[str, int, str], dict[str, dict[str, Any]]] = {}
    for row in result["rows"]:
        kind = (row["quantization"], row["k"], row["probabilities"])
        by_kind.setdefault(kind, {})[row["boxes"]] = row
    lines = [
        f"What a record takes and loses, {result['records']:,} crops of CIFAR-10 (10 classes, uint8 ids):",
        "",
        "| labels | k | probabilities | bytes, int16 boxes | bytes, float32 boxes | mean KL | largest KL |",
        "|---|---|---|---|---|---|---|",
    ]
    for (quantization, k, probabilities), sizes in by_kind.items():
        row = sizes.get("pixels") or sizes["relative"]
        size = {
            name: f"{sizes[name]['bytes_per_crop']:.1f}" if name in sizes else ""
            for name in ("pixels", "relative")
        }
        lines.append(
            f"| {quantization} | {k if quantization.startswith('marginal') else ''} "
            f"| {'none' if quantization == 'hard' else probabilities} "
            f"| {size['pixels']} | {size['relative']} "
            f"| {_mean(row)} | {_largest(row)} |"
        )
    return "\n".join(lines) + "\n"


def _mean(row: dict[str, Any]) -> str:
    if "kl_mean" not in row:
        return "0"
    return "infinite" if row["kl_infinite"] else f"{row['kl_mean']:.2g}"


def _largest(row: dict[str, Any]) -> str:
    if "kl_max" not in row:
        return "0"
    return f"infinite ({row['kl_infinite']:,} crops)" if row["kl_infinite"] else f"{row['kl_max']:.2g}"
