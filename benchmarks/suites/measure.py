"""Measurement that can be trusted: sessions of known truth, other tools on the same file, eight models, SSH.

Runs need the machine for themselves. The tools are those that come with ONNX Runtime and OpenVINO, run as
they are; sshd is needed for the part `ssh`.
"""

from statistics import median
from typing import Any

from benchmarks.figures import Figure, Run, spread

NAME = "measure"
COMMAND = "python -m benchmarks.run measure"
SESSIONS, ROUNDS, NEIGHBOURS, PAIRS = 40, 3, 3, 5
THREADS, TOKENS = 2, 32
SETTINGS = {
    "profile": "quick, 12 blocks a subject; slow-downs by standard, 64 blocks",
    "known": "compute of single samples, fresh processes",
    "tools": f"{THREADS} threads, one sample at a time, {PAIRS} times ours and the tool in turn",
}
HARNESS = (
    "compactor_runtimes.measure.harness",
    "compactor_runtimes.measure.worker",
    "compactor_runtimes.stats.time_ratio",
    "benchmarks.measure_known",
)
BACKENDS = ("compactor_runtimes.backends.ort", "compactor_runtimes.backends.openvino")
PROFILING = ("compactor_runtimes.profiling.profile", *BACKENDS)
COMPUTES = {
    "coverage": HARNESS,
    "slowdown3": HARNESS,
    "slowdown0": HARNESS,
    "neighbour": HARNESS,
    "overhead": HARNESS,
    "bert_perf_test": (*HARNESS, *BACKENDS, "benchmarks.measure_tools"),
    "benchmark_app": (*HARNESS, *BACKENDS, "benchmarks.measure_tools"),
    "bare_loop": (*HARNESS, *BACKENDS, "benchmarks.measure_tools"),
    "models": (*PROFILING, "benchmarks.measure_models"),
    "ssh": (*PROFILING, "compactor_runtimes.elsewhere.ssh", "benchmarks.measure_ssh"),
    "digits": ("compactor.run.pipeline", "compactor.release.release"),
}
TIMED = tuple(COMPUTES)
TOOLS = ("bert_perf_test", "benchmark_app", "bare_loop")
MODELS = (
    *("resnet20", "resnet32", "resnet44", "resnet56"),
    *("minilm", "efficientnet_lite0", "mobilenetv3_large_100", "resnet50d"),
)
PARTS = {"slowdown3": 3, "slowdown0": 0}


def plan(runs: list[Run]) -> list[dict[str, Any]]:
    """Known truth first, then tools, models, SSH and the like-for-like run."""
    todo: list[dict[str, Any]] = []
    for block in range(SESSIONS):
        todo += [{"part": part, "block": block} for part in ("coverage", *PARTS)]
    todo += [{"part": "neighbour", "block": block} for block in range(NEIGHBOURS)]
    todo += [{"part": "overhead"}]
    todo += [{"part": tool, "block": block} for block in range(ROUNDS) for tool in TOOLS]
    todo += [{"part": "models", "model": model} for model in MODELS]
    todo += [{"part": "ssh", "block": block} for block in range(3)]
    return [*todo, *({"part": "digits", "block": block} for block in range(3))]


def arm(settings: dict[str, Any]) -> str:
    """Name the part of a run."""
    return str(settings["part"])


def execute(settings: dict[str, Any]) -> dict[str, Any]:
    """Run one session, one comparison or one table."""
    from benchmarks import measure_known, measure_models, measure_tools

    part = settings["part"]
    if part == "coverage":
        return measure_known.coverage(settings["block"])
    if part in PARTS:
        return measure_known.slowdown(PARTS[part])
    if part == "neighbour":
        return measure_known.neighbour()
    if part == "overhead":
        return measure_known.overhead(ROUNDS)
    if part in TOOLS:
        return measure_tools.against(part, threads=THREADS, tokens=TOKENS, pairs=PAIRS)
    if part == "models":
        return measure_models.profiled(settings["model"])
    if part == "digits":
        return measure_tools.digits()
    from benchmarks.measure_ssh import ssh_against_local

    return ssh_against_local()


def figures(runs: list[Run]) -> dict[str, Figure]:
    """Shares of sessions, ratios between tools, and what became of the models."""
    by: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        by.setdefault(run["settings"]["part"], []).append(run["result"])
    return _of_known(by) | _of_tools(by) | _of_models(by.get("models", []))


