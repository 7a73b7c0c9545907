"""Cross-fitted labels in a store: the file that says which teacher labelled which sample, and its checks.

How samples are divided is in compactor/data/folds.py; who labels a record is decided in make.py.
"""

import hashlib
import io
from pathlib import Path

import numpy as np
from msgspec import UnsetType
from numpy.typing import NDArray

from compactor.data.folds import RULE
from compactor.label_store.header import CrossFit, Header
from compactor_runtimes.errors import IntegrityError

FOLDS_FILE = "train-folds.npy"


def cross_fit_of(fold_of_row: NDArray[np.int64], folds: int) -> CrossFit:
    """What a header says of cross-fitted labels; `fold_of_row` are the folds of the training samples."""
    content = folds_content(fold_of_row)
    return CrossFit(folds=folds, rule=RULE, file=FOLDS_FILE, sha256=hashlib.sha256(content).hexdigest())


def folds_content(fold_of_row: NDArray[np.integer]) -> bytes:
    """The file of the folds."""
    content = io.BytesIO()
    np.save(content, fold_of_row.astype("<u2"), allow_pickle=False)
    return content.getvalue()


def read_folds(folder: Path, header: Header) -> NDArray[np.int64] | None:
    """The fold of each training sample, int64 [rows]; None where labels are not cross-fitted.

    Raises:
        IntegrityError: the file is missing, damaged, or not of these samples.
    """
    found = header.cross_fit
    if isinstance(found, UnsetType):
        return None
    path = (folder / found.file).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise IntegrityError(f"label store {folder}: file {found.file} lies outside the store; do not use it")
    content = path.read_bytes() if path.is_file() else None
    if content is None or hashlib.sha256(content).hexdigest() != found.sha256:
        what = "is missing" if content is None else "is damaged"
        raise IntegrityError(
            f"label store {path}: {what}, so that nobody knows which teacher labelled which sample; delete "
            "the file and run `compactor label` again, it writes that file alone"
        )
    folds: NDArray[np.int64] = np.load(io.BytesIO(content), allow_pickle=False).astype(np.int64)
    rows = next(part.rows for part in header.parts if part.split == "train")
    if folds.shape != (rows,) or int(folds.max(initial=0)) > found.folds:
        raise IntegrityError(
            f"label store {path}: holds {folds.shape[0]:,} folds up to {int(folds.max(initial=0))}, expected "
            f"one in 0 to {found.folds} for each of {rows:,} samples; label again"
        )
    return folds
