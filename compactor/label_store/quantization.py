"""Compress soft labels into records and recover them: FKD's label quantisations (arXiv 2112.01528).

1. A record of `top-k` keeps the mass outside the k largest classes (the tail) and the probabilities of places
   2 to k; place 1 is recovered as 1 - tail - their sum. All that is rounded is then small, a recovered label
   sums to 1, and its tail cannot become negative (FKD's own float16 files have 13% such tails).
2. float16 rounds down and never to 0: place 1 stays the largest, and no class that the teacher gave mass to
   loses all of it. `full` labels stay float32, as most of their classes lie below float16's 6e-8.
3. What a label is read as may differ from how it was kept, wherever the record holds enough.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compactor.data.spec import Quantization
from compactor.label_store.header import Payload
from compactor.records import Soft
from compactor_runtimes.errors import UsageError

SMALLEST = np.float16(2**-24)
LEAD = 1 + 2**-20  # survives float32 logarithms of probabilities down to e^-16


def payload_of(
    quantization: Quantization, k: int, num_classes: int, *, probabilities: str = "float16"
) -> Payload:
    """What must be kept so that labels can be read as `quantization`; k is at most the number of classes."""
    if quantization in ("full", "hard"):
        return Payload(kind="full" if quantization == "full" else "hard")
    kept = 1 if quantization == "smoothing" else min(k, num_classes)
    return Payload(kind="top-k", k=kept, probabilities="float16" if probabilities == "float16" else "float32")


def compress(probs: Tensor, payload: Payload) -> dict[str, NDArray[Any]]:
    """Turn distributions [..., C] into the arrays of a record: `ids` and `p`, as far as the payload has them.

    The tail is summed over the classes outside the head: 1 minus the head would lose it to rounding.
    """
    probs = probs.float()
    if payload.kind == "full":
        return {"p": probs.cpu().numpy()}
    head, ids = probs.topk(payload.k, dim=-1)
    if payload.kind == "hard":
        return {"ids": ids.cpu().numpy()}
    tail = probs.scatter(-1, ids, 0.0).sum(-1, keepdim=True)
    kept = torch.cat([tail, head[..., 1:]], dim=-1).cpu().numpy()
    if payload.probabilities == "float16":
        rounded = _floor16(kept)
        if payload.k == probs.shape[-1]:
            rounded[..., 0] = 0
        return {"ids": ids.cpu().numpy(), "p": rounded}
    return {"ids": ids.cpu().numpy(), "p": kept}


def recover(
    arrays: dict[str, Tensor], payload: Payload, num_classes: int, quantization: Quantization, k: int
) -> Soft:
    """Read labels as `quantization` (rule 3).

    full: p as it was. hard: all mass on the teacher's largest class. smoothing: the largest keeps its
    probability, the others share the rest. marginal-smoothing: the k largest keep theirs, the others share
    the rest. marginal-renorm: the k largest, divided by their sum.

    Args:
        arrays: `ids` int64 [..., k'] and `p` float32 [..., k'] or [..., C], as kept.
        payload: how they were kept.
        num_classes: C.
        quantization: how to read them.
        k: classes that keep a probability of their own, for the two marginal readings.

    Raises:
        UsageError: the record does not hold enough for that.
    """
    require_readable(payload, quantization, k, num_classes)
    if quantization == "full":
        if payload.kind == "full":
            return Soft(log_p=arrays["p"].log())
        k, quantization = num_classes, "marginal-smoothing"
    if payload.kind == "hard":
        ids, head = arrays["ids"], torch.ones_like(arrays["ids"], dtype=torch.float32)
        tail = torch.zeros_like(head[..., 0])
    elif payload.kind == "full":
        head, ids = arrays["p"].sort(dim=-1, descending=True)
        tail = torch.zeros_like(head[..., 0])
    else:
        ids, tail, rest = arrays["ids"], arrays["p"][..., 0], arrays["p"][..., 1:]
        first = 1 - tail.unsqueeze(-1) - rest.sum(-1, keepdim=True)
        if payload.k > 1:  # however close the second comes, rounding must not make it the largest
            first = torch.maximum(first, rest[..., :1] * LEAD)
        head = torch.cat([first, rest], dim=-1)
    if quantization == "hard":
        return Soft(ids=ids[..., :1], p=torch.ones_like(head[..., :1]), tail=torch.zeros_like(tail))
    k = 1 if quantization == "smoothing" else min(k, num_classes)
    ids, head, tail = ids[..., :k], head[..., :k], tail + head[..., k:].sum(-1)
    if quantization == "marginal-renorm":
        return Soft(ids=ids, p=head / head.sum(-1, keepdim=True), tail=torch.zeros_like(tail))
    return Soft(ids=ids, p=head, tail=tail)


def require_readable(payload: Payload, quantization: Quantization, k: int, num_classes: int) -> None:
    """Refuse to read what a record does not hold.

    Raises:
        UsageError: says what it holds.
    """
    needed = {"full": num_classes, "hard": 1, "smoothing": 1}.get(quantization, min(k, num_classes))
    held = {"full": num_classes, "hard": 0, "top-k": payload.k}[payload.kind]
    if needed > held and quantization != "hard":
        asked = f"{quantization} labels" + (f" with k {k}" if quantization.startswith("marginal") else "")
        what = "the largest class alone" if payload.kind == "hard" else f"the {payload.k} largest classes"
        raise UsageError(
            f"label store: {asked} were asked for, but it holds {what} of each view; "
            "set labels.quantization or labels.k to what it holds, or label again"
        )


def _floor16(values: NDArray[np.float32]) -> NDArray[np.float16]:
    rounded = values.astype(np.float16)
    rounded = np.where(rounded.astype(np.float32) > values, np.nextafter(rounded, np.float16(0)), rounded)
    return np.maximum(rounded, SMALLEST)
