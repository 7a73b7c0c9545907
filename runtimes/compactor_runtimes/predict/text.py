"""Turn raw texts into the token ids and the mask that a graph expects, on numpy and tokenizers alone.

Training reads its texts through the same class, so a model is served exactly the ids it was trained on.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from compactor_runtimes.bundle.manifest import TextPre
from compactor_runtimes.errors import InputError, IntegrityError, UsageError, needs_extra
from compactor_runtimes.predict.bio import first_tokens, word_bounds

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Encoding, Tokenizer


class Tokens(NamedTuple):
    """A text's ids int64 [L], and whether they are not all: it was cut to `max_tokens`."""

    ids: "NDArray[np.int64]"
    truncated: bool = False


class Words(NamedTuple):
    """A text with the bounds of its words in characters, its ids int64 [L], and its words' first tokens.

    `first` int64 [W] holds places in `ids`, -1 for a word without a token; `truncated` is as in `Tokens`.
    """

    ids: "NDArray[np.int64]"
    bounds: list[tuple[int, int]]
    first: "NDArray[np.int64]"
    text: str
    truncated: bool = False


class TextPipeline:
    """The text preprocessing that a manifest declares, as a function on raw texts; threads may share it."""

    def __init__(self, pre: TextPre, assets: Path) -> None:
        """Read the tokenizer; its file's own cutting and padding are switched off, `pre` alone decides.

        Args:
            pre: what the manifest declares.
            assets: the folder that `pre.tokenizer` is relative to (a bundle's, or one laid out like it).

        Raises:
            IntegrityError: the tokenizer is missing, or no file of the tokenizers library.
            UsageError: `max_tokens` leaves no room beside the special tokens.
            MissingDependency: the extra `text` is not installed.
        """
        path = assets / pre.tokenizer
        self.inputs = (pre.ids, pre.mask)
        self._pre = pre
        self._tokenizer = read_tokenizer(path)
        special = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        if pre.max_tokens <= special:  # the library would leave all texts uncut, without a word
            raise UsageError(
                f"{path}: adds {special} special tokens, so max_tokens {pre.max_tokens} leaves no room for "
                f"text; expected {special + 1} or more"
            )
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(pre.max_tokens)

    def encode(self, texts: Sequence[str]) -> "list[NDArray[np.int64]]":
        """Encode each text to int64 ids [L], special tokens included, cut to `max_tokens`, unpadded.

        Raises:
            UsageError: not a text, or a text that gives no token at all.
        """
        return [each.ids for each in self.encode_tokens(texts)]

    def encode_tokens(self, texts: Sequence[str]) -> list[Tokens]:
        """Encode as `encode` does, and say of each text whether it was cut.

        Raises:
            UsageError: see `encode`.
        """
        found = self._encoded(texts, self._tokenizer.encode_batch_fast)
        return [Tokens(_ids(text, each), bool(each.overflowing)) for text, each in found]

    def encode_words(self, texts: Sequence[str]) -> list[Words]:
        """Encode as `encode` does, and say where the words of each text are and which token begins each.

        Raises:
            UsageError: see `encode`.
        """
        found = []
        # the fast one leaves offsets out
        for text, each in self._encoded(texts, self._tokenizer.encode_batch):
            bounds = word_bounds(text)
            first = first_tokens(bounds, each.offsets)
            found.append(Words(_ids(text, each), bounds, first, text, bool(each.overflowing)))
        return found

    def _encoded(
        self, texts: Sequence[str], encode_batch: "Callable[[list[str]], list[Encoding]]"
    ) -> "zip[tuple[str, Encoding]]":
        try:
            if len(texts) == 1:  # starting the library's threads costs more than one text
                found = [self._tokenizer.encode(texts[0])]
            else:
                found = encode_batch(list(texts))
        except TypeError as error:  # also a lone surrogate, which no UTF-8 has
            kinds = ", ".join(sorted({type(text).__name__ for text in texts}))
            raise UsageError(
                f"texts: the tokenizer takes none of these ({error}), got {kinds}; give valid str objects"
            ) from error
        return zip(texts, found, strict=True)

    def pad(self, encoded: "Sequence[NDArray[np.int64]]") -> "dict[str, NDArray[np.int64]]":
        """Pad ids on the right to the longest: {ids: int64 [B, L], mask: int64 [B, L] of ones and zeros}."""
        return pad_texts(self._pre, encoded)

    def __call__(self, raws: Sequence[Any]) -> "dict[str, NDArray[np.int64]]":
        """Turn raw texts into one padded batch of graph inputs; see `read_text` for what may be raw.

        Raises:
            UsageError: no text, an unreadable one, or one without a token.
        """
        return self.pad(self.encode(read_texts(raws)))


def pad_texts(pre: TextPre, encoded: "Sequence[NDArray[np.int64]]") -> "dict[str, NDArray[np.int64]]":
    """Pad as `TextPipeline.pad` does; no tokenizer is needed for that."""
    import numpy as np

    shape = len(encoded), max(map(len, encoded))
    ids, mask = np.full(shape, pre.pad_id, np.int64), np.zeros(shape, np.int64)
    for row, each in enumerate(encoded):
        ids[row, : len(each)] = each
        mask[row, : len(each)] = 1
    return {pre.ids: ids, pre.mask: mask}


def read_texts(raws: Sequence[Any]) -> list[str]:
    """Return raw texts as str; see `read_text`.

    Raises:
        InputError: an unreadable one, by its place among them.
        UsageError: no text.
    """
    if not len(raws):
        raise UsageError("texts: got none, expected at least one")
    return [raw if isinstance(raw, str) else _numbered(raw, index) for index, raw in enumerate(raws)]


def _numbered(raw: Any, index: int) -> str:
    try:
        return read_text(raw)
    except UsageError as error:
        raise InputError(index, str(error)) from error


def read_text(raw: Any) -> str:
    """Return a raw text: a str as it is, UTF-8 bytes, or the path (Path, not str) of a UTF-8 file.

    One newline at the end of bytes or a file is dropped: editors put it there.

    Raises:
        UsageError: an unreadable file, other bytes than UTF-8, or no text at all.
    """
    if isinstance(raw, str):
        return raw
    shown = str(raw) if isinstance(raw, Path) else "the given bytes"
    if not isinstance(raw, Path | bytes):
        raise UsageError(f"text: got {type(raw).__name__}, expected a str, UTF-8 bytes or a Path")
    try:
        content = raw if isinstance(raw, bytes) else raw.read_bytes()
        text = content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{shown}: cannot be read as UTF-8 text ({error}); give a whole text file"
        ) from error
    return text.removesuffix("\n").removesuffix("\r")


def _ids(text: str, encoding: "Encoding") -> "NDArray[np.int64]":
    import numpy as np

    if not encoding.ids:
        raise UsageError(f"text {text[:40]!r}: gives no token, expected at least one; leave it out")
    return np.array(encoding.ids, np.int64)


def read_tokenizer(path: Path) -> "Tokenizer":
    """Read a file of the tokenizers library.

    Raises:
        IntegrityError: it is missing, or no such file.
        MissingDependency: the extra `text` is not installed.
    """
    with needs_extra("text"):
        from tokenizers import Tokenizer

    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise IntegrityError(f"{path}: cannot be read as a tokenizer ({error}); copy it again") from error
    try:
        return Tokenizer.from_str(content)
    except Exception as error:  # the library raises nothing narrower
        raise IntegrityError(
            f"{path}: the tokenizers library cannot read it ({error}); expected a tokenizer.json as it "
            "writes them, copy it again"
        ) from error
