"""The image classifier that every image family is wrapped in: normalisation inside, one head."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compactor.models.features import Feature, that_are_maps
from compactor.models.student import Student, port_of
from compactor.recipe.spec import ModelSpec
from compactor.records import PIXELS, DataInfo, ImageInfo
from compactor_runtimes.bundle.manifest import InputPort, OutputPort
from compactor_runtimes.errors import UsageError

MAX_BATCH = 256


@dataclass(frozen=True)
class Backbone:
    """What a family builds: a module from normalised pixels to logits [B, C], and its normalisation.

    `untrained` are the weights that `weights: pretrained` did not bring. `size` is the one height and width
    that it takes, absent = as images come. `classes` are the names of its answers in their order, where it
    says them. `renewed` builds it once more with a new head for the data's classes. `maps` are its feature
    maps by name, with paths within the module; those that turn out not to be [B, width, H, W] are left out.
    """

    module: nn.Module
    mean: list[float]
    std: list[float]
    untrained: list[str] = field(default_factory=list)
    size: tuple[int, int] | None = None
    classes: list[str] | None = None
    renewed: "Callable[[], Backbone] | None" = None
    maps: Mapping[str, Feature] = field(default_factory=dict)


class ImageClassifier(Student):
    """pixel_values float32 [B, C, H, W] in [0, 1] -> {"label" or "labels": logits [B, num_classes]}."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone, info: DataInfo, *, image_size: int | None = None) -> None:
        """Wrap a backbone for a data set's classes and stored image size; `image_size` replaces its own."""
        super().__init__()
        # convolutions follow the layout of their weights, and need not reorder every activation
        self.backbone = backbone.module.to(memory_format=torch.channels_last)
        self.register_buffer("mean", torch.tensor(backbone.mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(backbone.std).view(1, -1, 1, 1))
        self.info, self.image_size = info, image_size
        self.maps = {name: replace(one, path=f"backbone.{one.path}") for name, one in backbone.maps.items()}
        self.head = info.heads[0].name
        self.size = backbone.size if image_size is None else (image_size, image_size)
        height, width = self.image.height, self.image.width
        if self.size not in (None, (height, width)):
            assert self.size is not None
            self.size_note = (
                f"it resizes images of {height} x {width} pixels to {self.size[0]} x {self.size[1]} within"
            )

    @property
    def image(self) -> ImageInfo:
        """Size of the images that it takes."""
        assert self.info.image is not None
        return self.info.image

    @cached_property
    def features(self) -> dict[str, Feature]:
        """The family's feature maps, which one more run looks at, beside what every student has."""
        return {**that_are_maps(self, self.example(), self.maps), **super().features}

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        """Resize where the backbone has a size of its own, normalise and classify."""
        if self.size is not None and pixel_values.shape[2:] != self.size:
            pixel_values = F.interpolate(pixel_values, self.size, mode="bilinear", antialias=True)
        return {self.head: self.backbone((pixel_values - self.mean) / self.std)}

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
        return [port_of(head, ["batch", len(head.labels)]) for head in self.info.heads]

    def saved(self) -> dict[str, Any]:
        """The normalisation, and the size where the recipe gave one."""
        size = {} if self.image_size is None else {"image_size": self.image_size}
        return {"mean": self.mean.flatten().tolist(), "std": self.std.flatten().tolist(), **size}


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
    return ImageClassifier(replace(backbone, mean=mean, std=std), info, image_size=spec.image_size)


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
