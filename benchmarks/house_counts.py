"""What a source tree is like: circles of imports, floors, files that ask for a task, sizes, cache keys."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from statistics import median, quantiles
from typing import Any

PACKAGES = (("compactor", "."), ("compactor_exporters", "exporters"), ("compactor_runtimes", "runtimes"))
FLOORS = 'name = "floors of compactor"'  # the contract in pyproject.toml
# "embedding" is also the name of a head and of a kind of answer, so that it is counted apart
TASKS = r"image-classification|text-classification|masked-lm|intent-slots|token-classification"
ASKS_ANSWERS = r"\bword_head\b|\.answers\b"
IMPORT = re.compile(r"\s*(from|import)\s")
CLOSURE = """
import sys
from importlib.util import find_spec
if find_spec("compactor.cache") is not None:
    from compactor.cache.code import code_closure as closure
else:
    from compactor.run.digest import source_closure as closure
name = sys.argv[1] if find_spec(sys.argv[1]) is not None else sys.argv[2]
print(len(closure([name])), closure(["compactor.records"])["compactor.records"])
"""
# by the file's name today, and by its name before the divergences were put together
DIVERGENCES = ("compactor.objectives.divergences", "compactor.objectives.kl")


def counts(tree: Path) -> dict[str, Any]:
    """All counts of the tree's three packages."""
    known = modules(tree)
    texts = {name: path.read_text(encoding="utf-8") for name, path in known.items()}
    groups = circles({name: imports(text, name, known) for name, text in texts.items()})
    lines = [len(text.splitlines()) for text in texts.values()]
    return {
        "import_cycles": len(groups),
        "modules_in_cycles": sum(map(len, groups)),
        "floors_kept": int(has_floors(tree)),
        "files_naming_tasks": sum(
            _asks(text, f"[\"']({TASKS})[\"']|{ASKS_ANSWERS}") for text in texts.values()
        ),
        "files_naming_tasks_or_embedding": sum(
            _asks(text, f"[\"']({TASKS}|embedding)[\"']|{ASKS_ANSWERS}") for text in texts.values()
        ),
        "closure_divergences": closure_of_divergences(tree),
        "files": len(lines),
        "median_lines": median(lines),
        "p90_lines": quantiles(lines, n=10)[-1],
    }


def environment(tree: Path) -> dict[str, str]:
    """An environment in which Python imports the packages of the tree, on one thread."""
    places = (str(tree / top) for _, top in PACKAGES)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places), "OMP_NUM_THREADS": "1"}


def modules(tree: Path) -> dict[str, Path]:
    """Dotted name -> file of every module of the three packages."""
    found = {}
    for name, top in PACKAGES:
        for path in sorted((tree / top / name).rglob("*.py")):
            parts = path.relative_to(tree / top).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imports(text: str, own: str, known: dict[str, Path]) -> set[str]:
    """The project's modules that a module imports by name, in functions and for types too."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in known else node.module for name in inner]
        found |= {name for name in names if name in known and name != own}
    return found


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of more than one module that reach each other."""
    reach: dict[str, set[str]] = {}
    for start in graph:
        seen, queue = set(), [start]
        while queue:
            fresh = graph[queue.pop()] - seen
            seen |= fresh
            queue += fresh
        reach[start] = seen
    groups = {tuple(sorted(n for n in reach[start] if start in reach[n])) for start in graph}
    return sorted(list(group) for group in groups if len(group) > 1)


def has_floors(tree: Path) -> bool:
    """Whether the tree has floors inside compactor and keeps all its import contracts."""
    if FLOORS not in (tree / "pyproject.toml").read_text(encoding="utf-8"):
        return False
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    return not subprocess.run(command, cwd=tree, env=environment(tree), capture_output=True).returncode


def closure_of_divergences(tree: Path) -> int:
    """How many files the cache key of a divergence covers, asked of the tree's own function."""
    command = [sys.executable, "-c", CLOSURE, *DIVERGENCES]
    done = subprocess.run(
        command, cwd=tree, env=environment(tree), capture_output=True, text=True, check=True
    )
    count, _, place = done.stdout.strip().partition(" ")
    assert Path(place).is_relative_to(tree), f"{place} is not of {tree}"
    return int(count)


def _asks(text: str, pattern: str) -> bool:
    asked = re.compile(pattern)
    return any(asked.search(line) for line in text.split("\n") if not IMPORT.match(line))
