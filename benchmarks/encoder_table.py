"""The table of the encoder suite's arms, with what is published of BERT, for README.md and RESULTS.md."""

from typing import Any

SETS = ("snips", "atis", "hwu64")
ARMS = {
    "teacher": "MiniLM-L6, fine-tuned: the teacher",
    "teacher_off": "MiniLM-L6, without pretraining on requests",
    "student": "4x256, all stages distilled",
    "task": "4x256, labels distilled, hidden tokens alone",
    "nodistill": "4x256, no teacher",
    "tiny": "2x128, all stages distilled",
    "tiny_task": "2x128, labels distilled, hidden tokens alone",
    "tiny_nodistill": "2x128, no teacher",
}
# JointBERT's README (monologg): intent accuracy, slot F1, exact match
PUBLISHED = {
    "snips": {"BERT-base, published": (99.14, 96.90, 93.00), "DistilBERT, published": (98.00, 96.10, 91.00)},
    "atis": {"BERT-base, published": (97.87, 95.59, 88.24), "DistilBERT, published": (97.76, 95.50, 87.68)},
}
SCORES = ("intent", "slot_f1", "exact")


def table(runs: list[dict[str, Any]]) -> str:
    """Render Markdown: one line an arm; errors also as the paper gives them, relative to the teacher's."""
    from benchmarks.encoder_figures import figures

    found = figures(runs)
    lines = [
        "| data | model | intent accuracy | slot F1 | exact match | intent error | slot error |",
        "|" + "---|" * 7,
    ]
    for dataset in SETS:
        arms = [arm for arm in ARMS if f"{dataset}_{arm}_intent" in found]
        for number, arm in enumerate(arms):
            each = [found[f"{dataset}_{arm}_{score}"] for score in SCORES]
            seeds = sum(
                run["settings"].get("dataset") == dataset and run["settings"].get("arm") == arm
                for run in runs
            )
            errors = [
                _change(one.value, found, f"{dataset}_teacher_{what}")
                for one, what in zip(each, SCORES[:2], strict=False)
            ]
            lines.append(
                _line(
                    f"{dataset}, n {each[0].n:,}" if number == 0 else "",
                    ARMS[arm] + (f" ({seeds} seeds)" if seeds > 1 else ""),
                    *(f"{100 * one.value:.1f} ({100 * one.low:.1f} to {100 * one.high:.1f})" for one in each),
                    *(["", ""] if arm == "teacher" else errors),
                )
            )
        for name, scores in PUBLISHED.get(dataset, {}).items() if arms else ():
            lines.append(_line("", name, *(f"{score:.1f}" for score in scores), "", ""))
    return "\n".join(lines) + "\n"


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _change(score: float, found: dict[str, Any], teacher: str) -> str:
    return f"{100 * ((1 - score) / (1 - found[teacher].value) - 1):+.0f}%" if teacher in found else ""
