"""Bundles and inputs from outside, and what embedding costs beside the same by hand.

Timed parts need the machine for themselves.
"""

from statistics import median
from typing import Any

from benchmarks.figures import Figure, Run, spread
from benchmarks.workers import worker_result

NAME = "embed"
COMMAND = "python -m benchmarks.run embed"
WORKER = "benchmarks.embed_worker"
BUNDLES, INPUTS, PARTS = 6000, 12_000, 4
PREDICT = ("compactor_runtimes.predict.loading", "compactor_runtimes.backends.ort")
FUZZ = (
    *PREDICT,
    "compactor_runtimes.golden.verify",
    "benchmarks.fuzz",
    "benchmarks.fuzz_child",
    "benchmarks.fuzz_bundles",
    "benchmarks.fuzz_inputs",
)
COMPUTES = {
    "fuzz_bundles": FUZZ,
    "fuzz_inputs": FUZZ,
    "digits": (*PREDICT, WORKER),
    "photo": (*PREDICT, WORKER),
    "text": (*PREDICT, WORKER),
    "starts": (*PREDICT, WORKER),
}
TIMED = ("digits", "photo", "text", "starts")
SETTINGS = {
    "bundles": f"{BUNDLES:,} seeds, every second with new digests, six whole bundles",
    "inputs": f"{INPUTS:,} seeds",
    "predict": "one thread, five rounds of 300 pairs in one process, three processes",
    "starts": "fresh processes in turn, five each, one thread, MiniLM, float32",
}
RATIOS = {"digits": "<= 1.5", "photo": "<= 1.05", "text": "<= 1.3"}


def plan(runs: list[Run]) -> list[dict[str, Any]]:
    """Fuzz first: it needs no quiet machine."""
    todo: list[dict[str, Any]] = []
    for part in range(PARTS):
        todo += [{"subject": "fuzz_bundles", "part": part}, {"subject": "fuzz_inputs", "part": part}]
    for block in range(3):
        todo += [{"subject": subject, "block": block} for subject in (*RATIOS, "starts")]
    return todo


def arm(settings: dict[str, Any]) -> str:
    """Name the group of a subject."""
    return str(settings["subject"])


def execute(settings: dict[str, Any]) -> dict[str, Any]:
    """Run a part of the fuzz, or one subject in a fresh process."""
    subject = settings["subject"]
    if subject in TIMED:
        return worker_result(WORKER, subject)
    from benchmarks.fuzz import fuzz

    kind, total = ("bundles", BUNDLES) if subject == "fuzz_bundles" else ("inputs", INPUTS)
    count = total // PARTS
    return fuzz(kind, settings["part"] * count, count)  # type: ignore[arg-type]


def figures(runs: list[Run]) -> dict[str, Figure]:
    """Counts of the fuzz, and ratios to the same path by hand."""
    by: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        by.setdefault(run["settings"]["subject"], []).append(run["result"])
    return _of_fuzz(by) | _of_predict(by) | _of_starts(by.get("starts", []))


def _of_fuzz(by: dict[str, list[dict[str, Any]]]) -> dict[str, Figure]:
    told: dict[str, Figure] = {}
    arms = tuple(name for name in ("fuzz_bundles", "fuzz_inputs") if name in by)
    for name in arms:
        cases = sum(one["cases"] for one in by[name])
        told[name] = _count(cases, cases, f"cases tried: {name.partition('_')[2]}", "", (name,))
    if not arms:
        return told
    parts = [one for name in arms for one in by[name]]
    cases = sum(one["cases"] for one in parts)
    for key, outcomes, about in (
        ("untyped", ("untyped", "untidy"), "errors of another family, or of more than a line"),
        ("hangs", ("hang", "died"), "cases that did not end in 20 s, or ended the process"),
        ("accepted_wrong", ("accepted_wrong",), "wrong answers without a word, of load and of verify"),
    ):
        found = sum(one["outcomes"].get(outcome, 0) for one in parts for outcome in outcomes)
        told[f"fuzz_{key}"] = _count(found, cases, about, "0", arms)
    if "fuzz_inputs" in by:
        largest = max(one["largest_bytes"] for one in by["fuzz_inputs"]) / 1e6
        about = "largest growth of memory by one hostile input, default limits"
        told["fuzz_input_mb"] = Figure(
            largest, "MB", cases, largest, largest, about, "<= 300", ("fuzz_inputs",)
        )
    return told


def _of_predict(by: dict[str, list[dict[str, Any]]]) -> dict[str, Figure]:
    told: dict[str, Figure] = {}
    for name, goal in RATIOS.items():
        if name in by:
            hand = median(one["hand_us"] for one in by[name])
            about = f"predict() over decode or tokenise, numpy and session.run by hand ({hand:.4g} us)"
            ratios = [ratio for one in by[name] for ratio in one["ratios"]]
            told[f"predict_ratio_{name}"] = spread(ratios, "", f"{name}: {about}", goal, (name,))
    if "digits" in by:
        overheads = [value for one in by["digits"] for value in one["overhead_us"]]
        about = "predict() beside the same by hand, digits"
        told["predict_overhead_us"] = spread(overheads, "us", about, "", ("digits",))
    return told


def _of_starts(blocks: list[dict[str, Any]]) -> dict[str, Figure]:
    if not blocks:
        return {}

    def each(key: str, name: str) -> list[float]:
        return [median(one[key][name]) for one in blocks]

    pairs = list(zip(each("seconds", "ours"), each("seconds", "floor"), strict=True))
    peers = list(zip(each("seconds", "ours"), each("seconds", "transformers"), strict=True))
    rss = list(zip(each("rss", "ours"), each("rss", "floor"), strict=True))
    light = list(zip(each("rss", "ours"), each("rss", "transformers"), strict=True))
    return {
        "cold_start_over_floor_s": spread(
            [ours - floor for ours, floor in pairs],
            "s",
            "process that loads MiniLM and answers once, above ONNX Runtime, tokenizers and SHA-256 alone",
            "<= 0.10",
            ("starts",),
        ),
        "cold_start_s": spread(
            [ours for ours, _ in pairs], "s", "that process, start to end", "", ("starts",)
        ),
        "rss_ratio_raw": spread(
            [ours / raw for ours, raw in rss],
            "",
            "memory of that process over the other's",
            "<= 1.15",
            ("starts",),
        ),
        "cold_start_speedup_vs_transformers": spread(
            [peer / ours for ours, peer in peers],
            "",
            "time of transformers.pipeline on the same MiniLM over ours, start to end",
            "",
            ("starts",),
        ),
        "rss_ratio_transformers": spread(
            [peer / ours for ours, peer in light],
            "",
            "memory of transformers.pipeline over ours",
            "",
            ("starts",),
        ),
    }


def _count(value: int, n: int, about: str, goal: str, arms: tuple[str, ...]) -> Figure:
    return Figure(value, "", n, value, value, about, goal, arms)
