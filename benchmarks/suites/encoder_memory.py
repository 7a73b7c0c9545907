"""Memory of a masked-lm step that projects hidden tokens on the vocabulary, or every token."""

from typing import Any

from benchmarks.figures import Figure, Run, spread
from benchmarks.workers import worker_result

NAME = "encoder_memory"
COMMAND = "make bench"
COMPUTES = {
    "": ("compactor.models.encoder", "compactor.models.text_students", "benchmarks.encoder_memory_worker")
}
SUBJECTS, REPEATS = ("before", "gathered", "dense"), 3
SETTINGS = {
    "model": "encoder:4x256",
    "vocabulary": "MiniLM's whole one",
    "batch": 64,
    "tokens": 32,
    "peak": "VmHWM of a process of its own, above one that has built the model and run nothing",
}


def plan(runs: list[Run]) -> list[dict[str, Any]]:
    """Each subject three times, in turn."""
    return [{"subject": one, "repeat": repeat} for repeat in range(REPEATS) for one in SUBJECTS]


def execute(settings: dict[str, Any]) -> dict[str, Any]:
    """Run one subject."""
    return worker_result("benchmarks.encoder_memory_worker", settings["subject"])


def figures(runs: list[Run]) -> dict[str, Figure]:
    """What each way takes above the built model."""
    peaks = {
        (run["settings"]["subject"], run["settings"]["repeat"]): run["result"]["peak_bytes"] for run in runs
    }
    hidden = runs[0]["result"]["hidden"]
    about = f"forward and backward pass, 64 x 32 tokens of which {hidden} are hidden, 30,522 ids, 4x256"
    above = {
        one: [(peaks[one, at] - peaks["before", at]) / 1e6 for at in range(REPEATS)] for one in SUBJECTS[1:]
    }
    ratios = [dense / gathered for gathered, dense in zip(above["gathered"], above["dense"], strict=True)]
    return {
        "projection_gathered": spread(above["gathered"], "MB", f"hidden tokens alone are projected; {about}"),
        "projection_dense": spread(above["dense"], "MB", f"every token is projected; {about}"),
        "projection_ratio": spread(ratios, "times", f"dense over gathered; {about}"),
    }
