"""`data.vocabulary`: a trimmed tokenizer in the cache, found again, and its pad id."""

import json
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from compactor.cache.digest import file_digest
from compactor.data import trimmed_tokenizer
from compactor.data.datasets import open_dataset
from compactor.data.spec import DataSpec, VocabularySpec
from compactor.data.texts import open_texts
from compactor.data.token_ids import encode
from compactor.data.tokenizer import text_info
from compactor.label_store.labelled_data import _with_tokenizer
from compactor.models.text import tokenizer_ids
from compactor_runtimes.bundle.manifest import TextPre
from compactor_runtimes.errors import UsageError
from tests.compactor.data.test_extra_texts import write_jsonl
from tests.compactor.text_toys import write_wordpiece
from tests.file_modes import EXPECTED, modes, umask


@pytest.fixture
def spec(tmp_path: Path) -> DataSpec:
    """Ids 0-9: zzz, zz, z, ##z, [PAD] 4, [UNK], [CLS], [SEP], za, a; and ##a 10."""
    write_wordpiece(tmp_path, ["zzz", "zz", "z", "##z"], ["za", "a", "##a"])
    write_jsonl(tmp_path / "set" / "train.jsonl", ["zz za", "zz"])
    write_jsonl(tmp_path / "set" / "test.jsonl", ["zzz"])
    write_jsonl(tmp_path / "other.jsonl", ["zzz", "a", "za a"])
    return DataSpec(
        dataset="other.jsonl",
        tokenizer="tokenizer.json",
        vocabulary=VocabularySpec(texts=["set"]),
        classes=2,
        select=1,
    )


def test_the_train_texts_of_a_folder_say_what_is_kept(spec: DataSpec, tmp_path: Path) -> None:
    text = text_info(spec, tmp_path, cache=tmp_path / "cache")
    assert text.kept is not None
    assert json.loads(text.kept.read_text()) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert text.pad_id == 3
    assert tokenizer_ids(text.tokenizer) == 10
    assert text.tokenizer.parent.parent == tmp_path / "cache" / "tokenizers"
    assert sorted(path.name for path in text.tokenizer.parent.iterdir()) == ["kept.json", "tokenizer.json"]
    data = open_texts(spec, task="text-classification", base=tmp_path, cache=tmp_path / "cache")
    assert data.info.text == text
    ids = {
        data.train.inputs[row]: encode(split, text).ids_of(np.array([row]))[0].tolist()
        for split in (data.report, data.train)
        for row in split.rows.tolist()
    }
    expected = {"zzz": [5, 0, 2, 6], "a": [5, 8, 6], "za a": [5, 7, 8, 6]}  # zzz is zz ##z now
    assert ids == {key: expected[key] for key in ids}
    assert len(ids) == 2


def test_a_tokenizer_is_made_once_and_anew_for_other_texts(spec, tmp_path, monkeypatch) -> None:
    def place(**changes: object) -> Path:
        vocabulary = msgspec.structs.replace(spec.vocabulary, **changes)
        changed = msgspec.structs.replace(spec, vocabulary=vocabulary)
        return text_info(changed, tmp_path, cache=tmp_path / "cache").tokenizer.parent

    both = ["set", "other.jsonl"]
    found = [place(), place(texts=both), place(most=9)]
    made: list[int] = []
    trim = trimmed_tokenizer.trim
    monkeypatch.setattr(trimmed_tokenizer, "trim", lambda *a, **k: made.append(1) or trim(*a, **k))
    assert found == [place(), place(texts=both[::-1]), place(most=9)]
    assert made == []
    kept = (found[1] / "kept.json").read_bytes()
    (found[1] / "tokenizer.json").unlink()  # as if broken off
    assert place(texts=both) == found[1]
    assert made == [1]
    assert (found[1] / "kept.json").read_bytes() == kept
    write_jsonl(tmp_path / "set" / "train.jsonl", ["zz"])
    assert place() not in found
    assert json.loads((found[2] / "kept.json").read_text()) == [1, 2, 3, 4, 5, 6, 7, 9, 10]


