"""Check every record of a store against what its header says, chunk by chunk; nothing is held in memory."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compactor.label_store.boxes import check_boxes
from compactor.label_store.quantization import recover
from compactor.label_store.records import Head, Header, Part, Quantization, read_header
from compactor.label_store.store import Records, read_ids, read_shard
from compactor.label_store.unfinished import require_finished
from compactor.progress import Reporter, SilentReporter
from compactor_runtimes.errors import IntegrityError

CHUNK_VALUES = 1 << 22  # numbers of a distribution that are looked at together
# float32 sums of a whole softmax; a recovered label is off by less
SUM_TOLERANCE = 1e-4
SMALLEST_FLOAT16 = 2.0**-24  # what a probability of 0 is kept as, so that place 1 may lose k of them


@dataclass
class Checks:
    """What was checked, and how much of it: {check: (count, unit)}."""

    counts: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, name: str, count: int, unit: str) -> None:
        """Count what passed."""
        self.counts[name] = (self.counts.get(name, (0, unit))[0] + count, unit)

    def lines(self) -> list[str]:
        """One line a check."""
        width = max(map(len, self.counts))
        return [f"{name:<{width}}  ok  {count:,} {unit}" for name, (count, unit) in self.counts.items()]

    def to_json(self) -> dict[str, Any]:
        """Plain data for --json."""
        return {name: {"count": count, "unit": unit} for name, (count, unit) in self.counts.items()}
