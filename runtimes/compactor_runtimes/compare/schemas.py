"""The published JSON schemas of a comparison and of the profiles that one reads."""

from typing import Any

import msgspec

from compactor_runtimes.compare.comparison import Comparison
from compactor_runtimes.measure import profile_file


def comparison_schema() -> dict[str, Any]:
    """The JSON schema of what `compactor compare --json` prints."""
    return msgspec.json.schema(Comparison)


def profile_schema() -> dict[str, Any]:
    """The JSON schema of a profile as it lies on disk, raw samples packed."""
    return profile_file.schema()
