"""From raw samples to answers: what comes before a graph and after it, bound once for every caller."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from msgspec.structs import replace

from compactor_runtimes.bundle.manifest import InputPort, Post, Pre, TextPre
from compactor_runtimes.errors import InputError, UsageError
from compactor_runtimes.predict.answers import Answers, Decode, reads_words
from compactor_runtimes.predict.text import TextPipeline, Tokens, Words

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from compactor_runtimes.predict.images import ImagePipeline, Read

    Arrays = dict[str, NDArray[Any]]

Feeds: TypeAlias = "Callable[[Sequence[Any]], Arrays]"
Run: TypeAlias = "Callable[[Arrays], Arrays]"


class Steps(Protocol):
    """The way of raw samples to a graph and back in steps, so that many may be sorted in between."""

    def prepare(self, raws: Sequence[Any]) -> list[Any]:
        """Read and check each raw sample.

        Raises:
            InputError: one that cannot be used, by its place among them.
        """

    def size(self, item: Any) -> Any:
        """What prepared samples of one batch should have in common."""

    def feed(self, items: Sequence[Any]) -> "Arrays":
        """Make one batch of prepared samples."""

    def answers(self, outputs: "Arrays", items: Sequence[Any]) -> Answers:
        """Decode what the graph gave of them."""


class TextSteps:
    """Steps of texts. Slots lie in characters, so words go past the graph to a decoder that reads them."""

    def __init__(self, pipeline: TextPipeline, decode: Decode) -> None:
        """Bind the tokenizer and the decoder."""
        self._pipeline, self._decode, self._reads_words = pipeline, decode, decode.reads_words

    def prepare(self, raws: Sequence[Any]) -> list[Any]:
        """Read and encode; see `Steps`."""
        texts = self._pipeline.read(raws)
        if self._reads_words:
            return self._pipeline.encode_words(texts)
        return self._pipeline.encode_tokens(texts)

    def size(self, item: "Tokens | Words") -> int:
        """Tokens: a batch is padded to its longest."""
        return len(item.ids)

    def feed(self, items: "Sequence[Tokens | Words]") -> "Arrays":
        """Pad to the longest."""
        return self._pipeline.pad([each.ids for each in items])

    def answers(self, outputs: "Arrays", items: "Sequence[Any]") -> Answers:
        """Decode, and say of an answer whether its text was cut."""
        found: Any = self._decode(outputs, items) if self._reads_words else self._decode(outputs)
        for place, (one, text) in enumerate(zip(found, items, strict=False)):  # who asks counts them
            if text.truncated:
                found[place] = replace(one, truncated=True)
        answers: Answers = found
        return answers


class ImageSteps:
    """Steps of images, of which the graph may take some sizes and not others."""

    def __init__(self, pipeline: "ImagePipeline", decode: Decode, port: InputPort) -> None:
        """Bind the pipeline, the decoder and the sizes [C, H, W] that the graph takes."""
        self._pipeline, self._decode = pipeline, decode
        self._low, self._high = tuple(port.min[1:]), tuple(port.max[1:])

    def prepare(self, raws: Sequence[Any]) -> list[Any]:
        """Decode, resize and crop; see `Steps`. One that the graph does not take is dropped at once."""
        if not len(raws):
            raise UsageError("images: got none, expected at least one")
        found = []
        for index, raw in enumerate(raws):
            try:
                found.append(self._checked(self._pipeline.to_uint8(raw)))
            except UsageError as error:
                raise InputError(index, str(error)) from error
        return found

    def _checked(self, pixels: Any) -> Any:
        height, width, channels = pixels.shape
        size = channels, height, width
        if not all(low <= one <= high for one, low, high in zip(size, self._low, self._high, strict=True)):
            raise UsageError(
                f"image: [C, H, W] = {list(size)} found after preprocessing, {self._expected()} expected "
                "by the graph; give images of that size"
            )
        return pixels

    def size(self, item: Any) -> Any:
        """Height and width, which a batch has in common."""
        return item.shape

    def feed(self, items: Sequence[Any]) -> "Arrays":
        """Stack to float32 [B, C, H, W]."""
        return {self._pipeline.input: self._pipeline.stack(items)}

    def answers(self, outputs: "Arrays", items: Sequence[Any]) -> Answers:
        """Decode."""
        return self._decode(outputs)

    def _expected(self) -> str:
        """Render the bounds of axes: [3, 32, 32..64]."""
        bounds = zip(self._low, self._high, strict=True)
        return "[" + ", ".join(str(a) if a == b else f"{a}..{b}" for a, b in bounds) + "]"


def answers_from(feeds: Feeds, decode: Decode) -> Callable[[Sequence[Any], Run], Answers]:
    """Return the function from raw samples and a graph's `run` to one answer a sample.

    Args:
        feeds: from raw samples to graph inputs; the `TextPipeline` itself where slots are decoded.
        decode: see `decoder_from`.

    Raises:
        UsageError: slots of anything else than a text.
    """
    if not isinstance(feeds, TextPipeline):
        if decode.reads_words:
            raise UsageError(
                "post: bio finds slots in texts, expected one text entry in pre; export it again"
            )
        return lambda raws, run: decode(run(feeds(raws)))
    steps = TextSteps(feeds, decode)

    def answers(raws: Sequence[Any], run: Run) -> Answers:
        items = steps.prepare(raws)
        return steps.answers(run(steps.feed(items)), items)

    return answers


def words_from(
    pre: Sequence[Pre], post: Sequence[Post], assets: Path, *, read: "Read | None" = None
) -> Callable[[Sequence[Any]], list[Words]]:
    """Return the function from raw texts to their words, for a decoder; none where none reads them.

    For callers that have feeds and outputs apart; `answers_from` encodes once. `assets` and `read` are as in
    `feeds_from`.

    Raises:
        IntegrityError: see `TextPipeline`.
    """
    texts = [each for each in pre if isinstance(each, TextPre)]
    if not texts or not reads_words(post):
        return lambda raws: []
    pipeline = TextPipeline(texts[0], assets, content=None if read is None else read(texts[0].tokenizer))
    return lambda raws: pipeline.encode_words(pipeline.read(raws))
