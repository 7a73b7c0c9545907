"""What was found of a teacher on its runtimes: a file beside its graphs, one entry a machine.

A machine is its kind of CPU, GPU and OpenVINO; the other versions are in the teacher's digest already.
"""

from pathlib import Path
from typing import Any

import msgspec
import torch
from msgspec import Struct

from compactor.cache.digest import digest_of, tool_versions
from compactor.data.spec import AugmentSpec
from compactor.records import TeacherRuntimeName
from compactor.release.runtime_distance import Distance, draws_views
from compactor_runtimes.environment import cpu_model, isa_flags
from compactor_runtimes.files import write_whole


class Known(Struct, frozen=True):
    """A runtime's own name for what computes, and its distance from torch in fp32."""

    provider: str
    distance: Distance


class Choice(Struct, frozen=True):
    """What `auto` chose within these bounds, and what it said of each runtime."""

    runtime: TeacherRuntimeName
    max_kl: float
    min_agreement: float
    told: list[str]


class Memory(Struct):
    """What is known on one machine."""

    found: dict[str, Known] = {}
    choice: Choice | None = None


def remembered(file: Path, machine: str) -> Memory:
    """Read what is known on a machine; nothing where nothing can be read."""
    return _all(file).get(machine, Memory())


def remember(file: Path, machine: str, memory: Memory) -> None:
    """Keep what is known on a machine, beside what is known on others."""
    file.parent.mkdir(parents=True, exist_ok=True)
    known = _all(file) | {machine: memory}
    write_whole(file, msgspec.json.format(msgspec.json.encode(known), indent=1) + b"\n")


def _all(file: Path) -> dict[str, Memory]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Memory])
    except (OSError, msgspec.DecodeError, msgspec.ValidationError):  # it is only asked once more
        return {}


def machine_with(device: torch.device, augment: AugmentSpec) -> str:
    """Name this machine, and how images are cut for the teachers that it runs."""
    parts: list[Any] = [cpu_model(), *isa_flags(), f"{torch.get_num_threads()} threads"]
    parts += [f"openvino {version}" for version in tool_versions(("openvino",)).values()]
    parts += [torch.cuda.get_device_name(device)] if device.type == "cuda" else []
    parts += [f"views {digest_of(msgspec.to_builtins(augment))[:12]}"] if draws_views(augment) else []
    return ", ".join(map(str, parts))
