"""The code digest: what can change a result changes it, and nothing else does."""

import ast
import os
from pathlib import Path

import pytest

from compactor.cache import code as module
from compactor.cache.code import SILENT, code_closure, code_digest

BEFORE = '''"""A module."""
from typing import TYPE_CHECKING

from own_parts import scaled, shifted

if TYPE_CHECKING:
    from own_types import Alpha, Beta

TABLE = {"one": "own_parts:scaled"}
RATES: list[float] = [0.1]  # of learning


class Record:
    """A record."""

    size: int = 3
    """How large."""

    def double(self, by: int = 2) -> int:
        return self.size * by


def work(x: "Alpha", scale: float = 1.5) -> float:
    """Do it."""
    y: float = scaled(x)
    if y < 0:
        raise ValueError(f"y: got {y}, expected >= 0") from None
    assert y < 9, "too large"
    return shifted(y) * scale
'''

SAME = {
    "docstring of the module": ('"""A module."""', '"""Another text."""'),
    "docstring of a class": ('    """A record."""\n', ""),
    "docstring of a field": ("How large.", "How long."),
    "docstring of a function": ('"""Do it."""', '"""Do it well."""'),
    "comment": ("# of learning", "# per step"),
    "layout": ("scale: float = 1.5)", "scale: float\n     = 1.5, )"),
    "annotation of an argument": ('x: "Alpha"', 'x: "Beta | None"'),
    "annotation of a result": ("-> float:", "-> object:"),
    "annotation of an argument in a class": ("by: int = 2) -> int", "by: float = 2) -> float"),
    "annotation of a variable": ("y: float =", "y: int ="),
    "annotation in a module": ("RATES: list[float]", "RATES: list[object]"),
    "text of an error": ('f"y: got {y}, expected >= 0"', '"negative: " + str(y)'),
    "text of an assertion": ('"too large"', 'f"{y} is too large"'),
    "order of imports for types": ("Alpha, Beta", "Beta, Alpha"),
    "import for types": ("import Alpha, Beta", "import Gamma"),
    "further import for annotations": ("import TYPE_CHECKING", "import TYPE_CHECKING, Any"),
    "further line of imports for annotations": (
        "import TYPE_CHECKING\n",
        "import TYPE_CHECKING\nfrom types import X\n",
    ),
    "row of a table": ('{"one": "own_parts:scaled"}', '{"one": "own_parts:scaled", "two": "other:part"}'),
    "pass": ('    """Do it."""', "    pass"),
}

