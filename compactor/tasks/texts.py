"""The text tasks: opening texts, batching token ids, raw .txt files, the tokenizer's record; one row each.

`embedding` learns from a teacher's vectors and needs no labels. The headline of `intent-slots` is the intent,
slots are scored beside it. The accuracy of `token-classification` counts words.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compactor.data.spec import DataSpec
from compactor.data.splits import Dataset, Split
from compactor.data.text_loader import TextLoader, shortest_first, text_batch, text_batches
from compactor.data.texts import open_texts
from compactor.models.text import MAX_BATCH, text_info_of
from compactor.recipe.spec import StageSpec
from compactor.records import (
    IDS,
    MASK,
    TEXT_SETS,
    TEXTS,
    VECTORS,
    Batch,
    Crops,
    DataInfo,
    TextInfo,
    head_at,
    heads_of,
)
from compactor.tasks import posts_of
from compactor_runtimes.bundle.manifest import Post, Pre, TextPre
from compactor_runtimes.files import writing

TOKENIZER_ASSET = "assets/tokenizer.json"
# shortest that is still a text, far longer than any model reads, and letters of one to four bytes
EDGES = (".", "word " * 2_000, "Žluťoučký кот 猫 🐈 naïve ﬁn")


@dataclass(frozen=True)
class TextSplit(Split):
    """A split of texts that knows how they are cut, and the names of its labels of words."""

    text: TextInfo
    word_names: list[str] = field(default_factory=list, kw_only=True)


class TextTask:
    """See compactor.tasks.Task; text tasks differ in their heads alone."""

    is_fixed = True

    def __init__(self, name: str) -> None:
        """Take the heads that the task's name stands for."""
        self.name, self.heads = name, heads_of(name)
        self.head = self.heads[0]

    def open(
        self,
        spec: DataSpec,
        *,
        base: Path,
        progress: Callable[[int, int], None] | None = None,
        at_most: int | None = None,
        numbers_of: tuple[str, ...] | None = None,
    ) -> Dataset:
        """Open texts and, where there are any, labels."""
        data = open_texts(
            spec, task=self.name, base=base, progress=progress, at_most=at_most, numbers_of=numbers_of
        )
        text = text_info_of(data.info)
        of_words = head_at(data.info.heads, "word")
        names = [] if of_words is None else [*of_words.labels, *data.info.extra["unseen"]]
        train, select, report = (
            TextSplit(**vars(one), text=text, word_names=names)
            for one in (data.train, data.select, data.report)
        )
        return replace(data, train=train, select=select, report=report)

    def loader(self, split: Split, stage: StageSpec, *, seed: int, rank: int, world: int) -> TextLoader:
        """Pad each global batch to its longest text."""
        return TextLoader(
            split, text_of(split), batch_size=stage.batch_size, seed=seed, rank=rank, world=world
        )

    def batches(self, split: Split) -> Iterator[Batch]:
        """Yield texts in order, each batch padded to its longest."""
        return text_batches(split, text_of(split), MAX_BATCH)

    def each_once(self, split: Split) -> Iterator[Batch]:
        """Yield texts of like length together, because padding is computed like everything else."""
        return self.batches(shortest_first(split, text_of(split)))

    def batch(self, split: Split, ids: NDArray[np.int64], crops: Crops | None) -> Batch:
        """Pad the texts to the longest of them; texts have no views."""
        return text_batch(split, text_of(split), ids)

    def raws(self, split: Split, count: int, folder: Path) -> list[Path]:
        """Write UTF-8 text files."""
        return _write(list(split.inputs[split.rows[:count]]), folder, prefix=split.name)

    def edge_raws(self, split: Split, folder: Path) -> list[Path]:
        """Write a text of one character, one that is far too long, and one of many alphabets."""
        return _write(list(EDGES), folder, prefix="edge")

    def pre(self, info: DataInfo) -> list[Pre]:
        """Cut into tokens, limit, pad."""
        text = text_info_of(info)
        return [
            TextPre(
                tokenizer=TOKENIZER_ASSET, max_tokens=text.max_tokens, pad_id=text.pad_id, ids=IDS, mask=MASK
            )
        ]

    def post(self, info: DataInfo) -> list[Post]:
        """What each head asks for."""
        return posts_of(self.heads)

    def assets(self, info: DataInfo) -> dict[str, Path]:
        """The tokenizer."""
        return {TOKENIZER_ASSET: text_info_of(info).tokenizer}


def text_of(split: Split) -> TextInfo:
    """How a split's texts are cut."""
    if not isinstance(split, TextSplit):
        raise ValueError(f"split {split.name}: got a Split, expected a TextSplit, as the task's open() gives")
    return split.text


def _write(texts: list[str], folder: Path, *, prefix: str) -> list[Path]:
    """Write `<folder>/<prefix><number>.txt`, each text with one newline after it."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, text in enumerate(texts):
        path = folder / f"{prefix}{number:03d}.txt"
        with writing(path):
            path.write_bytes(f"{text}\n".encode())
        paths.append(path)
    return paths


TEXT_CLASSIFICATION = TextTask(TEXTS)
MULTI_LABEL = TextTask(TEXT_SETS)
EMBEDDING = TextTask(VECTORS)
INTENT_SLOTS = TextTask("intent-slots")
TOKEN_CLASSIFICATION = TextTask("token-classification")
