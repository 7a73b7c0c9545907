"""CIFAR-10 cut up for suite `methods`: two classes, classes that come later, few labels, groups."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.arms import CACHE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FOLDER = CACHE / "methods" / "data"
CLASSES = 10
NAMES = [f"class-{index}" for index in range(CLASSES)]
OLD = range(5)  # those that the first model of an incremental training knows
GROUPS = (range(0, 3), range(3, 6), range(6, 8), range(8, 10))
ROWS = 20_000
EXEMPLARS = 500  # images of old classes that are kept
LABELLED, POOL = 1_000, 19_000
TAUGHT = 5_000  # other images, from which the teacher of the pool learns
OF_A_CLASS = 1_000  # images of a class that a group's teacher learns from
FEW = 1_000  # labelled images of all classes, for the students of the groups' teachers


def write_all() -> None:
    """Write every table that is not there yet; equal data give equal files."""
    for name, write in TABLES.items():
        if not (FOLDER / name / "test.parquet").is_file():
            write(FOLDER / name)


def _source(name: str) -> tuple[list[bytes], "NDArray[np.int64]"]:
    """Encoded images and labels of CIFAR-10's train or test file."""
    import numpy as np
    import pyarrow.parquet as pq

    from compactor.data.find_files import locate_published

    [path] = locate_published("cifar10", [f"{name}.parquet"])
    table = pq.read_table(path, columns=["image", "label"])
    return table["image"].to_pylist(), np.asarray(table["label"].to_pylist(), np.int64)


def _write(path: Path, images: list[Any], labels: list[str] | None) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {"image": images} | ({} if labels is None else {"label": labels})
    pq.write_table(pa.table(columns), path)


def _two_classes(folder: Path) -> None:
    """Even and odd classes of CIFAR-10: each of the two has five kinds of images that nobody names."""
    for name, count in (("train", ROWS), ("test", None)):
        images, labels = _source(name)
        odd = [("even", "odd")[label % 2] for label in labels[:count]]
        _write(folder / f"{name}.parquet", images[:count], odd)


def _of_classes(folder: Path, wanted: Callable[[int], int | None]) -> None:
    """Rows of train and test, `wanted` of each class at most (None: all)."""
    for name in ("train", "test"):
        images, labels = _source(name)
        kept, seen = [], [0] * CLASSES
        for row, label in enumerate(labels.tolist()):
            most = wanted(label) if name == "train" else (None if wanted(label) != 0 else 0)
            if most is None or seen[label] < most:
                seen[label] += 1
                kept.append(row)
        _write(folder / f"{name}.parquet", [images[r] for r in kept], [NAMES[labels[r]] for r in kept])


def _few_labels(folder: Path) -> None:
    """A labelled train table, a test table, and beside them a pool without labels."""
    images, labels = _source("train")
    _write(folder / "train.parquet", images[:LABELLED], [NAMES[label] for label in labels[:LABELLED]])
    _write(folder.parent / f"{folder.name}-pool.parquet", images[LABELLED : LABELLED + POOL], None)
    tested, truth = _source("test")
    _write(folder / "test.parquet", tested, [NAMES[label] for label in truth])


def _for_its_teacher(folder: Path) -> None:
    """Labelled images that are neither the student's nor the pool's, and the test table."""
    images, labels = _source("train")
    rows = slice(LABELLED + POOL, LABELLED + POOL + TAUGHT)
    _write(folder / "train.parquet", images[rows], [NAMES[label] for label in labels[rows]])
    tested, truth = _source("test")
    _write(folder / "test.parquet", tested, [NAMES[label] for label in truth])


def _group(group: range) -> Callable[[Path], None]:
    return lambda folder: _of_classes(folder, lambda label: OF_A_CLASS if label in group else 0)


TABLES: dict[str, Callable[[Path], None]] = {
    "two-classes": _two_classes,
    "old": lambda folder: _of_classes(folder, lambda label: ROWS // CLASSES if label in OLD else 0),
    "both": lambda folder: _of_classes(
        folder, lambda label: EXEMPLARS // len(OLD) if label in OLD else ROWS // CLASSES
    ),
    "few-labels": _few_labels,
    "its-teacher": _for_its_teacher,
    **{f"group-{number}": _group(group) for number, group in enumerate(GROUPS)},
}
