"""Results files: runs cached by digest, figures computed from runs, staleness told from the source."""

import json
import platform
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from compactor.cache.code import code_digest
from compactor.cache.digest import TOOLS, digest_of, tool_versions
from compactor_runtimes.environment import describe

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
Run = dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """A number with unit, count and 95% interval or range; `about`: what of, `goal`: what was asked."""

    value: float
    unit: str
    n: int
    low: float
    high: float
    about: str
    goal: str = ""


class Suite(Protocol):
    """A module in benchmarks/suites/."""

    NAME: str
    COMMAND: str
    SOURCES: tuple[str, ...]
    SETTINGS: dict[str, Any]

    def plan(self, runs: list[Run]) -> list[dict[str, Any]]:
        """Settings of every run that the runs so far call for, in the order of their execution."""

    def execute(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Execute one run and return what was measured."""

    def figures(self, runs: list[Run]) -> dict[str, Figure]:
        """Compute all figures from the runs."""


def suite_digest(suite: Suite) -> str:
    """Digest of the source that decides a suite's results: what it lists, and the suite itself."""
    return code_digest([*suite.SOURCES, suite.__name__])  # type: ignore[attr-defined]


def run_suite(suite: Suite, say: Callable[[str], None]) -> Path:
    """Execute what is not cached, writing the file after every run, so that an interrupted suite goes on."""
    path = RESULTS / f"{suite.NAME}.json"
    digest, versions = suite_digest(suite), tool_versions((*TOOLS, "onnx", "onnxruntime"))
    known = {run["key"]: run for run in _read(path).get("runs", [])}
    runs: list[Run] = []
    while len(runs) < len(plan := suite.plan(runs)):
        number, settings = len(runs) + 1, plan[len(runs)]
        key = digest_of(
            {"settings": settings, "source": digest, "versions": versions, "cpu": platform.machine()}
        )
        if key not in known:
            say(f"{suite.NAME} {number}/{len(plan)}: {settings}")
            started_s = time.perf_counter()
            result = suite.execute(settings)
            known[key] = {
                "key": key,
                "settings": settings,
                "result": result,
                "seconds": round(time.perf_counter() - started_s, 3),
            }
        runs.append(known[key])
        _write(
            suite,
            path,
            runs + [known[later] for later in known if known[later] not in runs],
            digest,
            final=False,
        )
    _write(suite, path, runs, digest, final=True)
    return path


def refresh(suite: Suite) -> dict[str, Any]:
    """Recompute the figures of a committed file from its runs; nothing is typed by hand."""
    path = RESULTS / f"{suite.NAME}.json"
    content = _read(path)
    if content.get("figures"):  # a suite that was cut off has none yet
        content["figures"] = {name: asdict(figure) for name, figure in suite.figures(content["runs"]).items()}
        path.write_text(_render(content), encoding="utf-8")
    return content if content.get("figures") else {}


def is_stale(suite: Suite, content: dict[str, Any]) -> bool:
    """Whether the source has changed since the runs were made."""
    return bool(content["source_digest"] != suite_digest(suite))


def _write(suite: Suite, path: Path, runs: list[Run], digest: str, *, final: bool) -> None:
    content = {
        "suite": suite.NAME,
        "command": suite.COMMAND,
        "date": time.strftime("%Y-%m-%d"),
        "commit": _commit(),
        "source_digest": digest,
        "environment": describe(),
        "settings": suite.SETTINGS,
        "seeds": sorted({run["settings"]["seed"] for run in runs if "seed" in run["settings"]}),
        "figures": {name: asdict(figure) for name, figure in suite.figures(runs).items()} if final else {},
        "runs": runs,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_render(content), encoding="utf-8")


def _render(content: dict[str, Any]) -> str:
    """Indented JSON with each run on one line."""
    runs = ",\n".join("  " + json.dumps(run) for run in content["runs"])
    return (
        json.dumps({**content, "runs": []}, indent=1).replace('"runs": []', f'"runs": [\n{runs}\n ]') + "\n"
    )


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip()


def spread(values: Iterable[float], unit: str, about: str, goal: str = "") -> Figure:
    """Median of repeated measurements, with their smallest and largest as range."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    median = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    return Figure(median, unit, len(ordered), ordered[0], ordered[-1], about, goal)
