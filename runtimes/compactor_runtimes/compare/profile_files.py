"""What `compare` takes for a profile of a machine: its file or folder, with `#NAME` for one subject in it."""

from dataclasses import dataclass
from pathlib import Path

from compactor_runtimes.bundle.open import MANIFEST
from compactor_runtimes.compare.sources import RUN_REPORTS
from compactor_runtimes.measure.machine_profile import MachineProfile
from compactor_runtimes.measure.profile_file import read_profile

PROFILE_FILE = "profile.json"  # in the folder that `compactor measure` writes


@dataclass(frozen=True)
class Given:
    """One argument: a profile, and the one subject that was named in it, empty for all."""

    path: str
    profile: MachineProfile
    subject: str = ""


def is_profile(path: Path) -> bool:
    """Whether an argument is a profile: a file, a folder with one, or either with `#NAME`."""
    return _found(path) is not None


def open_profile(path: Path) -> Given:
    """Read a profile's file.

    Raises:
        UsageError: there is none.
        IntegrityError: damaged, or no profile.
    """
    file, subject = _found(path) or (path, "")
    return Given(str(path), read_profile(file), subject)


def _found(path: Path) -> tuple[Path, str] | None:
    """The file and the subject's name; a path that exists is no name, whatever signs it has."""
    if path.exists():
        file = _file(path)
        return None if file is None else (file, "")
    text = str(path)
    for place, letter in enumerate(text):
        if letter == "#" and text[place + 1 :] and (file := _file(Path(text[:place]))):
            return file, text[place + 1 :]
    return None


def _file(path: Path) -> Path | None:
    """The profile that `path` is or holds; a bundle or a run may lie beside one and is not meant by it."""
    if path.is_file():
        return path
    inside = path / PROFILE_FILE
    others = (path / MANIFEST, path / RUN_REPORTS)
    return inside if inside.is_file() and not any(each.exists() for each in others) else None
