"""Turn raw texts into the token ids and the mask that a graph expects, on numpy and tokenizers alone.

Training reads its texts through the same class, so a model is served exactly the ids it was trained on.

1. Of a text far longer than the model takes only a beginning is tokenised that gives tokens enough; it ends
   between words where it can, and grows until it suffices or `limits.characters` are reached.
2. The library's own failures (a bare Exception; a panic of its Rust code) come from a tokenizer that is none,
   or from one that cannot digest a text: both are told, and neither escapes.
"""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from compactor_runtimes.bundle.manifest import TextPre
from compactor_runtimes.errors import InputError, IntegrityError, UsageError, needs_extra, one_line
from compactor_runtimes.predict.limits import OF_DATA, Limits, content_of, shown_path

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Encoding, Tokenizer

_CHARACTERS_A_TOKEN = 64  # of which a beginning is tried first; of real texts four or five give a token
_PANIC = "PanicException"  # of pyo3, no Exception, and not importable


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

    def __init__(
        self, pre: TextPre, assets: Path, limits: Limits = OF_DATA, content: bytes | None = None
    ) -> None:
        """Read the tokenizer; its file's own cutting and padding are switched off, `pre` alone decides.

        Args:
            pre: what the manifest declares.
            assets: the folder that `pre.tokenizer` is relative to (a bundle's, or one laid out like it).
            limits: how long a text may be.
            content: the tokenizer's file where it was read before; None = it is read here.

        Raises:
            IntegrityError: the tokenizer is missing, or no file of the tokenizers library.
            UsageError: `max_tokens` leaves no room beside the special tokens.
            MissingDependency: the extra `text` is not installed.
        """
        path = assets / pre.tokenizer
        self.inputs = (pre.ids, pre.mask)
        self._pre, self._limits, self._path = pre, limits, path
        self._tokenizer = read_tokenizer(path) if content is None else tokenizer_from(content, path)
        self._enough = min(_CHARACTERS_A_TOKEN * pre.max_tokens, limits.characters)
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
        return [Tokens(_ids(each, text, index), cut) for index, (text, each, cut) in enumerate(found)]

    def encode_words(self, texts: Sequence[str]) -> list[Words]:
        """Encode as `encode` does, and say where the words of each text are and which token begins each.

        Raises:
            UsageError: see `encode`.
        """
        from compactor_runtimes.predict.bio import first_tokens, word_bounds  # slots alone need words

        found = []
        # the fast one leaves offsets out
        encoded = self._encoded(texts, self._tokenizer.encode_batch)
        for index, (text, each, cut) in enumerate(encoded):
            seen = text[: self._limits.characters]
            bounds = word_bounds(seen)
            first = first_tokens(bounds, each.offsets)
            found.append(Words(_ids(each, text, index), bounds, first, seen, cut))
        return found

    def _encoded(
        self, texts: Sequence[str], encode_batch: "Callable[[list[str]], list[Encoding]]"
    ) -> "list[tuple[str, Encoding, bool]]":
        """Each text with its encoding and whether it was cut."""
        try:
            for text in texts:
                if not isinstance(text, str) or len(text) > self._enough:
                    return [(each, *self._encoded_long(each)) for each in texts]
            if len(texts) == 1:  # starting the library's threads costs more than one text
                (text,), one = texts, self._tokenizer.encode(texts[0])
                return [(text, one, bool(one.overflowing))]
            found = encode_batch(list(texts))
            return [(text, each, bool(each.overflowing)) for text, each in zip(texts, found, strict=True)]
        except (TypeError, UnicodeEncodeError) as error:
            for index, text in enumerate(texts):
                if why := _no_text(text):
                    raise InputError(index, f"text: {why}, expected a str of whole characters") from error
            raise
        except BaseException as error:  # rule 2
            if type(error) is not Exception and type(error).__name__ != _PANIC:
                raise
            raise IntegrityError(
                f"{self._path}: the tokenizer fails on a text ({one_line(error)}); export the bundle again "
                "with a tokenizer that takes any text"
            ) from error

    def _encoded_long(self, text: str) -> "tuple[Encoding, bool]":
        """Rule 1."""
        size = self._enough
        while True:
            part = _beginning(text, min(size, self._limits.characters))
            found = self._tokenizer.encode(part)
            if found.overflowing or len(part) == len(text) or size >= self._limits.characters:
                return found, bool(found.overflowing) or len(part) < len(text)
            size *= 4

    def pad(self, encoded: "Sequence[NDArray[np.int64]]") -> "dict[str, NDArray[Any]]":
        """Pad ids on the right to the longest: {ids: int64 [B, L], mask: int64 [B, L] of ones and zeros}."""
        return pad_texts(self._pre, encoded)

    def __call__(self, raws: Sequence[Any]) -> "dict[str, NDArray[Any]]":
        """Turn raw texts into one padded batch of graph inputs; see `read_text` for what may be raw.

        Raises:
            UsageError: no text, an unreadable one, or one without a token.
        """
        return self.pad(self.encode(self.read(raws)))

    def read(self, raws: Sequence[Any]) -> list[str]:
        """Return raw texts as str, within the limits; see `read_texts`."""
        return read_texts(raws, self._limits)


