"""Whether two tokenizers are one: what a model was trained with, and what cuts the data's texts.

1. Vocabulary, normaliser, pre-tokenizer, model and post-processor are compared, each as the installed library
   writes it again. Padding, truncation, the order of keys and the version do not count.
2. Where only the vocabulary differs (tokens with their ids, scores and merges), the data's texts decide: an
   entry that no text uses does no harm.
3. Where another part differs, a few sentences of all sorts are cut as well: letters that the data do not have
   will come when the model is used. Parts that are only written otherwise (a post-processor of an older
   kind) give the same ids, which is said.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from compactor_runtimes.predict.text import read_tokenizer

Tokenizer = Any  # of the tokenizers library, which the runtime opens
PARTS = {
    "normalizer": "normaliser",
    "pre_tokenizer": "pre-tokenizer",
    "post_processor": "post-processor",
}
VOCABULARY, MODEL = "vocabulary", "model"
ENTRIES = ("vocab", "merges")  # of the model's part: what one side alone may have
PROBES = (
    "The quick brown Fox doesn't jump over 13 lazy dogs, does it?",
    "  Two  blanks,\ttabs\nand newlines \n",
    "Žluťoučký KŮŇ naïve ﬁn ＡＢ １２ \u200b½",
    "你好，世界。 こんにちは สวัสดี привет 🐈‍⬛",
    "e-mail@example.org https://example.org/a_b?c=d#e --- ... C++ $3.50 50%",
)
TEXTS_PER_CALL = 4096
SHOWN_IDS, SHOWN_LETTERS = 12, 60


@dataclass(frozen=True)
class Difference:
    """The parts that differ, and a text that the two cut otherwise; None where no text shows it."""

    parts: tuple[str, ...]
    text: str | None = None
    theirs: tuple[int, ...] = ()
    ours: tuple[int, ...] = ()

    @property
    def is_harmless(self) -> bool:
        """Whether all texts that were tried have the same ids."""
        return self.text is None

    def told(self) -> str:
        """One text with both lists of ids."""
        assert self.text is not None
        shown = self.text[:SHOWN_LETTERS] + ("..." if len(self.text) > SHOWN_LETTERS else "")
        return f"{shown!r} is {_ids(self.theirs)} for it and {_ids(self.ours)} for the data"


def compare_tokenizers(theirs: Path, ours: Path, texts: Sequence[str]) -> Difference | None:
    """Compare two files of the tokenizers library by rules 1 to 3; None where they are the same.

    Args:
        theirs: what a model was trained with.
        ours: what the data are cut with.
        texts: the data's.

    Raises:
        IntegrityError: a file that the library cannot read.
    """
    if theirs.read_bytes() == ours.read_bytes():
        return None
    mine, other = read_tokenizer(ours), read_tokenizer(theirs)
    parts = tuple(_differing(other, mine))
    if not parts:
        return None
    probes = () if parts == (VOCABULARY,) else PROBES
    found = chain(_cut_otherwise(other, mine, texts, parts), _cut_otherwise(other, mine, probes, parts))
    return next(found, Difference(parts))


def _differing(theirs: Tokenizer, ours: Tokenizer) -> Iterator[str]:
    a, b = _content(theirs), _content(ours)
    entries = [{key: one["model"].pop(key, None) for key in ENTRIES} for one in (a, b)]
    if theirs.get_vocab(True) != ours.get_vocab(True) or entries[0] != entries[1] or _added(a) != _added(b):
        yield VOCABULARY
    for key, name in PARTS.items():
        if a.get(key) != b.get(key):
            yield name
    if a["model"] != b["model"]:
        yield MODEL


def _content(tokenizer: Tokenizer) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(tokenizer.to_str())
    return content


def _added(content: dict[str, Any]) -> list[Any]:
    return sorted(content.get("added_tokens") or [], key=lambda token: int(token["id"]))


def _cut_otherwise(
    theirs: Tokenizer, ours: Tokenizer, texts: Sequence[str], parts: tuple[str, ...]
) -> Iterator[Difference]:
    for one in (theirs, ours):
        one.no_padding()
        one.no_truncation()
    for start in range(0, len(texts), TEXTS_PER_CALL):
        some = list(texts[start : start + TEXTS_PER_CALL])
        pairs = zip(some, theirs.encode_batch_fast(some), ours.encode_batch_fast(some), strict=True)
        for text, a, b in pairs:
            if a.ids != b.ids:
                yield Difference(parts, text, tuple(a.ids), tuple(b.ids))


def _ids(ids: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, ids[:SHOWN_IDS]))}{', ...' if len(ids) > SHOWN_IDS else ''}]"
