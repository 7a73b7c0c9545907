"""Learning rate as a pure function of the step, so that a resumed run needs no scheduler state."""

import math
from typing import Literal


def lr_factor(step: int, *, steps: int, warmup: float, schedule: Literal["cosine", "constant"]) -> float:
    """Factor on the base rate: linear from 0 over `warmup` steps, then cosine to 0 at `steps`, or constant.

    factor(t) = t / w for t < w, else (1 + cos(pi (t - w) / (T - w))) / 2.
    """
    if step < warmup:
        return step / warmup
    if schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))
