"""The code digest: of the source that computes a result, all that can change it and nothing else.

The modules that a caller names count, with what they import at run time, at module level or inside functions:

1. Imports under `if TYPE_CHECKING` are not followed, and what stands there does not count; its `else` does.
2. Modules of SILENT are not followed: they show, check, word or number things, and compute nothing.
3. A package's own file counts with each of its modules, because Python runs it first. The faces of OWN do
   not: what they hand on is imported on first use.
4. A literal table name -> "module:attr" does not count: a stage depends on the entries that it names and
   not on their siblings. The caller names those, and they enter the digest as they are written. Data sets
   enter a stage's key by their contents instead.

Of a module's syntax tree, so that comments and layout do not count, these are left out:

5. Docstrings, those of attributes too, and `pass`.
6. Annotations of arguments, results and variables. Those of a class's fields count: records are read by them.
7. What a raised error or a failed assertion says. Which error is raised counts, for others may catch it.
8. `from MODULE import NAME` of our own, or of what annotations are made of, where the name serves nothing
   that counts. It is not followed either: importing a module of ours does nothing but define its names.
"""

import ast
import hashlib
import re
from collections.abc import Collection
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from compactor.cache.digest import digest_of

OWN = ("compactor", "compactor_exporters", "compactor_runtimes")
SILENT = (
    "compactor.cache.journal",
    "compactor.cli",
    "compactor.progress",
    "compactor.recipe.checks",
    "compactor.recipe.cross_fit",
    "compactor.recipe.method_checks",
    "compactor.version",
    "compactor_runtimes.errors",
)
FOR_ANNOTATIONS = ("collections.abc", "numpy.typing", "types", "typing")
ENTRY = re.compile(r"[\w.]+:\w+")
WORD = re.compile(r"\w+")


def code_digest(modules: Collection[str], *, alone: Collection[str] = ()) -> str:
    """SHA-256 over what counts of `code_closure(modules)`, and over the names that were given.

    Args:
        modules: as in `code_closure`.
        alone: modules that count without what they import, as `modules` name all of it that matters.
    """
    return digest_of({"named": sorted({*modules, *alone}), "code": code_parts(modules, alone=alone)})


def code_parts(modules: Collection[str], *, alone: Collection[str] = ()) -> dict[str, str]:
    """What `code_digest` is made of, module by module: name -> SHA-256 of what counts of it."""
    files = code_closure(modules)
    files |= {name: file for name in alone if (file := _file(name)) is not None}
    return {name: _what_counts(file.read_bytes())[0] for name, file in files.items()}


def code_closure(modules: Collection[str]) -> dict[str, Path]:
    """The modules that count: those named and, of the project's own, what they import: name -> file.

    Args:
        modules: dotted names, or "module:attr" as tables have them; what is no Python file is left out, but
            of our own each must be one.
    """
    found: dict[str, Path] = {}
    queue = [name.partition(":")[0] for name in modules]
    moved = [name for name in queue if _is_own(name) and not is_module(name)]
    assert not moved, f"named, but there are no such modules: {', '.join(moved)}"
    while queue:
        name = queue.pop()
        file = None if name in found or _is_silent(name) else _file(name)
        if file is None:
            continue
        found[name] = file
        queue += [imported for imported in _what_counts(file.read_bytes())[1] if _is_own(imported)]
        queue += [package] if "." in (package := name.rpartition(".")[0]) else []  # rule 3
    return found


def is_module(name: str) -> bool:
    """Whether there is a Python file of this name, or of this "module:attr"; nothing is imported."""
    return _file(name.partition(":")[0]) is not None


def _is_silent(name: str) -> bool:
    return any(name == silent or name.startswith(f"{silent}.") for silent in SILENT)  # rule 2


def _is_own(name: str) -> bool:
    return name.partition(".")[0] in OWN


def _file(name: str) -> Path | None:
    """Where a module lies, found without importing the packages around it; None where it is no module."""
    top, *rest = name.split(".")
    spec = find_spec(top)
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    for folder in spec.submodule_search_locations or ():
        place = Path(folder, *rest)
        for file in (place / "__init__.py", place.with_suffix(".py")):
            if file.is_file():
                return file
    return None


@lru_cache(maxsize=1024)
def _what_counts(source: bytes) -> tuple[str, tuple[str, ...]]:
    """Digest of what counts of a file, and the names that it imports at run time, modules or attributes."""
    tree = _Counted().visit(ast.parse(source))
    nodes = list(ast.walk(tree))  # once: walking takes longer than all else here
    _leave_unused_imports(nodes)
    imported: list[str] = []
    for node in nodes:
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.names and not node.level:
            # `from package import name` may mean a sub-module or an attribute; whether there is a file tells
            imported += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return hashlib.sha256(_text(tree).encode()).hexdigest(), tuple(imported)


def _text(value: Any) -> str:
    """A syntax tree as text, alike in all versions of Python: without places and without empty fields."""
    if isinstance(value, ast.AST):
        fields = [
            f"{name}={_text(part)}"
            for name, part in ast.iter_fields(value)
            if name not in ("ctx", "kind", "type_comment", "type_ignores") and part not in (None, [])
        ]
        return f"{type(value).__name__}({','.join(fields)})"
    if isinstance(value, list):
        return f"[{','.join(_text(part) for part in value if not _imports_nothing(part))}]"
    return ascii(value)


class _Counted(ast.NodeTransformer):
    """Leave out what cannot change what is computed."""

    def __init__(self) -> None:
        self._in_class = False

    def visit_Module(self, node: ast.Module) -> ast.AST:
        node.body = [part for part in node.body if not _is_table(part)]  # rule 4
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._inside(node, in_class=True)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None  # rule 6
        return self._inside(node, in_class=False)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None  # rule 6
        return self._inside(node, in_class=False)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None  # rule 6
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if not self._in_class:
            node.annotation = ast.Constant(...)  # rule 6
        return self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.AST]:
        if ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):  # rule 1
            otherwise = [self.visit(part) for part in node.orelse]
            return [part for part in otherwise if part is not None]
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if isinstance(node.exc, ast.Call):
            node.exc = node.exc.func  # rule 7
        return self.generic_visit(node)

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        node.msg = None  # rule 7
        return self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else self.generic_visit(node)  # rule 5

    def visit_Pass(self, node: ast.Pass) -> None:
        return None  # rule 5

    def _inside(self, node: ast.AST, *, in_class: bool) -> ast.AST:
        before, self._in_class = self._in_class, in_class
        try:
            return self.generic_visit(node)
        finally:
            self._in_class = before


def _leave_unused_imports(nodes: Collection[ast.AST]) -> None:
    """Apply rule 8; a name in a text counts as used, as in `__all__` and in fields that quote their type."""
    used: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Name):
            used.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            used.update(WORD.findall(node.value))
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            if _is_own(node.module) or node.module in FOR_ANNOTATIONS:
                used |= {one.name for one in node.names if one.asname == one.name}  # which hands it on
                node.names = [one for one in node.names if (one.asname or one.name) in used]


def _imports_nothing(node: Any) -> bool:
    return isinstance(node, ast.ImportFrom) and not node.names


def _is_table(node: ast.stmt) -> bool:
    """Whether a statement is `NAME = {"name": "module:attr", ...}`."""
    if not isinstance(node, ast.Assign | ast.AnnAssign) or not isinstance(node.value, ast.Dict):
        return False
    texts = [value.value if isinstance(value, ast.Constant) else None for value in node.value.values]
    return bool(texts) and all(isinstance(text, str) and ENTRY.fullmatch(text) for text in texts)
