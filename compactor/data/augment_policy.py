"""Change the pixels of views by torchvision's policies; what is drawn for a view depends on its seed alone.

Where views are cut is the matter of `augment.py`: a box can be recorded and replayed, a policy cannot.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compactor.data.spec import AugmentSpec
from compactor.records import PIXELS, Batch
from compactor_runtimes.errors import needs_extra

STREAM = 1  # tells the seeds of policies from those of crops, which have none
Change = Callable[[Tensor], Tensor]


class ViewPolicy:
    """What is done to single views of a batch, each with random numbers of its own.

    1. With probability `policy_probability` a view is rounded to uint8 and given to RandAugment or
       AutoAugment (ImageNet's policy); what they move into the picture is black.
    2. With probability `erase` a rectangle of 2% to 33% of its area is then made black (Random Erasing).
    3. A view that neither is applied to keeps its bits.
    """

    def __init__(self, spec: AugmentSpec) -> None:
        """Make the operations of a spec that has any.

        Raises:
            MissingDependency: torchvision is not installed.
        """
        with needs_extra("vision"):
            from torchvision.transforms import v2
        self.probability, self.erase = spec.policy_probability, spec.erase
        self.change: Change | None = None
        if spec.policy == "randaugment":
            self.change = v2.RandAugment(num_ops=spec.num_ops, magnitude=spec.magnitude)
        elif spec.policy == "autoaugment":
            self.change = v2.AutoAugment()
        self.blacken: Change = v2.RandomErasing(p=1.0)

    def __call__(self, batch: Batch, seeds: NDArray[np.uint32]) -> Batch:
        """Change the views of a batch in place; `seeds` [B] decide what is drawn for each."""
        views = batch.x[PIXELS]
        with seedable() as seed:
            for view, number in zip(views, seeds, strict=True):
                seed(int(number))
                self._apply(view)
        return replace(batch, x={**batch.x, PIXELS: views})

    def _apply(self, view: Tensor) -> None:
        """Change a view, float32 [C, H, W] in [0, 1]."""
        if self.change is not None and float(torch.rand(())) < self.probability:
            view.copy_(self.change((view * 255).round().to(torch.uint8)))
            view.div_(255)
        if self.erase and float(torch.rand(())) < self.erase:
            view.copy_(self.blacken(view))


def policy_of(spec: AugmentSpec) -> ViewPolicy | None:
    """The policy of a spec; None where views are cut and mirrored only."""
    return None if spec.is_recorded_by_box else ViewPolicy(spec)


def view_seeds(seed: int, epoch: int, step: int, n: int) -> NDArray[np.uint32]:
    """Seeds of the `n` views of a global batch, a function of these numbers and of a view's place in it."""
    root = np.random.SeedSequence([seed, epoch, step, STREAM])
    return np.random.Generator(np.random.Philox(root)).integers(2**32, size=n, dtype=np.uint32)


@contextmanager
def seedable() -> Iterator[Callable[[int], object]]:
    """Let the CPU's global generator be seeded within the block, and put it back afterwards.

    torchvision draws from no other generator, and dropout and mixing go on as if it had not. Those of other
    devices stay as they are, which `torch.manual_seed` would seed too.
    """
    before = torch.get_rng_state()
    try:
        yield torch.default_generator.manual_seed
    finally:
        torch.set_rng_state(before)
