"""Read a table of texts once: what was read is kept in the cache, and found again by the files' bytes.

Layout: `<root>/tables/<digest>/{letters.npy, offsets.npy, labels.npy, meta.json}`, see compactor.data.cache
for the root. The digest covers the files' names and bytes, how the columns are read, the code that reads them
and the versions that it reads them with. Small tables are read anew each time.
"""

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compactor.cache.code import code_digest
from compactor.cache.digest import digest_of, file_digest, tool_versions
from compactor.data.array_folder import Kept, keep_arrays, open_arrays
from compactor.data.cache import cache_root
from compactor.data.label_notes import texts_of_several_classes
from compactor.data.labels import Labels
from compactor.data.packed_texts import PackedTexts
from compactor.data.table_source import TableSource

LEAST_BYTES = 2**20  # from which on a table is kept
LETTERS, OFFSETS, LABELS = "letters", "offsets", "labels"
READS_WITH = ("pyarrow", "numpy")


@dataclass(frozen=True)
class ReadTable:
    """A table of texts: `fingerprint` is what all of it depends on, `notes` what is to be said of it."""

    texts: PackedTexts
    labels: Labels
    fingerprint: dict[str, Any]
    notes: tuple[str, ...]


def read_table(source: TableSource, cache: Path | None) -> ReadTable:
    """Read texts and labels, or take them from the cache.

    Args:
        source: the rows.
        cache: root of the cache, absent = the usual one.

    Raises:
        UsageError: see `TableSource.texts` and `TableSource.labels`.
    """
    if sum(path.stat().st_size for path in source.files) < LEAST_BYTES:
        return _read(source)
    key = _key(source)
    folder = cache_root(cache) / "tables" / digest_of(key)
    kept = open_arrays(folder, (LETTERS, OFFSETS, LABELS))
    if kept is not None:
        return _opened(kept)
    found = _read(source)
    if _key(source) != key:  # somebody wrote to the files meanwhile
        return found
    packed = found.texts.packed()
    offsets = np.concatenate([packed.starts, packed.ends[-1:]])
    facts = {
        "made_from": key,
        "fingerprint": found.fingerprint,
        "notes": found.notes,
        "classes": found.labels.classes,
        "are_numbers": found.labels.are_numbers,
    }
    arrays = {LETTERS: packed.letters, OFFSETS: offsets, LABELS: found.labels.values}
    if not keep_arrays(folder, arrays, facts):
        return found
    kept = open_arrays(folder, arrays)
    return found if kept is None else _opened(kept)


def _read(source: TableSource) -> ReadTable:
    labels = source.labels()
    fingerprint, texts = source.fingerprint(), source.texts()
    notes = (*source.notes(), *texts_of_several_classes(texts, labels))
    return ReadTable(texts, labels, fingerprint, notes)


def _opened(kept: Kept) -> ReadTable:
    facts, offsets = kept.facts, kept.arrays[OFFSETS]
    labels = Labels(np.array(kept.arrays[LABELS]), facts["classes"], facts["are_numbers"])
    texts = PackedTexts(kept.arrays[LETTERS], offsets[:-1], offsets[1:])
    return ReadTable(texts, labels, facts["fingerprint"], tuple(facts["notes"]))


def _key(source: TableSource) -> dict[str, Any]:
    plain = vars(source).items()
    settings = {name: value for name, value in plain if name not in ("files", "rows") and name[0] != "_"}
    return {
        "files": [[path.name, file_digest(path)] for path in source.files],
        "settings": settings,
        "rows": None if source.rows is None else digest_of(source.rows.tolist()),
        "code": code_digest([__name__]),
        "tools": tool_versions(READS_WITH) | {"python": platform.python_version()},
    }
