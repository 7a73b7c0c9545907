"""A folder of image files as a source: the sub-folders are the classes; a flat folder is unlabelled.

What of a folder is read, and what is not, is in `folder_contents.py`.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compactor.data.find_files import assign_splits
from compactor.data.folder_contents import Contents, contents_of, listed, require_classes, split_of
from compactor.data.labels import Labels, read_classes, reading
from compactor.data.spec import SPLIT_NAMES, SplitName
from compactor.records import IGNORE
from compactor_runtimes.errors import UsageError
from compactor_runtimes.predict.image_formats import READ

LARGEST_HASHED_BYTES = 2 * 10**9


@dataclass(frozen=True)
class FolderSource:
    """The images of one split in sorted order; `class_names` holds the class folder of each, or None.

    `numbers_of` names the classes that folders called 0, 1, ... may mean; `unread` says what was left out.
    """

    folder: Path
    files: list[Path]
    class_names: list[str | None]
    classes: list[str] | None = None
    numbers_of: tuple[str, ...] | None = None
    unread: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Path of the folder."""
        return str(self.folder)

    def fingerprint(self) -> dict[str, Any]:
        """Digest over relative names, sizes and contents; see `files_digest`."""
        found = {"kind": "folder", **files_digest(self.files, self.folder), "classes": self.classes}
        return found | reading(self.labels())

    def thinned(self, rows: NDArray[np.int64]) -> "FolderSource":
        """The same source with no more than the given ascending rows; the classes stay those of all rows."""
        labels = self.labels()
        return replace(
            self,
            files=[self.files[row] for row in rows],
            class_names=[self.class_names[row] for row in rows],
            classes=labels.classes or None,
            numbers_of=tuple(labels.classes) if labels.are_numbers else None,
        )

    def labels(self) -> Labels:
        """Number the class folders.

        Raises:
            UsageError: a class folder that is not among the known classes.
        """
        if all(name is None for name in self.class_names):
            return Labels(np.full(len(self.files), IGNORE, dtype=np.int64), self.classes or [])
        return read_classes(
            self.class_names, self.classes, where=str(self.folder), numbers_of=self.numbers_of
        )

    def notes(self) -> list[str]:
        """What was read otherwise than one might think, or not at all."""
        return [*self.labels().told(), *self.unread]

    def items(self) -> Iterator[tuple[str, bytes | Path]]:
        """Yield the image files."""
        for path in self.files:
            yield str(path), path


def files_digest(files: list[Path], root: Path) -> dict[str, str]:
    """Digest over names relative to `root`, sizes and contents (above 2 GB modification times instead).

    `keyed_by` says which of the two it is, and is kept in the cache folder's meta.json.

    Raises:
        UsageError: a file that cannot be read.
    """
    digest = hashlib.sha256()
    try:
        stats = [path.stat() for path in files]
        by_content = sum(stat.st_size for stat in stats) < LARGEST_HASHED_BYTES
        for path, stat in zip(files, stats, strict=True):
            content = hashlib.sha256(path.read_bytes()).hexdigest() if by_content else str(stat.st_mtime_ns)
            digest.update(f"{path.relative_to(root).as_posix()}\0{stat.st_size}\0{content}\n".encode())
    except OSError as error:
        raise UsageError(
            f"{error.filename}: cannot be read ({error.strerror}); allow it, or move it away"
        ) from error
    return {"files": digest.hexdigest(), "keyed_by": "content" if by_content else "modification time"}


