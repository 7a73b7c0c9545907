"""Students that train well; most of them cannot be exported."""

import os
import time

import torch
from torch import Tensor

from tests.toys import Mlp


class Branching(Mlp):
    """Asks the numbers which way to go."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.sum() > 0 else self.head.bias.expand(len(x), -1)


class Frozen(Mlp):
    """Takes batches of two, as every example is one."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(2, 64))


class Borrowed(Mlp):
    """Weights in a plain attribute, which are nobody's."""

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__(num_classes)
        self.table = torch.linspace(0, 1, 64 * num_classes).reshape(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + x.flatten(1) @ self.table


class Broken(Mlp):
    def forward(self, x: Tensor) -> Tensor:
        raise KeyError("no such thing")


def dies(num_classes: int) -> Mlp:
    os._exit(7)


def sleeps(num_classes: int) -> Mlp:
    time.sleep(60)
    return Mlp(num_classes)
