"""Manifests changed as plain data, as nobody's release would write them."""

import json
from pathlib import Path
from typing import Any

from compactor_runtimes.bundle.manifest import digest_of_manifest


def write_raw(path: Path, manifest: dict[str, Any]) -> None:
    """Write a manifest with a digest of what it holds now."""
    manifest.pop("digest", None)
    path.write_text(json.dumps(manifest | {"digest": digest_of_manifest(manifest)}))
