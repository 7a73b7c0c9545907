"""Cut a WordPiece tokenizer down to the pieces that a domain needs: embeddings are most of a small encoder.

WordPiece cuts a word (between white space and punctuation) from the left, each time by the longest piece that
fits; a word of which something is left over is unknown. Letters are one-character pieces, `c` at the start of
a word and `##c` inside it. What stays, whatever the texts are:

1. Special and added tokens, and whatever else the file names by id.
2. All letters.
3. Where a piece holds a letter that is no piece itself, that letter is bad, and so is each letter before a
   bad one in a `##` piece. All pieces that hold a bad letter stay. (Published vocabularies have none.)

Why that is exact. Dropping pieces leaves a longest one the longest, so a word whose pieces all stay is cut as
before. Any other word is unknown only if it was before, and the other way round: by 3 no `##` piece begins
before a bad letter and covers it, and a first piece that covers one stays. So old and new cuts meet at each
run of bad letters, take the same pieces in it, and between the runs the new one can always go on by a letter
(2) unless no piece at all holds it.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compactor_runtimes.bundle.manifest import TextPre
from compactor_runtimes.errors import UsageError
from compactor_runtimes.predict.text import TextPipeline

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NAMED = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # stay even where they are ordinary pieces
TEXTS_PER_CALL = 4096
WHOLE = 2**31  # tokens that no text has


@dataclass(frozen=True)
class TrimmedVocabulary:
    """The content of the new tokenizer.json, and the old id of each new one (ascending)."""

    tokenizer: dict[str, Any]
    kept: list[int]

    def to_json(self) -> str:
        """The file that the `tokenizers` library reads."""
        return json.dumps(self.tokenizer, ensure_ascii=False)


def trim(
    tokenizer: Path, texts: "Iterable[Sequence[int] | NDArray[np.int64]]", *, most: int | None = None
) -> TrimmedVocabulary:
    """Trim to the pieces of `texts`; their order does not matter, and ids keep theirs.

    Args:
        tokenizer: tokenizer.json of a WordPiece model.
        texts: token ids of the domain's texts, under that tokenizer.
        most: largest number of ids; the most frequent pieces are kept. Absent = all that occur.

    Raises:
        UsageError: another kind of tokenizer, a damaged one, or fewer ids than must stay.
    """
    content = _read(tokenizer)
    vocab: dict[str, int] = content["model"]["vocab"]
    added = {token["content"]: int(token["id"]) for token in content.get("added_tokens") or ()}
    known = vocab | added
    always = _always(content, known)
    unknown = always - set(known.values())
    if unknown:
        raise UsageError(
            f"tokenizer {tokenizer}: names id {min(unknown)}, which its vocabulary lacks; save it again"
        )
    valid = set(known.values()) - always
    counts = Counter(number for ids in texts for number in map(int, ids) if number in valid)
    if most is not None and most < len(always):
        raise UsageError(
            f"data.vocabulary.most: got {most}, but {len(always)} special tokens and letters of {tokenizer} "
            f"must stay; expected at least {len(always)}"
        )
    room = None if most is None else most - len(always)
    # ties go to the lower id, so that the order of texts does not matter
    common = sorted(counts, key=lambda number: (-counts[number], number))[:room]
    kept = sorted(always | set(common))
    _renumber(content, {old: number for number, old in enumerate(kept)})
    return TrimmedVocabulary(content, kept)


def pieces(tokenizer: Path, texts: Sequence[str]) -> Iterator["NDArray[np.int64]"]:
    """Cut texts whole, as the runtime does: the ids of each, special tokens (which stay anyway) included.

    Raises:
        UsageError: a text that gives no token.
        IntegrityError: the tokenizers library cannot read the file.
        MissingDependency: the extra `text` is not installed.
    """
    cutter = TextPipeline(TextPre(tokenizer=tokenizer.name, max_tokens=WHOLE, pad_id=0), tokenizer.parent)
    for start in range(0, len(texts), TEXTS_PER_CALL):
        yield from cutter.encode(list(texts[start : start + TEXTS_PER_CALL]))


def _read(tokenizer: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(tokenizer.read_text(encoding="utf-8"))
        model = content["model"]
        # old files do not say their type
        kind = model.get("type") or ("WordPiece" if "max_input_chars_per_word" in model else "another type")
        vocab = model["vocab"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{tokenizer}: is no tokenizer.json ({error!r}); save the tokenizer again"
        ) from error
    if kind != "WordPiece" or not isinstance(vocab, dict):
        raise UsageError(
            f"data.vocabulary: tokenizer {tokenizer} is {kind}, expected WordPiece (that of BERT and its "
            "kin); remove data.vocabulary, or name another tokenizer"
        )
    return content


def _always(content: dict[str, Any], known: Mapping[str, int]) -> set[int]:
    """Ids that stay by rules 1 to 3."""
    model = content["model"]
    prefix = model.get("continuing_subword_prefix", "##")
    vocab: dict[str, int] = model["vocab"]
    always = {int(token["id"]) for token in content.get("added_tokens") or ()}
    always |= {known[name] for name in (*NAMED, model.get("unk_token")) if name in known}
    for owner, key in _named_ids(content):
        found = owner[key]
        always |= set(found) if isinstance(found, list) else {found}
    always |= {number for piece, number in vocab.items() if len(_letters(piece, prefix)) == 1}
    return always | {vocab[piece] for piece in _with_bad_letters(vocab, prefix)}


def _with_bad_letters(vocab: Mapping[str, int], prefix: str) -> list[str]:
    """Rule 3."""
    letters = {piece: _letters(piece, prefix) for piece in vocab}
    bad = {letter for found in letters.values() for letter in found if letter not in vocab}
    inner = [found for piece, found in letters.items() if len(found) > 1 and _continues(piece, prefix)]
    size = -1
    while size < len(bad):
        size = len(bad)
        for found in inner:
            last = max((at for at, letter in enumerate(found) if letter in bad), default=0)
            bad.update(found[:last])
    return [piece for piece, found in letters.items() if not bad.isdisjoint(found)]


def _letters(piece: str, prefix: str) -> list[str]:
    """The one-character pieces that spell a piece: `##ab` by `##a` and `##b`, `ab` by `a` and `##b`."""
    if _continues(piece, prefix):
        return [prefix + character for character in piece.removeprefix(prefix)]
    return [*piece[:1], *(prefix + character for character in piece[1:])]


def _continues(piece: str, prefix: str) -> bool:
    return piece.startswith(prefix) and piece != prefix


def _renumber(content: dict[str, Any], new: Mapping[int, int]) -> None:
    """Drop what is not in `new` and give everything else its new id, wherever the file holds one."""
    for owner, key in _named_ids(content):
        found = owner[key]
        owner[key] = [new[number] for number in found] if isinstance(found, list) else new[found]
    model = content["model"]
    model["vocab"] = {piece: new[old] for piece, old in model["vocab"].items() if old in new}
    for token in content.get("added_tokens") or ():
        token["id"] = new[token["id"]]


def _named_ids(content: dict[str, Any]) -> list[tuple[Any, Any]]:
    """Places outside the vocabulary that hold ids, as (container, key): padding and post-processors.

    Raises:
        UsageError: a post-processor that is not known here.
    """
    padding = content.get("padding")
    found: list[tuple[Any, Any]] = [(padding, "pad_id")] if padding else []
    queue: list[dict[str, Any]] = [content.get("post_processor") or {}]
    while queue:
        processor = queue.pop()
        kind = processor.get("type")
        if kind == "Sequence":
            queue += processor["processors"]
        elif kind == "TemplateProcessing":
            found += [(token, "ids") for token in processor["special_tokens"].values()]
        elif kind in ("BertProcessing", "RobertaProcessing"):
            found += [(processor["sep"], 1), (processor["cls"], 1)]  # ["[SEP]", 102]
        elif kind not in (None, "ByteLevel"):
            raise UsageError(
                f"data.vocabulary: a tokenizer with post-processor {kind} cannot be trimmed, expected "
                "TemplateProcessing or BertProcessing; remove data.vocabulary"
            )
    return found
