"""Where a class's samples vary in a teacher's features: means, principal directions, scores along them.

The linear steps of LELP (arXiv 2409.20449): projection, means, principal components, rotation, scores. The
paper's code is not published; these steps follow its description, and what it leaves open is an option.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from compactor_runtimes.errors import UsageError

NOISE = 1e-10  # of the features' mean square: below it, variance is rounding of float32
RANK = 1e-6  # of the largest singular value: below it, a weight matrix of float32 has no such direction


@dataclass(frozen=True)
class Directions:
    """What the statistics pass found: `means` [C, D], rotated `axes` [C, S, D], `ranks` int64 [C].

    `ranks` are how many of a class's S directions vary; `spread` is the standard deviation of the scores of
    samples in their own class, over all classes and directions, and 1 where none varies.
    """

    means: Tensor
    axes: Tensor
    ranks: Tensor
    spread: float

    def scores(self, features: Tensor) -> Tensor:
        """V_c (h - mu_c) of every sample for every class: [B, D] -> [B, C, S]."""
        own = torch.einsum("csd,cd->cs", self.axes, self.means)
        return torch.einsum("csd,bd->bcs", self.axes, features) - own

    def to(self, device: torch.device) -> "Directions":
        """The same on a device, in float32."""
        means, axes = (one.to(device, torch.float32) for one in (self.means, self.axes))
        return Directions(means, axes, self.ranks, self.spread)


def subclass_log_p(log_q: Tensor, scores: Tensor, beta: float) -> Tensor:
    """Log p(c, s | x) = log q_c + log softmax_s(scores / beta): [B, C], [B, C, S] -> [B, C * S].

    A class's subclasses lie together, as in a student's layer; their sum is q_c.
    """
    return (log_q.unsqueeze(-1) + (scores / beta).log_softmax(-1)).flatten(1)


def null_space(weight: Tensor) -> Tensor:
    """The projection [D, D] on the null space of a last layer [C, D]: on what moves no logit.

    Raises:
        UsageError: it has none.
    """
    _, sizes, rows = torch.linalg.svd(weight.double().cpu(), full_matrices=False)
    seen = rows[sizes > RANK * sizes[0]]
    if len(seen) == weight.shape[1]:
        raise UsageError(
            f"options.null_space: the teacher's last layer [{weight.shape[0]}, {weight.shape[1]}] sees all "
            "of its features, so nothing is left beside what the logits say; set null_space: false, or name "
            "a teacher with more features than classes"
        )
    projection: Tensor = torch.eye(weight.shape[1], dtype=torch.float64) - seen.T @ seen
    return projection


def find_directions(
    features: Tensor, classes: Tensor, *, num_classes: int, count: int, seed: int, kept: Tensor | None = None
) -> Directions:
    """Find the directions in which each class varies most.

    1. Features are projected by `kept`, if there is one; a class's mean is taken off its samples.
    2. The S = `count` principal directions with the most variance are kept; a sign is fixed by their largest
       component, so that all processes have the same.
    3. A class that varies in fewer directions (it has few samples, or the teacher tells nothing more) has
       zeros in the place of the others; one that does not vary has none, and its subclasses are equal.
    4. A random rotation [S, S], its own for each class, spreads the variance over the S scores.

    Args:
        features: [N, D], of training samples.
        classes: int64 [N].
        num_classes: C.
        count: S.
        seed: decides the rotations.
        kept: projection [D, D].
    """
    width = features.shape[1]
    floor = NOISE * float(features.square().sum(1).mean())
    means = torch.zeros(num_classes, width, dtype=torch.float64)
    axes = torch.zeros(num_classes, count, width, dtype=torch.float64)
    ranks = torch.zeros(num_classes, dtype=torch.int64)
    generator = torch.Generator().manual_seed(seed)
    squares = 0.0
    for number in range(num_classes):
        turn = rotation(count, generator)
        rows = features[classes == number].double()
        if not len(rows):
            continue
        rows = rows if kept is None else rows @ kept
        means[number] = rows.mean(0)
        found = _principal(rows - means[number], count, floor)
        ranks[number] = len(found)
        axes[number] = turn[:, : len(found)] @ found
        squares += float(((rows - means[number]) @ axes[number].T).square().sum())
    spread = (squares / max(len(features) * count, 1)) ** 0.5
    return Directions(means, axes, ranks, spread or 1.0)


def rotation(size: int, generator: torch.Generator) -> Tensor:
    """A random orthogonal matrix [size, size] in float64, uniform over all of them (Haar)."""
    drawn = torch.randn(size, size, dtype=torch.float64, generator=generator)
    orthogonal, upper = torch.linalg.qr(drawn)
    uniform: Tensor = orthogonal * upper.diagonal().sign()
    return uniform


def _principal(centred: Tensor, count: int, floor: float) -> Tensor:
    """Directions [r, D], r <= count, along which [n, D] have most variance, all above `floor`."""
    n, width = centred.shape
    reduced = torch.linalg.qr(centred, mode="r").R if n > width else centred  # has the same directions
    _, sizes, rows = torch.linalg.svd(reduced, full_matrices=False)
    varying = int((sizes.square() / n > floor).sum())
    found: Tensor = rows[: min(count, varying)]
    if not len(found):
        return found
    return found * found.gather(1, found.abs().argmax(1, keepdim=True)).sign()
