"""How texts are cut: whose tokenizer, whether trained models know it, and how many tokens are kept."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from compactor.models import TEACH_ONLY
from compactor.propose.data import TOKEN_STEPS, Found
from compactor.propose.models import FOLDERS, Named
from compactor.propose.teachers import Roles
from compactor.records import TextInfo, reads_images
from compactor_runtimes.errors import UnfitEnvironmentError


def with_tokens(found: Found, roles: Roles, base: Path | None, notes: list[str]) -> Found:
    """Choose `max_tokens` by counting, after the tokenizers of trained models were compared.

    Without training it is the model's own limit; with training, a step that holds the longest text, at most
    what the models take. Where the tokenizer is not at hand, words are counted instead, which is said.

    Raises:
        UsageError: a model was trained with another tokenizer than the data's.
        IntegrityError: a tokenizer that cannot be read.
    """
    if reads_images(found.task):
        return found
    limits = {one.model: one.max_tokens for one in [roles.student, *roles.teachers] if one.max_tokens}
    limit = min(limits.values(), default=TOKEN_STEPS[-1])
    own = None if roles.training else roles.student.max_tokens
    text = _text(found, roles, base)
    if text is None:
        notes.append("tokens are guessed from words, as the tokenizer is not at hand: check data.max_tokens")
        return _cut_at(found, own or min(found.keys["max_tokens"], limit))
    from compactor.data.token_counts import count_tokens
    from compactor.models.trained_tokenizers import compared

    texts = found.survey.texts
    notes += compared(_trained(roles, base), text, texts)
    counts = count_tokens(text.tokenizer, texts)
    step = next((step for step in TOKEN_STEPS if step >= counts.most), TOKEN_STEPS[-1])
    chosen = own or min(step, limit)
    if cut := counts.cut(chosen):
        tightest = next((name for name, many in limits.items() if many == chosen), None)
        notes.append(cut + (f", the most that {tightest} takes" if tightest else ""))
    return _cut_at(found, chosen)


def _cut_at(found: Found, tokens: int) -> Found:
    return replace(found, keys=found.keys | {"max_tokens": tokens})


def _text(found: Found, roles: Roles, base: Path | None) -> TextInfo | None:
    """The tokenizer that the recipe will take; None where it is nobody's, or cannot be fetched now."""
    from compactor.data.tokenizer import find_tokenizer

    models = [one.model for one in [roles.student, *roles.teachers] if one.family in FOLDERS]
    named = found.keys.get("tokenizer") or next(iter(models), None)
    if named is None:  # the recipe's reader says so
        return None
    try:
        return TextInfo(find_tokenizer(named, base), 0, TOKEN_STEPS[-1])
    except UnfitEnvironmentError:
        return None


def _trained(roles: Roles, base: Path | None) -> Sequence[Any]:
    from compactor.models.trained_tokenizers import trained_model
    from compactor.recipe.spec import ModelSpec

    def spec(one: Named) -> ModelSpec:
        return ModelSpec(model=one.model, weights=None if one.family in TEACH_ONLY else one.weights)

    models = [("student", roles.student), *(("teacher", one) for one in roles.teachers)]
    found = (trained_model(role, spec(one), base) for role, one in models)
    return list(dict.fromkeys(one for one in found if one is not None))
