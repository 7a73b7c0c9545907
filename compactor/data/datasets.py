"""The table of named image data sets, and opening one by name, by path, or by its id on the hub."""

import warnings
from pathlib import Path

from compactor.data.cache import Opening, Progress, Source, Stored, decode_steps, image_steps, store
from compactor.data.find_files import find_data
from compactor.data.image_folder import find_folder_splits, open_folder
from compactor.data.spec import DataSpec, SplitName
from compactor.data.splits import Dataset, Split, build_dataset
from compactor.data.table_files import SUFFIXES, find_table_splits, tables_in
from compactor.data.table_source import TableSource
from compactor.records import IMAGES, has_several
from compactor_runtimes.errors import UsageError
from compactor_runtimes.tables import lookup

__all__ = [
    "DATASETS",
    "Dataset",
    "Opening",
    "Split",
    "find_parts",
    "image_steps",
    "open_dataset",
    "open_files",
]

# name -> function (DataSpec, Opening) -> Dataset
DATASETS = {
    "cifar10": "compactor.data.named:load_cifar10",
    "digits": "compactor.data.named:load_digits",
    "imagenette96": "compactor.data.named:load_imagenette96",
}

# What a split is read from: tables, or a folder of images.
Part = list[Path] | Path


def open_dataset(
    spec: DataSpec,
    *,
    base: Path | None,
    cache: Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    at_most: int | None = None,
    numbers_of: tuple[str, ...] | None = None,
    task: str = IMAGES,
) -> Dataset:
    """Open a data set of images: find it, decode it once into the cache, and split it.

    Args:
        spec: What to open.
        base: Folder against which relative paths resolve (before `$COMPACTOR_DATA`); absent = the working
            directory.
        cache: Root of the cache; absent = `$COMPACTOR_CACHE`, or `~/.cache/compactor`.
        seed: Seed of the splits and limits. Runs that are compared must share it, whatever their training
            seeds.
        progress: Called with (images done, total) while decoding, once for each source and from this thread.
        at_most: Read no more than that many rows of each source, of all classes and evenly spread (for smoke
            runs).
        numbers_of: A teacher's classes, which integer labels may mean where nobody names them.
        task: Says whether an image has one label or a set of them.

    What `spec.also` mixes in is not read here (`extra_images.py`).

    Raises:
        UsageError: not found, damaged, or not usable as it is; the message says what to do.
        MissingDependency: a package that reads this kind of data is not installed.
        UnfitEnvironmentError: a data set of the hub, and the hub cannot be reached.
    """
    warn_unused(spec, ("text_column", "tokenizer", "max_tokens", "vocabulary"), "images")
    opening = Opening(base, cache, seed, progress, at_most, numbers_of, task)
    if spec.dataset not in DATASETS:
        return open_files(find_parts(spec, opening), spec, opening)
    if has_several(opening.task):
        raise UsageError(
            f"data.dataset: {spec.dataset!r} has one class an image, task {opening.task} reads sets of "
            "labels; give a table with a column of lists"
        )
    for field in ("report", "image_column", "label_column", "classes"):
        if getattr(spec, field) != getattr(DataSpec(dataset=spec.dataset), field):
            raise UsageError(
                f"data.{field}: data set {spec.dataset!r} brings its own, so it cannot be set; remove it, "
                f"or write ./{spec.dataset} if a path is meant"
            )
    dataset: Dataset = lookup(DATASETS, spec.dataset, "data set")(spec, opening)
    return dataset


def warn_unused(spec: DataSpec, fields: tuple[str, ...], kind: str) -> None:
    """Warn of settings that mean nothing for this kind of data."""
    for field in fields:
        if getattr(spec, field) != getattr(DataSpec(dataset=spec.dataset), field):
            warnings.warn(f"data.{field} has no effect on {kind}; remove it", stacklevel=3)


def open_files(parts: dict[SplitName, Part], spec: DataSpec, opening: Opening) -> Dataset:
    """Decode the parts of a data set (train first, for its classes) and split them.

    Raises:
        UsageError: a part cannot be read, or does not fit the train part.
    """
    stored: dict[SplitName, Stored] = {}
    classes: list[str] | None = None
    for name in sorted(parts, key=["train", "select", "report"].index):
        several = has_several(opening.task)
        source = image_source(parts[name], spec, classes, opening.numbers_of, several=several)
        stored[name] = store(source, decode_steps(spec), opening, skips=spec.unreadable == "skip")
        classes = classes or stored[name].classes or None
    return build_dataset(
        spec, stored, seed=opening.seed, task=opening.task, thinned=opening.at_most is not None
    )


def image_source(
    part: Part,
    spec: DataSpec,
    train_classes: list[str] | None,
    numbers_of: tuple[str, ...] | None = None,
    *,
    several: bool = False,
) -> Source:
    """The images of one split; see `TableSource` for the classes.

    Raises:
        UsageError: a folder, where an image has a set of labels.
    """
    stated = spec.class_names
    if isinstance(part, Path) and several:
        raise UsageError(
            f"data.dataset: {part} is a folder, which gives an image one class, but any number of labels may "
            "be true of it; give a table: a JSONL or Parquet file with a column of images and one of lists"
        )
    if isinstance(part, Path):
        return open_folder(part, stated or train_classes, numbers_of=tuple(stated) if stated else numbers_of)
    return TableSource(
        part, spec.image_column, spec.label_column, stated, train_classes, numbers_of, several=several
    )


def find_parts(spec: DataSpec, opening: Opening, *, key: str = "data.dataset") -> dict[SplitName, Part]:
    """Find what each published split of a data set that is no named one is read from.

    `key` is the recipe key that names it, for messages.

    Raises:
        UsageError: nothing there, or files whose names say no split.
        UnfitEnvironmentError: a data set of the hub, and the hub cannot be reached.
    """
    path = find_data(spec.dataset, opening, key=key, table=DATASETS if key == "data.dataset" else None)
    parts: dict[SplitName, Part] = {}
    if path.is_dir() and tables_in(path):
        parts.update(find_table_splits(path))
    else:
        folders: dict[SplitName, Path] = find_folder_splits(path) if path.is_dir() else {"train": path}
        parts |= {name: _single_part(folder, key) for name, folder in folders.items()}
    if spec.report is not None:
        if "report" in parts:
            raise UsageError(
                f"data.report: {path} has a report split of its own; remove data.report or that split"
            )
        parts["report"] = _single_part(find_data(spec.report, opening, key="data.report"), "data.report")
    return parts


def _single_part(path: Path, key: str) -> Part:
    """Say how one split is read: a table, all tables of a folder, or an image folder."""
    if path.is_dir():
        return tables_in(path) or path
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{key}: {path} is neither a folder nor a table ({', '.join(SUFFIXES)})")
    return [path]
