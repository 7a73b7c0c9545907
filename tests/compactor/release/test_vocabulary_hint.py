"""A text student that is mostly a table of word pieces is told which key trims it."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from compactor.records import TextInfo
from compactor.release import vocabulary_hint as module
from compactor.release.vocabulary_hint import table_share, vocabulary_hint


class Words(nn.Module):
    """A table of 10 ids x 6, one of 4 positions x 6, and a layer of 6 x 2."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.vocab_size = 10
        self.words = nn.Embedding(10, width)
        self.tied = self.words
        self.positions = nn.Embedding(4, width)
        self.layer = nn.Linear(width, 2, bias=False)


def job(folder: Path, *, kind: str = "WordPiece", kept: Path | None = None, teachers: int = 1) -> Any:
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"type": kind, "vocab": {}}}))
    info = TextInfo(folder / "tokenizer.json", 0, 12, kept=kept)
    one = SimpleNamespace(model="teacher", folder=folder)
    return SimpleNamespace(
        data=SimpleNamespace(info=SimpleNamespace(text=info)),
        student=Words(),
        student_folder=folder,
        teachers=[one] * teachers,
    )


@pytest.fixture(autouse=True)
def sizes(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    found = {"student": 100, "teacher": 150}
    monkeypatch.setattr(
        module, "weights_bytes", lambda model, folder: found["teacher" if model == "teacher" else "student"]
    )
    return found


def test_tables_of_words_count_once_and_those_of_positions_do_not() -> None:
    assert table_share(Words()) == 60 / (60 + 24 + 12)  # type: ignore[arg-type]
    assert table_share(nn.Linear(2, 2)) == 0.0  # type: ignore[arg-type]


def test_the_hint_names_the_share_and_the_key(tmp_path: Path) -> None:
    hint = vocabulary_hint(job(tmp_path))
    assert hint is not None
    assert "62% of its parameters are its table of word pieces" in hint
    assert "1.5 times smaller than its teacher's" in hint
    assert "data.vocabulary: {texts: [...]}" in hint


def test_there_is_no_hint_where_it_would_not_help(tmp_path: Path, sizes: dict[str, int]) -> None:
    assert vocabulary_hint(job(tmp_path, kept=tmp_path / "kept.json")) is None  # trimmed already
    assert vocabulary_hint(job(tmp_path, kind="BPE")) is None  # cannot be trimmed
    assert vocabulary_hint(job(tmp_path, teachers=0)) is None  # smaller than what?
    assert vocabulary_hint(job(tmp_path, teachers=2)) is None  # three times smaller than both
    sizes["teacher"] = 200
    assert vocabulary_hint(job(tmp_path)) is None
    sizes["teacher"] = 90
    small = vocabulary_hint(job(tmp_path))
    assert small is not None
    assert "not smaller than its teacher's" in small


def test_there_is_no_hint_where_layers_are_most_of_it(tmp_path: Path) -> None:
    asked = job(tmp_path)
    asked.student.layer = nn.Linear(6, 20)
    assert vocabulary_hint(asked) is None
    asked.data.info.text = None
    assert vocabulary_hint(asked) is None
