"""From a bundle to a folder that a server, a container or a browser takes: the table of targets, `deploy`.

A new target is one file, one line in TARGETS and one test that runs what it wrote.
"""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from compactor_exporters.deploy.writing import Options
from compactor_runtimes.bundle.open import open_bundle
from compactor_runtimes.errors import UsageError
from compactor_runtimes.files import new_folder, writing
from compactor_runtimes.tables import lookup

__all__ = ["TARGETS", "Deployed", "Options", "deploy"]

# name -> function (bundle, folder, options) -> files: it fills the empty folder, and names what it wrote
TARGETS = {
    "docker": "compactor_exporters.deploy.docker:write",
    "systemd": "compactor_exporters.deploy.systemd:write",
    "triton": "compactor_exporters.deploy.triton:write",
    "web": "compactor_exporters.deploy.web:write",
}

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
"""What image tags, systemd's units, Triton's models and a path all allow."""


@dataclass(frozen=True)
class Deployed:
    """What was written: the folder, its name for the model, and the files, relative to it."""

    folder: Path
    name: str
    files: list[str]


def deploy(
    bundle: str | Path, target: str, *, output: str | Path | None = None, name: str | None = None
) -> Deployed:
    """Write a folder that serves a bundle; it appears whole or not at all.

    Args:
        bundle: the bundle's folder; every file of it is checked first.
        target: a name in TARGETS.
        output: the folder to make, empty if it is there; None = NAME-TARGET in the working folder.
        name: what the model is called there; None = made of the bundle's name.

    Raises:
        UsageError: no such target, a name that is none everywhere, a folder that holds something, or a bundle
            that the target cannot serve.
        IntegrityError: the bundle is damaged.
        UnfitEnvironmentError: what is to be packed beside it cannot be had here, or nothing can be written.
    """
    write = lookup(TARGETS, target, "deploy target")
    opened = open_bundle(bundle)
    called = _slug(opened.manifest.name) if name is None else name
    if not _NAME.fullmatch(called):
        raise UsageError(
            f"name: got {called!r}, expected a small letter, then small letters, digits, '_' or '-', at "
            "most 63"
        )
    folder = Path(f"{called}-{target}") if output is None else Path(output)
    _check_free(folder)
    with writing(folder):
        partial = new_folder(folder.absolute().parent, f".{folder.name[:40]}.")
    try:
        files = write(opened, partial, Options(called))
        with writing(folder):
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Deployed(folder, called, sorted(files))


def _slug(name: str) -> str:
    """A bundle's name in the letters that all targets take."""
    plain = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_")
    return plain[:63] if plain[:1].isalpha() else f"model-{plain}"[:63].rstrip("-")


def _check_free(folder: Path) -> None:
    """Refuse a place that holds something."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UsageError(f"{folder}: is no folder, a new or an empty one expected; give another --output")
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(
            f"{folder}: holds other files, a new or an empty folder expected; give another --output"
        )
