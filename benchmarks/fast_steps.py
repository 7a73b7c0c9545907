"""A training step of fit() over its floor: fresh processes, alternating subjects, nothing else running.

The floor is a bare loop over the same batches, made before, with the same model and the same optimiser. What
fit() adds is making batches, reading labels, the method's losses, reducing and logging them, and Python.
Whole steps are measured, in wall time and in CPU time of all threads; ratios are of one block.
"""

import json
from statistics import mean
from typing import Any

from benchmarks.figures import Figure, Run, spread
from benchmarks.workers import worker_result

WORKER = "benchmarks.fast_steps_worker"
COMPUTES = (
    "compactor.trainer.fit",
    "compactor.methods.supervised",
    "compactor.methods.kd",
    "compactor.methods.from_store",
    "compactor.label_store.store",
    "compactor.models.cifar",
    "compactor.models.hf.text",
    "compactor.tasks.image_classification",
    "compactor.tasks.texts",
    WORKER,
)
BLOCKS = 5
# about ten seconds each on two cores
STUDENTS: dict[str, dict[str, Any]] = {
    "resnet8": {"steps": 36, "batch": 128},
    "resnet20": {"steps": 24, "batch": 128},
    "minilm": {"steps": 24, "batch": 32},
}
# of images the labels come from a store, as recipes have it where a teacher is large, or from the data
SUBJECTS = {
    "resnet8": ("floor", "stored", "hard"),
    "resnet20": ("floor", "stored", "hard"),
    "minilm": ("floor", "hard"),
}
HEADLINE = {"resnet8": "stored", "resnet20": "stored", "minilm": "hard"}
ABOUT = {
    "stored": "fit() with method kd from a label store",
    "hard": "fit() with method supervised",
}


def settings() -> list[dict[str, Any]]:
    """Blocks of every subject once; every other block in the opposite order."""
    once = [(student, subject) for student, subjects in SUBJECTS.items() for subject in subjects]
    return [
        {"student": student, "subject": subject, "block": block, **STUDENTS[student]}
        for block in range(BLOCKS)
        for student, subject in (once if block % 2 == 0 else once[::-1])
    ]


def prepare(settings: dict[str, Any]) -> None:
    """Make the label store that a run reads, in a process of its own."""
    if settings["subject"] == "stored":
        worker_result(WORKER, json.dumps(settings | {"subject": "labels"}))


def execute(settings: dict[str, Any]) -> dict[str, Any]:
    """Run one subject: wall and CPU seconds of each of its steps."""
    return worker_result(WORKER, json.dumps(settings))


def figures(runs: list[Run]) -> dict[str, Figure]:
    """Ratios of the mean step to the floor's, as medians over blocks."""
    by = {
        (run["settings"]["student"], run["settings"]["subject"], run["settings"]["block"]): run["result"]
        for run in runs
    }

    def blocks_of(student: str, subject: str) -> list[int]:
        known = sorted(block for name, kind, block in by if (name, kind) == (student, subject))
        return [block for block in known if (student, "floor", block) in by]

    def ratio(student: str, subject: str, what: str, clock: str, goal: str = "") -> Figure:
        values = [
            mean(by[student, subject, block][what]) / mean(by[student, "floor", block][what])
            for block in blocks_of(student, subject)
        ]
        about = (
            f"{clock} time of a step of {ABOUT[subject]} over one of a bare loop on prepared batches, "
            f"{student}, batch {STUDENTS[student]['batch']}"
        )
        return spread(values, "", about, goal, ("steps",))

    found: dict[str, Figure] = {}
    for student, headline in HEADLINE.items():
        if not all(blocks_of(student, subject) for subject in SUBJECTS[student]):
            continue  # not run yet
        found[f"step_ratio_{student}"] = ratio(student, headline, "step_s", "wall", "<= 1.05")
        found[f"step_cpu_ratio_{student}"] = ratio(student, headline, "step_cpu_s", "CPU")
        if headline != "hard":
            found[f"step_ratio_{student}_hard"] = ratio(student, "hard", "step_s", "wall")
    return found
