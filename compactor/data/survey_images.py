"""What a survey finds in images: sizes and faults of a few hundred, from their headers, and copies by bytes.

1. Sizes are those of the upright image. An image that cannot be read is a problem, named with its reason.
2. Copies are files of equal bytes. Of a folder only files of equal size are read, of tables the whole column.
   Beyond LARGEST_HASHED_BYTES nothing is read, which is said; a run compares all decoded images in any case.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from compactor.data.cache import Source
from compactor.data.few_rows import spread_rows
from compactor.data.image_folder import LARGEST_HASHED_BYTES
from compactor.data.spec import DataSpec, SplitName
from compactor.data.table_source import TableSource
from compactor_runtimes.errors import UsageError
from compactor_runtimes.predict.decode import count_frames, format_of, upright_size
from compactor_runtimes.predict.image_formats import SERVED, in_words

LOOKED_AT = 200  # images whose size is read

Size = tuple[int, int, int, int]


def look_at_images(sources: Mapping[SplitName, Source], spec: DataSpec) -> tuple[Size, list[str]]:
    """Lowest height, lowest width, highest height and highest width, and what is wrong.

    Raises:
        UsageError: not one image can be read.
    """
    seen: list[tuple[int, int]] = []
    broken: list[str] = []
    moving, formats = 0, Counter[str]()
    for source in sources.values():
        for _, raw in _some_items(source, LOOKED_AT // len(sources)):
            try:
                seen.append(upright_size(raw))
                moving += count_frames(raw) > 1
                formats[format_of(raw)] += 1
            except UsageError as error:
                broken.append(str(error))
    if not seen:
        why = f" ({broken[0]})" if broken else ""
        raise UsageError(
            f"{next(iter(sources.values())).name}: holds no readable image{why}, expected at least one"
        )
    heights, widths = zip(*seen, strict=True)
    sizes = (min(heights), min(widths), max(heights), max(widths))
    problems = [f"{name}: {note}" for name, source in sources.items() for note in source.notes()]
    looked_at = len(seen) + len(broken)
    if broken:
        problems.append(
            f"{len(broken)} of the {looked_at} images looked at cannot be read, and a run stops at the "
            f"first: {broken[0]}"
        )
    for kind in sorted(set(formats) - set(SERVED)):
        problems.append(
            f"{formats[kind]} of the {looked_at} images looked at are {in_words((kind,))}: training reads "
            f"them, a bundle only where it is asked to (load(..., formats=[{kind!r}]), --format {kind})"
        )
    if moving:
        problems.append(
            f"{moving} of the {looked_at} images looked at have several frames; the first is read"
        )
    if len(set(seen)) > 1 and spec.image_size is None:
        problems.append(
            f"images differ in size ({sizes[0]} x {sizes[1]} to {sizes[2]} x {sizes[3]}, height x width): "
            f"set image_size, for example {min(sizes[0], sizes[1])}"
        )
    return sizes, problems + _copies(sources)


def some(names: list[str]) -> str:
    """The first names of a list, in a message."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _some_items(source: Source, count: int) -> Iterator[tuple[str, bytes | Path]]:
    return source.thinned(spread_rows(len(source.labels().values), count)).items()


def _copies(sources: Mapping[SplitName, Source]) -> list[str]:
    """Images that occur in train and in a published report split, twice, or with two labels (rule 2)."""
    tables = [file for source in sources.values() if isinstance(source, TableSource) for file in source.files]
    total = sum(file.stat().st_size for file in tables)
    if total <= LARGEST_HASHED_BYTES:
        sizes = {name: _byte_sizes(source) for name, source in sources.items()}
        of_all = Counter(size for found in sizes.values() for size in found)
        total = sum(size * many for size, many in of_all.items() if many > 1)
    if total > LARGEST_HASHED_BYTES:
        return [f"copies are not looked for before the run: {total / 1e9:.1f} GB would have to be read"]
    digests: dict[SplitName, list[bytes | None]] = {}
    labels: dict[bytes, set[int]] = defaultdict(set)
    for name, source in sources.items():
        alike = [of_all[size] > 1 for size in sizes[name]]
        digests[name] = [
            _digest(raw) if one else None for (_, raw), one in zip(source.items(), alike, strict=True)
        ]
        for digest, label in zip(digests[name], source.labels().values.tolist(), strict=True):
            if digest is not None and label >= 0:
                labels[digest].add(label)
    return _told(digests) + _two_labels(sum(len(found) > 1 for found in labels.values()))


def _told(digests: Mapping[SplitName, list[bytes | None]]) -> list[str]:
    if "report" not in digests:
        known = [digest for digest in digests["train"] if digest is not None]
        twice = len(known) - len(set(known))
        rows = f"{twice:,} of {len(digests['train']):,}"
        return [f"{rows} images repeat earlier ones: copies may fall into train and report"] if twice else []
    learnt = {digest for name in digests if name != "report" for digest in digests[name]} - {None}
    repeated = sum(digest in learnt for digest in digests["report"])
    rows = f"{repeated:,} of {len(digests['report']):,}"
    return [f"{rows} report images are in train or select too"] if repeated else []


def _two_labels(count: int) -> list[str]:
    return [f"{count:,} images occur with two labels or more"] if count else []


def _byte_sizes(source: Source) -> list[int]:
    found = []
    for _, raw in source.items():
        try:
            found.append(len(raw) if isinstance(raw, bytes) else raw.stat().st_size)
        except OSError:
            found.append(-1)
    return found


def _digest(raw: bytes | Path) -> bytes | None:
    try:
        return hashlib.sha256(raw if isinstance(raw, bytes) else raw.read_bytes()).digest()
    except OSError:  # said where it is decoded
        return None
