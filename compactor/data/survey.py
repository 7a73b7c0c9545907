"""Look over a data set before it is used: rows, classes, image sizes, and what is wrong with it.

Reads labels whole and a few hundred images; decodes nothing into the cache.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from compactor.data.cache import Opening, Source
from compactor.data.datasets import DATASETS, find_parts, image_source, open_dataset
from compactor.data.label_notes import texts_of_several_classes
from compactor.data.packed_texts import PackedTexts
from compactor.data.slots import read_tags
from compactor.data.spec import DataSpec, SplitName
from compactor.data.splits import REPORT_SHARE, label_names, select_count
from compactor.data.survey_images import look_at_images, some
from compactor.data.table_source import TableSource
from compactor.data.texts import text_source
from compactor.records import reads_images
from compactor_runtimes.errors import UsageError

FEW = 10  # rows of a class from which on it can be split and learnt at all


@dataclass(frozen=True)
class Survey:
    """What a data set holds.

    `rows` counts each split as a run would have it, `classes` the rows of each class over all splits, `sizes`
    is (lowest height, lowest width, highest height, highest width) of the images looked at. `texts` are all,
    of all splits.
    """

    kind: Literal["images", "texts"]
    rows: dict[str, int]
    classes: dict[str, int]
    unlabelled: int = 0
    sizes: tuple[int, int, int, int] | None = None
    problems: list[str] = field(default_factory=list)
    texts: Sequence[str] = field(default=(), repr=False)


def survey(spec: DataSpec, *, base: Path | None, task: str) -> Survey:
    """Survey the data set of a spec for a task.

    Raises:
        UsageError: not found, or not usable at all.
        UnfitEnvironmentError: a data set of the hub, and the hub cannot be reached.
    """
    if spec.dataset in DATASETS:
        return _named(spec, base)
    parts = find_parts(spec, Opening(base))
    images = reads_images(task)
    of_samples, of_words = label_names(task)
    sources: dict[SplitName, Source] = {}
    counts: Counter[str] = Counter()
    classes: list[str] | None = None
    rows: dict[str, int] = {}
    unlabelled = 0
    for name in sorted(parts, key=["train", "select", "report"].index):
        make = image_source if images else text_source
        source = make(parts[name], spec, classes)
        if isinstance(source, TableSource) and of_samples is None:
            source = replace(source, label_column="", classes=None)
        sources[name] = source
        labels = source.labels()
        classes = classes or labels.classes or None
        counts.update({known: 0 for known in labels.classes})
        numbers, found = np.unique(labels.values[labels.values >= 0], return_counts=True)
        counts.update(
            {labels.classes[number]: int(many) for number, many in zip(numbers, found, strict=True)}
        )
        rows[name] = len(labels.values)
        unlabelled += int((labels.values < 0).sum())
    total = sum(rows.values())
    sizes, texts, said = None, dict[SplitName, PackedTexts](), list[str]()
    tables = {name: source for name, source in sources.items() if isinstance(source, TableSource)}
    if not images:
        texts = {name: source.texts() for name, source in tables.items()}
    if of_words is not None:
        tags, said = read_tags(tables, texts, spec.slots_column)
        if of_samples is None:  # the classes are those of words
            counts = Counter(tag for of in tags.values() for row in of for tag in row or ())
            unlabelled = sum(row is None for of in tags.values() for row in of)
    problems = [*_label_problems(counts, unlabelled, total), *said]
    if images:
        sizes, found_problems = look_at_images(sources, spec)
        problems += found_problems
    else:
        for name, source in sources.items():
            notes = [*source.notes(), *texts_of_several_classes(texts[name], source.labels())]
            problems += [f"{name}: {note}" for note in notes]
        problems += _repeats(texts)
    return Survey(
        "images" if images else "texts",
        _split_rows(rows, spec),
        dict(counts),
        unlabelled,
        sizes,
        problems,
        PackedTexts.joined(list(texts.values())),
    )


def _named(spec: DataSpec, base: Path | None) -> Survey:
    data = open_dataset(spec, base=base)
    splits = (data.train, data.select, data.report)
    names = data.info.classes["label"]
    counts = sum((Counter(part.labels["label"][part.rows].tolist()) for part in splits), Counter())
    image = data.info.image
    assert image is not None
    side = (image.height, image.width)
    return Survey(
        "images",
        {part.name: len(part) for part in splits},
        {name: counts[number] for number, name in enumerate(names)},
        counts[-100],
        (*side, *side),
    )


def _split_rows(rows: dict[str, int], spec: DataSpec) -> dict[str, int]:
    """Rows of each split after those that are not published are taken from train."""
    train = rows["train"]
    if train < 3 and len(rows) < 3:
        raise UsageError(f"data.dataset: {train} rows found, at least 3 are needed to split them")
    report = rows.get("report", 0) or max(round(REPORT_SHARE * train), 1)
    train -= 0 if "report" in rows else report
    select = rows.get("select", 0) or select_count(spec.select, train)
    train -= 0 if "select" in rows else select
    return {"train": train, "select": select, "report": report}


def _label_problems(counts: "Counter[str]", unlabelled: int, total: int) -> list[str]:
    if unlabelled == total:
        return ["no row has a label: distillation can be judged by agreement with the teacher only"]
    problems = []
    empty = [name for name, many in counts.items() if many == 0]
    few = [name for name, many in counts.items() if 0 < many < FEW]
    if empty:
        problems.append(f"{len(empty)} classes have no row ({some(empty)})")
    if few:
        problems.append(f"{len(few)} classes have fewer than {FEW} rows ({some(few)})")
    if unlabelled:
        problems.append(f"{unlabelled:,} of {total:,} rows have no label")
    return problems


def _repeats(texts: dict[SplitName, PackedTexts]) -> list[str]:
    """Texts that occur in train and in a published report split, or twice where report is cut from train."""
    numbers = {name: of.numbers() for name, of in texts.items()}
    if "report" not in texts:
        train = numbers["train"]
        twice = len(train) - len(np.unique(train))
        rows = f"{twice:,} of {len(train):,}"
        return [f"{rows} texts repeat earlier ones: copies may fall into train and report"] if twice else []
    known = np.concatenate([numbers[name] for name in ("train", "select") if name in numbers])
    repeated = int(np.isin(numbers["report"], known).sum())
    rows = f"{repeated:,} of {len(numbers['report']):,}"
    return [f"{rows} report texts are in train or select too"] if repeated else []
