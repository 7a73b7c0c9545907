"""ResNets for small images: He et al. (arXiv 1512.03385), section 4.2, option A shortcuts.

Depth is 6n + 2. Parameter names are those of akamaster/pytorch_resnet_cifar10, so its weights load key by
key.
"""

import re
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from compactor.models.classifier import Backbone, require_images
from compactor.models.features import Feature
from compactor.records import DataInfo
from compactor_runtimes.errors import UsageError

IMAGENET_MEAN = [0.485, 0.456, 0.406]
IMAGENET_STD = [0.229, 0.224, 0.225]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and an identity, subsampled and zero-padded where the shape changes."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        """Build the block."""
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride = stride
        self.padding = (channels - channels_in) // 2

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, channels_in, H, W] to [B, channels, H / stride, W / stride]."""
        # in place: no gradient needs what was there before, and a pass over memory is saved
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        if self.stride != 1 or self.padding:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.padding, self.padding))
        out += x
        return F.relu(out, inplace=True)


class CifarResNet(nn.Module):
    """Three groups of n blocks (width, 2 width, 4 width channels), average pooling, one linear layer.

    In training a share `dropout` of what goes into the linear layer is set to 0, and the rest is divided by
    1 - dropout, so that nothing is left to do in evaluation.
    """

    def __init__(
        self, blocks: int, num_classes: int, channels: int, width: int, *, dropout: float = 0.0
    ) -> None:
        """Build 6 * blocks + 2 layers."""
        super().__init__()
        self.dropout = dropout
        self.conv1 = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = self._group(width, width, blocks, 1)
        self.layer2 = self._group(width, 2 * width, blocks, 2)
        self.layer3 = self._group(2 * width, 4 * width, blocks, 2)
        self.linear = nn.Linear(4 * width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    @staticmethod
    def _group(channels_in: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
        first = BasicBlock(channels_in, channels, stride)
        return nn.Sequential(first, *(BasicBlock(channels, channels, 1) for _ in range(blocks - 1)))

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised pixels [B, C, H, W] to logits [B, num_classes]."""
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.layer3(self.layer2(self.layer1(out)))
        pooled = out.mean((2, 3))
        if self.dropout and self.training:
            pooled = F.dropout(pooled, self.dropout)
        logits: Tensor = self.linear(pooled)
        return logits


def build(name: str, info: DataInfo, options: dict[str, object], pretrained: bool, base: Path) -> Backbone:
    """Build `cifar:resnetD`, D = 6n + 2; option `width` (default 16) scales all channels.

    Option `dropout` (default 0) is a probability, before the linear layer. The feature maps `stage1` to
    `stage3` are what each group of blocks gives.

    Raises:
        UsageError: another name, an unknown option, or weights that this family does not have.
    """
    require_images(f"cifar:{name}", info)
    match = re.fullmatch(r"resnet(\d+)", name)
    depth = int(match.group(1)) if match else 0
    if depth < 8 or (depth - 2) % 6:
        raise UsageError(
            f"model cifar:{name}: expected resnetD with D = 6n + 2, such as resnet8, resnet20 or resnet56"
        )
    width, dropout = options.get("width", 16), options.get("dropout", 0.0)
    if (
        set(options) - {"width", "dropout"}
        or not (isinstance(width, int) and width >= 1)
        or not (isinstance(dropout, int | float) and 0 <= dropout < 1)
    ):
        raise UsageError(
            f"model cifar:{name}: options {options} found, expected at most {{width: a whole number >= 1, "
            "dropout: a probability below 1}"
        )
    if pretrained:
        raise UsageError(f"model cifar:{name}: has no weights of its own; give weights: FILE.safetensors")
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if info.channels == 3 else ([0.5], [0.5])
    classes, blocks = info.num_classes(), (depth - 2) // 6
    module = CifarResNet(blocks, classes, info.channels, width, dropout=float(dropout))
    maps = {f"stage{k}": Feature(f"layer{k}", 2 ** (k - 1) * width, is_map=True) for k in (1, 2, 3)}
    return Backbone(module, mean, std, maps=maps)
