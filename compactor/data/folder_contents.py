"""What a folder of images holds at any depth: images, other files, and folders on a level that holds none.

1. A file is an image by its suffix, in capitals or not; what its content is, decoding finds out.
2. Links are followed, each folder once, so that a circle of links ends.
3. Names that begin with a dot, and the files that systems put into every folder (CLUTTER), are no data.
   Images among them are counted, the rest is not.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from compactor.data.spec import SPLIT_NAMES
from compactor_runtimes.errors import UsageError
from compactor_runtimes.predict.image_formats import SUFFIXES

CLUTTER = ("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir")


@dataclass(frozen=True)
class Contents:
    """Images and other files of a folder, sorted by path."""

    folder: Path
    images: list[Path]
    others: list[Path]
    hidden_images: int = 0

    @staticmethod
    def of(folder: Path, files: list[Path]) -> "Contents":
        """Sort files into images and others (rules 1 and 3)."""
        images = [path for path in files if path.suffix.lower() in SUFFIXES]
        seen = [path for path in files if not is_clutter(path.name)]
        shown = [path for path in images if not is_clutter(path.name)]
        others = [path for path in seen if path.suffix.lower() not in SUFFIXES]
        return Contents(folder, shown, others, len(images) - len(shown))

    def instead(self) -> str:
        """What it holds where images are expected, for a message."""
        return f" but {len(self.others):,} other files ({self.others[0].name}, ...)" if self.others else ""


def contents_of(folder: Path) -> Contents:
    """Everything at any depth of a folder.

    Raises:
        UsageError: a folder that cannot be read.
    """
    found = Contents.of(folder, sorted(_files(folder, set())))
    hidden = sum(
        1 for each in listed(folder, hidden=True)[0] for path in _files(each, set()) if _is_image(path)
    )
    return Contents(folder, found.images, found.others, found.hidden_images + hidden)


def listed(folder: Path, *, hidden: bool = False) -> tuple[list[Path], list[Path]]:
    """Sub-folders and files of one level, sorted; folders without clutter, or with `hidden` it alone.

    Raises:
        UsageError: the folder cannot be read.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise UsageError(f"{folder}: cannot be read ({error.strerror}); allow it, or move it away") from error
    folders = [path for path in entries if path.is_dir()]
    kept = [path for path in folders if is_clutter(path.name) == hidden]
    return kept, [path for path in entries if path.is_file() or not path.exists()]


def is_clutter(name: str) -> bool:
    """Whether a name is no data (rule 3)."""
    return name.startswith(".") or name.casefold() in CLUTTER


def split_of(name: str) -> str | None:
    """The split that a folder's name says, however capitalised."""
    return SPLIT_NAMES.get(name.casefold())


def require_classes(folder: Path, class_folders: list[Path]) -> None:
    """Refuse a folder that lies one level too high, or splits below classes.

    Raises:
        UsageError: see above; names the folder that may be meant.
    """
    for class_folder in class_folders:
        folders, files = listed(class_folder)
        if any(split_of(path.name) == "train" for path in folders):
            meant = f"give {class_folder}" if len(class_folders) == 1 else "put the splits above the classes"
            raise UsageError(
                f"{class_folder}: holds split folders ({', '.join(path.name for path in folders[:3])}), "
                f"expected the images of class {class_folder.name!r} of {folder}; {meant}"
            )
        alone = len(class_folders) == 1 and split_of(folder.name) is None
        if alone and folders and not Contents.of(class_folder, files).images:
            raise UsageError(
                f"{folder}: holds the folder {class_folder.name} alone, which holds folders "
                f"({', '.join(path.name for path in folders[:3])}) and no image, expected two classes at "
                f"least; give {class_folder}"
            )


def _files(folder: Path, seen: set[str]) -> Iterator[Path]:
    """All files below a folder but those in hidden folders (rules 2 and 3)."""
    place = os.path.realpath(folder)
    if place in seen:
        return
    seen.add(place)
    folders, files = listed(folder)
    yield from files
    for each in folders:
        yield from _files(each, seen)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES
