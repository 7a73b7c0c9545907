"""What identifies the models that a recipe names: their entries with digests of weights instead of paths."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from compactor.cache.digest import file_digest
from compactor.cache.folder import CONFIG, WEIGHTS
from compactor.locate import locate, locate_model
from compactor.models import FAMILIES, TEACHES_ON
from compactor.recipe.spec import STAGE, ModelSpec
from compactor_runtimes.backends import RUNTIMES
from compactor_runtimes.bundle.open import MANIFEST
from compactor_runtimes.errors import UnfitEnvironmentError, UsageError

LATER = (
    *("image_size", "aliases", "classes", "subclasses", "trust_teacher", "trust_tokenizer"),
    *("runtime", "max_kl", "min_agreement"),
)


def model_sources(spec: ModelSpec) -> list[str]:
    """Modules whose source decides what a model computes.

    Raises:
        UsageError: its family is unknown.
    """
    family, _, name = spec.model.partition(":")
    if family not in FAMILIES:
        raise UsageError(f"model {spec.model!r}: expected FAMILY:NAME with a family of {', '.join(FAMILIES)}")
    named = {"module": [name], "bundle": [RUNTIMES[TEACHES_ON].opener]}
    return [FAMILIES[family], *named.get(family, [])]


def model_digest(spec: ModelSpec, base: Path) -> dict[str, Any]:
    """A model's entry, its weights as a digest.

    Raises:
        UsageError: a weights file or a bundle is missing.
    """
    plain: dict[str, Any] = msgspec.to_builtins(spec)
    for name in LATER:  # as label stores name teachers that were there before these settings
        if getattr(spec, name) == getattr(ModelSpec(model=spec.model), name):
            del plain[name]
    if spec.weights not in (None, "pretrained"):
        assert spec.weights is not None
        plain["weights"] = file_digest(locate(spec.weights, base, what=f"weights of {spec.model}"))
    if spec.family == "bundle":  # its manifest holds the digests of all its files
        folder = locate(spec.model.partition(":")[2], base, what=f"model {spec.model}")
        if not (folder / MANIFEST).is_file():
            raise UsageError(f"model {spec.model}: {folder} holds no {MANIFEST}; give a bundle's folder")
        plain["bundle"] = file_digest(folder / MANIFEST)
    if spec.family in ("hf", "package"):
        local = locate_model(spec.model, base)  # a local folder may change under the same name
        names = (CONFIG, WEIGHTS) if spec.weights == "pretrained" else (CONFIG,)
        files = [local / name for name in names] if local else []
        plain["folder"] = [file_digest(path) for path in files if path.is_file()]
    return plain


class Identities:
    """What identifies the models of one recipe, for its plan; the files of each are hashed once."""

    def __init__(self, base: Path) -> None:
        """Look relative paths up from `base`; nothing is read yet."""
        self.base = base
        self._models: dict[bytes, dict[str, Any]] = {}
        self._files: dict[str, str] = {}

    def model(self, spec: ModelSpec) -> dict[str, Any]:
        """See `model_digest`."""
        key = msgspec.json.encode(spec)
        if key not in self._models:
            self._models[key] = model_digest(spec, self.base)
        return self._models[key]

    def reference(self, reference: ModelSpec | str | None, earlier: Mapping[str, str]) -> Any:
        """Digest of a model, of an earlier stage by its cache key, or of a weights file; None for none.

        Raises:
            UsageError: a weights file is missing.
            UnfitEnvironmentError: a stage that cannot run here.
        """
        if reference is None:
            return None
        if isinstance(reference, ModelSpec):
            return self.model(reference)
        if reference.startswith(STAGE):
            stage = reference.removeprefix(STAGE)
            if stage not in earlier:
                raise UnfitEnvironmentError(f"it builds on stage {stage!r}, which cannot run here")
            return earlier[stage]
        if reference not in self._files:
            self._files[reference] = file_digest(locate(reference, self.base, what="init"))
        return self._files[reference]