def test_what_was_kept_enters_the_digest_of_the_data_set_alone(spec, tmp_path) -> None:
    """The same tokenizer, once trimmed and once given: same tokens, but other rows of embeddings."""
    trimmed = open_texts(spec, task="text-classification", base=tmp_path, cache=tmp_path / "cache")
    given = msgspec.structs.replace(spec, vocabulary=None, tokenizer=str(trimmed.info.text.tokenizer))
    plain = open_texts(given, task="text-classification", base=tmp_path)
    assert plain.train.digest == trimmed.train.digest
    assert plain.digest != trimmed.digest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"texts": ["nothing.csv"]}, r"data\.vocabulary\.texts: nothing\.csv was not found"),
        ({"texts": ["bad.jsonl"]}, r"data\.vocabulary\.texts: .*bad\.jsonl: is no readable jsonl"),
        ({"texts": ["hole.csv"]}, r"data\.vocabulary\.texts: .*row 1: holds no text"),
        ({"texts": ["none.csv"]}, r"data\.vocabulary\.texts: .*holds no row"),
        ({"text_column": "words"}, r"data\.vocabulary\.texts: .*set data\.vocabulary\.text_column"),
        ({"most": 5}, r"data\.vocabulary\.most: got 5, but 8 .* must stay"),
    ],
)
def test_what_cannot_be_read_is_named(spec, tmp_path, changes, message) -> None:
    (tmp_path / "bad.jsonl").write_text("{")
    (tmp_path / "hole.csv").write_text("text,label\na,1\n,2\n")
    (tmp_path / "none.csv").write_text("text\n")
    vocabulary = msgspec.structs.replace(spec.vocabulary, **changes)
    with pytest.raises(UsageError, match=message):
        text_info(msgspec.structs.replace(spec, vocabulary=vocabulary), tmp_path, cache=tmp_path / "cache")


def test_a_cache_that_cannot_be_written_is_named(spec, tmp_path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UsageError, match=r"cache folder .* cannot be written .*COMPACTOR_CACHE"):
        text_info(spec, tmp_path, cache=tmp_path / "cache")


def test_images_have_no_vocabulary(tmp_path) -> None:
    images = DataSpec(dataset="digits", vocabulary=VocabularySpec(texts=["x"]))
    with pytest.warns(UserWarning, match="data.vocabulary has no effect on images"):
        open_dataset(images, base=None, cache=tmp_path)


@pytest.mark.parametrize("mask", EXPECTED)
def test_its_files_respect_the_umask(spec, tmp_path, mask) -> None:
    with umask(mask):
        open_texts(spec, task="text-classification", base=tmp_path, cache=tmp_path / "cache")
    assert modes(tmp_path / "cache") == EXPECTED[mask]


def test_a_bundles_tokenizer_is_not_trimmed_again(spec, tmp_path) -> None:
    """Label stores of texts are compared with a bundle, whose tokenizer is trimmed already."""
    text = text_info(spec, tmp_path, cache=tmp_path / "cache")
    pre = TextPre(tokenizer=text.tokenizer.name, max_tokens=spec.max_tokens, pad_id=text.pad_id)
    bundle = SimpleNamespace(path=text.tokenizer.parent, file=lambda name: text.tokenizer.parent / name)
    transform = SimpleNamespace(tokenizer=file_digest(text.tokenizer), max_tokens=spec.max_tokens)
    again = _with_tokenizer(spec, SimpleNamespace(transform=transform), bundle, pre)
    found = open_texts(again, task="text-classification", base=tmp_path)
    wanted = open_texts(spec, task="text-classification", base=tmp_path, cache=tmp_path / "cache")
    assert found.info.extra["sources"] == wanted.info.extra["sources"]
