"""Train, select and report: the records, and how fixed-seed, class-stratified parts are taken.

Rows with sets of labels are stratified by the rarest of their labels (`few_rows.strata`).

Sample ids are row numbers of the source, so that anything keyed on them survives other splits and limits.
"""

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compactor.data.cache import Stored
from compactor.data.copies import copies_told, pixel_digests
from compactor.data.few_rows import balanced_quota, strata
from compactor.data.spec import DataSpec, SplitName
from compactor.records import IGNORE, IMAGES, LABEL, DataInfo, ImageInfo, TextInfo, head_at, heads_of
from compactor_runtimes.errors import UsageError

MOST_SELECT_ROWS = 5_000
SELECT_SHARE = 0.1
REPORT_SHARE = 0.2


@dataclass(frozen=True)
class Split:
    """Some rows of a source.

    `inputs` (images uint8 [N, H, W, C], or a PackedTexts of N texts) and `labels` {head: int64 [N], of words
    [N, W], of sets of labels ones and zeros [N, C]} are the whole source, `rows` int64 [n] (ascending) are
    the rows of this split and their sample ids, `digest` identifies their contents and labels. `parts`
    (rows, share) is set where the rows come from several data sets, in their order: `share` of an epoch's
    samples are to come from that part.
    """

    name: SplitName
    inputs: Any
    labels: dict[str, NDArray[np.int64]]
    rows: NDArray[np.int64]
    digest: str
    parts: tuple[tuple[int, float], ...] = field(default=(), kw_only=True)

    def __len__(self) -> int:
        """Number of rows n."""
        return len(self.rows)


@dataclass(frozen=True)
class WordLabels:
    """The labels of words: those of train, and those that only other splits show.

    The latter are numbered on from the former, so that no model answers them.
    """

    classes: list[str]
    unseen: list[str]


@dataclass(frozen=True)
class Dataset:
    """An opened data set; `digest` covers its three splits and class names.

    `notes` say what was read otherwise than one might think, left out or cut: sentences with counts. `stored`
    are the sources that the splits are cut from; what is published for one of them alone has its name.
    """

    task: str
    train: Split
    select: Split
    report: Split
    info: DataInfo
    digest: str
    notes: tuple[str, ...] = ()
    stored: Mapping[SplitName, Stored] = field(default_factory=dict)


def label_names(task: str) -> tuple[str | None, str | None]:
    """Heads of the labels of samples and of words; None = such labels are not read.

    No label says whether a vector is right, but the splits of its samples are stratified by what there is.
    """
    heads = heads_of(task)
    of_samples, of_words = head_at(heads, "sample"), head_at(heads, "word")
    name = None if of_samples is None else of_samples.name if of_samples.is_labelled else LABEL
    return name, None if of_words is None else of_words.name


def proportional_part(labels: NDArray[np.int64], count: int, *, seed: list[int]) -> NDArray[np.int64]:
    """Take `count` positions at random, each class (and the unlabelled) by its share (largest remainders).

    Returns:
        Ascending int64 [count] positions into `labels`.
    """
    _, code, sizes = np.unique(strata(labels), return_inverse=True, return_counts=True)
    return _draw(code, proportional_quota(sizes, count), seed)


