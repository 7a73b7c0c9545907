"""How many tokens texts have under a tokenizer, and so how many of them are cut.

Up to MOST_EXACT texts are all counted, of more that many, evenly spread. What a split came to is kept in the
cache: `<root>/token-counts/<digest of the split>.json`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compactor.data.cache import INSTEAD, cache_root
from compactor.data.few_rows import spread_rows
from compactor_runtimes.errors import UsageError
from compactor_runtimes.files import write_whole
from compactor_runtimes.predict.text import read_tokenizer

MOST_EXACT = 200_000
TEXTS_PER_CALL = 4096


@dataclass(frozen=True)
class TokenCounts:
    """Tokens of each text that was counted, int64 [n], special ones included; there are `texts` in all."""

    counts: NDArray[np.int64]
    texts: int

    @property
    def most(self) -> int:
        """Tokens of the longest."""
        return int(self.counts.max(initial=0))

    def cut(self, max_tokens: int) -> str:
        """Say how many texts are cut at a length; empty where none is."""
        return cut_sentence(int((self.counts > max_tokens).sum()), len(self.counts), self.texts, max_tokens)


def count_tokens(tokenizer: Path, texts: Sequence[str]) -> TokenCounts:
    """Count with the real tokenizer, without cutting or padding.

    Raises:
        IntegrityError: the tokenizers library cannot read the file.
        MissingDependency: the extra `text` is not installed.
    """
    cutter = read_tokenizer(tokenizer)
    cutter.no_padding()
    cutter.no_truncation()
    rows = range(len(texts)) if len(texts) <= MOST_EXACT else spread_rows(len(texts), MOST_EXACT).tolist()
    counts: list[int] = []
    for start in range(0, len(rows), TEXTS_PER_CALL):
        some = [texts[row] for row in rows[start : start + TEXTS_PER_CALL]]
        counts += [len(one.ids) for one in cutter.encode_batch_fast(some)]
    return TokenCounts(np.array(counts, dtype=np.int64), len(texts))


def cut_of_split(
    digest: str, tokenizer: Path, texts: Sequence[str], max_tokens: int, cache: Path | None
) -> str:
    """Say how many texts of a split are cut, from the cache or counted now.

    Args:
        digest: of the split, which covers texts, tokenizer and length.
        tokenizer: what cuts them.
        texts: the split's.
        max_tokens: length that they are cut to.
        cache: root of the cache, absent = the usual one.
    """
    file = cache_root(cache) / "token-counts" / f"{digest}.json"
    try:
        kept = json.loads(file.read_text())
        cut, counted = int(kept["cut"]), int(kept["counted"])
    except (OSError, ValueError, KeyError, TypeError):
        found = count_tokens(tokenizer, texts)
        cut, counted = int((found.counts > max_tokens).sum()), len(found.counts)
        try:
            write_whole(file, json.dumps({"cut": cut, "counted": counted}).encode(), INSTEAD)
        except (OSError, UsageError):  # it is counted again next time
            pass
    return cut_sentence(cut, counted, len(texts), max_tokens)


def cut_sentence(cut: int, counted: int, texts: int, max_tokens: int) -> str:
    """`3 of 100 texts are cut at 64 tokens`; empty where none is."""
    if not cut:
        return ""
    are = "texts is" if cut == 1 else "texts are"
    if counted == texts:
        return f"{cut:,} of {texts:,} {are} cut at {max_tokens} tokens"
    return (
        f"about {cut / counted:.2%} of {texts:,} texts are cut at {max_tokens} tokens "
        f"({cut:,} of {counted:,} that were counted)"
    )
