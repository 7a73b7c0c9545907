"""Texts that are cut: counted with the real tokenizer, from a sample where they are many, and kept."""

from pathlib import Path

import pytest

from compactor.data import token_counts
from compactor.data.token_counts import count_tokens, cut_of_split
from compactor_runtimes.errors import IntegrityError
from tests.compactor.text_toys import write_tokenizer

TEXTS = ["turn on"] * 6 + ["turn on the light now"] * 3 + ["play"]


def test_all_are_counted_with_special_tokens(tmp_path: Path) -> None:
    found = count_tokens(write_tokenizer(tmp_path), TEXTS)
    assert found.counts.tolist() == [4] * 6 + [7] * 3 + [3]
    assert (found.most, found.cut(7), found.cut(6)) == (7, "", "3 of 10 texts are cut at 6 tokens")


def test_of_many_a_sample_is_counted_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_counts, "MOST_EXACT", 10)
    found = count_tokens(write_tokenizer(tmp_path), ["turn", "turn on the light now"] * 50)
    assert len(found.counts) == 10
    assert found.cut(6) == "about 50.00% of 100 texts are cut at 6 tokens (5 of 10 that were counted)"


def test_a_split_is_counted_once(tmp_path: Path) -> None:
    tokenizer = write_tokenizer(tmp_path)
    said = cut_of_split("digest", tokenizer, TEXTS, 6, tmp_path / "cache")
    assert said == "3 of 10 texts are cut at 6 tokens"
    tokenizer.unlink()  # nothing is counted any more
    assert cut_of_split("digest", tokenizer, TEXTS, 6, tmp_path / "cache") == said
    (tmp_path / "cache" / "token-counts" / "digest.json").write_text("{")
    with pytest.raises(IntegrityError, match="tokenizer"):
        cut_of_split("digest", tokenizer, TEXTS, 6, tmp_path / "cache")
