"""Print what became of the candidates of a pool: counts, near-duplicates, classes and confidences."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from compactor.data.pool_file import PoolRecord
from compactor.label_store.inspect_terminal import bar, describe_teacher
from compactor.pool.inspect import PoolInspection
from compactor_runtimes.report.draw.result_table import result_table
from compactor_runtimes.units import scaled

MOST_CLASSES = 20  # that are shown; --json has them all
MOST_REMOVED = 5


def render_pool(found: PoolInspection) -> RenderableType:
    """Everything that `compactor pool inspect` prints."""
    record = found.record
    parts: list[RenderableType] = [Text(line) for line in _facts(found)]
    parts += [Text(""), _steps(record), Text(""), _sources(record)]
    if found.removed:
        parts += [Text(""), *_removed(found)]
    parts += [Text(""), *_classes(record), Text(""), *_confidence(record)]
    return Group(*parts)


def _facts(found: PoolInspection) -> Iterator[str]:
    record = found.record
    height, width, channels = record.image
    yield f"pool       {found.file} (format {record.format}, {found.digest[:12]}; all hashes are right)"
    yield f"recipe     {record.recipe}, data {record.data['spec']['dataset']}"
    yield f"teachers   {' + '.join(map(describe_teacher, record.teachers))}"
    yield f"images     {height} x {width} x {channels}; {len(record.classes):,} classes"
    yield f"taken      {described_take(record)}"
    yield f"size       {scaled(found.size_bytes, 'B')} of scores and features; images lie in the data cache"


def described_take(record: PoolRecord) -> str:
    """By what rule images were taken, in a few words."""
    from compactor.recipe.spec import MOST_OF_A_CLASS

    take = record.settings["take"]
    top = take["top"] or (MOST_OF_A_CLASS if take["by"] == "score" else None)
    most = "" if top is None else f", at most {top:,} of each class"
    several = take["classes_per_image"]
    wide = f", each image for its {several} likeliest classes" if several > 1 else ""
    least = f" of at least {take['min_confidence']:g}" if take["by"] == "confidence" else ""
    return f"by {take['by']}{least}{most}{wide}" if take["by"] != "all" else "all that are no copies"


def _steps(record: PoolRecord) -> RenderableType:
    table = result_table("what became of the candidates")
    table.add_column("step")
    table.add_column("images", justify="right")
    table.add_column("share", justify="right")
    rows = [("candidates", record.candidates)]
    rows += [(f"copies of {one.against} ({one.check})", one.images) for one in record.removed]
    rows += [("passed over", record.passed_over), ("in the pool", record.kept)]
    for name, count in rows:
        table.add_row(name, f"{count:,}", f"{100 * count / max(record.candidates, 1):.2f}%")
    return table


def _sources(record: PoolRecord) -> RenderableType:
    table = result_table()
    table.add_column("source")
    for heading in ("images", "recipe's own", "in the pool"):
        table.add_column(heading, justify="right")
    for one in record.sources:
        table.add_row(one.dataset, *(f"{count:,}" for count in (one.images, one.own, one.kept)))
    return table


def _removed(found: PoolInspection) -> Iterator[RenderableType]:
    yield Text(f"near-duplicates ({found.record.removed_list} lists all {len(found.removed):,})", "bold")
    for one in found.removed[:MOST_REMOVED]:
        place = Path(one["name"]).as_posix()
        how = "" if one["transform"] in ("", "none", "identity") else f", {one['transform']}"
        yield Text(
            f"  {place} copies {one['against']} {one['of']} ({one['check']}{how}, score {one['score']:g})"
        )


def _classes(record: PoolRecord) -> Iterator[Text]:
    """Bars of what each class took; those with the fewest images come first where not all are shown."""
    yield Text(f"images in the pool by class ({len(record.classes):,} classes)", "bold")
    order = list(range(len(record.classes)))
    if len(order) > MOST_CLASSES:
        order = sorted(order, key=lambda index: (record.histogram[index], index))[:MOST_CLASSES]
    width = max(len(record.classes[index]) for index in order)
    names = [record.classes[index].ljust(width) for index in order]
    yield from _bars(names, [record.histogram[index] for index in order], max(record.histogram))
    if len(order) < len(record.classes):
        yield Text(f"  and {len(record.classes) - len(order):,} classes with more")
    empty = sum(1 for count in record.histogram if not count)
    if empty:
        yield Text(f"hint: {empty:,} classes have no image; name sources that show them", "yellow")


def _confidence(record: PoolRecord) -> Iterator[Text]:
    counts = record.confidence.candidates
    yield Text(f"confidence (largest probability) of {sum(counts):,} candidates", "bold")
    edges = record.confidence.edges
    names = [f"{low:.2f} to {high:.2f}" for low, high in zip(edges, edges[1:], strict=False)]
    yield from _bars(names, counts, max(counts))


def _bars(names: Sequence[str], counts: Sequence[int], largest: int) -> Iterator[Text]:
    for name, count in zip(names, counts, strict=True):
        yield Text(f"  {name} {count:>11,} {bar(count, largest)}")
