"""Image classifiers of Hugging Face transformers."""

import json
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from compactor.models.cifar import IMAGENET_MEAN, IMAGENET_STD
from compactor.models.classifier import Backbone
from compactor.models.hf.source import (
    SAVED,
    Source,
    class_names_of,
    draw_head,
    load,
    name_classes,
    read_config,
    require_classifier,
    saved_config,
)
from compactor.models.image_size import size_taken
from compactor.records import DataInfo
from compactor_runtimes.errors import UsageError, needs_extra


class HfImageClassifier(nn.Module):
    """A transformers image classifier whose forward returns plain logits."""

    def __init__(self, model: Any) -> None:
        """Wrap an AutoModelForImageClassification."""
        super().__init__()
        self.model = model

    def saved_options(self) -> dict[str, Any]:
        """Options from which the same architecture is built again, without the folder it came from."""
        return {SAVED: saved_config(self.model)}

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised pixels [B, C, H, W] to logits [B, num_classes]."""
        logits: Tensor = self.model(pixel_values=x).logits
        return logits

    def rename_classes(self, names: list[str]) -> None:
        """Let the configuration say the classes of the head as it is now."""
        name_classes(self.model.config, names)


def build_image_classifier(
    source: Source, info: DataInfo, options: dict[str, Any], *, renew: bool = False
) -> Backbone:
    """Build an image classifier with its own weights and classes, or with random ones for the data's.

    With `renew`, its own weights have a new head for the data's classes.

    Raises:
        UsageError: its weights are not those of this architecture, or it names several classes at once.
        UnfitEnvironmentError: it is no local folder and the hub cannot be reached.
    """
    with needs_extra("train"):
        from transformers import AutoModelForImageClassification
    config = read_config(source, options)
    require_classifier(source, config, info)
    classes = class_names_of(config) if source.pretrained and not renew else None
    if classes is None:
        config.num_labels = info.num_classes()
    loaded = load(AutoModelForImageClassification, source, config)
    prefix = f"{loaded.model.base_model_prefix}."
    unfit = [name for name in [*loaded.missing, *loaded.misshapen] if not renew or name.startswith(prefix)]
    if unfit:
        raise UsageError(
            f"model {source.model}: its weights hold no {', '.join(unfit[:2])} of the model's shape; "
            "take the options back that change shapes, or leave weights out to start from random ones"
        )
    fresh = draw_head(loaded) if renew else []
    mean, std = _normalisation(source.folder)
    assert info.image is not None
    module = HfImageClassifier(loaded.model)
    return Backbone(
        module,
        mean[: info.channels],
        std[: info.channels],
        untrained=fresh,
        size=size_taken(
            module, info.image, getattr(config, "image_size", None), where=f"model {source.model}"
        ),
        classes=classes,
        renewed=None
        if classes is None
        else lambda: build_image_classifier(source, info, options, renew=True),
    )


def _normalisation(folder: Path | None) -> tuple[list[float], list[float]]:
    """Mean and std of the folder's preprocessor, ImageNet's where it has none."""
    path = folder / "preprocessor_config.json" if folder else None
    if path is None or not path.is_file():
        return IMAGENET_MEAN, IMAGENET_STD
    config = json.loads(path.read_text(encoding="utf-8"))
    return list(config.get("image_mean", IMAGENET_MEAN)), list(config.get("image_std", IMAGENET_STD))
