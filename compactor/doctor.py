"""What this machine can do: the environment, which extras are complete, and known bad combinations."""

import os
import re
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from msgspec import to_builtins

from compactor_runtimes.backends import RUNTIMES, state_of
from compactor_runtimes.environment import describe

DISTRIBUTION = "compactor-toolkit"


def examine() -> dict[str, Any]:
    """Return {environment, extras: {name: {missing, install}}, runtimes: {name: {usable, detail}}, problems}.

    The packages of runtimes are imported as far as they are installed, to ask them for their devices.
    """
    extras = {
        name: {
            "missing": [package for package in packages if not _installed(package)],
            "install": f"pip install '{DISTRIBUTION}[{name}]'",
        }
        for name, packages in extra_packages().items()
    }
    return {
        "environment": describe(),
        "extras": extras,
        "runtimes": {name: to_builtins(state_of(name)) for name in RUNTIMES},
        "problems": _problems(),
    }


def extra_packages() -> dict[str, list[str]]:
    """Packages of every extra, from this distribution's own metadata."""
    found: dict[str, list[str]] = {}
    for text in requires(DISTRIBUTION) or []:
        match = re.fullmatch(r"([A-Za-z0-9._-]+)(?:\[.*\])?[^;]*;.*\bextra == ['\"]([\w-]+)['\"]", text)
        if match and match[2] != "dev" and match[1] != DISTRIBUTION:
            found.setdefault(match[2], []).append(match[1])
    return found


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _problems() -> list[str]:
    problems = []
    if _installed("onnxruntime") and _installed("onnxruntime-gpu"):
        problems.append(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files; "
            "uninstall both, then install one of the extras ort or ort-gpu"
        )
    if _installed("torch") and _installed("torchvision"):
        torch, vision = (version(name).split("+")[0].split(".") for name in ("torch", "torchvision"))
        if int(torch[0]) == 2 and int(torch[1]) + 15 != int(vision[1]):
            problems.append(
                f"torch {'.'.join(torch)} and torchvision {'.'.join(vision)} are not a pair; "
                f"install torchvision 0.{int(torch[1]) + 15}"
            )
    data = os.environ.get("COMPACTOR_DATA")
    if data and not Path(data).is_dir():
        problems.append(f"COMPACTOR_DATA points at {data}, which is no folder; correct or unset it")
    return problems
