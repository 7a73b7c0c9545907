"""Soft labels from a label store: recorded views are replayed and no teacher runs (FKD, arXiv 2112.01528)."""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compactor.data.spec import Quantization
from compactor.label_store.store import Records, StorePart
from compactor.records import LAM, PARTNER, Batch, Crops, Outputs, Soft, Step, Target
from compactor.targets.mixing import mix_batch
from compactor.trainer.contracts import TargetPolicy
from compactor_runtimes.errors import UsageError

Mixing = Literal["none", "self", "batch", "cutmix"]


class StoredLabels(TargetPolicy):
    """Replay n of a sample's M views, drawn anew each epoch without replacement, with their labels.

    The k-th occurrence of a sample in a global batch gets the k-th view of a random order of its views, which
    is a function of (seed, epoch, sample) alone.
    """

    def __init__(
        self,
        part: StorePart,
        *,
        seed: int,
        quantization: Quantization,
        k: int,
        mixing: Mixing = "none",
    ) -> None:
        """Read `part`'s labels as `quantization`; `mixing` says what views are mixed with (mixing.py)."""
        self.part, self.seed, self.mixing = part, seed, mixing
        self.quantization, self.k = quantization, k
        if part.header.boxes != "none":
            self.crops = self.replay

    def replay(self, ids: NDArray[np.int64], epoch: int) -> Crops:
        """The views of a global batch.

        Raises:
            UsageError: a sample occurs more often than it has views.
        """
        samples, inverse, counts = np.unique(ids, return_inverse=True, return_counts=True)
        if counts.max(initial=0) > self.part.views:
            raise UsageError(
                f"label store: {counts.max()} views of one sample were asked for in a batch, it holds "
                f"{self.part.views}; lower crops_per_image or label more crops"
            )
        by_sample = np.argsort(inverse, kind="stable")
        occurrence = np.empty(len(ids), dtype=np.int64)
        occurrence[by_sample] = np.arange(len(ids)) - np.repeat(np.cumsum(counts) - counts, counts)
        order = np.argsort(self.keys(samples, epoch), axis=1, kind="stable")
        view = order[inverse, occurrence]
        return self.part.crops(self.part.records(ids, view), view)

    def keys(self, samples: NDArray[np.int64], epoch: int) -> NDArray[np.float64]:
        """Numbers [S, M] by which the views of a sample are ordered: uniform in [0, 1)."""
        views = np.arange(self.part.views, dtype=np.uint64)
        start = _mixed(np.array([self.seed], np.uint64) + _mixed(np.array([epoch], np.uint64)))
        cells = _mixed(start + _mixed(samples.astype(np.uint64)))[:, None] + views
        return (_mixed(cells) >> np.uint64(11)).astype(np.float64) / 2.0**53

    def transform(self, batch: Batch) -> Batch:
        """Mix the views of a batch, if asked to."""
        if self.mixing == "none":
            return batch
        kind: Literal["cutmix", "either"] = "cutmix" if self.mixing == "cutmix" else "either"
        return mix_batch(batch, within_samples=self.mixing == "self", kind=kind)

    def make(self, batch: Batch, teacher: Outputs | None, step: Step) -> Target:
        """Recover the labels of the batch's views; mixed views get labels mixed by the same share."""
        ids = batch.id.cpu().numpy()
        has_views = batch.crop is not None and batch.crop.index is not None
        view = batch.crop.index.numpy() if has_views else np.zeros(len(ids), np.int64)  # type: ignore[union-attr]
        records = self.part.records(ids, view)
        device = batch.id.device
        heads, unmixed = {}, {}
        for head in (one.name for one in self.part.header.heads):
            soft = self.labels(records, ids, view, head)
            if PARTNER in batch.aux:
                unmixed[head] = _to(soft, device)
                soft = _mix(soft, self.part.num_classes(head), batch.aux[PARTNER].cpu(), batch.aux[LAM].cpu())
            heads[head] = _to(soft, device)
        return Target(heads, unmixed or None)

    def labels(self, records: Records, ids: NDArray[np.int64], view: NDArray[np.int64], head: str) -> Soft:
        """The labels of a batch's records."""
        return self.part.soft(records, head, self.quantization, self.k)


def _mix(soft: Soft, num_classes: int, partner: Tensor, lam: Tensor) -> Soft:
    """Lam y + (1 - lam) y[partner], lam [B]."""
    p = soft.dense_log_p(num_classes).exp()
    share = lam.view(-1, *[1] * (p.dim() - 1))
    return Soft(log_p=(share * p + (1 - share) * p[partner]).log())


def _to(soft: Soft, device: torch.device) -> Soft:
    def move(value: Tensor | None) -> Tensor | None:
        return None if value is None else value.to(device)

    return Soft(move(soft.log_p), move(soft.ids), move(soft.p), move(soft.tail))


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64 (Steele, Lea, Flood 2014): a well-mixed 64-bit hash of each value; it wraps around."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
