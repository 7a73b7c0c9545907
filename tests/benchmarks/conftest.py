"""A toy suite of two arms, whose results and whose code lie in a folder of the test."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import results_file, states
from benchmarks.figures import Figure
from benchmarks.suites import Suite

MODULES = {"slow": "toy_slow", "fast": "toy_fast"}


@dataclass
class Toy:
    """The suite, what it executed, and the folder of its code."""

    suite: Suite
    executed: list[dict[str, Any]]
    folder: Path

    def write(self, module: str, source: str) -> None:
        """Write code that decides an arm's runs."""
        (self.folder / f"{module}.py").write_text(source)
        importlib.invalidate_caches()
        states._parts.cache_clear()

    def run(self, *arms: str) -> dict[str, Any]:
        """Run the suite and return its file."""
        results_file.run_suite(self.suite, lambda text: None, arms)
        return results_file.read_results("toy")


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    executed: list[dict[str, Any]] = []

    def execute(settings: dict[str, Any]) -> dict[str, Any]:
        executed.append(settings)
        return {"value": settings["seed"] + (10 if settings["arm"] == "slow" else 0)}

    def figures(runs: list[dict[str, Any]]) -> dict[str, Figure]:
        found = {}
        for arm in MODULES:
            values = [run["result"]["value"] for run in runs if run["settings"]["arm"] == arm]
            mean = sum(values) / len(values)
            found[arm] = Figure(mean, "s", len(values), min(values), max(values), f"about {arm}", arms=(arm,))
        both = found["slow"].value / found["fast"].value
        return found | {"ratio": Figure(both, "", 2, both, both, "slow over fast", arms=("slow", "fast"))}

    module = SimpleNamespace(
        __doc__="A toy.",
        NAME="toy",
        COMMAND="make toy",
        SETTINGS={"seeds": 2},
        COMPUTES={arm: (module,) for arm, module in MODULES.items()},
        plan=lambda runs: [{"arm": arm, "seed": seed} for arm in MODULES for seed in (1, 2)],
        arm=lambda settings: settings["arm"],
        execute=execute,
        figures=figures,
    )
    monkeypatch.setattr(results_file, "RESULTS", tmp_path / "results")
    (tmp_path / "results").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    one = Toy(Suite(module), executed, tmp_path)  # type: ignore[arg-type]
    for name in MODULES.values():
        one.write(name, "def work():\n    return 1\n")
    return one