def _of_known(by: dict[str, list[dict[str, Any]]]) -> dict[str, Figure]:
    """Shares of sessions that say what is true, and what a query costs besides itself."""
    told: dict[str, Figure] = {}
    shares = (
        (
            "fake_runtime_coverage",
            "coverage",
            lambda one: all(one["inside"].values()),
            "sessions in which p50 and p90 of a slept distribution lie in their 99% intervals, p99 below its "
            "99% bound",
            ">= 38 of 40",
        ),
        (
            "slowdown3_found",
            "slowdown3",
            lambda one: one["verdict"] == "worse",
            "sessions of profile standard that find 3% more work, at 99%",
            ">= 38 of 40",
        ),
        (
            "slowdown0_called_noise",
            "slowdown0",
            lambda one: one["verdict"] == "noise",
            "sessions of profile standard that call no difference noise, at 99%",
            ">= 38 of 40",
        ),
        (
            "busy_neighbour_invalid",
            "neighbour",
            lambda one: not one["valid"],
            "sessions beside a busy process for every core that come out INVALID",
            "all",
        ),
    )
    for name, part, holds, about, goal in shares:
        if part in by:
            told[name] = _share(part, [bool(holds(one)) for one in by[part]], about, goal)
    if "slowdown3" in by:
        ratios = [one["ratio"] for one in by["slowdown3"]]
        told["slowdown3_ratio"] = spread(ratios, "", "the ratio they give", "", ("slowdown3",))
    for one in by.get("overhead", []):
        for key, who in (("loadgen", "LoadGen"), ("own", "our own driver")):
            about = f"from query to query above a bare loop, around 20 us of work: {who}"
            told[f"{key}_overhead_us"] = spread(one[f"{key}_us"], "us", about, "<= 20", ("overhead",))
    return told


def _of_tools(by: dict[str, list[dict[str, Any]]]) -> dict[str, Figure]:
    """Medians beside those of other tools and of another way to get there; digits like for like."""
    told: dict[str, Figure] = {}
    for tool in TOOLS:
        if tool in by:
            pairs = [pair for one in by[tool] for pair in one["pairs"]]
            ours, other = (median(pair[key] for pair in pairs) for key in ("ours_ms", "tool_ms"))
            about = f"one sample, median of {PAIRS} pairs in turn, smaller over larger; "
            about += f"ours {ours:.3g} ms, {tool} {other:.3g} ms"
            ratios = [
                _like(median(pair["ours_ms"] / pair["tool_ms"] for pair in one["pairs"]), 1.0)
                for one in by[tool]
            ]
            told[f"median_vs_{tool}"] = spread(ratios, "", about, ">= 0.95", (tool,))
    if "ssh" in by:
        about = "median compute on ssh://localhost and here, smaller over larger"
        ratios = [_like(one["there_ns"], one["here_ns"]) for one in by["ssh"]]
        told["ssh_vs_local_ratio"] = spread(ratios, "", about, "within noise", ("ssh",))
    if "digits" in by:
        for name, key, about in (
            ("like_for_like_speedup_digits", "like_for_like", "both in ONNX Runtime, fp32"),
            ("across_runtimes_digits", "across_runtimes", "teachers in torch, student in ONNX Runtime"),
        ):
            values = [one[key] for one in by["digits"]]
            about = f"digits: time of one sample of two teachers over the student's, {about}"
            told[name] = spread(values, "", about, "", ("digits",))
    return told


def _like(a: float, b: float) -> float:
    return min(a / b, b / a)


def _of_models(tables: list[dict[str, Any]]) -> dict[str, Figure]:
    if not tables:
        return {}
    passing = [
        all(
            one["golden"]
            for one in table["subjects"]
            if one["runtime"] == "openvino" and one["artifact"] == "fp32"
        )
        for table in tables
    ]
    about = "models whose fp32 artifact passes its golden cases in OpenVINO, f32"
    told = {"openvino_models_passing": _count(passing, about)}
    eight = [
        one["golden"]
        for table in tables
        for one in table["subjects"]
        if one["runtime"] == "openvino" and one["artifact"] != "fp32"
    ]
    told["openvino_int8_models_passing"] = _count(eight, "the same of int8 from our QDQ graph")
    best: tuple[float, str, int] | None = None
    for table in tables:
        timed = {(one["artifact"], one["runtime"]): one for one in table["subjects"] if one["valid"]}
        plain, other = timed.get(("fp32", "ort-cpu")), timed.get(("fp32", "openvino"))
        if plain and other:
            ratio = plain["median_ns"] / other["median_ns"]
            best = max(best or (0.0, "", 0), (ratio, table["model"], other["n"]))
    if best is not None:
        about = f"largest gain of OpenVINO over ONNX Runtime, fp32, one sample, median: {best[1]}"
        told["openvino_best_speedup"] = Figure(best[0], "", best[2], best[0], best[0], about, "", ("models",))
    return told


def _share(part: str, held: list[bool], about: str, goal: str) -> Figure:
    from compactor_runtimes.stats.metrics import wilson

    low, high = wilson(sum(held), len(held))
    return Figure(sum(held) / len(held), "", len(held), low, high, about, goal, (part,))


def _count(held: list[bool], about: str) -> Figure:
    return Figure(sum(held), f"of {len(held)}", len(held), sum(held), sum(held), about, "", ("models",))
