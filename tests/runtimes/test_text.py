import numpy as np
import pytest

from compactor_runtimes.errors import IntegrityError, UsageError
from compactor_runtimes.manifest import TextPre
from compactor_runtimes.preprocess import feeds_from
from compactor_runtimes.text import TextPipeline, read_text
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


@pytest.mark.parametrize(
    ("raws", "words"),
    [
        ([], "got none"),
        ([3], "got int, expected a str"),
        ([b"\xff"], "the given bytes: cannot be read as UTF-8"),
        (["\ud800"], "takes none of these"),
    ],
)
def test_what_is_no_text_is_refused(assets, raws, words):
    with pytest.raises(UsageError, match=words):
        TextPipeline(PRE, assets)(raws)


def test_a_text_without_any_token_is_refused(assets):
    write_tokenizer(assets / PRE.tokenizer, special=False)
    pipeline = TextPipeline(PRE, assets)
    with pytest.raises(UsageError, match="text '': gives no token"):
        pipeline(["music", ""])
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
