"""Weights from a safetensors file into a module: every key and shape, and in one sentence why not.

1. A prefix that all keys share (`module.`, `state_dict.`, ...) and the module's do not have is taken off, and
   said.
2. Where a new head is wanted, the layers whose first axis counts classes keep their random start if the file
   has another number of classes; everything else must fit.
3. A value that is not finite is named: nothing that is computed from it would be a number.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from compactor.models.student import Student
from compactor.records import DataInfo
from compactor_runtimes.errors import UsageError

PREFIXES = ("module.", "state_dict.", "model.", "_orig_mod.", "backbone.", "student.")
PICKLED = (".pth", ".pt", ".bin", ".ckpt", ".tar", ".pkl")


@dataclass(frozen=True)
class Filled:
    """What a file did not bring (its place is random), and what was done to it, for people."""

    left_out: list[str]
    note: str = ""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        UsageError: it is none; a pickled checkpoint is never opened, and how to convert it is said.
    """
    if path.suffix.lower() in PICKLED:
        raise UsageError(
            f"weights {path}: is a pickled checkpoint, expected safetensors; convert it once, if you trust "
            f'its source: python -c "import torch, safetensors.torch as s; d = torch.load({path.name!r}, '
            "map_location='cpu', weights_only=True); s.save_file(d.get('state_dict', d), "
            f'{path.with_suffix(".safetensors").name!r})"'
        )
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UsageError(
            f"weights {path}: cannot be read as safetensors ({error}); download or export them again"
        ) from error


def head_rows(model: Student, info: DataInfo, subclasses: int = 1) -> frozenset[str]:
    """Weights of the backbone whose first axis counts the data's (sub)classes, as those of a head do."""
    count = len(info.heads[0].labels) * subclasses
    state = model.backbone.state_dict()
    return frozenset(name for name, value in state.items() if value.ndim and len(value) == count)


def fill(
    module: nn.Module,
    expected: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    path: Path,
    *,
    new_head: Collection[str] = (),
) -> Filled:
    """Load `state` in the place of the weights `expected`, all or some of a module's (rules 1 to 3).

    Args:
        module: takes the weights.
        expected: what it wants.
        state: what the file has.
        path: the file, for messages.
        new_head: weights that may stay as they are where the file's have another number of rows.

    Raises:
        UsageError: names or shapes differ, or a value is not finite.
    """
    state, prefix = _without_prefix(state, expected)
    _require_finite(state, path)
    # counters of BatchNorm are left out by some converters and change nothing in inference
    missing = sorted(key for key in expected.keys() - state.keys() if not key.endswith("num_batches_tracked"))
    unexpected = sorted(state.keys() - expected.keys())
    differ = sorted(key for key in expected.keys() & state.keys() if state[key].shape != expected[key].shape)
    renewed = [key for key in differ if key in new_head and state[key].shape[1:] == expected[key].shape[1:]]
    rows = {len(state[key]) for key in renewed}
    if missing or unexpected or len(rows) > 1 or renewed != differ:
        raise UsageError(_other_architecture(module, expected, state, path, missing, unexpected, differ))
    module.load_state_dict({key: value for key, value in state.items() if key not in renewed}, strict=False)
    said = [f"{prefix!r} was taken off the names of its weights"] if prefix else []
    if renewed:
        said.append(
            f"its {rows.pop()} classes are not the data's, so it gets a new last layer, which is untrained"
        )
    return Filled(renewed, f"weights {path.name}: {'; '.join(said)}" if said else "")


def _without_prefix(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> tuple[Mapping[str, Tensor], str]:
    """Rule 1; prefixes may be nested (`state_dict.module.`)."""
    taken = ""
    while state and not state.keys() & expected.keys():
        first = next(iter(state))
        prefix = next((one for one in PREFIXES if first.startswith(one)), "")
        if not prefix or not all(key.startswith(prefix) for key in state):
            break
        state, taken = {key.removeprefix(prefix): value for key, value in state.items()}, taken + prefix
    return state, taken


def _require_finite(state: Mapping[str, Tensor], path: Path) -> None:
    """Rule 3."""
    for key, value in state.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            count = int((~torch.isfinite(value)).sum())
            raise UsageError(
                f"weights {path}: {count:,} of {value.numel():,} values of {key} are not finite (NaN or "
                "infinite), expected numbers; download them again, or take an earlier checkpoint"
            )


def _other_architecture(
    module: nn.Module,
    expected: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    path: Path,
    missing: list[str],
    unexpected: list[str],
    differ: list[str],
) -> str:
    shapes = [f"{key} {tuple(state[key].shape)} instead of {tuple(expected[key].shape)}" for key in differ]
    problems = [
        f"{len(found)} {what} ({', '.join(found[:2])}{', ...' if len(found) > 2 else ''})"
        for what, found in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        if found
    ]
    told = "are of another architecture than" if missing or unexpected else "do not fit"
    rows = [key for key in differ if state[key].shape[1:] == expected[key].shape[1:]]
    way_out = "name the model that they were trained as"
    if differ and rows == differ and not missing and not unexpected:
        found, wanted = len(state[rows[0]]), len(expected[rows[0]])
        way_out = (
            f"the file tells {found} classes apart and the data have {wanted}: train it in a stage, or use "
            "data with its classes"
        )
    return f"weights {path}: {told} {type(module).__name__}: {'; '.join(problems)}; {way_out}"
