"""A torch model or ensemble as a runtime, so that one harness measures torch and artifacts alike."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from compactor.models.build import load_model_folder
from compactor.models.student import Student
from compactor.records import Batch
from compactor.teachers import Teachers
from compactor_runtimes.backends.refusals import check_threads, closed, refused
from compactor_runtimes.errors import UsageError, one_line
from compactor_runtimes.files import write_whole
from compactor_runtimes.report.format import CALLED_BY_TORCH

TORCH = "torch"


def write_ensemble(path: Path, folders: list[Path]) -> None:
    """Write the JSON file that `open_runtime` reads: model folders that answer together."""
    members = [str(folder.resolve()) for folder in folders]
    write_whole(path, json.dumps({"members": members}).encode())


def open_runtime(source: Path, *, threads: int | None = None) -> "TorchRuntime":
    """Open a model folder, or an ensemble file written by `write_ensemble`.

    Raises:
        UsageError: `threads` is below 1 or absurd, or the models of an ensemble do not answer alike.
    """
    check_threads(threads)
    if threads is not None:
        torch.set_num_threads(threads)
    folders = (
        [source]
        if source.is_dir()
        else [Path(name) for name in json.loads(source.read_text(encoding="utf-8"))["members"]]
    )
    return TorchRuntime(Teachers([load_model_folder(folder) for folder in folders]), source)


class TorchRuntime:
    """run(feeds) -> outputs by name: a model's own, or those that an ensemble is mixed into.

    An ensemble of classifiers answers with the log of its mean probabilities, one of encoders with the mean
    direction. `provider` also names what computes those of its models that are exported.
    """

    def __init__(self, models: Teachers, source: Path = Path("model")) -> None:
        """Serve frozen models, whose inputs and outputs are those of the first; errors name `source`.

        Raises:
            UsageError: a later model has other inputs or outputs.
        """
        self.models = models
        self.provider = _provider(models)
        first, *others = (_ports(model) for model in models.models)
        if any(ports != first for ports in others):
            raise UsageError("ensemble: its models differ in their inputs or outputs, expected the same")
        types, self._heads = first
        self.inputs, self.outputs = list(types), list(self._heads)
        self._types: dict[str, np.dtype[Any]] | None = types
        self._source = source

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run one batch.

        Raises:
            UsageError: the model refuses feeds of these names, shapes or types, or the runtime is closed.
        """
        if {name: feed.dtype for name, feed in feeds.items()} != self._types:
            raise self._refusal(feeds)
        x = {name: torch.from_numpy(np.ascontiguousarray(feeds[name])) for name in self.inputs}
        try:
            with torch.inference_mode():
                answers = self._answers(x)
        except UsageError:  # our own, which is a ValueError too
            raise
        except (RuntimeError, IndexError, ValueError) as error:
            raise refused(self._source, feeds, one_line(error)) from error
        return {name: answers[head].numpy() for name, head in self._heads.items()}

    def close(self) -> None:
        """Drop the models."""
        self.models.models.clear()
        self._types = None

    def _answers(self, x: dict[str, Tensor]) -> Mapping[str, Tensor]:
        if len(self.models.models) == 1:  # no mixing in the measured time of a single model
            answers: Mapping[str, Tensor] = self.models.models[0](**x)
            return answers
        ids = torch.zeros(len(x[self.inputs[0]]), dtype=torch.int64)
        mixed = self.models(Batch(x, {}, ids))
        return mixed.logits | (mixed.log_probs or {})

    def _refusal(self, feeds: Mapping[str, NDArray[Any]]) -> UsageError:
        if self._types is None:
            return closed(self._source)
        wanted = ", ".join(f"{name} of {dtype}" for name, dtype in self._types.items())
        return refused(self._source, feeds, f"inputs {wanted} expected")


def _provider(models: Teachers) -> str:
    """`torch`, what computes exported models in its place, or both."""
    found = {getattr(getattr(model, "backbone", None), "provider", TORCH) for model in models.models}
    if found == {TORCH}:
        return TORCH
    exported = " and ".join(sorted(found - {TORCH})) + CALLED_BY_TORCH
    return f"{TORCH} and {exported}" if TORCH in found else exported


def _ports(model: nn.Module) -> tuple[dict[str, np.dtype[Any]], dict[str, str]]:
    """A model's inputs, name -> type, and its outputs, name -> head."""
    assert isinstance(model, Student)
    types = {port.name: np.dtype(port.dtype) for port in model.inputs}
    return types, {port.name: port.labels or port.name for port in model.outputs}
