"""`pool.json`: which rows of which sources a pool of unlabelled images consists of, and how that came about.

It is written last and names every file of the pool with its hash; what is read is checked on the bytes used.
How a pool is made is in compactor/pool.
"""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, Struct

from compactor_runtimes.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMAT = 1
POOL_FILE = "pool.json"
BUILD_IT = "a pool is made by `compactor pool build RECIPE`, from the part `pool` of a recipe"
AGAIN = "run `compactor pool build RECIPE` again, it makes what is missing"

Number = Annotated[int, Meta(ge=0)]


class PooledFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of the pool as it was written."""

    sha256: str
    bytes: Number


class PooledSource(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One source and what became of its images.

    `dataset` is a full path, or the name of a data set; `digest` identifies the source as it is stored, with
    its size and colour. Of its `images`, `own` are rows of the recipe's own splits and were never asked for;
    `kept` are in the pool, and `rows` is the file that lists them (.npy, int64 ascending).
    """

    dataset: str
    image_column: str
    digest: str
    images: Number
    own: Number
    kept: Number
    rows: str


class Removed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many candidates a check found to be copies of images of `against`: a split, or `pool`."""

    against: str
    check: str
    images: Number


class Confidence(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Histogram of the teachers' largest probability: `edges` [n + 1], and counts [n]."""

    edges: list[float]
    candidates: list[int]
    kept: list[int]


class PoolRecord(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that `pool.json` says.

    Attributes:
        recipe: Name of the recipe that it was made for.
        key: Digest of everything that decides the pool.
        scores_key: Digest of what decides scores and features.
        settings: The recipe's part `pool`, defaults written out.
        data: The recipe's data set, and the digests of the splits that candidates were compared with.
        image: Height, width and channels of the stored images.
        classes: Names in label order.
        teachers: As label stores name them, with digests in the place of weights.
        versions: Of the packages that made it.
        sources: In the recipe's order; candidates are numbered through all of them.
        candidates: Images that the teachers scored.
        removed: Near-duplicates, by what they are copies of and by the check that found them.
        passed_over: Candidates that are no copies and were not taken: too low a score for their class.
        kept: Images of the pool.
        histogram: Taken for each class [C]; an image of several classes counts in each.
        eligible: Candidates that are no copies, by the class with the highest score [C].
        confidence: How sure the teachers were.
        scores: Folder of the label store of all candidates.
        features: Shards of the first teacher's features (.npy, float16), in the order of the store's.
        removed_list: The file with one line of JSON for each removed candidate.
        files: Every file of the pool but this one.
    """

    recipe: str
    key: str
    scores_key: str
    settings: dict[str, Any]
    data: dict[str, Any]
    image: tuple[int, int, int]
    classes: list[str]
    teachers: list[dict[str, Any]]
    versions: dict[str, str]
    sources: list[PooledSource]
    candidates: Number
    removed: list[Removed]
    passed_over: Number
    kept: Number
    histogram: list[int]
    eligible: list[int]
    confidence: Confidence
    scores: str
    features: list[str]
    removed_list: str
    files: dict[str, PooledFile]
    format: int = FORMAT


@dataclass(frozen=True)
class PoolPart:
    """What a pool takes of one source: `rows` int64 [n] ascending of the stored source with that digest."""

    dataset: str
    image_column: str
    digest: str
    rows: "NDArray[np.int64]"


@dataclass(frozen=True)
class PoolFile:
    """An opened pool; `digest` is that of pool.json, and so of everything in the pool."""

    path: Path
    digest: str
    parts: list[PoolPart]
    record: PoolRecord


def read_pool(path: Path) -> PoolFile:
    """Open a pool for training: its record, and the rows of each source.

    Args:
        path: of `pool.json`, or of the folder that holds it.

    Raises:
        UsageError: there is none.
        IntegrityError: damaged, of another format, or a file of it is missing or lies elsewhere.
    """
    record, digest = read_record(path)
    file = pool_file(path)
    parts = [
        PoolPart(one.dataset, one.image_column, one.digest, read_rows(file, record, one))
        for one in record.sources
    ]
    return PoolFile(file, digest, parts, record)


def pool_file(path: Path) -> Path:
    """The `pool.json` that a path of it, or of its folder, means."""
    return path / POOL_FILE if path.is_dir() else path


def read_record(path: Path) -> tuple[PoolRecord, str]:
    """Read `pool.json` alone, and its digest.

    Raises:
        UsageError: there is none.
        IntegrityError: damaged or of another format.
    """
    file = pool_file(path)
    if not file.is_file():
        raise UsageError(f"pool {file}: there is no such file; {BUILD_IT}")
    content = file.read_bytes()
    try:
        raw = msgspec.json.decode(content)
        found = raw.get("format") if isinstance(raw, dict) else None
        if found != FORMAT:
            raise IntegrityError(
                f"pool {file}: format {found!r} found, expected {FORMAT}; build the pool again"
            )
        record = msgspec.convert(raw, PoolRecord)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise IntegrityError(f"pool {file}: is damaged ({error}); {AGAIN}") from error
    return record, hashlib.sha256(content).hexdigest()


def read_file(file: Path, record: PoolRecord, name: str) -> bytes:
    """Content of a file that the pool names.

    Args:
        file: the pool.json.
        record: its content.
        name: of the file, as the record has it.

    Raises:
        IntegrityError: not listed, missing, damaged, or outside the pool's folder.
    """
    path = path_in(file, record, name)
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != record.files[name].sha256:
        raise IntegrityError(damage(file, name, found, record.files[name].sha256))
    return content


def path_in(file: Path, record: PoolRecord, name: str) -> Path:
    """Where a file of the pool lies; its content is not checked.

    Raises:
        IntegrityError: not listed, missing, or outside the pool's folder.
    """
    folder = file.parent.resolve()
    path = (folder / name).resolve()
    if name not in record.files:
        raise IntegrityError(f"pool {file}: names {name} without its hash; {AGAIN}")
    if not path.is_relative_to(folder):
        raise IntegrityError(f"pool {file}: file {name} lies outside the pool; do not use it")
    if not path.is_file():
        raise IntegrityError(f"pool {file}: {name} is missing; {AGAIN}")
    return path


def damage(file: Path, name: str, found: str, expected: str) -> str:
    """What to say of a file whose content has changed."""
    return (
        f"pool {file}: {name} is damaged (sha256 {found[:12]} found, {expected[:12]} expected); delete it "
        f"and {AGAIN}"
    )


def read_rows(file: Path, record: PoolRecord, source: PooledSource) -> "NDArray[np.int64]":
    """The rows [n] of a source that are in the pool.

    Raises:
        IntegrityError: damaged, or no ascending rows of that source.
    """
    import numpy as np

    content = read_file(file, record, source.rows)
    try:
        rows = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise IntegrityError(f"pool {file}: {source.rows} holds no array ({error}); {AGAIN}") from error
    fits = rows.dtype == np.int64 and rows.shape == (source.kept,)
    if not fits or (
        len(rows) and not (rows[0] >= 0 and rows[-1] < source.images and (np.diff(rows) > 0).all())
    ):
        raise IntegrityError(
            f"pool {file}: {source.rows} holds other numbers than {source.kept:,} ascending rows of "
            f"{source.images:,} images; {AGAIN}"
        )
    found: NDArray[np.int64] = rows
    return found
