"""Image classifiers of Hugging Face transformers, from a folder or a hub id; remote code never runs."""

import json
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from compactor.models.cifar import IMAGENET_MEAN, IMAGENET_STD
from compactor.models.classifier import Backbone
from compactor.records import DataInfo
from compactor_runtimes.errors import UnfitEnvironmentError, UsageError, needs_extra

SAVED = "config"  # the option under which a saved model carries its whole configuration


class HfBackbone(nn.Module):
    """A transformers image classifier whose forward returns plain logits."""

    def __init__(self, model: Any) -> None:
        """Wrap an AutoModelForImageClassification."""
        super().__init__()
        self.model = model

    def saved_options(self) -> dict[str, Any]:
        """Options from which the same architecture is built again, without the folder it came from."""
        return {SAVED: self.model.config.to_dict()}

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised pixels [B, C, H, W] to logits [B, num_classes]."""
        logits: Tensor = self.model(pixel_values=x).logits
        return logits


def build(name: str, info: DataInfo, options: dict[str, Any], pretrained: bool) -> Backbone:
    """Build `hf:ID_OR_PATH`; options override its configuration, for a smaller model of the same kind.

    Raises:
        UsageError: its weights are for another number of classes.
        UnfitEnvironmentError: it is no local folder and the hub cannot be reached.
    """
    with needs_extra("train"):
        from transformers import AutoConfig, AutoModelForImageClassification
    try:
        if SAVED in options:  # a model folder that stands alone
            saved = dict(options[SAVED])
            config = AutoConfig.for_model(saved.pop("model_type"), **saved)
        else:
            labels = {} if pretrained else {"num_labels": info.num_classes()}
            config = AutoConfig.from_pretrained(name, trust_remote_code=False, **labels, **options)
        if pretrained and config.num_labels != info.num_classes():
            raise UsageError(
                f"model hf:{name}: its weights tell {config.num_labels} classes apart, "
                f"the data has {info.num_classes()}; "
                "use data with its classes, or leave weights out to start from random ones"
            )
        if pretrained:
            model = AutoModelForImageClassification.from_pretrained(
                name, config=config, trust_remote_code=False, use_safetensors=True
            )
        else:
            model = AutoModelForImageClassification.from_config(  # type: ignore[no-untyped-call]
                config, trust_remote_code=False
            )
    except OSError as error:
        raise UnfitEnvironmentError(
            f"model hf:{name}: is no local folder and could not be downloaded; download config.json, "
            "preprocessor_config.json and model.safetensors elsewhere and give the folder as hf:FOLDER"
        ) from error
    mean, std = _normalisation(Path(name))
    return Backbone(HfBackbone(model), mean[: info.channels], std[: info.channels])


def _normalisation(folder: Path) -> tuple[list[float], list[float]]:
    """Mean and std of the folder's preprocessor, ImageNet's where it has none."""
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return IMAGENET_MEAN, IMAGENET_STD
    config = json.loads(path.read_text(encoding="utf-8"))
    return list(config.get("image_mean", IMAGENET_MEAN)), list(config.get("image_std", IMAGENET_STD))
