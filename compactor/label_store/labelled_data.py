"""Open the very samples that a store was made of, or refuse: the source's digest decides.

A store names its data set and knows the digest of its source, not how a recipe had it decoded. That comes
from the recipe in a bundle, or is tried: as the data are, and at the size of the store's images.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from compactor.data.datasets import DATASETS
from compactor.data.spec import DataSpec
from compactor.data.splits import Split
from compactor.label_store.header import Header
from compactor.label_store.store import StorePart
from compactor.progress import Bar, Reporter
from compactor.records import IMAGES
from compactor.tasks import Task, task_named
from compactor_runtimes.bundle.manifest import TextPre
from compactor_runtimes.bundle.open import Bundle
from compactor_runtimes.errors import UsageError


def open_labelled(part: StorePart, task: Task, specs: list[DataSpec], *, reporter: Reporter) -> Split:
    """Open the samples of a part: exactly its rows, whatever a recipe's limits were.

    Args:
        part: whose samples.
        task: opens the data.
        specs: ways to decode the data, tried in turn.
        reporter: where progress goes.

    Raises:
        UsageError: the data cannot be opened, or are other ones than those that were labelled.
    """
    split, wanted = part.part.split, part.part.source
    found: list[str] = []
    for spec in specs:
        with reporter.bar(f"decode {spec.dataset}", 1) as bar:
            data = task.open(spec, base=Path.cwd(), progress=_progress(bar))
        sources = data.info.extra["sources"]
        digest = sources.get(split, sources["train"])
        if digest == wanted:
            opened: Split = getattr(data, split)
            return replace(opened, rows=np.array(part.ids))  # torch wants what it could write to
        found.append(digest[:12])
    raise UsageError(
        f"data {specs[0].dataset}: are not those that were labelled (digest {', '.join(found)} found, "
        f"{wanted[:12]} expected of {part.header.data}, part {split}); "
        "give the labelled data with --data PATH or in $COMPACTOR_DATA"
    )


def specs_of_bundle(header: Header, bundle: Bundle, *, data: str | None) -> list[DataSpec]:
    """Ways to decode a store's data: as the bundle's recipe did, if it names the same data set, then others.

    Args:
        header: of the store.
        bundle: of a student; of texts, its own tokenizer cuts them.
        data: where the data lie, in place of the name that the store has; absent: that name.

    Raises:
        UsageError: the bundle's tokenizer is not the one that the teachers' inputs were made with.
    """
    recipe = bundle.manifest.provenance.get("recipe", {})
    entries = [stage.get("data") for stage in recipe.get("stages", [])] + [recipe.get("data")]
    named = [entry for entry in entries if entry and entry.get("dataset") == header.data]
    specs = [spec for spec in map(_spec, named) if spec] + _guesses(header)
    pre = bundle.manifest.pre[0] if bundle.manifest.pre else None
    if isinstance(pre, TextPre):
        specs = [_with_tokenizer(spec, header, bundle, pre) for spec in specs]
    return _at(specs, data)


def specs_of_store(header: Header, *, data: str | None) -> list[DataSpec]:
    """Ways to decode a store's images, from what the store knows itself.

    Raises:
        UsageError: it holds labels of texts.
    """
    if header.transform.image is None:
        raise UsageError(
            "label store: ground truth can be read for images only, these are texts; leave --data out"
        )
    return _at(_guesses(header), data)


def images_task() -> Task:
    """The task of stores with images."""
    return task_named(IMAGES)


def _progress(bar: Bar) -> Callable[[int, int], None]:
    return lambda done, total: bar.at(done, total=total)


def _guesses(header: Header) -> list[DataSpec]:
    """As the data are, and at the store's size; files of several sizes only open at a given size."""
    plain = DataSpec(dataset=header.data)
    if header.transform.image is None:
        return [plain]
    height, width, channels = header.transform.image
    if height != width:
        return [plain]
    sized = msgspec.structs.replace(plain, image_size=height, color="grey" if channels == 1 else "rgb")
    return [plain, sized] if header.data in DATASETS else [sized, plain]


def _spec(entry: dict[str, Any]) -> DataSpec | None:
    """A recipe's entry; None where another release wrote it, with keys that this one does not know."""
    try:
        return msgspec.convert(entry, DataSpec)
    except msgspec.ValidationError:
        return None


def _with_tokenizer(spec: DataSpec, header: Header, bundle: Bundle, pre: TextPre) -> DataSpec:
    from compactor.cache.digest import file_digest

    path = bundle.file(pre.tokenizer)
    found = (file_digest(path), pre.max_tokens)
    if found != (header.transform.tokenizer, header.transform.max_tokens):
        raise UsageError(
            f"{bundle.path}: cuts texts otherwise than the teachers' were cut (tokenizer {found[0][:12]}, "
            f"{found[1]} tokens found, {str(header.transform.tokenizer)[:12]}, {header.transform.max_tokens} "
            "expected); give a bundle that was trained from this store"
        )
    changes = {"tokenizer": str(path.resolve()), "max_tokens": pre.max_tokens}
    return msgspec.structs.replace(spec, **changes, vocabulary=None)  # the bundle's is trimmed already


def _at(specs: list[DataSpec], data: str | None) -> list[DataSpec]:
    """The same at another place, each way once."""
    moved = [spec if data is None else msgspec.structs.replace(spec, dataset=data) for spec in specs]
    return [spec for number, spec in enumerate(moved) if spec not in moved[:number]]
