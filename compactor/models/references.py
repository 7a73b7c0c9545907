"""What identifies the models that a recipe names: their entries with digests of weights instead of paths."""

from pathlib import Path
from typing import Any

import msgspec

from compactor.cache.digest import file_digest
from compactor.cache.folder import CONFIG, WEIGHTS
from compactor.locate import locate, locate_model
from compactor.models import FAMILIES
from compactor.recipe.spec import STAGE, ModelSpec
from compactor_runtimes.bundle.open import MANIFEST
from compactor_runtimes.errors import UnfitEnvironmentError, UsageError


def model_sources(spec: ModelSpec) -> list[str]:
    """Modules whose source decides what a model computes.

    Raises:
        UsageError: its family is unknown.
    """
    family, _, name = spec.model.partition(":")
    if family not in FAMILIES:
        raise UsageError(f"model {spec.model!r}: expected FAMILY:NAME with a family of {', '.join(FAMILIES)}")
    return [FAMILIES[family], *([name] if family == "module" else [])]


def model_digest(spec: ModelSpec, base: Path) -> dict[str, Any]:
    """A model's entry, its weights as a digest.

    Raises:
        UsageError: a weights file or a bundle is missing.
    """
    plain: dict[str, Any] = msgspec.to_builtins(spec)
    if spec.image_size is None:  # as label stores name teachers that were there before this setting
        del plain["image_size"]
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


def reference_digest(reference: ModelSpec | str | None, base: Path, earlier: dict[str, str]) -> Any:
    """Digest of a model, of an earlier stage by its cache key, or of a weights file; None for none.

    Raises:
        UsageError: a weights file is missing.
        UnfitEnvironmentError: a stage that cannot run here.
    """
    if isinstance(reference, ModelSpec):
        return model_digest(reference, base)
    if reference is None:
        return None
    if reference.startswith(STAGE):
        stage = reference.removeprefix(STAGE)
        if stage not in earlier:
            raise UnfitEnvironmentError(f"it builds on stage {stage!r}, which cannot run here")
        return earlier[stage]
    return file_digest(locate(reference, base, what="init"))
