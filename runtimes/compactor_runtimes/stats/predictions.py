"""What every subject answered on the report samples, kept beside the report so that runs can be paired later.

One safetensors file: `ids` int64 [N], `labels` int64 [N] (-100 = none) and, for each subject,
`<subject>/top1` int64 [N] and `<subject>/confidence` float32 [N]; its metadata name the samples' digest.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from compactor_runtimes.errors import IntegrityError, needs_extra
from compactor_runtimes.files import written_whole

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PREDICTIONS_FILE = "predictions.safetensors"
_TOP1, _CONFIDENCE = "/top1", "/confidence"


class Predictions(Struct, frozen=True, eq=False):
    """Answers on N samples: `top1` and `confidence` hold one array [N] a subject."""

    digest: str
    ids: "NDArray[np.int64]"
    labels: "NDArray[np.int64]"
    top1: "dict[str, NDArray[np.int64]]"
    confidence: "dict[str, NDArray[np.float32]]"

    def correct(self, subject: str) -> "NDArray[np.bool_]":
        """Whether the subject is right, bool [M] over the M labelled samples."""
        labelled = self.labels >= 0
        right: NDArray[np.bool_] = self.top1[subject][labelled] == self.labels[labelled]
        return right


def write_predictions(predictions: Predictions, folder: Path) -> Path:
    """Write the file into `folder` (created if need be); return its path."""
    with needs_extra("ort"):
        from safetensors.numpy import save_file
    tensors: dict[str, NDArray[Any]] = {"ids": predictions.ids, "labels": predictions.labels}
    tensors |= {f"{name}{_TOP1}": values for name, values in predictions.top1.items()}
    tensors |= {f"{name}{_CONFIDENCE}": values for name, values in predictions.confidence.items()}
    path = folder / PREDICTIONS_FILE
    with written_whole(path) as partial:
        save_file(tensors, partial, metadata={"digest": predictions.digest, "version": "1"})
    return path


def read_predictions(path: Path) -> Predictions:
    """Read what `write_predictions` wrote.

    Raises:
        IntegrityError: missing, damaged, or of another version.
    """
    with needs_extra("ort"):
        from safetensors import SafetensorError, safe_open
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError) as error:
        raise IntegrityError(f"{path}: are no predictions ({error}); run the recipe again") from error
    if metadata.get("version") != "1" or not {"ids", "labels"} <= tensors.keys():
        raise IntegrityError(f"{path}: holds {sorted(tensors)[:4]}, predictions of version 1 expected")
    return Predictions(
        metadata["digest"],
        tensors["ids"],
        tensors["labels"],
        {name.removesuffix(_TOP1): tensors[name] for name in tensors if name.endswith(_TOP1)},
        {name.removesuffix(_CONFIDENCE): tensors[name] for name in tensors if name.endswith(_CONFIDENCE)},
    )
