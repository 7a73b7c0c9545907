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
HTTP = "benchmarks.http_worker"
OTHERS = "benchmarks.embed_others"
BUNDLES, INPUTS, PARTS = 6000, 12_000, 4
PREDICT = ("compactor_runtimes.predict.loading", "compactor_runtimes.backends.ort")
SERVE = (
    *PREDICT,
    "compactor_runtimes.server.run",
    HTTP,
    "benchmarks.http_load",
    "benchmarks.peers.null_handler",
)
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
    "http_digits": SERVE,
    "http_text": SERVE,
    "hostile": SERVE,
    "web": ("compactor_exporters.deploy.web", OTHERS),
    "clients": ("compactor_runtimes.server.run", OTHERS),
}
TIMED = ("digits", "photo", "text", "starts", "http_digits", "http_text", "hostile")
# subject -> the worker that runs it, and what it is called there
WORKERS = {
    **{name: (WORKER, name) for name in ("digits", "photo", "text", "starts")},
    "http_digits": (HTTP, "digits"),
    "http_text": (HTTP, "text"),
    "hostile": (HTTP, "hostile"),
    "web": (OTHERS, "web"),
    "clients": (OTHERS, "clients"),
}
SETTINGS = {
    "bundles": f"{BUNDLES:,} seeds, every second with new digests, six whole bundles",
    "inputs": f"{INPUTS:,} seeds",
    "predict": "one thread, five rounds of 300 pairs in one process, three processes",
    "starts": "fresh processes in turn, three each, one thread, MiniLM, float32",
    "http": "32 clients on kept connections, three times 20 s, server and clients on the same cores",
}
PEERS = {"transformers": "transformers.pipeline", "optimum": "optimum's ORTModel"}
RATIOS = {"digits": "<= 1.5", "photo": "<= 1.05", "text": "<= 1.3"}


def plan(runs: list[Run]) -> list[dict[str, Any]]:
    """Fuzz first: it needs no quiet machine."""
    todo: list[dict[str, Any]] = []
    for part in range(PARTS):
        todo += [{"subject": "fuzz_bundles", "part": part}, {"subject": "fuzz_inputs", "part": part}]
    for block in range(3):
        todo += [{"subject": subject, "block": block} for subject in (*RATIOS, "starts")]
    once = ("http_digits", "http_text", "hostile", "web", "clients")
    return [*todo, *({"subject": subject} for subject in once)]


def arm(settings: dict[str, Any]) -> str:
    """Name the group of a subject."""
    return str(settings["subject"])


def execute(settings: dict[str, Any]) -> dict[str, Any]:
    """Run a part of the fuzz, or one subject in a fresh process."""
    subject = settings["subject"]
    if subject in WORKERS:
        return worker_result(*WORKERS[subject])
    from benchmarks.fuzz import fuzz

    kind, total = ("bundles", BUNDLES) if subject == "fuzz_bundles" else ("inputs", INPUTS)
    count = total // PARTS
    return fuzz(kind, settings["part"] * count, count)  # type: ignore[arg-type]


def figures(runs: list[Run]) -> dict[str, Figure]:
    """Counts of the fuzz, and ratios to the same path by hand."""
    by: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        by.setdefault(run["settings"]["subject"], []).append(run["result"])
    return _of_fuzz(by) | _of_predict(by) | _of_starts(by.get("starts", [])) | _of_http(by) | _of_others(by)


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

    def over_ours(key: str, name: str, about: str) -> Figure:
        ratios = [peer / ours for ours, peer in zip(each(key, "ours"), each(key, name), strict=True)]
        return spread(ratios, "", about, "", ("starts",))

    pairs = list(zip(each("seconds", "ours"), each("seconds", "floor"), strict=True))
    rss = list(zip(each("rss", "ours"), each("rss", "floor"), strict=True))
    told = {
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
    }
    for name, called in PEERS.items():
        if all(name in one["seconds"] for one in blocks):
            about = f"time of {called} on the same MiniLM over ours, start to end"
            told[f"cold_start_speedup_vs_{name}"] = over_ours("seconds", name, about)
            told[f"rss_ratio_{name}"] = over_ours("rss", name, f"memory of {called} over ours")
    return told


def _of_http(by: dict[str, list[dict[str, Any]]]) -> dict[str, Figure]:
    told: dict[str, Figure] = {}
    for name, key in (("http_digits", "http_throughput_ratio"), ("http_text", "http_throughput_ratio_text")):
        for one in by.get(name, []):
            ratios = [
                each["per_s"] * (1 / each["offline_per_s"] + 1 / each["null_per_s"]) for each in one["rounds"]
            ]
            rate = median(each["per_s"] for each in one["rounds"])
            about = f"{name[5:]}: requests/s ({rate:,.0f}) over 1 / (1 / offline + 1 / null handler)"
            told[key] = spread(ratios, "", about, ">= 0.8", (name,))
    for one in by.get("http_digits", []):
        about = "digits: time of a request of 32 clients, p99"
        value = one["p99_ms"]
        told["http_p99_ms"] = Figure(value, "ms", one["n"], value, value, about, "", ("http_digits",))
    for one in by.get("hostile", []):
        about = (
            "failed requests of 32 good clients beside some that leave, send garbage or 100 MB, or trickle"
        )
        told["http_errors"] = _count(one["errors"], one["n"], about, "0", ("hostile",))
        grown = one["rss_grown_bytes"] / 1e6
        about = "growth of the server's memory meanwhile"
        told["http_memory_mb"] = Figure(grown, "MB", one["n"], grown, grown, about, "", ("hostile",))
    return told


def _of_others(by: dict[str, list[dict[str, Any]]]) -> dict[str, Figure]:
    told: dict[str, Figure] = {}
    for one in by.get("web", []):
        worst = max(float(kind["difference"]) for kind in one.values())
        cases = sum(int(kind["cases"]) for kind in one.values())
        about = "largest difference of logits of golden cases in headless Chromium"
        told["web_max_abs_diff"] = Figure(worst, "", cases, worst, worst, about, "<= 1e-4", ("web",))
    for one in by.get("clients", []):
        about = "NVIDIA's HTTP client with its defaults gets the right answers"
        told["tritonclient_ok"] = _count(int(one["tritonclient"]), 1, about, "1", ("clients",))
        about = "runs of schemathesis that found a 5xx or an answer that is not described"
        told["schemathesis_5xx"] = _count(int(not one["schemathesis"]), 1, about, "0", ("clients",))
    return told


def _count(value: int, n: int, about: str, goal: str, arms: tuple[str, ...]) -> Figure:
    return Figure(value, "", n, value, value, about, goal, arms)
