"""Open a data set of texts: tables with a column of texts and, perhaps, one of labels."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from compactor.data.cache import Opening, Progress, Stored
from compactor.data.datasets import DATASETS, Part, find_parts, warn_unused
from compactor.data.extra_texts import mixed
from compactor.data.few_rows import handful
from compactor.data.slots import number_tags, read_tags, with_words
from compactor.data.spec import DataSpec, SplitName
from compactor.data.splits import Dataset, WordLabels, build_dataset, label_names
from compactor.data.table_cache import ReadTable, read_table
from compactor.data.table_files import SUFFIXES
from compactor.data.table_source import TableSource
from compactor.data.token_counts import cut_of_split
from compactor.data.tokenizer import text_info
from compactor.records import TextInfo, has_several
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
    numbers_of: tuple[str, ...] | None = None,
) -> Dataset:
    """Open texts and split them; see `compactor.data.datasets.open_dataset` for the arguments.

    The task's heads say whether labels of texts and of words are read. Where a task has labels of words,
    classes that train never shows may occur elsewhere: they are numbered from C on.

    The digests cover texts, labels, class names, the tokenizer's bytes and where texts are cut; that of the
    data set also which tokens a trimmed vocabulary kept.

    Raises:
        UsageError: not found, images instead of texts, damaged, or not usable as it is.
        UnfitEnvironmentError: data or a tokenizer of the hub, and the hub cannot be reached.
    """
    if spec.dataset in DATASETS:
        raise UsageError(
            f"data.dataset: {spec.dataset!r} holds images, but task {task} needs texts; give a table with a "
            "text column"
        )
    warn_unused(spec, ("image_column", "image_size", "color", "unreadable"), "texts")
    text = text_info(spec, base, cache=cache)
    tokens = hashlib.sha256(text.tokenizer.read_bytes()).hexdigest()
    opening = Opening(base, cache, seed, progress, at_most, numbers_of)
    parts = find_parts(spec, opening)
    stored: dict[SplitName, Stored] = {}
    classes: list[str] | None = None
    sources: dict[SplitName, TableSource] = {}
    said: list[str] = []
    of_texts, of_words = label_names(task)
    for number, name in enumerate(sorted(parts, key=["train", "select", "report"].index)):
        source = replace(text_source(parts[name], spec, classes, numbers_of), several=has_several(task))
        if of_texts is None:
            source = replace(source, label_column="", classes=None)
        source = replace(source, allow_unseen=of_words is not None)
        if at_most is not None:
            source = source.thinned(handful(source.labels().values, at_most))
        stored[name] = _stored(read_table(source, cache), f"{tokens} {text.max_tokens}")
        if of_words is not None:
            sources[name] = source
        classes = classes or stored[name].classes or None
        if progress is not None:
            progress(number + 1, len(parts))
    words = None
    if of_words is not None:
        texts = {name: one.inputs for name, one in stored.items()}
        tags, said = read_tags(sources, texts, spec.slots_column)
        numbered = number_tags(tags)
        stored = {name: with_words(one, numbered.values[name]) for name, one in stored.items()}
        words = WordLabels(numbered.classes, numbered.unseen)
    data = build_dataset(
        spec, stored, seed=seed, task=task, text=text, thinned=at_most is not None, words=words
    )
    if spec.also:
        data = mixed(data, spec.also, opening, cut=f"{tokens} {text.max_tokens}")
    if text.kept is not None:  # no token of a text, but a pretrained model's embeddings depend on it
        digest = hashlib.sha256(data.digest.encode() + text.kept.read_bytes())
        data = replace(data, digest=digest.hexdigest())
    return replace(data, notes=(*data.notes, *said, *_cut_texts(data, text, cache)))


def _cut_texts(data: Dataset, text: TextInfo, cache: Path | None) -> list[str]:
    """How many texts of each split are cut, where some are."""
    said = []
    for split in (data.train, data.select, data.report):
        texts = split.inputs[split.rows]
        cut = cut_of_split(split.digest, text.tokenizer, texts, text.max_tokens, cache)
        said += [f"{split.name}: {cut}"] if cut else []
    return said


def text_source(
    part: Part,
    spec: DataSpec,
    train_classes: list[str] | None,
    numbers_of: tuple[str, ...] | None = None,
) -> TableSource:
    """The texts of one split.

    Raises:
        UsageError: it is a folder without tables that are named by split.
    """
    if isinstance(part, Path):
        named = sorted(path.name for path in part.iterdir() if path.suffix.lower() in SUFFIXES)
        found = f"the name of {named[0]} says no split" if named else "it holds no table"
        raise UsageError(
            f"data.dataset: {part} is no folder of texts: {found}, expected {', '.join(SUFFIXES)} files "
            "named train, validation or test; rename them, or give one file"
        )
    return TableSource(
        part,
        spec.text_column,
        spec.label_column,
        spec.class_names,
        train_classes,
        numbers_of,
        holds="texts",
    )


def _stored(table: ReadTable, tokens: str) -> Stored:
    key = {"kind": "texts", "source": table.fingerprint, "tokens": tokens}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return Stored(table.texts, table.labels.values, table.labels.classes, digest, notes=table.notes)
