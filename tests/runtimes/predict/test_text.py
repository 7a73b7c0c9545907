import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from compactor_runtimes.bundle.manifest import TextPre
from compactor_runtimes.errors import IntegrityError, UsageError
from compactor_runtimes.predict.images import feeds_from
from compactor_runtimes.predict.text import TextPipeline, read_text, read_texts
from tests.runtimes.text_bundles import CASES, PRE, write_tokenizer


@pytest.fixture
def assets(tmp_path):
    write_tokenizer(tmp_path / PRE.tokenizer)
    return tmp_path


def test_ids_hold_special_tokens_and_are_cut_by_the_manifest_not_by_the_file(assets):
    encoded = TextPipeline(PRE, assets).encode(list(CASES))
    assert [ids.tolist() for ids in encoded] == list(CASES.values())
    assert {ids.dtype for ids in encoded} == {np.dtype(np.int64)}


def test_one_text_gives_the_ids_that_it_has_among_many(assets):
    pipeline = TextPipeline(PRE, assets)
    for text, ids in CASES.items():
        assert pipeline.encode([text])[0].tolist() == ids


def test_a_batch_is_padded_on_the_right_to_its_longest(assets):
    pre = TextPre(tokenizer=PRE.tokenizer, max_tokens=6, pad_id=7, ids="i", mask="m")
    for found in (
        TextPipeline(pre, assets)(["music", "turn on"]),
        feeds_from([pre], assets)(["music", "turn on"]),
    ):
        assert {name: values.tolist() for name, values in found.items()} == {
            "i": [[2, 9, 3, 7], [2, 4, 5, 3]],
            "m": [[1, 1, 1, 0], [1, 1, 1, 1]],
        }
        assert {values.dtype for values in found.values()} == {np.dtype(np.int64)}


def test_a_str_is_a_text_and_bytes_and_paths_are_files_whose_last_newline_is_dropped(assets):
    path = assets / "music"
    path.write_bytes(b"turn on\r\n")
    found = TextPipeline(PRE, assets)(["music", path, b"music\n", str(path)])["input_ids"]
    assert found[:3].tolist()[0][:3] == [2, 9, 3]
    assert found[1].tolist()[:4] == [2, 4, 5, 3]
    assert found[2].tolist() == found[0].tolist()
    assert 1 in found[3]  # the path's own characters are unknown words
    assert read_text(b"two\nlines\n\n") == "two\nlines\n"


def test_words_come_with_the_same_ids_and_with_the_place_of_their_first_token(assets):
    pipeline = TextPipeline(PRE, assets)
    found = pipeline.encode_words(list(CASES))
    for (text, ids), many, one in zip(
        CASES.items(), found, [pipeline.encode_words([text])[0] for text in CASES], strict=True
    ):
        assert many.ids.tolist() == one.ids.tolist() == pipeline.encode([text])[0].tolist() == ids
        assert many.text == one.text == text
        assert many.bounds == one.bounds
        assert many.first.tolist() == one.first.tolist()
    assert {(each.ids.dtype, each.first.dtype) for each in found} == {(np.dtype(np.int64),) * 2}
    assert found[0].bounds == [(0, 4), (5, 7), (8, 11), (12, 17)]
    # after [CLS]; "Off!" is two tokens of one word; the last text is cut
    assert [each.first.tolist() for each in found] == [[1, 2, 3, 4], [1], [1], [], [1, 2, 3, 4, -1, -1]]


def word_pieces():
    """Lower case without accents, words of two letters each."""
    pieces = ["[UNK]", "ca", "##fe", "la", "##te", "\U0001f600", "日", "本", "x"]
    tokenizer = Tokenizer(models.WordPiece({piece: id for id, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def bytes_of(*, trim):
    """One token a byte, the space before a word included."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: id for id, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    if trim:
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return tokenizer


def pieces_with_spaces():
    """SentencePiece's way: a mark for the space before a word is part of its first piece."""
    pieces = ["<unk>", "▁café", "▁ca", "fé", "▁", "la", "▁la", "te", "x", "\U0001f600", "日本"]
    tokenizer = Tokenizer(models.Unigram([(piece, -len(pieces) / len(piece)) for piece in pieces], 0, False))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer


@pytest.mark.parametrize(
    ("tokenizer", "first"),
    [
        # ca ##fe | 😀 | la ##te | 日 本 | (dropped) | x
        (word_pieces(), [0, 2, 3, 5, -1, 7]),
        # _ c a f e ́ ́ | _ 4 bytes | _ l a t e | _ 6 bytes | _ 3 bytes | _ x: a word begins where it has a
        # character, and the space of add_prefix_space before the first lies on its first one
        (bytes_of(trim=False), [0, 8, 13, 18, 25, 29]),
        (bytes_of(trim=True), [1, 8, 13, 18, 25, 29]),
        # ▁café | ▁ 😀 | ▁la te | ▁ 日本 | ▁ <unk> | ▁ x
        (pieces_with_spaces(), [0, 2, 3, 6, 8, 10]),
    ],
    ids=["word-pieces", "bytes", "bytes-trimmed", "sentence-pieces"],
)
def test_first_tokens_are_right_with_accents_emoji_and_dropped_words(tmp_path, tokenizer, first):
    text = "cafe\u0301 \U0001f600 late 日本 \u200b x"
    tokenizer.save(str(tmp_path / "t.json"))
    pipeline = TextPipeline(TextPre(tokenizer="t.json", max_tokens=64, pad_id=0), tmp_path)
    for texts in ([text], [text, "x"]):
        words = pipeline.encode_words(texts)[0]
        assert [text[start:end] for start, end in words.bounds] == text.split()
        assert words.first.tolist() == first
        assert words.ids.tolist() == pipeline.encode(texts)[0].tolist()


def test_several_raw_texts_are_read_and_none_is_refused(tmp_path):
    (tmp_path / "a").write_text("one\n")
    assert read_texts([tmp_path / "a", b"two", "three\n"]) == ["one", "two", "three\n"]
    with pytest.raises(UsageError, match="texts: got none"):
        read_texts([])


@pytest.mark.parametrize(
    ("raws", "words"),
    [
        ([], "got none"),
        ([3], "got int, expected a str"),
        ([b"\xff"], "the given bytes: cannot be read as UTF-8"),
        (["\ud800"], "half a surrogate pair"),
    ],
)
def test_what_is_no_text_is_refused(assets, raws, words):
    with pytest.raises(UsageError, match=words):
        TextPipeline(PRE, assets)(raws)


def test_a_text_without_any_token_is_refused(assets):
    write_tokenizer(assets / PRE.tokenizer, special=False)
    pipeline = TextPipeline(PRE, assets)
    for encode in (pipeline, pipeline.encode_words):
        with pytest.raises(UsageError, match="text '': gives no token"):
            encode(["music", ""])
    assert pipeline(["music"])["input_ids"].tolist() == [[9]]


def test_a_missing_or_strange_tokenizer_is_damage_and_too_short_a_limit_a_mistake(assets):
    path = assets / PRE.tokenizer
    with pytest.raises(UsageError, match="adds 2 special tokens, so max_tokens 2 leaves no room"):
        TextPipeline(TextPre(tokenizer=PRE.tokenizer, max_tokens=2, pad_id=0), assets)
    path.write_text("{}")
    with pytest.raises(IntegrityError, match=r"tokenizer\.json: the tokenizers library cannot read it"):
        TextPipeline(PRE, assets)
    path.unlink()
    with pytest.raises(IntegrityError, match=r"tokenizer\.json: cannot be read as a tokenizer"):
        TextPipeline(PRE, assets)
