"""What cache keys are made of beside the code: digests of plain data and of files, versions of the tools."""

import hashlib
import json
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

TOOLS = ("torch", "torchvision", "timm", "transformers", "accelerate", "numpy", "safetensors")
SHIPPING_TOOLS = (*TOOLS, "onnx", "onnxscript", "onnxruntime")  # what a bundle depends on


def digest_of(value: Any) -> str:
    """SHA-256 of plain data, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tool_versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of the packages that are installed, read from their metadata, without importing them."""
    found = {}
    for package in sorted(packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
