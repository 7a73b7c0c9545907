"""Open a data set of texts: tables with a column of texts and, perhaps, one of labels."""

import hashlib
import json
from pathlib import Path

import numpy as np

from compactor.data.cache import Opening, Progress, Stored, spread_rows
from compactor.data.datasets import DATASETS, Part, find_parts
from compactor.data.spec import DataSpec, SplitName
from compactor.data.splits import Dataset, build_dataset
from compactor.data.tables import TableSource
from compactor.data.tokenizer import text_info
from compactor_runtimes.errors import UsageError


def open_texts(
    spec: DataSpec,
    *,
    task: str,
    base: Path | None,
    cache: Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    at_most: int | None = None,
) -> Dataset:
    """Open texts and split them; see `compactor.data.datasets.open_dataset` for the arguments.

    The digests cover texts, labels, class names, the tokenizer's bytes and where texts are cut.

    Raises:
        UsageError: not found, images instead of texts, damaged, or not usable as it is.
        UnfitEnvironmentError: data or a tokenizer of the hub, and the hub cannot be reached.
    """
    if spec.dataset in DATASETS:
        raise UsageError(
            f"data.dataset: {spec.dataset!r} holds images, but task {task} needs texts; give a table with a "
            "text column"
        )
    text = text_info(spec, base)
    tokens = hashlib.sha256(text.tokenizer.read_bytes()).hexdigest()
    opening = Opening(base, cache, seed, progress, at_most)
    parts = find_parts(spec, opening)
    stored: dict[SplitName, Stored] = {}
    classes: list[str] | None = None
    for number, name in enumerate(sorted(parts, key=["train", "select", "report"].index)):
        source = text_source(parts[name], spec, classes)
        stored[name] = _stored(source, f"{tokens} {text.max_tokens}", at_most)
        classes = classes or stored[name].classes or None
        if progress is not None:
            progress(number + 1, len(parts))
    return build_dataset(spec, stored, seed=seed, task=task, text=text, thinned=at_most is not None)


def text_source(part: Part, spec: DataSpec, train_classes: list[str] | None) -> TableSource:
    """The texts of one split.

    Raises:
        UsageError: it is a folder of images.
    """
    if isinstance(part, Path):
        raise UsageError(
            f"data.dataset: {part} holds no table, but texts are read from .parquet, .csv or .jsonl files"
        )
    return TableSource(part, spec.text_column, spec.label_column, spec.class_names, train_classes)


def _stored(source: TableSource, tokens: str, at_most: int | None) -> Stored:
    texts = np.array(source.texts(), dtype=object)
    labels = source.labels()
    values = labels.values
    if at_most is not None:
        rows = spread_rows(len(texts), at_most)
        texts, values = texts[rows], values[rows]
    key = {"kind": "texts", "source": source.fingerprint(), "tokens": tokens, "at_most": at_most}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return Stored(texts, values, labels.classes, digest)