def open_folder(
    folder: Path, classes: list[str] | None, *, numbers_of: tuple[str, ...] | None = None
) -> FolderSource:
    """List the images of one split: `folder/CLASS/**` or, unlabelled, `folder/*`.

    Raises:
        UsageError: no image, a class folder without one, images beside class folders, or folders on a level
            where there should be none.
    """
    class_folders, loose = listed(folder)
    top = Contents.of(folder, loose)
    if top.images and class_folders:
        raise UsageError(
            f"{folder}: holds both images ({top.images[0].name}) and folders ({class_folders[0].name}), "
            "expected class folders, or images alone (unlabelled); move one of them away"
        )
    require_classes(folder, class_folders)
    files: list[Path] = list(top.images)
    names: list[str | None] = [None] * len(files)
    parts = [top, *(contents_of(class_folder) for class_folder in class_folders)]
    for part in parts[1:]:
        if not part.images:
            raise UsageError(
                f"{part.folder}: holds no image ({READ}){part.instead()}, expected those of class "
                f"{part.folder.name!r}; add some, or move the folder away"
            )
        files += part.images
        names += [part.folder.name] * len(part.images)
    if not files:
        raise UsageError(
            f"{folder}: holds no image ({READ}){top.instead()}; give a folder of images or of class folders"
        )
    return FolderSource(folder, files, names, classes, numbers_of, tuple(_unread(folder, parts)))


def _unread(folder: Path, parts: list[Contents]) -> Iterator[str]:
    """Sentences on what was left out, or read from where one might not expect it."""
    beside: list[Path] = []
    splits = {split_of(path.name) for path in listed(folder.parent)[0]} if split_of(folder.name) else set()
    if split_of(folder.name) == "train" and len(splits - {None}) > 1:
        beside = Contents.of(folder.parent, listed(folder.parent)[1]).others
    others = [*beside, *(path for part in parts for path in part.others)]
    if others:
        kinds = sorted({path.suffix.lower() or "no suffix" for path in others})
        shown = f"{', '.join(kinds[:6])}{', ...' if len(kinds) > 6 else ''}: {_names(others, folder.parent)}"
        yield f"{len(others):,} files are left out, as their suffix is no image's ({shown})"
    nested = [path for part in parts[1:] for path in part.images if path.parent != part.folder]
    if nested:
        places = list(dict.fromkeys(path.parent for path in nested))
        yield (
            f"{len(nested):,} images lie in {len(places):,} sub-folders of class folders "
            f"({_names(places, folder.parent)}) and are read as images of that class"
        )
    hidden = sum(part.hidden_images for part in parts)
    if hidden:
        yield f"{hidden:,} images whose name, or whose folder's, begins with a dot are left out"
    called = [
        part.folder.name for part in parts[1:] if split_of(part.folder.name) in ("select", "validation")
    ]
    if called:
        yield f"no folder is called train, so {', '.join(called)} is read as a class, not as a split"


def _names(paths: list[Path], root: Path) -> str:
    shown = ", ".join(path.relative_to(root).as_posix() for path in paths[:3])
    return f"{shown}{', ...' if len(paths) > 3 else ''}"


def find_folder_splits(folder: Path) -> dict[SplitName, Path]:
    """Tell `folder/{train,val,test}`, however capitalised, from a folder that is itself the train split.

    Raises:
        UsageError: two folders for one split, a folder beside train that names no split, splits without
            train, or images beside them.
    """
    folders, loose = listed(folder)
    named = {path: path.name.casefold() for path in folders}
    if not any(name == "train" for name in named.values()):
        if len(folders) > 1 and all(name in SPLIT_NAMES for name in named.values()):
            raise UsageError(
                f"{folder}: holds the splits {', '.join(path.name for path in folders)} but no train, "
                "expected train beside them; add it, or name the folder that is to be trained on"
            )
        return {"train": folder}
    unknown = [path.name for path, name in named.items() if name not in SPLIT_NAMES]
    if unknown:
        raise UsageError(
            f"{folder}: folder {unknown[0]!r} beside train names no split, expected one of "
            f"{', '.join(SPLIT_NAMES)}; rename it or move it away, class folders into train (where train "
            "itself is a class, rename it)"
        )
    images = Contents.of(folder, loose).images
    if images:
        raise UsageError(
            f"{folder}: holds images ({images[0].name}) beside its split folders, expected them in class "
            "folders of a split; move them there, or away"
        )
    twice = next((name for name in named.values() if list(named.values()).count(name) > 1), None)
    if twice is not None:
        same = " and ".join(path.name for path, name in named.items() if name == twice)
        raise UsageError(f"{folder}: {same} name one split, expected one folder a split; keep one of them")
    return assign_splits({name: path for path, name in named.items()}, where=folder)
