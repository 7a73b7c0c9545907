"""The table of every model's variants, for the pages that quote results."""

from typing import Any

from benchmarks import markdown

RANDOM = "random weights"  # the metric of a model that has no trained ones
HEADINGS = ("model", "variant", "size", "compute", "agreement", "metric", "verdict")


def table(content: dict[str, Any]) -> str:
    """Render Markdown: one line a variant; what random weights cannot tell is n/a."""
    rows = []
    for run in content["runs"]:
        if run["settings"]["part"] != "variants":
            continue
        found = run["result"]
        for number, one in enumerate(found["variants"]):
            name = f"{found['title']}, {found['metric']}" if number == 0 else ""
            verdict = "**ship**" if one["name"] == found["shipped"] else one["status"]
            cells = (
                *(name, one["name"], _bytes(one["size_bytes"]), _time(one)),
                *(_share(one["agreement"], one["agreement_n"]), _share(one["value"], one["value_n"])),
                f"{verdict}: {one['reason']}" if one["reason"] else verdict,
            )
            rows.append([cell.replace("|", "\\|") for cell in cells])
    return markdown.table(HEADINGS, rows)


def _bytes(size: int | None) -> str:
    if not size:
        return "-"
    return f"{size / 1e6:.2f} MB" if size < 1e7 else f"{size / 1e6:.1f} MB"


def _time(one: dict[str, Any]) -> str:
    if one["compute_ns"] is None:
        return "-"
    shown = (
        f"{one['compute_ns'] / 1e6:.3g} ms"
        if one["compute_ns"] >= 1e6
        else f"{one['compute_ns'] / 1e3:.3g} µs"
    )
    return f"{shown}, n {one['n']:,}{'' if one['valid'] else ' INVALID'}"


def _share(value: float | None, n: int | None) -> str:
    return "n/a" if value is None else f"{100 * value:.2f}, n {n:,}"
