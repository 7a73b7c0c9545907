"""The table of the encoder suite's arms, with what is published of BERT, for the pages that quote results."""

from collections import Counter
from typing import Any

from benchmarks import markdown
from benchmarks.encoder_figures import WHAT

HEADINGS = ("data", "model", "intent accuracy", "slot F1", "exact match", "intent error", "slot error")
SCORES = ("intent", "slot_f1", "exact")


def table(content: dict[str, Any]) -> str:
    """Render Markdown: one line an arm; errors also as the paper gives them, relative to the teacher's."""
    figures = content["figures"]
    trained = [run["settings"] for run in content["runs"] if run["settings"]["part"] == "train"]
    seeds = Counter((one["dataset"], one["arm"]) for one in trained)
    rows: list[tuple[str, ...]] = []
    for dataset in dict.fromkeys(one["dataset"] for one in trained):
        for arm in (arm for arm in WHAT if (dataset, arm) in seeds):
            scores = [figures[f"{dataset}_{arm}_{score}"] for score in SCORES]
            count = seeds[dataset, arm]
            rows.append(
                (
                    f"{dataset}, n {scores[0]['n']:,}",
                    WHAT[arm] + (f" ({count} seeds)" if count > 1 else ""),
                    *(_interval(one) for one in scores),
                    *(_change(figures, dataset, arm, score) for score in SCORES[:2]),
                )
            )
        for name, published in content["settings"]["published"].get(dataset, {}).items():
            cells = (f"{score:.1f}" for score in published)
            rows.append((dataset, f"{name}, published", *cells, "", ""))
    return markdown.table(HEADINGS, rows)


def _interval(figure: dict[str, Any]) -> str:
    value, low, high = (100 * figure[key] for key in ("value", "low", "high"))
    return f"{value:.1f} ({low:.1f} to {high:.1f})"


def _change(figures: dict[str, Any], dataset: str, arm: str, score: str) -> str:
    """Relative change of an error against the teacher's; empty for the teacher, or where it has not run."""
    teacher = figures.get(f"{dataset}_teacher_{score}")
    if arm == "teacher" or teacher is None:
        return ""
    return f"{100 * ((1 - figures[f'{dataset}_{arm}_{score}']['value']) / (1 - teacher['value']) - 1):+.0f}%"
