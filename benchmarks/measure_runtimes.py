"""Runtimes whose truth is known: one that sleeps a distribution, one that works so much."""

import hashlib
import math
import random
import time
from pathlib import Path
from typing import Any

import numpy as np

SPIN_S = 0.001  # a sleep may end late by about that much; the rest is waited for awake
BLOCK = bytes(4096)


class Known:
    """Answers zeros after `wait`."""

    inputs, outputs, provider = ["x"], ["y"], "known"

    def __init__(self, wait: Any) -> None:
        self.wait = wait

    def run(self, feeds: Any) -> Any:
        self.wait()
        return {"y": np.zeros((1, 2), np.float32)}

    def close(self) -> None:
        pass


def sleeps(source: Path, *, threads: int | None, seed: int, median_s: float, sigma: float) -> Known:
    """Each call takes a lognormal time of this median and deviation of its logarithm."""
    draw = random.Random(seed)

    def wait() -> None:
        until_s = time.perf_counter() + math.exp(draw.gauss(math.log(median_s), sigma))
        if (left_s := until_s - time.perf_counter()) > SPIN_S:
            time.sleep(left_s - SPIN_S)
        while time.perf_counter() < until_s:
            pass

    return Known(wait)


def works(source: Path, *, threads: int | None, units: int) -> Known:
    """Each call hashes so many blocks of 4 KiB."""

    def wait() -> None:
        for _ in range(units):
            hashlib.sha256(BLOCK)

    return Known(wait)