def pad_texts(pre: TextPre, encoded: "Sequence[NDArray[np.int64]]") -> "dict[str, NDArray[Any]]":
    """Pad as `TextPipeline.pad` does; no tokenizer is needed for that."""
    import numpy as np

    if len(encoded) == 1:
        ids = encoded[0][None]
        mask = np.empty(ids.shape, np.int64)
        mask.fill(1)  # what np.ones does, in half its time
        return {pre.ids: ids, pre.mask: mask}
    shape = len(encoded), max(map(len, encoded))
    ids, mask = np.full(shape, pre.pad_id, np.int64), np.zeros(shape, np.int64)
    for row, each in enumerate(encoded):
        ids[row, : len(each)] = each
        mask[row, : len(each)] = 1
    return {pre.ids: ids, pre.mask: mask}


def read_texts(raws: Sequence[Any], limits: Limits = OF_DATA) -> list[str]:
    """Return raw texts as str; see `read_text`.

    Raises:
        InputError: an unreadable one, by its place among them.
        UsageError: no text.
    """
    if not len(raws):
        raise UsageError("texts: got none, expected at least one")
    return [raw if isinstance(raw, str) else _numbered(raw, index, limits) for index, raw in enumerate(raws)]


def _numbered(raw: Any, index: int, limits: Limits) -> str:
    try:
        return read_text(raw, limits)
    except UsageError as error:
        raise InputError(index, str(error)) from error


def read_text(raw: Any, limits: Limits = OF_DATA) -> str:
    """Return a raw text: a str as it is, UTF-8 bytes, the Path (no str) of a UTF-8 file, or an open one.

    One newline at the end of bytes or a file is dropped: editors put it there.

    Raises:
        UsageError: an unreadable file, other bytes than UTF-8, too many of them, or no text at all.
    """
    if isinstance(raw, str):
        return raw
    if not (isinstance(raw, PathLike | bytes | bytearray | memoryview) or hasattr(raw, "read")):
        raise UsageError(
            f"text: got {type(raw).__name__}, expected a str, UTF-8 bytes, a Path or an open file"
        )
    shown = shown_path(raw) if isinstance(raw, PathLike) else "the given bytes"
    content = content_of(raw, limits.bytes, shown)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{shown}: cannot be read as UTF-8 text ({error}); give a whole text file"
        ) from error
    return text.removesuffix("\n").removesuffix("\r")


def _no_text(text: Any) -> str:
    """What is wrong with something that the library does not take for a text; "" where nothing is."""
    if not isinstance(text, str):
        return f"got {type(text).__name__}"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"holds half a surrogate pair ({one_line(error)})"
    return ""


def _beginning(text: str, size: int) -> str:
    """The first `size` characters, without a word that the end would cut, unless that is most of it."""
    if len(text) <= size:
        return text
    part = text[:size]
    if text[size].isspace():
        return part
    whole = part if part[-1].isspace() else part[: size - len(part.rsplit(None, 1)[-1])]
    return whole if len(whole) > size // 2 else part


def _ids(encoding: "Encoding", text: str, index: int) -> "NDArray[np.int64]":
    import numpy as np

    ids = encoding.ids  # a list that is made anew whenever it is asked for
    if not ids:
        raise InputError(index, f"text {text[:40]!r}: gives no token, expected at least one; leave it out")
    return np.array(ids, np.int64)


def read_tokenizer(path: Path) -> "Tokenizer":
    """Read a file of the tokenizers library.

    Raises:
        IntegrityError: it is missing, or no such file.
        MissingDependency: the extra `text` is not installed.
    """
    with needs_extra("text"):
        pass

    try:
        content = path.read_bytes()
    except OSError as error:
        raise IntegrityError(f"{path}: cannot be read as a tokenizer ({error}); copy it again") from error
    return tokenizer_from(content, path)


def tokenizer_from(content: bytes, path: Path) -> "Tokenizer":
    """Make a tokenizer of a file's content; `path` is where that lies.

    Raises:
        IntegrityError: it is no file of the tokenizers library.
        MissingDependency: the extra `text` is not installed.
    """
    with needs_extra("text"):
        from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(content.decode("utf-8"))
    except BaseException as error:  # rule 2: the library raises nothing narrower
        if not isinstance(error, Exception) and type(error).__name__ != _PANIC:
            raise
        raise IntegrityError(
            f"{path}: the tokenizers library cannot read it ({one_line(error)}); expected a tokenizer.json "
            "as it writes them, copy it again"
        ) from error
