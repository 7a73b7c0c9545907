"""CSV files as people save them: other delimiters, no header, quotes and rows that are not whole."""

from pathlib import Path

import pytest

from compactor.data.csv_layout import layout_of
from compactor.data.spec import DataSpec
from compactor.data.survey import survey
from compactor.data.table_files import opened
from compactor.data.table_source import TableSource
from compactor.propose.columns import peek
from compactor_runtimes.errors import UsageError

ROWS = [("turn, please, on", "light"), ("play; or not", "music")] * 6


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def source(path: Path) -> TableSource:
    return TableSource([path], "text", "label", holds="texts")


@pytest.mark.parametrize(
    ("suffix", "delimiter", "said"),
    [
        (".csv", ",", []),
        (".csv", ";", ["x.csv is read with semicolons between cells"]),
        (".csv", "\t", ["x.csv is read with TABs between cells"]),
        (".csv", "|", ["x.csv is read with vertical bars between cells"]),
        (".tsv", "\t", []),
        (".tsv", ",", ["x.tsv is read with commas between cells"]),
    ],
)
def test_the_delimiter_is_found_and_said(
    tmp_path: Path, suffix: str, delimiter: str, said: list[str]
) -> None:
    lines = [delimiter.join(f'"{cell}"' for cell in row) for row in ROWS]
    path = written(tmp_path / f"x{suffix}", "\n".join([f"text{delimiter}label", *lines]) + "\n")
    found = source(path)
    assert found.texts().tolist() == [text for text, _ in ROWS]
    assert found.labels().classes == ["light", "music"]
    assert found.notes() == said
    assert [column.name for column in peek(path)] == ["text", "label"]
    assert survey(DataSpec(dataset=str(path)), base=None, task="text-classification").classes["light"] == 6


@pytest.mark.parametrize(
    "text",
    [
        "text\nturn; on\nplay; it\n",  # one column, whose header says so
        "text,label\nturn on,light\n\nplay,music\n",
        'text,label\n"say ""hi"", now",light\n"two\nlines",music\n',
        'text,label\nsay "hi",light\n',
        "text,label\r\nturn on,light\r\n",
        "\ufefftext,label\nturn on,light\n",
        f"text,label\n{'word ' * 40_000},light\n",
    ],
    ids=["one column", "empty line", "quotes", "inner quotes", "DOS", "mark", "long cell"],
)
def test_a_right_file_stays_right(tmp_path: Path, text: str) -> None:
    path = written(tmp_path / "x.csv", text)
    assert layout_of(path).is_usual
    with opened(path) as file:
        assert file.schema.names[0] == "text"
        assert file.rows > 0
    assert peek(path)[0].name == "text"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "text;label\na;b\nc;d;e\n",
            r"its header is one cell, 'text;label', expected commas .* if they are semicolons",
        ),
        (
            "text,label\na,b\nc,d,e\n",
            r"row 2 below the header \('c,d,e'\): 3 cells found, 2 expected; put quotes",
        ),
        ("text,label\na\nb,c\n", r"row 1 below the header \('a'\): 1 cells found, 2 expected"),
        ('text,label\n"hello,a\nb "x",b\nc,c\n', r"line 3: its quotes are not whole"),
        ('text,label\n"hello" there,a\nb,b\n', r"line 2: its quotes are not whole"),
        ('text,label\n"hello,a\nb,b\n', r"its quotes are not whole \(unexpected end of data\)"),
        (
            "text,label\nh\xe9,a\n".encode("latin-1"),
            r"is not UTF-8, line 2 holds the byte 0xE9; save it as UTF-8",
        ),
        ("text,lab\xe9l\nh,a\n".encode("latin-1"), r"is not UTF-8, line 1 holds the byte 0xE9"),
        ("text,label\nh,a\n".encode("utf-16"), r"is UTF-16, as its first bytes say, expected UTF-8"),
    ],
)
def test_a_wrong_file_is_answered_in_training_and_by_init(
    tmp_path: Path, text: str | bytes, says: str
) -> None:
    path = written(tmp_path / "x.csv", text)
    for read in (lambda: source(path).texts(), lambda: peek(path)):
        with pytest.raises(UsageError, match=says):
            read()


@pytest.mark.parametrize("bad", ['{"text": "h\xe9"}\n'.encode("latin-1"), '{"text": "h"}\n'.encode("utf-16")])
def test_other_json_lines_than_utf_8_are_answered(tmp_path: Path, bad: bytes) -> None:
    path = written(tmp_path / "x.jsonl", bad)
    for read in (lambda: source(path).texts(), lambda: peek(path)):
        with pytest.raises(UsageError, match=r"x.jsonl: is (not UTF-8, line 1|UTF-16, as its first)"):
            read()


def test_a_missing_header_is_named_where_columns_are_guessed_or_not_found(tmp_path: Path) -> None:
    lines = "".join(f"turn on light number {row},{'ab'[row % 2]}\n" for row in range(20))
    path = written(tmp_path / "x.csv", lines)
    with pytest.raises(
        UsageError, match=r"its first row looks like one of the data's \(turn on light number 0, a\)"
    ):
        peek(path)
    with pytest.raises(UsageError, match="put a line such as text,label above it"):
        source(path).texts()
    assert [column.name for column in peek(path, are_named=True)] == ["turn on light number 0", "a"]
    images = written(tmp_path / "y.csv", "a/1.png,cat\na/2.png,dog\na/3.png,cat\n")
    with pytest.raises(UsageError, match="its first row looks like one of the data's"):
        peek(images)


@pytest.mark.parametrize(
    "header", ["message,spam", "customer message,kind", "what the customer has written,is it spam"]
)
def test_a_header_of_words_is_one(tmp_path: Path, header: str) -> None:
    lines = "".join(f"turn on light number {row},{('spam', 'ham')[row % 2]}\n" for row in range(20))
    assert len(peek(written(tmp_path / "x.csv", f"{header}\n{lines}"))) == 2


def test_a_name_that_two_columns_have_is_answered(tmp_path: Path) -> None:
    path = written(tmp_path / "x.csv", "text,text\na,b\n")
    for read in (lambda: source(path).texts(), lambda: peek(path)):
        with pytest.raises(UsageError, match="2 columns are called 'text'; rename one"):
            read()


def test_doubtful_labels_are_said_with_their_counts(tmp_path: Path) -> None:
    path = written(tmp_path / "x.csv", "text,label\na,yes\nb, yes\nc, yes\na,no\nd,no\na,yes\n")
    found = survey(DataSpec(dataset=str(path), select=1), base=None, task="text-classification")
    assert (
        "train: classes ' yes' (2 rows) and 'yes' (2 rows) read alike, and are kept apart: are they one?"
        in (found.problems)
    )
    assert (
        "train: 1 text stands under more than one class, such as 'a' under 'no' and 'yes'" in found.problems
    )
