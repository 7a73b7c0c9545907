"""A folder of image files as a source: the sub-folders are the classes; a flat folder is unlabelled."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compactor.data.find_files import assign_splits
from compactor.data.labels import Labels, read_classes, reading
from compactor.data.spec import SPLIT_NAMES, SplitName
from compactor.records import IGNORE
from compactor_runtimes.errors import UsageError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
LARGEST_HASHED_BYTES = 2 * 10**9


@dataclass(frozen=True)
class FolderSource:
    """The images of one split in sorted order; `class_names` holds the class folder of each, or None.

    `numbers_of` names the classes that folders called 0, 1, ... may mean.
    """

    folder: Path
    files: list[Path]
    class_names: list[str | None]
    classes: list[str] | None = None
    numbers_of: tuple[str, ...] | None = None

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
        return self.labels().told()

    def items(self) -> Iterator[tuple[str, bytes | Path]]:
        """Yield the image files."""
        for path in self.files:
            yield str(path), path


def files_digest(files: list[Path], root: Path) -> dict[str, str]:
    """Digest over names relative to `root`, sizes and contents (above 2 GB modification times instead).

    `keyed_by` says which of the two it is, and is kept in the cache folder's meta.json.
    """
    stats = [path.stat() for path in files]
    by_content = sum(stat.st_size for stat in stats) < LARGEST_HASHED_BYTES
    digest = hashlib.sha256()
    for path, stat in zip(files, stats, strict=True):
        content = hashlib.sha256(path.read_bytes()).hexdigest() if by_content else str(stat.st_mtime_ns)
        digest.update(f"{path.relative_to(root).as_posix()}\0{stat.st_size}\0{content}\n".encode())
    return {"files": digest.hexdigest(), "keyed_by": "content" if by_content else "modification time"}


def open_folder(
    folder: Path, classes: list[str] | None, *, numbers_of: tuple[str, ...] | None = None
) -> FolderSource:
    """List the images of one split: `folder/CLASS/*` or, unlabelled, `folder/*`.

    Raises:
        UsageError: no image, a class folder without one, or images beside class folders.
    """
    flat = _images(folder)
    class_folders = _folders(folder)
    if flat and class_folders:
        raise UsageError(
            f"{folder}: holds both images ({flat[0].name}) and folders ({class_folders[0].name}), expected "
            "class folders, or images alone (unlabelled); move one of them away"
        )
    files: list[Path] = list(flat)
    names: list[str | None] = [None] * len(flat)
    for class_folder in class_folders:
        found = _images(class_folder)
        if not found:
            raise UsageError(f"{class_folder}: {_no_image()}, expected those of class {class_folder.name!r}")
        files += found
        names += [class_folder.name] * len(found)
    if not files:
        raise UsageError(f"{folder}: {_no_image()}; give a folder of images or of class folders")
    return FolderSource(folder, files, names, classes, numbers_of)


def find_folder_splits(folder: Path) -> dict[SplitName, Path]:
    """Tell `folder/{train,val,test}` from a folder that is itself the train split.

    Raises:
        UsageError: two folders for one split, or a folder beside train that names no split.
    """
    folders = _folders(folder)
    if not any(path.name == "train" for path in folders):
        return {"train": folder}
    unknown = [path.name for path in folders if path.name not in SPLIT_NAMES]
    if unknown:
        raise UsageError(
            f"{folder}: folder {unknown[0]!r} beside train names no split, expected one of "
            f"{', '.join(SPLIT_NAMES)}; rename it or move it away"
        )
    return assign_splits({path.name: path for path in folders}, where=folder)


def _images(folder: Path) -> list[Path]:
    found = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.name[0] != "."]
    return sorted(path for path in found if path.is_file())


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name[0] != "." and path.is_dir())


def _no_image() -> str:
    return f"holds no image ({', '.join(sorted(SUFFIXES))})"
