"""Learning rate as a pure function of where training stands; a resumed run needs no scheduler state."""

import math
from bisect import bisect_right
from collections.abc import Sequence

from compactor.records import Schedule, Step


def lr_factor(
    at: Step, *, warmup: float, schedule: Schedule, milestones: Sequence[int] = (), gamma: float = 0.1
) -> float:
    """Factor on the base rate: linear from 0 over `warmup` steps, then what the schedule says.

    constant: 1. cosine: (1 + cos(pi (t - w) / (T - w))) / 2 for step t of T after w steps of warm-up.
    cosine-epochs: (1 + cos(pi e / E)) / 2 with the epoch e of E at which the pass began, the same for all
    steps of a pass, as FKD's code sets it. step: gamma^k with the k milestones that are at most e.
    """
    if at.step < warmup:
        return at.step / warmup
    if schedule == "constant":
        return 1.0
    if schedule == "step":
        return float(gamma ** bisect_right(milestones, at.epoch))
    if schedule == "cosine-epochs":
        return 0.5 * (1 + math.cos(math.pi * at.epoch / at.epochs))
    return 0.5 * (1 + math.cos(math.pi * (at.step - warmup) / max(at.steps - warmup, 1)))
