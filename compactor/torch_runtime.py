"""A torch model or ensemble as a runtime, so that one harness measures torch and artifacts alike."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from compactor.models.build import load_model_folder
from compactor.models.classifier import PIXELS
from compactor.records import Batch
from compactor.teachers import Teachers


def write_ensemble(path: Path, folders: list[Path]) -> None:
    """Write the JSON file that `open_runtime` reads: model folders whose mean probabilities answer."""
    path.write_text(json.dumps({"members": [str(folder.resolve()) for folder in folders]}), encoding="utf-8")


def open_runtime(source: Path, *, threads: int | None = None) -> "TorchRuntime":
    """Open a model folder, or an ensemble file written by `write_ensemble`."""
    if threads is not None:
        torch.set_num_threads(threads)
    folders = (
        [source]
        if source.is_dir()
        else [Path(name) for name in json.loads(source.read_text(encoding="utf-8"))["members"]]
    )
    return TorchRuntime(Teachers([load_model_folder(folder) for folder in folders]))


class TorchRuntime:
    """run(feeds) -> {"logits"}: a model's own logits, or the log of an ensemble's mean probabilities."""

    provider = "torch"

    def __init__(self, models: Teachers) -> None:
        """Serve frozen models."""
        self.models = models
        self.inputs, self.outputs = [PIXELS], ["logits"]

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run one batch."""
        pixels = torch.from_numpy(np.ascontiguousarray(feeds[PIXELS]))
        with torch.inference_mode():
            if len(self.models.models) == 1:  # no mixing in the measured time of a single model
                logits = self.models.models[0](pixels)["label"]
            else:
                mixed = self.models(Batch({PIXELS: pixels}, {}, torch.zeros(len(pixels), dtype=torch.int64)))
                assert mixed.log_probs is not None
                logits = mixed.log_probs["label"]
        return {"logits": logits.numpy()}

    def close(self) -> None:
        """Drop the models."""
        self.models.models.clear()
