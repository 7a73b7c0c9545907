"""Cache keys: a digest over settings, data, weights, tool versions and the source that computes a stage."""

import ast
import hashlib
import json
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

TOOLS = ("torch", "torchvision", "timm", "transformers", "accelerate", "numpy", "safetensors")
OWN = ("compactor", "compactor_exporters", "compactor_runtimes")


def digest_of(value: Any) -> str:
    """SHA-256 of plain data, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tool_versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of the packages that are installed, read from their metadata, without importing them."""
    found = {}
    for package in sorted(packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def source_closure(modules: Iterable[str]) -> dict[str, Path]:
    """The project's own modules that `modules` import, directly or not, also inside functions: name -> file.

    Names in the literal tables ("module:attr") are strings, so that a stage depends on the method and model
    that it names and not on their siblings; the caller lists those. Type-only imports are followed too:
    that errs towards training again.
    """
    found: dict[str, Path] = {}
    queue = [name.partition(":")[0] for name in modules]
    while queue:
        name = queue.pop()
        if name in found:
            continue
        spec = find_spec(name)
        if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
            continue
        found[name] = Path(spec.origin)
        queue += _own_imports(found[name])
    return found


def source_digest(modules: Iterable[str]) -> str:
    """SHA-256 over names and bytes of `source_closure(modules)`."""
    closure = source_closure(modules)
    return digest_of({name: file_digest(path) for name, path in closure.items()})


def _own_imports(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            # `from package import name` may mean a sub-module or an attribute; find_spec tells
            names.append(node.module)
            names += [
                f"{node.module}.{alias.name}" for alias in node.names if node.module.split(".")[0] in OWN
            ]
    return [name for name in names if name.split(".")[0] in OWN and _is_module(name)]


def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # the parent is a module, not a package: `name` is an attribute
        return False
