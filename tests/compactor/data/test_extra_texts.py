"""Further texts in training: row numbers, labels, shares, digests and messages."""

import json
from pathlib import Path

import msgspec
import pytest

from compactor.data.spec import DataSpec, MixSpec
from compactor.data.texts import open_texts
from compactor.records import IGNORE
from compactor.tasks import task_named
from compactor_runtimes.errors import UsageError
from tests.compactor.text_toys import write_tokenizer


def write_jsonl(path: Path, texts: list[str], **columns: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {"text": text} | {key: values[at] for key, values in columns.items()} for at, text in enumerate(texts)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def spec(tmp_path: Path) -> DataSpec:
    """10 labelled texts, of which 6 to train on; 3 more in a folder of splits, and 2 in a file."""
    texts = [f"turn on light {number}" for number in range(10)]
    write_jsonl(tmp_path / "own.jsonl", texts, label=["light", "music"] * 5)
    write_jsonl(tmp_path / "more" / "train.jsonl", ["play", "it", "now"], label=["x", "y", "z"])
    write_jsonl(tmp_path / "more" / "test.jsonl", ["off"])
    (tmp_path / "two.jsonl").write_text('{"words": "what"}\n{"words": "time"}\n')
    write_tokenizer(tmp_path)
    return DataSpec(
        dataset="own.jsonl",
        tokenizer="tokenizer.json",
        select=2,
        also=[
            MixSpec(dataset="more", share=0.5),
            MixSpec(dataset="two.jsonl", share=0.25, text_column="words"),
        ],
    )


def opened(spec: DataSpec, base: Path, **options):
    return open_texts(spec, task="text-classification", base=base, **options)


def test_rows_of_the_data_set_keep_their_numbers_and_others_follow_unlabelled(spec, tmp_path) -> None:
    data = opened(spec, tmp_path)
    plain = opened(msgspec.structs.replace(spec, also=[]), tmp_path)
    assert data.train.rows.tolist() == [*plain.train.rows.tolist(), 10, 11, 12, 13, 14]
    assert data.train.inputs[10:].tolist() == ["play", "it", "now", "what", "time"]
    assert data.train.inputs[:10].tolist() == plain.train.inputs.tolist()
    assert data.train.labels["label"].tolist() == [0, 1] * 5 + [IGNORE] * 5
    assert data.train.parts == ((6, 0.25), (3, 0.5), (2, 0.25))
    assert plain.train.parts == ()
    assert data.info.classes == plain.info.classes == {"label": ["light", "music"]}
    for one, other in ((data.select, plain.select), (data.report, plain.report)):
        assert one.digest == other.digest
        assert one.rows.tolist() == other.rows.tolist()
        assert len(one.inputs) == 10
    split = task_named("text-classification").open(spec, base=tmp_path).train
    assert split.parts == data.train.parts


def test_a_limit_is_drawn_and_said(spec, tmp_path) -> None:
    first, second = spec.also
    data = opened(
        msgspec.structs.replace(spec, also=[msgspec.structs.replace(first, limit=2), second]), tmp_path
    )
    assert data.train.parts == ((6, 0.25), (2, 0.5), (2, 0.25))
    assert set(data.train.rows[6:8].tolist()) <= {10, 11, 12}
    assert [note for note in data.notes if "limit" in note] == [
        "also more: 2 of 3 samples are used, drawn at random (limit)"
    ]
    assert not any("limit" in note for note in opened(spec, tmp_path).notes)


def test_shares_and_tables_enter_the_digests(spec, tmp_path) -> None:
    def digests(changed: DataSpec) -> tuple[str, str, str]:
        data = opened(changed, tmp_path)
        return data.digest, data.train.digest, data.info.extra["sources"]["train"]

    first, second = spec.also
    found = [
        digests(spec),
        digests(msgspec.structs.replace(spec, also=[first])),
        digests(msgspec.structs.replace(spec, also=[])),
        digests(msgspec.structs.replace(spec, also=[msgspec.structs.replace(first, share=0.4), second])),
    ]
    write_jsonl(tmp_path / "more" / "train.jsonl", ["play", "it", "off"])
    found.append(digests(spec))
    for kind in zip(*found, strict=True):
        assert len(set(kind)) == 5


def test_a_smoke_run_reads_a_handful_of_each(spec, tmp_path) -> None:
    data = opened(spec, tmp_path, at_most=2 * 3)
    assert data.train.parts[1:] == ((3, 0.5), (2, 0.25))
    write_jsonl(tmp_path / "more" / "train.jsonl", [f"play {number}" for number in range(11)])
    data = opened(spec, tmp_path, at_most=6)
    assert data.train.inputs[6:12].tolist() == [f"play {number}" for number in (0, 2, 4, 6, 8, 10)]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"dataset": "none"}, r"data\.also\.dataset: none was not found"),
        ({"dataset": "two.jsonl"}, r"no column 'text', found words; set data\.also\.text_column"),
        ({"dataset": "empty"}, r"data\.also\.dataset: .*empty holds no table"),
        ({"dataset": "bad.jsonl"}, r"data\.also\.dataset: .*bad\.jsonl: is no readable jsonl file"),
    ],
)
def test_what_cannot_be_mixed_in_is_named(spec, tmp_path, entry, message) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.jsonl").write_text("{")
    also = [MixSpec(share=0.5, **entry)]
    with pytest.raises(UsageError, match=message):
        opened(msgspec.structs.replace(spec, also=also), tmp_path)


@pytest.mark.parametrize("shares", [[0.7, 0.3], [0.7, 0.2, 0.1], [0.9, 0.9]])
def test_something_must_be_left_of_an_epoch(shares) -> None:
    also = [{"dataset": "x", "share": share} for share in shares]
    with pytest.raises(msgspec.ValidationError, match="also: shares sum to .*, expected less than 1"):
        msgspec.convert({"dataset": "y", "also": also}, DataSpec)
