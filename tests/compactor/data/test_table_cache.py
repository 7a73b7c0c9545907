"""A table that was read once gives the same from the cache, and is read anew where anything differs."""

import os
import stat
from pathlib import Path

import numpy as np
import pytest

from compactor.data import table_cache, token_ids
from compactor.data.spec import DataSpec
from compactor.data.splits import Dataset
from compactor.data.table_source import TableSource
from compactor.data.texts import open_texts
from tests.compactor.text_toys import write_tokenizer

ODD = (
    '\ufefftext,label\r\n"play, ""now""",a\r\n\r\n"turn\r\noff ","b"\r\nnaïve 猫,a\r\n  it is,\r\n'
    'play music,b\r\nwhat time,a\r\nthe light,b\r\n"play, ""now""",b\r\n'
)
TEXTS = ['play, "now"', "turn\r\noff ", "naïve 猫", "  it is", "play music", "what time", "the light"]
LABELS = [0, 1, 0, -100, 1, 0, 1, 1]
TWICE = "train: 1 text stands under more than one class, such as 'play, \"now\"' under 'a' and 'b'"


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(table_cache, "LEAST_BYTES", 0)
    monkeypatch.setattr(token_ids, "LEAST_TEXTS", 0)
    write_tokenizer(tmp_path)
    path = tmp_path / "odd.csv"
    path.write_bytes(ODD.encode())
    return path


def opened(table: Path) -> Dataset:
    spec = DataSpec(dataset=table.name, tokenizer="tokenizer.json", max_tokens=8)
    return open_texts(spec, task="text-classification", base=table.parent, cache=table.parent / "cache")


def readings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    made: list[int] = []
    texts = TableSource.texts
    monkeypatch.setattr(TableSource, "texts", lambda self: made.append(1) or texts(self))
    return made


def test_odd_cells_come_back_whole_whatever_the_block(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = TableSource([table], "text", "label", holds="texts")
    assert source.texts().tolist() == [*TEXTS, TEXTS[0]]
    assert source.labels().values.tolist() == LABELS
    monkeypatch.setattr("compactor.data.table_files.BLOCK_BYTES", 40)
    again = TableSource([table], "text", "label", holds="texts", rows=np.array([1, 6, 7]))
    assert again.texts().tolist() == [TEXTS[1], TEXTS[6], TEXTS[0]]
    assert again.labels().values.tolist() == [1, 1, 1]
    assert source.count() == 8


def test_a_row_without_text_is_named_by_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compactor.data.table_files.BLOCK_BYTES", 32)
    rows = [f"text {row},a" for row in range(9)] + ['"\u3000 ",a', ",b"]
    (tmp_path / "x.csv").write_text("\n".join(["text,label", *rows]))
    with pytest.raises(ValueError, match=r"x.csv, column 'text', row 9: holds no text"):
        TableSource([tmp_path / "x.csv"], "text", "label", holds="texts").texts()


@pytest.mark.parametrize("size", [200_000, 1_500_000])
def test_long_rows_are_read_in_blocks_that_hold_them(tmp_path: Path, size: int) -> None:
    long = "é" * (size // 2)
    (tmp_path / "x.csv").write_text(f"text,label\nplay,a\n{long},b\nstop,a\n", encoding="utf-8")
    assert TableSource([tmp_path / "x.csv"], "text", "label", holds="texts").texts().tolist() == [
        "play",
        long,
        "stop",
    ]


def test_the_cache_gives_what_was_read(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = os.umask(0o027)
    try:
        first = opened(table)
    finally:
        os.umask(old)
    made = readings(monkeypatch)
    second = opened(table)
    assert made == []
    assert TWICE in first.notes
    assert (first.digest, first.notes, first.info) == (second.digest, second.notes, second.info)
    for a, b in ((first.train, second.train), (first.select, second.select), (first.report, second.report)):
        assert (a.digest, a.rows.tolist()) == (b.digest, b.rows.tolist())
        assert a.inputs.tolist() == b.inputs.tolist() == [*TEXTS, TEXTS[0]]
        assert a.labels["label"].tolist() == b.labels["label"].tolist() == LABELS
    (folder,) = (table.parent / "cache" / "tables").iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o640}
    monkeypatch.setattr(table_cache, "LEAST_BYTES", 2**20)
    assert opened(table).digest == first.digest  # as without a cache


@pytest.mark.parametrize("name", ["letters.npy", "offsets.npy", "labels.npy", "meta.json"])
def test_a_damaged_one_is_made_again(table: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    first = opened(table)
    (folder,) = (table.parent / "cache" / "tables").iterdir()
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[:-9] + b"X" + whole[-8:])
    made = readings(monkeypatch)
    assert opened(table).digest == first.digest
    assert (made, (folder / name).read_bytes()) == ([1], whole)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_other_bytes_names_or_columns_are_read_anew(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(table)
    made = readings(monkeypatch)
    table.write_bytes(ODD.replace("naïve", "naive").encode())
    assert opened(table).digest != first.digest
    opened(table.rename(table.with_name("other.csv")))
    assert made == [1, 1]


def test_token_ids_from_the_cache_are_those_that_were_cut(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split, text = opened(table).train, opened(table).info.text
    assert text is not None
    cut = []
    for least in (100, 0, 0):  # in memory; into the cache; from the cache
        monkeypatch.setattr(token_ids, "LEAST_TEXTS", least)
        monkeypatch.setattr(token_ids, "_KNOWN", {})
        found = token_ids.encode(split, text, table.parent / "cache")
        cut.append([ids.tolist() for ids in found.ids_of(split.rows[::-1])])
        assert found.lengths(split.rows[::-1]).tolist() == [len(ids) for ids in cut[-1]]
    assert cut[0] == cut[1] == cut[2]
    assert len(list((table.parent / "cache" / "token-ids").iterdir())) == 1
