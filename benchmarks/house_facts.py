"""What a command of one source tree leaves behind, as plain facts that another tree's can be compared with.

Compared are the bytes of artifacts, golden cases, assets, students and label stores, and of the manifest what
a runtime reads and what the gates said. Left out is what tells of time, place or version: provenance, timings
and what is chosen by them.
"""

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmarks.house_counts import environment

Facts = dict[str, Any]
FOLDERS = ("artifacts", "golden", "assets", "student")  # of a bundle
PLANNED = ("id", "kind", "action", "reason", "detail")


def facts(tree: Path, arguments: list[str], work: Path, cache: Path) -> Facts:
    """Run `compactor ARGUMENTS` of a tree in the folder `work` and return what it left there."""
    work.mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-m", "compactor", *arguments],
        cwd=work,
        env=environment(tree) | {"COMPACTOR_CACHE": str(cache)},
        capture_output=True,
        text=True,
    )
    found: Facts = {"exit": done.returncode}
    if done.returncode:
        found["said"] = (done.stderr or done.stdout).strip().splitlines()[-1:]
    if arguments[0] == "plan" and not done.returncode:
        steps = json.loads(done.stdout)["steps"]
        found |= {f"step {number}": {key: step[key] for key in PLANNED} for number, step in enumerate(steps)}
    for manifest in _once(work, "manifest.json"):
        found |= _bundle(manifest)
    for weights in sorted(work.rglob("stages/*/student/model.safetensors")):
        found[f"stage {weights.parts[-3].rpartition('-')[0]}"] = _digest(weights)
    for shard in sorted(work.rglob("labels/*/**/*.npy")):
        found[f"labels {shard.name}"] = _digest(shard)
    return found


def differences(one: Facts, other: Facts) -> list[str]:
    """Names of the facts that are not the same, or that one side alone has."""
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def _once(work: Path, name: str) -> list[Path]:
    """Files of that name in bundles, each one once, though links lead there too."""
    return sorted({path.resolve() for path in work.rglob(name) if path.parent.name == "bundle"})


def _bundle(manifest: Path) -> Facts:
    content = json.loads(manifest.read_text(encoding="utf-8"))
    main = content["components"]["main"]
    found: Facts = {
        f"file {path.relative_to(manifest.parent)}": _digest(path)
        for folder in FOLDERS
        for path in sorted((manifest.parent / folder).rglob("*"))
        if path.is_file() and path.name != "cases.json"
    }
    cases = json.loads((manifest.parent / content["golden"]["cases"]).read_text(encoding="utf-8"))
    found |= {f"golden {case['id']}": case for case in cases}
    found |= {name: content[name] for name in ("task", "labels", "pre", "post", "metrics")}
    found |= {name: main[name] for name in ("inputs", "outputs")}
    for artifact in main["artifacts"]:
        name = f"artifact {artifact['name']}"
        found |= {f"{name}, {key}": artifact[key] for key in ("spec", "status", "limits", "reason")}
        found[f"{name}, checks"] = [[check["name"], check["passed"]] for check in artifact["checks"]]
    return found


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()
