"""Whatever writes a file does it inside `writing` or `written_whole`, so that a full disk is one sentence."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.packaging.sources import tree_of

ROOT = Path(__file__).parents[2]
GUARDS = {"writing", "written_whole"}
WRITERS = {
    "write_text",
    "write_bytes",
    "copyfile",
    "copytree",
    "savefig",
    "save_file",
    "save_pretrained",
    "to_parquet",
    "write_table",
    "tofile",
}
SAVERS = {"np", "torch", "onnx", "image"}  # whose `save` and `save_model` write; those of others are ours
MEMORY = {"stream", "png", "content"}  # names of what is no file
# a module that may import nothing of ours, a lock, a pipe
ELSEWHERE = {
    ("compactor/cache/claims.py", "open"): "a lock, which holds nothing",
    ("compactor/cache/folder.py", "open"): "a lock, which holds nothing",
    ("compactor/run/moved.py", "open"): "a lock, which holds nothing",
    ("compactor/data/cache.py", "open"): "each of its writes is guarded, what is read in between is not",
    ("exporters/compactor_exporters/optimum_child.py", "write_text"): "runs where ours is not installed",
    ("compactor/run/trial_export.py", "fdopen"): "a pipe",
    ("runtimes/compactor_runtimes/measure/worker.py", "fdopen"): "a pipe",
}


def called(node: ast.Call) -> tuple[str, str]:
    """The object's name, if it has one, and what is called of it."""
    if isinstance(node.func, ast.Attribute):
        return (node.func.value.id if isinstance(node.func.value, ast.Name) else ""), node.func.attr
    return "", node.func.id if isinstance(node.func, ast.Name) else ""


def writes(node: ast.Call) -> bool:
    owner, name = called(node)
    if node.args and isinstance(node.args[0], ast.Name) and node.args[0].id in MEMORY:
        return False
    if name in ("save", "save_model"):
        return isinstance(node.func, ast.Attribute) and (not owner or owner in SAVERS)
    if name in ("open", "fdopen"):
        words = [one.value for one in (*node.args, *(word.value for word in node.keywords))
                 if isinstance(one, ast.Constant) and isinstance(one.value, str)]  # fmt: skip
        return any(set(word) & set("wax+") and set(word) <= set("wax+bt") for word in words)
    return name in WRITERS


def unguarded(node: ast.AST, guarded: bool = False) -> Iterator[ast.Call]:
    for child in ast.iter_child_nodes(node):
        inside = guarded
        if isinstance(node, ast.With) and child in node.body:
            names = {
                called(one.context_expr)[1] for one in node.items if isinstance(one.context_expr, ast.Call)
            }
            inside = guarded or bool(names & GUARDS)
        if isinstance(child, ast.withitem) and isinstance(node, ast.With):  # `with writing(p), p.open("w"):`
            first = node.items[0].context_expr
            inside = guarded or (isinstance(first, ast.Call) and called(first)[1] in GUARDS)
        if isinstance(child, ast.Call) and not inside and writes(child):
            yield child
        yield from unguarded(child, inside)


def test_every_writer_is_inside_the_one_guard() -> None:
    found: dict[tuple[str, str], list[int]] = {}
    for folder in ("compactor", "exporters", "runtimes"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for call in unguarded(tree_of(path)):
                key = (path.relative_to(ROOT).as_posix(), called(call)[1])
                found.setdefault(key, []).append(call.lineno)
    assert {key: lines for key, lines in found.items() if key not in ELSEWHERE} == {}
    assert sorted(set(ELSEWHERE) - set(found)) == [], "no longer there: remove it from the list"


def test_the_check_sees_what_it_should() -> None:
    text = """
with writing(path):
    path.write_text("a")
with writing(path), path.open("a") as file:
    torch.save(state, file)
path.write_text("b")
with path.open("w") as file:
    np.save(file, array)
image.save(path)
path.open("rb")
"""
    assert [(call.lineno, called(call)[1]) for call in unguarded(ast.parse(text))] == [
        (6, "write_text"),
        (7, "open"),
        (8, "save"),
        (9, "save"),
    ]
