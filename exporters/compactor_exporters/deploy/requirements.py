"""What `compactor serve` needs, to the byte: our own wheel, and every package under it with version and hash.

1. pip resolves for the platform of the server (manylinux, this machine's processor) without installing.
2. Of its report only names, versions and hashes are kept: no address of an index, no path of this machine.
"""

import hashlib
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from compactor_exporters.deploy.writing import put
from compactor_runtimes.elsewhere.wheel import DISTRIBUTION, pack_wheel
from compactor_runtimes.errors import UnfitEnvironmentError, one_line

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
"""Of the server too: pip judges a requirement's conditions by the Python that runs it."""

MACHINES = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}
"""Machine as the kernel calls it -> platform as containers call it."""

_GLIBC = range(17, 37)  # of manylinux_2_N; Debian 12 has 2.36
_LIMIT_S = 600


@dataclass(frozen=True)
class Pin:
    """One package: name, version, and the sha256 of the file that is installed."""

    name: str
    version: str
    sha256: str


def put_requirements(folder: Path, extras: Sequence[str]) -> list[str]:
    """Write our wheel and `requirements.txt`, which `pip install --require-hashes` takes.

    Args:
        folder: where both go.
        extras: of this project, which are to be usable there.

    Raises:
        UnfitEnvironmentError: no pip, no index, or a release here that does not know an extra.
    """
    check_extras(extras)
    wheel = pack_wheel(folder)
    pins = closure(wheel, extras)
    own = hashlib.sha256(wheel.read_bytes()).hexdigest()
    lines = [
        f"# Python {PYTHON}, {machine()}; install with: pip install --no-deps --require-hashes",
        f"./{wheel.name} --hash=sha256:{own}",
        *(f"{pin.name}=={pin.version} --hash=sha256:{pin.sha256}" for pin in pins),
    ]
    return [wheel.name, put(folder, "requirements.txt", "\n".join(lines) + "\n")]


def machine() -> str:
    """This machine's platform, as containers call it.

    Raises:
        UnfitEnvironmentError: for others no packages are looked up.
    """
    found = platform.machine()
    if found not in MACHINES:
        raise UnfitEnvironmentError(
            f"machine {found!r}: packages are looked up for {' and '.join(MACHINES)} alone; run "
            "this on one of them"
        )
    return MACHINES[found]


def check_extras(extras: Sequence[str]) -> None:
    """Refuse extras that the installed metadata does not know; pip would leave them out with a warning."""
    known = distribution(DISTRIBUTION).metadata.get_all("Provides-Extra") or []
    missing = [each for each in extras if each not in known]
    if missing:
        raise UnfitEnvironmentError(
            f"{DISTRIBUTION}: what is installed here has no extra {' or '.join(missing)}; "
            "install this release again, for its metadata is of another one"
        )


def closure(wheel: Path, extras: Sequence[str]) -> list[Pin]:
    """Resolve what a wheel with extras needs, by name, without the wheel itself (rule 1).

    Raises:
        UnfitEnvironmentError: pip is missing, or says no; its last line is told.
    """
    if find_spec("pip") is None:
        raise UnfitEnvironmentError("pip: is not installed here, and resolves what is pinned; install it")
    machine()
    tags = [f"manylinux_2_{minor}_{platform.machine()}" for minor in _GLIBC]
    tags += [f"manylinux2014_{platform.machine()}"]
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--dry-run"]
        command += ["--disable-pip-version-check", "--ignore-installed", "--only-binary=:all:"]
        command += ["--implementation", "cp", "--python-version", PYTHON]
        command += [word for tag in tags for word in ("--platform", tag)]
        command += ["--target", f"{scratch}/none", "--report", str(report), f"{wheel}[{','.join(extras)}]"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S)
        except subprocess.TimeoutExpired as error:
            raise UnfitEnvironmentError(
                f"pip: resolved nothing within {_LIMIT_S} s; try again with an index that answers"
            ) from error
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["no word"]
            raise UnfitEnvironmentError(
                f"pip: cannot resolve what {DISTRIBUTION} needs ({said[-1]}); make an index reachable"
            )
        return read_report(report.read_bytes())


def read_report(content: bytes) -> list[Pin]:
    """Read pip's installation report (rule 2).

    Raises:
        UnfitEnvironmentError: a package without a sha256, or no such report.
    """
    pins = []
    try:
        entries: list[Any] = json.loads(content)["install"]
        for entry in entries:
            name, version = entry["metadata"]["name"], entry["metadata"]["version"]
            if name != DISTRIBUTION:
                pins.append(
                    Pin(name.lower(), version, entry["download_info"]["archive_info"]["hashes"]["sha256"])
                )
    except (ValueError, KeyError, TypeError) as error:
        raise UnfitEnvironmentError(
            f"pip: its report lacks what is pinned ({one_line(error)}); use pip 23 or later and an index "
            "that gives sha256"
        ) from error
    return sorted(pins, key=lambda pin: pin.name)