OTHER = {
    "constant": ("[0.1]", "[0.2]"),
    "kind of number": ("[0.1]", "[1]"),
    "default": ("scale: float = 1.5", "scale: float = 1.25"),
    "default of a method": ("by: int = 2", "by: int = 3"),
    "default of a field": ("size: int = 3", "size: int = 4"),
    "annotation of a field": ("size: int", "size: float"),
    "called function": ("shifted(y)", "scaled(y)"),
    "imported module": ("from own_parts", "from other_parts"),
    "imported name": ("import scaled, shifted", "import scaled as shifted, shifted as scaled"),
    "raised error": ("raise ValueError", "raise KeyError"),
    "condition of an assertion": ("assert y < 9", "assert y < 8"),
    "order of statements": ("return self.size * by", "return by * self.size"),
    "table of something else": ('"own_parts:scaled"}', '"scaled"}'),
    "text": ('"own_parts:scaled"}', "3}"),
    "import that is no longer for types": ("if TYPE_CHECKING:", "if True:"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def digest(folder: Path, source: str, name: str = "subject_of_digest") -> str:
    (folder / f"{name}.py").write_text(source, encoding="utf-8")
    return code_digest([name])


@pytest.mark.parametrize("what", SAME)
def test_what_computes_nothing_keeps_the_digest(folder: Path, what: str) -> None:
    old, new = SAME[what]
    after = BEFORE.replace(old, new)
    ast.parse(after)
    assert after != BEFORE
    assert digest(folder, after) == digest(folder, BEFORE)


@pytest.mark.parametrize("what", OTHER)
def test_what_computes_changes_the_digest(folder: Path, what: str) -> None:
    old, new = OTHER[what]
    after = BEFORE.replace(old, new)
    ast.parse(after)
    assert after != BEFORE
    assert digest(folder, after) != digest(folder, BEFORE)


def test_the_names_that_were_given_enter_the_digest() -> None:
    one, other = (code_digest([f"compactor.tasks.texts:{name}"]) for name in ("ONE", "OTHER"))
    assert one != other
    assert code_digest(["compactor.records", "compactor.locate"]) == code_digest(
        ["compactor.locate", "compactor.records", "compactor.locate"]
    )


def package(folder: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    """A package that counts as the project's own."""
    monkeypatch.setattr(module, "OWN", ("own_package",))
    module._what_counts.cache_clear()
    for name, source in {"__init__": "", **files}.items():
        path = folder / "own_package" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")


def test_what_is_imported_at_run_time_is_followed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "start": (
            "from typing import TYPE_CHECKING\n"
            "from own_package import above\n"
            "from own_package.shape import Shape\n"
            "from own_package.inner.deep import deep\n"
            "if TYPE_CHECKING:\n    from own_package.typed import T\n"
            "else:\n    from own_package.untyped import T\n"
            "TABLE = {'a': 'own_package.named:attr'}\n"
            "def work(x: Shape):\n    from own_package.late import late\n"
            "    return late(above.a, deep, T)\n"
        ),
        "above": "a = 1\n",
        "shape": "class Shape: ...\n",
        "inner/__init__": "",
        "inner/deep": "import own_package.deeper\ndeep = own_package.deeper.x\n",
        "deeper": "x = 1\n",
        "typed": "",
        "untyped": "T = 1\n",
        "named": "",
        "late": "late = max\n",
    }
    package(folder, monkeypatch, files)
    names = {"start", "above", "inner", "inner.deep", "deeper", "untyped", "late"}
    found = set(code_closure(["own_package.start"]))
    assert found == {"own_package", *(f"own_package.{name}" for name in names)}
    before = code_digest(["own_package.start"])
    for name, source in files.items():
        (folder / "own_package" / f"{name}.py").write_text(f"{source}more = 1\n")
        after = code_digest(["own_package.start"])
        assert (after == before) == (name in ("shape", "typed", "named")), name
        before = after


def test_a_module_alone_counts_without_its_imports(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(folder, monkeypatch, {"one": "from own_package.two import x\ny = x\n", "two": "x = 1\n"})
    before = code_digest([], alone=["own_package.one"])
    (folder / "own_package" / "two.py").write_text("x = 2\n")
    assert code_digest([], alone=["own_package.one"]) == before
    (folder / "own_package" / "one.py").write_text("from own_package.two import x\ny = x + 1\n")
    assert code_digest([], alone=["own_package.one"]) != before


def test_a_name_that_is_handed_on_or_quoted_by_a_field_is_followed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "face": (
            "from own_package.one import one as one\nfrom own_package.two import two\n__all__ = ['two']\n"
        ),
        "record": "from own_package.one import one\nclass Record:\n    value: 'one | None'\n",
        "one": "one = int\n",
        "two": "two = int\n",
    }
    package(folder, monkeypatch, files)
    assert set(code_closure(["own_package.face"])) == {
        f"own_package.{name}" for name in ("face", "one", "two")
    }
    assert set(code_closure(["own_package.record"])) == {"own_package.record", "own_package.one"}


def test_an_edit_in_place_is_seen_whatever_the_file_says_of_its_age(folder: Path) -> None:
    before = digest(folder, "x = 1\n", "edited_in_place")
    path = folder / "edited_in_place.py"
    stat = path.stat()
    path.write_text("x = 2\n")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert code_digest(["edited_in_place"]) != before


def test_silent_modules_are_modules() -> None:
    """A moved module must not slip back into every digest."""
    assert all(module._file(name) is not None for name in SILENT)
    assert not set(SILENT) & set(code_closure([*SILENT, "compactor.run.pipeline"]))


def test_an_objective_depends_on_itself_and_on_the_records() -> None:
    assert set(code_closure(["compactor.objectives.divergences"])) == {
        "compactor.objectives",
        "compactor.objectives.divergences",
        "compactor.records",
    }


def test_a_module_that_moved_is_not_left_out_in_silence() -> None:
    with pytest.raises(AssertionError, match=r"no such modules: compactor\.gone"):
        code_closure(["compactor.gone:attr", "compactor.records"])