def proportional_quota(sizes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Share `count` among classes of `sizes` samples by their share, with largest remainders."""
    exact = sizes * (count / int(sizes.sum()))
    quota: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    # A stable sort breaks ties towards the lower class, whatever the sort's inner workings.
    largest = np.argsort(quota - exact, kind="stable")[: count - int(quota.sum())]
    quota[largest] += 1
    return quota


def balanced_part(labels: NDArray[np.int64], count: int, *, seed: list[int]) -> NDArray[np.int64]:
    """Take `count` positions at random, as many of each class as possible; small classes give all they have.

    Returns:
        Ascending int64 [min(count, len(labels))] positions into `labels`.
    """
    _, code, sizes = np.unique(strata(labels), return_inverse=True, return_counts=True)
    return _draw(code, balanced_quota(sizes, count), seed)


def _draw(code: NDArray[np.int64], quota: NDArray[np.int64], seed: list[int]) -> NDArray[np.int64]:
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))
    parts = [rng.permutation(np.flatnonzero(code == number))[:take] for number, take in enumerate(quota)]
    return np.sort(np.concatenate(parts)).astype(np.int64)


def select_count(wanted: int | float | None, rows: int) -> int:
    """Rows of the select split that is taken from `rows` rows of train.

    Raises:
        UsageError: no row would be left to train on.
    """
    if wanted is None:
        count = min(MOST_SELECT_ROWS, round(SELECT_SHARE * rows))
    else:
        count = wanted if isinstance(wanted, int) else round(wanted * rows)
    count = max(count, 1)
    if count >= rows:
        raise UsageError(
            f"data.select: {count} rows wanted, but train has {rows} and must keep at least one; "
            "ask for fewer or give more data"
        )
    return count


def build_dataset(
    spec: DataSpec,
    stored: dict[SplitName, Stored],
    *,
    seed: int,
    task: str = IMAGES,
    text: TextInfo | None = None,
    default_select: int | None = None,
    thinned: bool = False,
    words: WordLabels | None = None,
) -> Dataset:
    """Split the sources: published parts stay whole, the others are taken from train; then apply the limits.

    Without a report source, 20% of train become the report split; without a select source, `spec.select` of
    the rest.

    Args:
        spec: Its `dataset`, `select` and `limit` are read.
        task: Task that the data are opened for; its heads name the labels.
        text: How texts are cut, where these are texts.
        stored: Source `train` and, where published, `select` and `report`.
        words: The labels of words, where there are any.
        thinned: The sources hold a handful of their rows, so that a number of select rows may be too large;
            then it is a quarter of train at most.
        default_select: Rows of the select split if the spec does not say; absent = 10%, at most 5,000.
        seed: Seed of the split. It is no training seed: runs that are compared must share it.

    Raises:
        UsageError: too few rows, or sources whose images differ in size or channels.
    """
    if "select" in stored and spec.select is not None:
        warnings.warn("data.select has no effect: the data set has a select split of its own", stacklevel=3)
    train = stored["train"]
    shape = train.inputs.shape[1:]
    for name, other in stored.items():
        if other.inputs.shape[1:] != shape:  # of texts there is none
            raise UsageError(
                f"data: images of {name} are {list(other.inputs.shape[1:])} (height, width, channels), "
                f"those of train {list(shape)}; set data.image_size"
            )
    rows = {name: np.arange(len(source.inputs), dtype=np.int64) for name, source in stored.items()}
    if "report" not in stored:
        if len(rows["train"]) < 3:
            raise UsageError(
                f"data.dataset: {len(rows['train'])} rows found, at least 3 are needed to split them"
            )
        count = max(round(REPORT_SHARE * len(rows["train"])), 1)
        rows["report"], rows["train"] = _cut(train, rows["train"], count, [seed, 0])
    if "select" not in stored:
        wanted = spec.select or default_select
        if thinned and isinstance(wanted, int):
            wanted = min(wanted, len(rows["train"]) // 4)
        count = select_count(wanted, len(rows["train"]))
        rows["select"], rows["train"] = _cut(train, rows["train"], count, [seed, 1])
    classes = next((source.classes for source in stored.values() if source.classes), [])
    stored = {name: _of_width(source, len(classes)) for name, source in stored.items()}
    train = stored["train"]
    names = of_samples, of_words = label_names(task)
    named = {} if of_samples is None else {of_samples: list(classes)}
    if words is not None:
        assert of_words is not None
        named[of_words] = words.classes
    splits = {name: _limited(name, stored.get(name, train), rows[name], spec, seed, names) for name in rows}
    digest = hashlib.sha256("\n".join(["dataset 1", *classes, *(words.classes if words else [])]).encode())
    for name in ("train", "select", "report"):
        digest.update(f"\n{name} {splits[name].digest}".encode())
    info = DataInfo(
        task=task,
        classes=named,
        image=None if text else ImageInfo(*shape),
        text=text,
        extra={"dataset": spec.dataset, "sources": {name: source.digest for name, source in stored.items()}}
        | ({"unseen": words.unseen} if words else {}),
    )
    notes = tuple(f"{name}: {note}" for name, source in stored.items() for note in source.notes)
    notes += tuple(_copies(splits, stored))
    parts = splits["train"], splits["select"], splits["report"]
    return Dataset(info.task, *parts, info, digest.hexdigest(), notes, stored)


def _of_width(source: Stored, classes: int) -> Stored:
    """A source whose rows without any set of labels have a place for each class of the other splits."""
    if source.labels.ndim == 1 or source.labels.shape[1] == classes:
        return source
    return replace(source, labels=np.full((len(source.labels), classes), IGNORE, dtype=np.int64))


def _copies(splits: dict[SplitName, Split], stored: dict[SplitName, Stored]) -> list[str]:
    """Say which images occur twice; of texts nothing is known here."""
    found: dict[SplitName, tuple[NDArray[np.uint64], NDArray[np.int64]]] = {}
    for name, split in splits.items():
        source = stored.get(name, stored["train"])
        if source.digests is None:
            return []
        found[name] = source.digests[split.rows], _as_one(source.labels[split.rows])
    return copies_told(found)


def _as_one(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """A number [n] for each row's labels, equal for equal sets, below 0 where there are none."""
    if labels.ndim == 1:
        return labels
    numbers = (pixel_digests(np.ascontiguousarray(labels).astype(np.uint8)) >> np.uint64(1)).astype(np.int64)
    return np.where((labels >= 0).all(1), numbers, IGNORE)


def _cut(
    source: Stored, rows: NDArray[np.int64], count: int, seed: list[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    taken = proportional_part(source.labels[rows], count, seed=seed)
    return rows[taken], np.delete(rows, taken)


def _limited(
    name: SplitName,
    source: Stored,
    rows: NDArray[np.int64],
    spec: DataSpec,
    seed: int,
    names: tuple[str | None, str | None],
) -> Split:
    if spec.limit.get(name, len(rows)) < len(rows):
        rows = rows[balanced_part(source.labels[rows], spec.limit[name], seed=[seed, 2])]
    digest = hashlib.sha256(f"split 1\n{source.digest}\n".encode())
    digest.update(rows.astype("<i8").tobytes())
    found = zip(names, (source.labels, source.words), strict=True)
    labels = {head: values for head, values in found if head is not None and values is not None}
    return Split(name, source.inputs, labels, rows, digest.hexdigest())
