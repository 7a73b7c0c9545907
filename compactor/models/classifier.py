"""The image classifier that every family is wrapped in: normalisation, heads, ports and what to export."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compactor.records import DataInfo, ImageInfo
from compactor_runtimes.manifest import InputPort, OutputPort

MAX_BATCH = 256
PIXELS = "pixel_values"  # the name that Hugging Face's image models and their runtimes use


@dataclass(frozen=True)
class Backbone:
    """What a family builds: a module from normalised pixels to logits [B, C], and its normalisation."""

    module: nn.Module
    mean: list[float]
    std: list[float]


class ImageClassifier(nn.Module):
    """pixel_values float32 [B, C, H, W] in [0, 1] -> {"label": logits [B, num_classes]}."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone, info: DataInfo) -> None:
        """Wrap a backbone for a data set's classes and stored image size."""
        super().__init__()
        self.backbone = backbone.module
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

    def deploy(self) -> nn.Module:
        """Return the module to export: tensors in the order of `inputs`, a tuple in that of `outputs`."""
        return _Deployed(self).eval()

    def example(self, batch: int = 2) -> dict[str, Tensor]:
        """Inputs of the right shape, uniform in [0, 1]."""
        generator = torch.Generator().manual_seed(0)
        return {
            PIXELS: torch.rand(
                batch, self.image.channels, self.image.height, self.image.width, generator=generator
            )
        }

    @property
    def inputs(self) -> list[InputPort]:
        """The graph's inputs."""
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
        """The graph's outputs: raw logits."""
        axes: list[str | int] = ["batch", self.info.num_classes()]
        return [OutputPort(name="logits", dtype="float32", axes=axes, role="logits", labels="label")]


class _Deployed(nn.Module):
    def __init__(self, model: ImageClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        return (self.model(pixel_values)["label"],)


def parameter_count(module: nn.Module) -> int:
    """Number of parameters, trainable or not, without buffers."""
    return sum(parameter.numel() for parameter in module.parameters())
