"""Choose the tokens that a masked language model has to guess, and hide them (BERT's 80/10/10)."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compactor.data.spec import MaskingSpec
from compactor_runtimes.errors import UsageError

MASKS = ("[MASK]", "<mask>")


@dataclass(frozen=True)
class Masker:
    """Hide tokens: `mask_id` takes their place; ids of `special` bool [V] are never chosen or drawn."""

    spec: MaskingSpec
    mask_id: int
    special: NDArray[np.bool_]

    def __call__(
        self, ids: NDArray[np.int64], mask: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Hide tokens of a padded batch.

        Every token that is neither special nor padding is chosen with probability `rate`; a text of which
        none is chosen gives one of them. Of the chosen, `keep` stay, `random` become another ordinary token
        drawn uniformly, the others the mask token.

        Args:
            ids: int64 [B, L].
            mask: int64 [B, L], 1 for real tokens.
            rng: draws the same numbers whatever the texts are, so that batches of one shape agree.

        Returns:
            New ids [B, L], and bool [B, L] of the chosen tokens.
        """
        open_to = (mask == 1) & ~self.special[ids]
        draw = np.where(open_to, rng.random(ids.shape), np.inf)
        chosen = draw < self.spec.rate
        lowest = draw.argmin(1)
        rows = np.flatnonzero(~chosen.any(1) & open_to.any(1))
        chosen[rows, lowest[rows]] = True
        fate, ordinary = rng.random(ids.shape), np.flatnonzero(~self.special)
        drawn = ordinary[rng.integers(len(ordinary), size=ids.shape)]
        hidden = np.where(fate < self.spec.keep, ids, self.mask_id)
        swapped = (fate >= self.spec.keep) & (fate < self.spec.keep + self.spec.random)
        return np.where(chosen, np.where(swapped, drawn, hidden), ids), chosen


def masker_for(tokenizer: Path, spec: MaskingSpec) -> Masker:
    """Make the masker of a tokenizer.json.

    Raises:
        UsageError: the tokenizer has no mask token.
    """
    content = json.loads(tokenizer.read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"]
    if isinstance(vocabulary, list):  # of a unigram model: [piece, score] by id
        vocabulary = {piece: number for number, (piece, *_) in enumerate(vocabulary)}
    added = {token["content"]: int(token["id"]) for token in content.get("added_tokens") or ()}
    known = vocabulary | added
    mask_id = next((known[name] for name in MASKS if name in known), None)
    if mask_id is None:
        raise UsageError(
            f"tokenizer {tokenizer}: has no {' or '.join(MASKS)}, so nothing can be hidden; masked-lm needs "
            "the tokenizer of a masked language model"
        )
    special = np.zeros(max(known.values()) + 1, dtype=bool)
    special[list(added.values())] = True
    return Masker(spec, mask_id, special)
