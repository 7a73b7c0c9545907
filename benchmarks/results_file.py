"""Results files: what each run was made of, where and when; runs are cached, figures are computed from them.

A run has `settings`, `result`, `seconds`, `commit`, `date`, `machine` and `code` (keys of the file's tables
`machines` and `codes`), `inputs` (digests of recipe, data and weights), `versions`, and its cache `key`. Runs
from before these were kept have no code: nothing tells what has changed since.
"""

import json
import subprocess
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from benchmarks.figures import Run
from benchmarks.suites import Settings, Suite
from benchmarks.workers import ROOT
from compactor.cache.code import code_parts
from compactor.cache.digest import TOOLS, digest_of, tool_versions
from compactor_runtimes.environment import describe
from compactor_runtimes.files import write_whole

RESULTS = ROOT / "benchmarks" / "results"
FORMAT = 2
VERSIONS = (*TOOLS, "onnx", "onnxruntime")
Content = dict[str, Any]


def run_suite(suite: Suite, say: Callable[[str], None], arms: Collection[str] = ()) -> Path:
    """Execute what is not cached, writing the file after every run, so that an interrupted suite goes on.

    Args:
        suite: whose runs.
        say: is told of each run that begins.
        arms: execute only their runs; the others stay as they are.
    """
    content = read_results(suite.name) or new_content(suite)
    stored = {settings_key(run["settings"]): run for run in content["runs"]}

    def wanted(settings: Settings) -> bool:
        return not arms or suite.arm(settings) in arms

    usable = {key: run for key, run in stored.items() if not wanted(run["settings"])}
    while True:
        plan = suite.plan(list(usable.values()))
        todo = [one for one in plan if wanted(one) and settings_key(one) not in usable]
        if not todo:
            break
        settings, key = todo[0], settings_key(todo[0])
        suite.prepare(settings)
        made_of = provenance(suite, settings)
        if key in stored and stored[key]["key"] == made_of["key"]:
            usable[key] = stored[key]
            continue
        say(f"{suite.name} {len(plan) - len(todo) + 1}/{len(plan)}: {settings}")
        started_s = time.perf_counter()
        result = suite.execute(settings)
        run = {"settings": settings, "seconds": round(time.perf_counter() - started_s, 3)}
        usable[key] = stored[key] = run | enter(content, made_of) | {"result": result}
        order = [settings_key(one) for one in suite.plan(list(usable.values()))]
        rest = [name for name in stored if name not in order]
        content["runs"] = [stored[name] for name in [*order, *rest] if name in stored]
        write_results(content)
    content["runs"] = [usable[settings_key(one)] for one in plan if settings_key(one) in usable]
    refresh(suite, content)
    return results_path(suite.name)


def provenance(suite: Suite, settings: Settings) -> dict[str, Any]:
    """Where and when a run is made, by which code, data, weights and versions; opens a recipe's data."""
    follow, alone, inputs = list(suite.computes(settings)), list[str](), suite.inputs(settings)
    if (recipe := suite.recipe(settings)) is not None:
        from benchmarks.arms import computes as of_recipe

        modules, alone, more = of_recipe(recipe, suite.name)
        follow, inputs = sorted({*follow, *modules}), inputs | more
    parts = short_parts(follow, alone)
    machine = describe()
    known = {
        "settings": settings,
        "inputs": inputs,
        "code": code_key(parts),
        "versions": tool_versions(VERSIONS),
        "cpu": cpu_of(machine) if suite.is_timed(settings) else None,
    }
    return {
        "key": digest_of(known)[:16],
        "inputs": inputs,
        "versions": known["versions"],
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine,
        "code": {"follow": follow, "alone": alone, "parts": parts},
    }


def short_parts(follow: Collection[str], alone: Collection[str]) -> dict[str, str]:
    """Digests of the modules that decide a run, as a file's table keeps them."""
    return {name: one[:12] for name, one in code_parts(follow, alone=alone).items()}


def code_key(parts: dict[str, str]) -> str:
    """The name of code in a file's table."""
    return digest_of(parts)[:12]


def enter(content: Content, made_of: dict[str, Any]) -> Run:
    """Put a machine and code into the file's tables, and return the rest with their names there."""
    machine = {name: value for name, value in made_of["machine"].items() if name != "packages"}
    code = made_of["code"]
    names = {"machine": digest_of(machine)[:8], "code": code_key(code["parts"])}
    content["machines"][names["machine"]] = machine
    content["codes"][names["code"]] = code
    return made_of | names


def refresh(suite: Suite, content: Content) -> Content:
    """Compute the figures of a file from its runs and write it; nothing is typed by hand."""
    used = {run["machine"] for run in content["runs"]}, {run["code"] for run in content["runs"]}
    used[0].update(one["machine"] for one in content["confirmed"].values())
    for table, names in zip(("machines", "codes"), used, strict=True):
        content[table] = {name: value for name, value in content[table].items() if name in names}
    content["settings"] = suite.settings
    content["figures"] = {name: one.to_json() for name, one in suite.figures(content["runs"]).items()}
    write_results(content)
    return content


def new_content(suite: Suite) -> Content:
    """A file without runs."""
    return {
        "format": FORMAT,
        "suite": suite.name,
        "command": suite.command,
        "settings": suite.settings,
        "machines": {},
        "codes": {},
        "confirmed": {},
        "figures": {},
        "runs": [],
    }


def results_path(name: str) -> Path:
    """Where a suite's results lie."""
    return RESULTS / f"{name}.json"


def read_results(name: str) -> Content:
    """Read a results file; empty where there is none."""
    path = results_path(name)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def write_results(content: Content) -> None:
    """Write a results file whole: indented, with each run and each table's entry on one line."""
    text = json.dumps({**content, "runs": [], "codes": {}, "machines": {}}, indent=1)
    runs = ",\n".join("  " + json.dumps(run) for run in content["runs"])
    text = text.replace('"runs": []', f'"runs": [\n{runs}\n ]')
    for table in ("codes", "machines"):
        entries = ",\n".join(f"  {json.dumps(key)}: {json.dumps(one)}" for key, one in content[table].items())
        text = text.replace(f'"{table}": {{}}', f'"{table}": {{\n{entries}\n }}')
    write_whole(results_path(content["suite"]), (text + "\n").encode())


def settings_key(settings: Settings) -> str:
    """Settings as a key of a dict."""
    return json.dumps(settings, sort_keys=True)


def cpu_of(machine: dict[str, Any]) -> list[Any]:
    """What makes two machines of one kind: model, instruction sets, cores that a process may use."""
    return [machine["cpu"], machine["isa"], machine["usable_cores"]]


def commit() -> str:
    """The checkout's commit, with + where anything but results and pages has been changed since.

    `unknown` outside a repository.
    """
    found = _git("rev-parse", "--short=7", "HEAD")
    changed = _git("status", "--porcelain", "--", ".", ":!benchmarks/results", ":!docs", ":!*.md")
    return found + ("+" if changed else "") if found else "unknown"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
