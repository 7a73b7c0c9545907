"""Models of Hugging Face transformers: a folder or hub id (`hf:`), or inside a package (`package:`)."""

from pathlib import Path
from typing import Any

from compactor.models.classifier import Backbone
from compactor.models.hf.source import find_source
from compactor.models.text import TextBackbone
from compactor.records import DataInfo


def build(
    name: str, info: DataInfo, options: dict[str, Any], pretrained: bool, base: Path
) -> Backbone | TextBackbone:
    """Build `hf:ID_OR_PATH`; options override its configuration, for a smaller model of the same kind.

    Raises:
        UsageError: its folder is damaged, its weights do not fit the data, or an option is unknown.
        UnfitEnvironmentError: it is no local folder and the hub cannot be reached.
    """
    return _build(f"hf:{name}", info, options, pretrained, base)


def build_package(
    name: str, info: DataInfo, options: dict[str, Any], pretrained: bool, base: Path
) -> Backbone | TextBackbone:
    """Build `package:IMPORT/RESOURCE`, a model folder inside an installed package; see `build`."""
    return _build(f"package:{name}", info, options, pretrained, base)


def _build(
    model: str, info: DataInfo, options: dict[str, Any], pretrained: bool, base: Path
) -> Backbone | TextBackbone:
    # in here, because what they are built of imports modules of this package
    from compactor.models.hf.image import build_image_classifier
    from compactor.models.hf.text import build_text_model

    source = find_source(model, options, pretrained, base)
    if info.text is not None:
        return build_text_model(source, info, options)
    return build_image_classifier(source, info, options)
