"""The home of the project: how long README, tests and checks are, and whether quoted figures are explained.

Times are of this checkout alone on the machine; `ci` is `.ci/run` in a clean clone, as CI runs it.
"""

import os
import re
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.figures import Figure, Run
from benchmarks.workers import ROOT
from compactor.cache.digest import digest_of, file_digest

NAME = "home"
COMMAND = "python -m benchmarks.run home"
PARTS = ("pages", "check", "ci", "confirm")
SETTINGS = {"parts": list(PARTS)}
COMPUTES = {"": ("benchmarks.suites.home",)}
TIMED = ("check", "ci", "confirm")
PYTEST = re.compile(r"=+ (.*?) in ([\d.]+)s")


def plan(runs: list[Run]) -> list[dict[str, Any]]:
    """Each part once; the shorter ones first."""
    return [{"part": part} for part in PARTS]


def arm(settings: dict[str, Any]) -> str:
    """Name the part."""
    return str(settings["part"])


def inputs(settings: dict[str, Any]) -> dict[str, str]:
    """Digest of what a part looks at: the counts themselves, or all code of the checkout."""
    return {"files": digest_of(_pages())[:12] if settings["part"] == "pages" else _tree_digest()}


def execute(settings: dict[str, Any]) -> dict[str, Any]:
    """Count, or run a command and keep its time and its last lines."""
    if settings["part"] == "pages":
        return _pages()
    if settings["part"] == "ci":
        return _ci()
    words = {"check": ["check"], "confirm": ["confirm", "--all"]}[settings["part"]]
    return _timed([sys.executable, "-m", "benchmarks.run", *words], ROOT)


def figures(runs: list[Run]) -> dict[str, Figure]:
    """Lines, pages, commands, seconds."""
    by = {run["settings"]["part"]: run["result"] for run in runs}
    found: dict[str, Figure] = {}

    def one(part: str, name: str, value: float, unit: str, about: str, goal: str = "") -> None:
        found[name] = Figure(value, unit, 1, value, value, about, goal, (part,))

    if "pages" in by:
        pages = by["pages"]
        one("pages", "readme_lines", pages["readme_lines"], "lines", "README.md", "<= 150")
        one("pages", "docs_pages", pages["docs_pages"], "", "pages of docs/, generated ones apart", ">= 15")
        about = "commands of README and docs that a test runs, or whose words it checks"
        one("pages", "docs_commands_tested", pages["docs_commands_tested"], "", about)
    if "check" in by:
        lines = by["check"]["said"]
        differ = next((int(line.split()[0]) for line in lines if " differ; " in line), 0)
        about = "figures or lines quoted in README and docs that are not as the runs and their commits say"
        one("check", "stale_figures_unexplained", differ, "", about, "0")
        one("check", "results_check_s", by["check"]["seconds"], "s", "`make results-check`")
    if "confirm" in by:
        about = f"`make confirm` of all arms that can be repeated: {by['confirm']['said'][-1]}"
        one("confirm", "confirm_s", by["confirm"]["seconds"], "s", about, "<= 1200")
    if "ci" in by:
        ci = by["ci"]
        told = "; ".join(f"{said} in {seconds:.0f} s" for said, seconds in ci["pytest"])
        one("ci", "pytest_s", ci["pytest"][0][1], "s", f"pytest of `make test`, 2 workers: {told}", "<= 300")
        one(
            "ci", "ci_s", ci["seconds"], "s", f"`.ci/run` in a clean clone, exit code {ci['exit']}", "<= 2100"
        )
    return found


@cache
def _pages() -> dict[str, int]:
    from tests.docs.commands import docs_commands_tested

    pages = [path for path in (ROOT / "docs").rglob("*.md") if path.parent.name != "results"]
    return {
        "readme_lines": len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()),
        "docs_pages": len(pages),
        "docs_commands_tested": docs_commands_tested(),
    }


def _ci() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "main"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        if (ROOT.parent / "shared").is_dir():
            (Path(folder) / "shared").symlink_to(ROOT.parent / "shared")
        done = _timed(["bash", ".ci/run"], clone, last=None)
    text = "\n".join(done["said"])
    found = [[said, float(seconds)] for said, seconds in PYTEST.findall(text)]
    return {"exit": done["exit"], "seconds": done["seconds"], "pytest": found, "said": done["said"][-5:]}


def _timed(command: list[str], folder: Path, *, last: int | None = 25) -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    started_s = perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=environment | {"CI": "true"}, capture_output=True, text=True, check=False
    )
    lines = done.stdout.strip().splitlines()
    said = lines if last is None else lines[-last:]
    return {"exit": done.returncode, "seconds": round(perf_counter() - started_s, 1), "said": said}


@cache
def _tree_digest() -> str:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    code = [
        name for name in listed.splitlines() if name.endswith((".py", ".toml", ".yaml", ".txt", "Makefile"))
    ]
    return digest_of({name: file_digest(ROOT / name) for name in code if (ROOT / name).is_file()})[:12]
