"""Tokenizers that are one although their files differ, and such that are not although they nearly are."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, Unigram

from compactor.data.tokenizer_match import compare_tokenizers
from tests.compactor.text_toys import WORDS, write_tokenizer, write_wordpiece

TEXTS = ["turn on the light", "play music"]


def changed(path: Path, change: Callable[[Tokenizer], None]) -> None:
    tokenizer = Tokenizer.from_file(str(path))
    change(tokenizer)
    tokenizer.save(str(path))


def rewritten(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content, indent=3, sort_keys=True))


@pytest.mark.parametrize(
    "change",
    [
        lambda path: rewritten(path, lambda content: content.update(version="1.0")),
        lambda path: changed(path, lambda one: one.enable_padding(pad_id=0, pad_token="[PAD]")),
        lambda path: changed(path, lambda one: one.enable_truncation(4)),
        lambda path: rewritten(path, lambda content: content["model"].pop("type")),
    ],
    ids=["order of keys", "padding", "truncation", "an old file"],
)
def test_what_does_not_change_ids_does_not_count(tmp_path: Path, change: Callable[[Path], None]) -> None:
    ours, theirs = write_tokenizer(tmp_path / "a"), write_tokenizer(tmp_path / "b")
    change(theirs)
    assert theirs.read_bytes() != ours.read_bytes()
    assert compare_tokenizers(theirs, ours, TEXTS) is None


def test_entries_of_one_side_alone_are_harmless_until_a_text_uses_them(tmp_path: Path) -> None:
    ours, theirs = write_tokenizer(tmp_path / "a"), write_tokenizer(tmp_path / "b", [*WORDS, "lamp"])
    found = compare_tokenizers(theirs, ours, TEXTS)
    assert found is not None
    assert (found.is_harmless, found.parts) == (True, ("vocabulary",))
    found = compare_tokenizers(theirs, ours, [*TEXTS, "turn off the lamp"])
    assert found is not None
    assert not found.is_harmless
    assert (
        found.told()
        == "'turn off the lamp' is [2, 4, 6, 7, 16, 3] for it and [2, 4, 6, 7, 1, 3] for the data"
    )


def test_another_order_of_the_vocabulary_is_another_tokenizer(tmp_path: Path) -> None:
    """All ids exist on both sides, so that nothing else would notice."""
    ours, theirs = write_tokenizer(tmp_path / "a"), write_tokenizer(tmp_path / "b", [*reversed(WORDS)])
    found = compare_tokenizers(theirs, ours, TEXTS)
    assert found is not None
    assert (found.is_harmless, found.parts, found.text) == (False, ("vocabulary",), TEXTS[0])


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda one: setattr(one, "normalizer", normalizers.Lowercase()), "normaliser"),
        (lambda one: setattr(one, "pre_tokenizer", pre_tokenizers.WhitespaceSplit()), "pre-tokenizer"),
        (
            lambda one: setattr(
                one, "post_processor", processors.TemplateProcessing("[CLS] $A", None, [("[CLS]", 0)])
            ),
            "post-processor",
        ),
    ],
)
def test_another_part_is_found_although_the_datas_texts_may_not_show_it(
    tmp_path: Path, change: Callable[[Tokenizer], None], part: str
) -> None:
    letters = [chr(code) for code in range(ord("A"), ord("z") + 1)]
    pieces = [*letters, *(f"##{one}" for one in letters), "?", "the", "turn"]
    ours, theirs = (write_wordpiece(tmp_path / name, [], pieces) for name in "ab")
    changed(theirs, change)
    found = compare_tokenizers(theirs, ours, ["turn the"])
    assert found is not None
    assert (found.is_harmless, found.parts) == (False, (part,))


def test_a_part_that_is_only_written_otherwise_gives_the_same_ids(tmp_path: Path) -> None:
    ours, theirs = write_tokenizer(tmp_path / "a"), write_tokenizer(tmp_path / "b")
    changed(
        theirs,
        lambda one: setattr(one, "post_processor", processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))),
    )
    found = compare_tokenizers(theirs, ours, TEXTS)
    assert found is not None
    assert (found.is_harmless, found.parts) == (True, ("post-processor",))


def test_merges_and_scores_are_entries_of_the_vocabulary(tmp_path: Path) -> None:
    bpe = {"a": 0, "b": 1, "c": 2, "ab": 3, "bc": 4}
    for name, merges in (("x", [("a", "b"), ("b", "c")]), ("y", [("b", "c"), ("a", "b")])):
        Tokenizer(BPE(bpe, merges)).save(str(tmp_path / name))
    found = compare_tokenizers(tmp_path / "x", tmp_path / "y", ["ab", "abc"])
    assert found is not None
    assert (found.text, found.theirs, found.ours) == ("abc", (3, 2), (0, 4))
    for name, score in (("u", -1.0), ("v", -9.0)):
        Tokenizer(Unigram([("<unk>", 0.0), ("a", -2.0), ("aa", score)], 0, False)).save(str(tmp_path / name))
    found = compare_tokenizers(tmp_path / "u", tmp_path / "v", ["aa"])
    assert found is not None
    assert (found.theirs, found.ours) == ((2,), (1, 1))
