"""From raw samples to answers: what comes before a graph and after it, bound once for every caller."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec.structs import replace

from compactor_runtimes.bundle.manifest import Post, Pre, TextPre
from compactor_runtimes.errors import UsageError
from compactor_runtimes.predict.answers import Answers, Decode, reads_words
from compactor_runtimes.predict.text import TextPipeline, Tokens, Words, read_texts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]

Feeds: TypeAlias = "Callable[[Sequence[Any]], Arrays]"
Run: TypeAlias = "Callable[[Arrays], Arrays]"


def answers_from(feeds: Feeds, decode: Decode) -> Callable[[Sequence[Any], Run], Answers]:
    """Return the function from raw samples and a graph's `run` to one answer a sample.

    Slots lie in characters, so there the words of the texts go past the graph to the decoder.

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
    pipeline = feeds

    def of_words(raws: Sequence[Any], run: Run) -> Answers:
        words = pipeline.encode_words(read_texts(raws))
        return _marked(decode(run(pipeline.pad([each.ids for each in words])), words), words)

    def of_texts(raws: Sequence[Any], run: Run) -> Answers:
        tokens = pipeline.encode_tokens(read_texts(raws))
        return _marked(decode(run(pipeline.pad([each.ids for each in tokens]))), tokens)

    return of_words if decode.reads_words else of_texts


def _marked(answers: Any, texts: "Sequence[Tokens | Words]") -> Answers:
    """Say of an answer whether its text was cut."""
    pairs = zip(answers, texts, strict=True)
    marked: Any = [replace(one, truncated=True) if text.truncated else one for one, text in pairs]
    found: Answers = marked
    return found


def words_from(
    pre: Sequence[Pre], post: Sequence[Post], assets: Path
) -> Callable[[Sequence[Any]], list[Words]]:
    """Return the function from raw texts to their words, for a decoder; none where none reads them.

    For callers that have feeds and outputs apart; `answers_from` encodes once.

    Raises:
        IntegrityError: see `TextPipeline`.
    """
    texts = [each for each in pre if isinstance(each, TextPre)]
    if not texts or not reads_words(post):
        return lambda raws: []
    pipeline = TextPipeline(texts[0], assets)
    return lambda raws: pipeline.encode_words(read_texts(raws))
