"""How fast it is: teachers on other runtimes than torch, a training step over its floor, memory of many rows.

A block holds every subject once, in an order that is turned round from block to block, each in a process of
its own; ratios are of one block. The published ResNet-56 labels CIFAR-10 crops on each runtime, and teaches a
ResNet-20 live in torch and on what `auto` takes. Named runtimes are measured whatever their distance, `auto`
keeps its bounds. What is exported, held against torch and chosen beforehand is not in the times. The other
arms: `fast_steps`, `fast_memory`, `fast_accuracy`.
"""

import json
from statistics import mean
from typing import Any

from benchmarks import fast_accuracy, fast_memory, fast_steps
from benchmarks.figures import Figure, Run, spread
from benchmarks.workers import worker_result

NAME = "fast"
COMMAND = "python -m benchmarks.run fast"
BASE = {"teachers": ["resnet56"], "student": "resnet20", "batch": 128}
LABEL = {**BASE, "crops": 1, "images": 2_048}
LIVE = {**BASE, "crops": 1, "images": 10_000, "steps": 32}
RUNTIMES = ("torch", "torch-bf16", "ort-fp32", "ort-int8", "openvino", "auto")
BLOCKS = 5
GOAL = ">= 1.4 on any CPU, 5 with AMX"
SETTINGS = {
    "label": LABEL,
    "live": LIVE,
    "data": "CIFAR-10",
    "crop": "random-resized, scale 0.25 to 1, flip",
    "blocks": BLOCKS,
}
LABELS = (
    "compactor.label_store.make",
    "compactor.release.teacher_runtimes",
    "compactor.release.runtime_choice",
    "compactor.models.cifar",
    "compactor.tasks.image_classification",
    "benchmarks.fast_worker",
)
TRAINS = ("compactor.trainer.fit", "compactor.methods.kd")
STEPS = "steps"
COMPUTES = {
    "label": LABELS,
    "live": (*LABELS, *TRAINS),
    STEPS: fast_steps.COMPUTES,
    fast_memory.ARM: ("compactor.data.texts", "compactor.trainer.fit", "benchmarks.fast_memory_worker"),
}
COMPUTES |= fast_accuracy.COMPUTES
TIMED = ("label", "live", STEPS, fast_memory.ARM, *fast_accuracy.COMPUTES)


def plan(runs: list[Run]) -> list[dict[str, Any]]:
    """The blocks, every other one in the opposite order; then the other arms'."""
    subjects = [{"subject": "label", "runtime": one, **LABEL} for one in RUNTIMES]
    subjects += [{"subject": "live", "runtime": one, **LIVE} for one in ("torch", "auto")]
    teachers = [
        {**one, "block": block}
        for block in range(BLOCKS)
        for one in (subjects if block % 2 == 0 else subjects[::-1])
    ]
    steps = [{"arm": STEPS, **one} for one in fast_steps.settings()]
    return [*teachers, *steps, *fast_memory.settings(), *fast_accuracy.settings(runs)]


def arm(settings: dict[str, Any]) -> str:
    """Name what a run is of."""
    return str(settings["arm"] if "arm" in settings else settings["subject"])


def prepare(settings: dict[str, Any]) -> None:
    """Make what a run of steps reads."""
    if arm(settings) == STEPS:
        fast_steps.prepare(settings)


def execute(settings: dict[str, Any]) -> dict[str, Any]:
    """Execute one subject in a fresh process."""
    if arm(settings) == STEPS:
        return fast_steps.execute(settings)
    if arm(settings) == fast_memory.ARM:
        return fast_memory.execute(settings)
    if arm(settings) in fast_accuracy.COMPUTES:
        return fast_accuracy.execute(settings)
    return worker_result("benchmarks.fast_worker", json.dumps(settings))


def figures(runs: list[Run]) -> dict[str, Figure]:
    """Those of every arm that was run."""
    of: dict[str, list[Run]] = {}
    for run in runs:
        of.setdefault(arm(run["settings"]), []).append(run)
    found = _of_teachers(of.get("label", []) + of.get("live", [])) if {"label", "live"} <= of.keys() else {}
    found |= fast_steps.figures(of[STEPS]) if STEPS in of else {}
    found |= fast_memory.figures(of[fast_memory.ARM]) if fast_memory.ARM in of else {}
    return found | fast_accuracy.figures([run for arm in fast_accuracy.COMPUTES for run in of.get(arm, [])])


def _of_teachers(runs: list[Run]) -> dict[str, Figure]:
    """Ratios to torch in fp32 as medians over blocks, and divergences over crops."""
    by = {
        (one["settings"]["subject"], one["settings"]["runtime"], one["settings"]["block"]): one["result"]
        for one in runs
    }

    def blocks(subject: str, runtime: str) -> list[dict[str, Any]]:
        return [result for (what, on, _), result in sorted(by.items()) if (what, on) == (subject, runtime)]

    found: dict[str, Figure] = {}
    torch_s = [one["seconds"] for one in blocks("label", "torch")]
    for runtime in RUNTIMES[1:]:
        results = blocks("label", runtime)
        name, about = runtime.replace("-", "_"), f"ResNet-56 on {_chosen(runtime, results)}"
        found[f"label_speedup_{name}"] = spread(
            [slow / one["seconds"] for slow, one in zip(torch_s, results, strict=True)],
            "x",
            f"labelling crops of CIFAR-10 (cut, asked, compressed, written) with {about}, over torch in fp32",
            GOAL if runtime == "auto" else "",
            arms=("label",),
        )
        kl, n = results[0]["kl_mean"], results[0]["crops"]
        error = 1.96 * results[0]["kl_std"] / n**0.5
        told = f"KL of torch in fp32 to {about}, mean over crops that are labelled"
        found[f"label_kl_{name}"] = Figure(kl, "nat", n, kl - error, kl + error, told, arms=("label",))
    live = {one: [mean(each["step_s"]) for each in blocks("live", one)] for one in ("torch", "auto")}
    took = _chosen("auto", blocks("live", "auto"))
    found["live_speedup_auto"] = spread(
        [slow / fast for slow, fast in zip(live["torch"], live["auto"], strict=True)],
        "x",
        f"steps of kd a second beside a live ResNet-56 on {took}, over torch",
        arms=("live",),
    )
    return found


def _chosen(runtime: str, results: list[dict[str, Any]]) -> str:
    """A runtime's name, of `auto` with what it took."""
    took = sorted({str(one["runtime"]) for one in results})
    return f"auto ({', '.join(took)})" if runtime == "auto" else runtime
