"""Inputs that go wrong in real life: right, or refused in a clear sentence; and odd ones that keep working.

Each case of `benchmarks/input_cases/` is put in as a user would put it in, in a folder of its own.
"""

import tempfile
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, Run
from benchmarks.input_cases.cases import Case, put_in

NAME = "inputs"
COMMAND = "python -m benchmarks.run inputs"
KINDS = ("labels", "teachers", "weights", "images", "texts")
SETTINGS = {"kinds": list(KINDS)}
COMPUTES = {
    "": (
        "compactor.data.datasets",
        "compactor.data.texts",
        "compactor.data.survey",
        "compactor.propose",
        "compactor.run.pipeline",
        *(f"benchmarks.input_cases.{kind}" for kind in KINDS),
    )
}


@cache
def cases(kind: str) -> list[Case]:
    """All cases of a kind."""
    found: list[Case] = import_module(f"benchmarks.input_cases.{kind}").CASES
    return found


def plan(runs: list[Run]) -> list[dict[str, Any]]:
    """Each kind once."""
    return [{"kind": kind} for kind in KINDS]


def arm(settings: dict[str, Any]) -> str:
    """Name the kind."""
    return str(settings["kind"])


def execute(settings: dict[str, Any]) -> dict[str, Any]:
    """Put every case of a kind in."""
    rows = []
    for case in cases(settings["kind"]):
        with tempfile.TemporaryDirectory() as folder:
            came_out = put_in(case, Path(folder))
            answer = came_out.answer.replace(folder, "FOLDER")
        rows.append(
            {
                "kind": case.kind,
                "goes_in": case.goes_in,
                "must_come_out": getattr(case.wanted, "says", None) or repr(case.wanted),
                "came_out": answer,
                "verdict": came_out.verdict,
                "keeps": case.keeps,
            }
        )
    return {"cases": rows}


def figures(runs: list[Run]) -> dict[str, Figure]:
    """Count verdicts."""
    rows = [row for run in runs for row in run["result"]["cases"]]
    arms = tuple(KINDS)

    def count(about: str, chosen: list[Any], goal: str = "") -> Figure:
        return Figure(len(chosen), "cases", len(rows), len(chosen), len(chosen), about, goal, arms)

    def of(*verdicts: str) -> list[Any]:
        return [row for row in rows if row["verdict"] in verdicts]

    kept = [row for row in of("right") if row["keeps"]]
    odd = [row for row in rows if row["keeps"]]
    return {
        "cases": count("inputs put in", rows, ">= 60"),
        "right": count("inputs whose right answer came out", of("right")),
        "refused_clearly": count("inputs refused in one sentence that says why", of("refused clearly")),
        "silent_wrong": count("wrong answers without a word", of("silent and wrong"), "0"),
        "refused_wrongly": count("inputs refused for another reason than theirs", of("refused wrongly"), "0"),
        "tracebacks": count("inputs that ended in a traceback", of("traceback"), "0"),
        "kept": count(f"of {len(odd)} odd inputs that are right, those that still work", kept, ">= 20"),
    }
