"""The published JSON schemas of a comparison and of the profiles that one reads."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import msgspec

from compactor_runtimes.compare.comparison import Comparison
from compactor_runtimes.measure.machine_profile import MachineProfile

_PROFILE_FILE = "compactor_runtimes.measure.profile_file"


def comparison_schema() -> dict[str, Any]:
    """The JSON schema of what `compactor compare --json` prints."""
    return msgspec.json.schema(Comparison)


def profile_schema() -> dict[str, Any]:
    """The JSON schema of a profile as it lies on disk: whoever packs its samples knows how."""
    packed = getattr(import_module(_PROFILE_FILE), "schema", None) if find_spec(_PROFILE_FILE) else None
    found: dict[str, Any] = packed() if packed else msgspec.json.schema(MachineProfile)
    return found
