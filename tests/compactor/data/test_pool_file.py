"""`pool.json`: what is read is what was written, and anything else is refused by the name of the file."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compactor.data.pool_file import read_pool
from compactor_runtimes.errors import CompactorError, IntegrityError, UsageError

ROWS = [1, 4, 6]


def npy(values: Any) -> bytes:
    content = io.BytesIO()
    np.save(content, values)
    return content.getvalue()


def write(folder: Path, rows: bytes | None = None, **changes: Any) -> Path:
    """A pool of one source with eight images, three of which are in it."""
    content = npy(np.array(ROWS)) if rows is None else rows
    folder.mkdir(exist_ok=True)
    (folder / "rows.npy").write_bytes(content)
    source = {"dataset": "/a", "image_column": "image", "digest": "d", "images": 8, "own": 0, "kept": 3}
    record = {
        **dict.fromkeys(("recipe", "key", "scores_key", "scores", "removed_list"), "x"),
        **dict.fromkeys(("settings", "data", "versions"), {}),
        **dict.fromkeys(("classes", "teachers", "removed", "histogram", "eligible", "features"), []),
        "image": [8, 8, 1],
        "sources": [{**source, "rows": "rows.npy"}],
        "candidates": 8,
        "passed_over": 5,
        "kept": 3,
        "confidence": {"edges": [0, 1], "candidates": [8], "kept": [3]},
        "files": {"rows.npy": {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}},
        "format": 1,
        **changes,
    }
    path = folder / "pool.json"
    path.write_text(json.dumps(record))
    return path


@pytest.mark.parametrize("named", ["folder", "file"])
def test_a_pool_names_rows_of_its_sources(tmp_path: Path, named: str) -> None:
    path = write(tmp_path)
    found = read_pool(path if named == "file" else tmp_path)
    [part] = found.parts
    assert (part.dataset, part.image_column, part.digest) == ("/a", "image", "d")
    assert part.rows.dtype == np.int64
    assert part.rows.tolist() == ROWS
    assert found.digest == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("rows", "changes", "message"),
    [
        (None, {"format": 2}, r"pool\.json: format 2 found, expected 1; build the pool again"),
        (None, {"kept": "three"}, r"pool\.json: is damaged"),
        (None, {"more": 1}, r"pool\.json: is damaged"),
        (None, {"files": {}}, r"names rows\.npy without its hash"),
        (b"no array", {}, r"rows\.npy holds no array"),
        (npy(np.array([1, 6, 4])), {}, r"rows\.npy holds other numbers than 3 ascending rows of 8 images"),
        (npy(np.array([1, 4, 4])), {}, r"rows\.npy holds other numbers"),
        (npy(np.array([1, 4, 8])), {}, r"rows\.npy holds other numbers"),
        (npy(np.array([-1, 4, 6])), {}, r"rows\.npy holds other numbers"),
        (npy(np.array([1, 4])), {}, r"rows\.npy holds other numbers"),
        (npy(np.array([1.0, 4.0, 6.0])), {}, r"rows\.npy holds other numbers"),
        (npy(np.array([{}], dtype=object)), {}, r"rows\.npy holds no array"),
    ],
)
def test_what_is_no_pool_is_refused(
    tmp_path: Path, rows: bytes | None, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(IntegrityError, match=message):
        read_pool(write(tmp_path, rows, **changes))


def test_a_changed_or_missing_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path)
    (tmp_path / "rows.npy").write_bytes(npy(np.array([1, 4, 7])))
    with pytest.raises(
        IntegrityError, match=r"rows\.npy is damaged \(sha256 \w{12} found, \w{12} expected\)"
    ):
        read_pool(path)
    (tmp_path / "rows.npy").unlink()
    with pytest.raises(IntegrityError, match=r"rows\.npy is missing; run `compactor pool build"):
        read_pool(path)
    path.write_text("{")
    with pytest.raises(IntegrityError, match="is damaged"):
        read_pool(path)


@pytest.mark.parametrize("by_link", [False, True])
def test_a_file_outside_the_pool_is_not_read(tmp_path: Path, by_link: bool) -> None:
    path = write(tmp_path / "pool")
    outside = (tmp_path / "pool" / "rows.npy").rename(tmp_path / "rows.npy")
    if by_link:
        (tmp_path / "pool" / "rows.npy").symlink_to(outside)
    else:
        path.write_text(path.read_text().replace("rows.npy", "../rows.npy"))
    with pytest.raises(IntegrityError, match="lies outside the pool; do not use it"):
        read_pool(path)


def test_a_pool_that_was_not_built_is_answered_with_how_to_build_it(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"there is no such file; a pool is made by `compactor pool build"
    ) as told:
        read_pool(tmp_path / "pool.json")
    assert isinstance(told.value, CompactorError)
