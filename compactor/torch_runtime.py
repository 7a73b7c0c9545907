"""A torch model or ensemble as a runtime, so that one harness measures torch and artifacts alike."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from compactor.models.build import load_model_folder
from compactor.models.student import Student
from compactor.records import Batch
from compactor.teachers import Teachers
from compactor_runtimes.errors import UsageError
from compactor_runtimes.files import write_whole


def write_ensemble(path: Path, folders: list[Path]) -> None:
    """Write the JSON file that `open_runtime` reads: model folders that answer together."""
    members = [str(folder.resolve()) for folder in folders]
    write_whole(path, json.dumps({"members": members}).encode())


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
    """run(feeds) -> outputs by name: a model's own, or those that an ensemble is mixed into.

    An ensemble of classifiers answers with the log of its mean probabilities, one of encoders with the mean
    direction.
    """

    provider = "torch"

    def __init__(self, models: Teachers) -> None:
        """Serve frozen models, whose inputs and outputs are those of the first.

        Raises:
            UsageError: a later model has other inputs or outputs.
        """
        self.models = models
        first, *others = (_ports(model) for model in models.models)
        if any(ports != first for ports in others):
            raise UsageError("ensemble: its models differ in their inputs or outputs, expected the same")
        self.inputs, self._heads = first
        self.outputs = list(self._heads)

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run one batch."""
        x = {name: torch.from_numpy(np.ascontiguousarray(feeds[name])) for name in self.inputs}
        with torch.inference_mode():
            if len(self.models.models) == 1:  # no mixing in the measured time of a single model
                answers = self.models.models[0](**x)
            else:
                ids = torch.zeros(len(x[self.inputs[0]]), dtype=torch.int64)
                mixed = self.models(Batch(x, {}, ids))
                answers = mixed.logits | (mixed.log_probs or {})
        return {name: answers[head].numpy() for name, head in self._heads.items()}

    def close(self) -> None:
        """Drop the models."""
        self.models.models.clear()


def _ports(model: nn.Module) -> tuple[list[str], dict[str, str]]:
    """Names of a model's inputs, and its outputs: name -> head."""
    assert isinstance(model, Student)
    return [port.name for port in model.inputs], {
        port.name: port.labels or port.name for port in model.outputs
    }
