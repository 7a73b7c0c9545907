"""Cut a WordPiece tokenizer down to the pieces that a domain needs, so that its texts keep their pieces.

1. Special and added tokens stay, and so do the pieces that the given texts are cut into.
2. Every piece of one character stays, alone and as a continuation: what is not kept is spelled out, and a
   word is unknown only if it was before.
3. WordPiece takes the longest piece that fits. Dropping others leaves that one the longest, so a word whose
   pieces are all kept is cut as before (`TrimmedVocabulary.kept` maps the ids).
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compactor_runtimes.errors import UsageError


@dataclass(frozen=True)
class TrimmedVocabulary:
    """The new tokenizer.json, and the old id of each new one (ascending), whose embedding it takes."""

    tokenizer: dict[str, Any]
    kept: list[int]

    def write(self, path: Path) -> None:
        """Write the tokenizer for the `tokenizers` library."""
        path.write_text(json.dumps(self.tokenizer, ensure_ascii=False), encoding="utf-8")


def trim(tokenizer: Path, texts: Iterable[Sequence[int]], *, most: int | None = None) -> TrimmedVocabulary:
    """Trim to the pieces of `texts`.

    Args:
        tokenizer: tokenizer.json of a WordPiece model.
        texts: token ids of the domain's texts, under that tokenizer.
        most: largest number of ids; the most frequent pieces are kept. Absent = all that occur.

    Raises:
        UsageError: another kind of tokenizer, or fewer ids than must stay.
    """
    content = json.loads(tokenizer.read_text(encoding="utf-8"))
    model = content["model"]
    if model.get("type") != "WordPiece":
        raise UsageError(
            f"tokenizer {tokenizer}: is of type {model.get('type')}, expected WordPiece (BERT and its kin); "
            "leave its vocabulary whole"
        )
    vocab: dict[str, int] = model["vocab"]
    always = _always(content, vocab)
    counts = Counter(number for ids in texts for number in ids if number not in always)
    room = None if most is None else most - len(always)
    if room is not None and room < 0:
        raise UsageError(
            f"tokenizer {tokenizer}: {most} ids wanted, but {len(always)} special and one-character pieces "
            f"must stay; ask for more than {len(always)}"
        )
    # ties go to the lower id, so that the result does not depend on the order of texts
    common = sorted(counts, key=lambda number: (-counts[number], number))[:room]
    kept = sorted(always | set(common))
    new = {old: number for number, old in enumerate(kept)}
    model["vocab"] = {piece: new[old] for piece, old in vocab.items() if old in new}
    for token in content.get("added_tokens") or ():
        token["id"] = new[token["id"]]
    _renumber(content.get("post_processor"), vocab, new)
    _renumber(content.get("padding"), vocab, new)
    return TrimmedVocabulary(content, kept)


def _always(content: dict[str, Any], vocab: dict[str, int]) -> set[int]:
    """Rules 1 and 2: ids that stay whatever the texts are."""
    model = content["model"]
    prefix = model.get("continuing_subword_prefix", "##")
    single = {number for piece, number in vocab.items() if len(piece.removeprefix(prefix)) == 1}
    special = {token["id"] for token in content.get("added_tokens") or ()}
    return single | special | {vocab[model["unk_token"]]}


def _renumber(part: Any, vocab: dict[str, int], new: dict[int, int]) -> None:
    """Give new ids wherever a part of the tokenizer's file repeats them: `ids`, `pad_id`, [token, id] pairs."""
    if isinstance(part, list):
        if len(part) == 2 and isinstance(part[0], str) and vocab.get(part[0]) == part[1]:
            part[1] = new[part[1]]  # BertProcessing: ["[SEP]", 102]
            return
        for inner in part:
            _renumber(inner, vocab, new)
    elif isinstance(part, dict):
        for key, value in part.items():
            if key == "ids":
                part[key] = [new[number] for number in value]
            elif key == "pad_id":
                part[key] = new[value]
            else:
                _renumber(value, vocab, new)
