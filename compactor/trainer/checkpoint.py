"""Checkpoints from which training goes on bit for bit; written aside, then moved into place."""

from pathlib import Path
from typing import Any

import torch

from compactor_runtimes.errors import IntegrityError
from compactor_runtimes.files import written_whole

FORMAT = 1


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write atomically; random number generators are added here.

    Raises:
        UnfitEnvironmentError: there is no room for it; the checkpoint before it is kept.
    """
    state = {**state, "format": FORMAT, "rng": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda_rng"] = torch.cuda.get_rng_state()
    with written_whole(path) as partial, partial.open("wb") as file:  # a path would lose the system's reason
        torch.save(state, file)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint (tensors and plain values only) and restore the random number generators.

    Raises:
        IntegrityError: the file is damaged or of another format.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        raise IntegrityError(
            f"checkpoint {path}: cannot be read ({error}); delete it to train the stage again"
        ) from error
    if state.get("format") != FORMAT:
        raise IntegrityError(
            f"checkpoint {path}: format {state.get('format')} found, expected {FORMAT}; "
            "delete it to train the stage again"
        )
    torch.set_rng_state(state["rng"])
    if "cuda_rng" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda_rng"])
    return state
