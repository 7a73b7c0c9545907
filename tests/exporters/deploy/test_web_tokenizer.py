"""Token ids of the page's JavaScript library against the bundle's library, for each kind of model."""

import json

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from compactor_exporters.deploy import npm
from compactor_exporters.deploy.tokenizer_kinds import check_tokenizer
from compactor_runtimes.bundle.manifest import TextPre
from compactor_runtimes.predict.text import TextPipeline
from tests.exporters.deploy.in_node import in_node, needs_node

SPECIAL = ["[UNK]", "[CLS]", "[SEP]", "[PAD]"]
TEXTS = [
    *("turn on the light please", "Turn OFF the light!", "don't stop: 3.14%", "  two  blanks\t", "a" * 150),
    *("Ünïcödé Straße", "日本語 text", "emoji 😀 here", "ﬁ ½ İstanbul", "words " * 40, "x", "[CLS] [MASK]"),
]
CODE = """
const { Tokenizer } = await import(given.library);
const tokenizer = new Tokenizer(given.file, {});
const pre = { max_tokens: given.most };
found = given.texts.map((text) => app.textIds(tokenizer, pre, text, app.unknownId(given.file)));
"""


def made(kind):
    """A tokenizer of a kind that was trained on a few words."""
    parts = {
        "WordLevel": (models.WordLevel(unk_token="[UNK]"), trainers.WordLevelTrainer(special_tokens=SPECIAL)),
        "WordPiece": (
            models.WordPiece(unk_token="[UNK]"),
            trainers.WordPieceTrainer(vocab_size=120, special_tokens=SPECIAL, show_progress=False),
        ),
        "BPE": (
            models.BPE(),
            trainers.BpeTrainer(
                vocab_size=330,
                special_tokens=SPECIAL,
                initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                show_progress=False,
            ),
        ),
        "Unigram": (
            models.Unigram(),
            trainers.UnigramTrainer(
                vocab_size=60, special_tokens=SPECIAL, unk_token="[UNK]", show_progress=False
            ),
        ),
    }
    model, trainer = parts[kind]
    tokenizer = Tokenizer(model)
    if kind == "BPE":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    elif kind == "Unigram":
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    else:
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(TEXTS[:4] * 4, trainer)
    places = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=places)
    return tokenizer


@pytest.mark.heavy
@needs_node
@pytest.mark.parametrize("kind", ["WordLevel", "WordPiece", "BPE", "Unigram"])
def test_ids_are_the_bundles(kind, tmp_path):
    made(kind).save(str(tmp_path / "tokenizer.json"))
    content = (tmp_path / "tokenizer.json").read_bytes()
    check_tokenizer(content, "tokenizer.json")
    for name, file in npm.fetch(npm.TOKENIZERS).items():
        (tmp_path / name).write_bytes(file)
    pipeline = TextPipeline(TextPre(tokenizer="tokenizer.json", max_tokens=12, pad_id=0), tmp_path)
    library = (tmp_path / "tokenizers.min.mjs").as_uri()
    given = {"library": library, "file": json.loads(content), "most": 12, "texts": TEXTS}
    found = dict(zip(TEXTS, in_node(CODE, given, tmp_path), strict=True))
    assert found == {text: ids.tolist() for text, ids in zip(TEXTS, pipeline.encode(TEXTS), strict=True)}
