"""Which tokenizer a trained text model was trained with, and whether the data are cut by the same one.

1. `pretrained` weights: the tokenizer.json of the model's folder, or of its id on the hub.
2. A weights file: the one beside it, or among the assets of the bundle that holds it.
3. An exported teacher: the one of its bundle.
4. Where there is none, nothing is compared, which is said.

Where the data's vocabulary was trimmed, a pretrained transformers model is compared with the tokenizer that
was trimmed, because its embeddings are cut in the same way, or with the trimmed one, if it was saved with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compactor.data.tokenizer import FILE, find_tokenizer
from compactor.data.tokenizer_match import Difference, compare_tokenizers
from compactor.locate import locate, locate_model
from compactor.models import TEACH_ONLY
from compactor.recipe.spec import ModelSpec
from compactor.records import TextInfo
from compactor_runtimes.bundle.manifest import TextPre
from compactor_runtimes.bundle.open import open_bundle
from compactor_runtimes.errors import UnfitEnvironmentError, UsageError

FOLDERS = ("hf", "package")
PRETRAINED = "pretrained"


@dataclass(frozen=True)
class Trained:
    """A trained text model: its name for messages, and its own tokenizer where one is found.

    `is_trimmed_with` tells that its embeddings follow a trimmed vocabulary; `trust` what its entry says of
    another tokenizer, None where it has no entry.
    """

    name: str
    tokenizer: Path | None
    is_trimmed_with: bool = False
    trust: bool | None = None


def trained_model(role: str, spec: ModelSpec, base: Path | None) -> Trained | None:
    """Describe a model of a recipe; None where it has no trained weights.

    Args:
        role: `teacher` or `student`, for messages.
        spec: its entry.
        base: folder of the recipe.

    Raises:
        UsageError: no such folder, weights or bundle.
        IntegrityError: the bundle is damaged.
    """
    if spec.weights is None and spec.family not in TEACH_ONLY:
        return None
    pretrained = spec.weights == PRETRAINED and spec.family in FOLDERS
    return Trained(f"{role} {spec.model}", own_tokenizer(spec, base), pretrained, spec.trust_tokenizer)


def own_tokenizer(spec: ModelSpec, base: Path | None) -> Path | None:
    """Find the tokenizer that a trained model was trained with, by rules 1 to 4.

    Raises:
        UsageError: no such folder, weights or bundle.
        IntegrityError: the bundle is damaged.
    """
    if spec.family == "bundle":
        bundle = open_bundle(locate(spec.model.partition(":")[2], base, what=f"model {spec.model}"))
        return next(
            (bundle.file(pre.tokenizer) for pre in bundle.manifest.pre if isinstance(pre, TextPre)), None
        )
    if spec.weights not in (None, PRETRAINED):
        assert spec.weights is not None
        return beside_weights(locate(spec.weights, base, what=f"weights of {spec.model}"))
    if spec.family not in FOLDERS:
        return None
    folder = locate_model(spec.model, base)
    if folder is not None:
        return folder / FILE if (folder / FILE).is_file() else None
    try:
        return find_tokenizer(spec.model, base)
    except UnfitEnvironmentError:
        return None


def beside_weights(weights: Path) -> Path | None:
    """The tokenizer of a model folder, or of the bundle whose student it is."""
    places = (weights.parent / FILE, weights.parent.parent / "assets" / FILE)
    return next((place for place in places if place.is_file()), None)


def compared(models: Sequence[Trained], text: TextInfo, texts: Sequence[str]) -> list[str]:
    """Compare the tokenizer of each trained model with the data's; return what is to be said.

    Raises:
        UsageError: a model was trained with another tokenizer, and its entry does not say to trust it.
        IntegrityError: a tokenizer that the library cannot read.
    """
    said = []
    for model in models:
        if model.tokenizer is None:
            said.append(
                f"{model.name}: its tokenizer was not compared with the data's: no {FILE} beside its weights"
            )
            continue
        found = _difference(model, text, texts)
        if found is None:
            continue
        differ = " and ".join(found.parts)
        if found.is_harmless:
            if found.parts != ("vocabulary",):
                said.append(
                    f"{model.name}: its tokenizer is written otherwise than the data's ({differ}), with the "
                    f"same ids for all {len(texts):,} texts"
                )
        elif model.trust:
            said.append(
                f"{model.name}: was trained with another tokenizer than the data's ({differ}): {found.told()}"
                "; it is used all the same, as trust_tokenizer says"
            )
        else:
            raise _refusal(model, found, text)
    return said


def _difference(model: Trained, text: TextInfo, texts: Sequence[str]) -> Difference | None:
    assert model.tokenizer is not None
    if not model.is_trimmed_with or text.made_from is None:
        return compare_tokenizers(model.tokenizer, text.tokenizer, texts)
    found = compare_tokenizers(model.tokenizer, text.made_from, texts)
    if found is None or found.is_harmless:
        return found
    as_trimmed = compare_tokenizers(model.tokenizer, text.tokenizer, texts)
    return as_trimmed if as_trimmed is None or as_trimmed.is_harmless else found


def _refusal(model: Trained, found: Difference, text: TextInfo) -> UsageError:
    ours = text.made_from or text.tokenizer
    anyway = "" if model.trust is None else "; trust_tokenizer: true on its entry goes on all the same"
    return UsageError(
        f"{model.name}: was trained with another tokenizer ({model.tokenizer}) than the data's ({ours}): "
        f"{' and '.join(found.parts)} differ, {found.told()}; set data.tokenizer to its own, or name a model "
        f"with the data's{anyway}"
    )
