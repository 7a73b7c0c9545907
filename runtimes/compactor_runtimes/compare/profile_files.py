"""What `compare` takes for a profile of a machine: its file, or `FILE#NAME` for one subject in it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from compactor_runtimes.tables import resolve

if TYPE_CHECKING:
    from compactor_runtimes.measure.machine_profile import MachineProfile

_READER = "compactor_runtimes.measure.profile_file:read_profile"


@dataclass(frozen=True)
class Given:
    """One argument: a profile, and the one subject that was named in it, empty for all."""

    path: str
    profile: "MachineProfile"
    subject: str = ""


def is_profile(path: Path) -> bool:
    """Whether an argument is a file, or `FILE#NAME`."""
    return path.is_file() or _named(path) is not None


def open_profile(path: Path) -> Given:
    """Read a profile's file.

    Raises:
        IntegrityError: damaged, or no profile.
    """
    named = _named(path)
    file, subject = named if named else (path, "")
    return Given(str(path), cast("MachineProfile", resolve(_READER)(file)), subject)


def _named(path: Path) -> tuple[Path, str] | None:
    """The file and the subject of `FILE#NAME`; a file whose own name has the sign is that file."""
    if path.exists():
        return None
    text = str(path)
    for place, letter in enumerate(text):
        if letter == "#" and text[place + 1 :] and Path(text[:place]).is_file():
            return Path(text[:place]), text[place + 1 :]
    return None
