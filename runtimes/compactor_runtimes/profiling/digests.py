"""What identifies a bundle in a profile."""

import hashlib
from pathlib import Path

from compactor_runtimes.bundle.open import MANIFEST


def bundle_digest(path: Path) -> str:
    """SHA-256 of a bundle's manifest, which holds that of every other file."""
    return hashlib.sha256((path / MANIFEST).read_bytes()).hexdigest()
