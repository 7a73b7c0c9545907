"""The image classifier that every image family is wrapped in: normalisation inside, one head."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from compactor.models.student import Student
from compactor.recipe import ModelSpec
from compactor.records import DataInfo, ImageInfo
from compactor_runtimes.errors import UsageError
from compactor_runtimes.manifest import InputPort, OutputPort

MAX_BATCH = 256
PIXELS = "pixel_values"  # the name that Hugging Face's image models and their runtimes use


@dataclass(frozen=True)
class Backbone:
    """What a family builds: a module from normalised pixels to logits [B, C], and its normalisation.

    `untrained` are the weights that `weights: pretrained` did not bring.
    """

    module: nn.Module
    mean: list[float]
    std: list[float]
    untrained: list[str] = field(default_factory=list)


class ImageClassifier(Student):
    """pixel_values float32 [B, C, H, W] in [0, 1] -> {"label": logits [B, num_classes]}."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone, info: DataInfo) -> None:
        """Wrap a backbone for a data set's classes and stored image size."""
        super().__init__()
        # convolutions follow the layout of their weights, and need not reorder every activation
        self.backbone = backbone.module.to(memory_format=torch.channels_last)
        self.register_buffer("mean", torch.tensor(backbone.mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(backbone.std).view(1, -1, 1, 1))
        self.info = info

    @property
    def image(self) -> ImageInfo:
        """Size of the images that it takes."""
        assert self.info.image is not None
        return self.info.image

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        """Normalise and classify."""
        return {"label": self.backbone((pixel_values - self.mean) / self.std)}

    def example(self, batch: int = 2) -> dict[str, Tensor]:
        """Inputs of the right shape, uniform in [0, 1]."""
        generator = torch.Generator().manual_seed(0)
        shape = (batch, self.image.channels, self.image.height, self.image.width)
        return {PIXELS: torch.rand(shape, generator=generator)}

    @property
    def inputs(self) -> list[InputPort]:
        """The graph's one input."""
        shape = [self.image.channels, self.image.height, self.image.width]
        return [
            InputPort(
                name=PIXELS,
                dtype="float32",
                axes=["batch", *shape],
                min=[1, *shape],
                max=[MAX_BATCH, *shape],
                role="image",
            )
        ]

    @property
    def outputs(self) -> list[OutputPort]:
        """The graph's one output: raw logits."""
        axes: list[str | int] = ["batch", self.info.num_classes()]
        return [OutputPort(name="logits", dtype="float32", axes=axes, role="logits", labels="label")]

    def saved(self) -> dict[str, Any]:
        """The normalisation."""
        return {"mean": self.mean.flatten().tolist(), "std": self.std.flatten().tolist()}


def wrap(backbone: Backbone, spec: ModelSpec, info: DataInfo) -> ImageClassifier:
    """Make the classifier; a recipe's mean and std replace the family's.

    Raises:
        UsageError: they have another number of values than the images have channels.
    """
    mean, std = spec.mean or backbone.mean, spec.std or backbone.std
    if not len(mean) == len(std) == info.channels:
        raise UsageError(
            f"model {spec.model}: mean and std have {len(mean)} and {len(std)} values, "
            f"the images {info.channels} channels"
        )
    return ImageClassifier(Backbone(backbone.module, mean, std), info)


def require_images(model: str, info: DataInfo) -> None:
    """Refuse to build an image model for other data.

    Raises:
        UsageError: the task has no images.
    """
    if info.image is None:
        raise UsageError(
            f"model {model}: classifies images, the task is {info.task}; "
            "name a text model (hf:, package: or module:)"
        )
