"""Print what is in a store: facts, bytes, the distribution of confidences and FerKD's bins."""

from collections.abc import Iterator
from typing import Any

from msgspec import UnsetType
from rich.console import Group, RenderableType
from rich.text import Text

from compactor.label_store.calibrate import BINS
from compactor.label_store.diagnosis import SURE
from compactor.label_store.header import Header
from compactor.label_store.inspect import (
    EDGES,
    QUANTILES,
    VERY_SURE,
    Bins,
    Confidences,
    Inspection,
)
from compactor_runtimes.report.draw.result_table import result_table
from compactor_runtimes.units import scaled

BAR_WIDTH = 40
MOST_CLASSES = 20  # that a table shows; --json has them all
DIGEST = 12


def render_inspection(found: Inspection) -> RenderableType:
    """Everything that `compactor store inspect` prints."""
    parts: list[RenderableType] = [Text(line) for line in _facts(found)]
    parts += [Text(""), _parts_table(found)]
    if found.no_confidences:
        parts += [Text(f"no confidences: {found.no_confidences}")]
    if found.confidences:
        parts += [Text(""), *_histogram(found.confidences[0]), Text(""), _quantile_table(found.confidences)]
    if found.diagnosis.is_sure:
        parts.append(
            Text(
                f"hint: more than half of the training views are above {SURE}: a teacher that memorised the "
                "train set; a top threshold there would drop them",
                "yellow",
            )
        )
    parts += [Text(""), Text("what it can teach", "bold")]
    parts += [Text(f"  {line}") for line in found.diagnosis.lines()]
    if found.diagnosis.visits is None:
        parts.append(Text("  visits: --epochs E counts how often each image and each view would come up"))
    if found.bins is not None:
        parts += [Text(""), *_bins(found.bins)]
    return Group(*parts)


def describe_teacher(teacher: dict[str, Any]) -> str:
    """A teacher's name and the digest of its weights: `cifar:resnet56 (weights 2f9a0c11d3e4)`."""
    weights, files = teacher.get("weights"), teacher.get("folder") or []
    details = []
    if weights == "pretrained":
        details.append("weights pretrained")
    elif weights:
        details.append(f"weights {weights[:DIGEST]}")
    elif not files:
        details.append("weights not known")
    if files:
        details.append(f"files {' '.join(digest[:DIGEST] for digest in files)}")
    details += [f"{name} {value}" for name, value in (teacher.get("options") or {}).items()]
    return f"{teacher.get('model') or teacher.get('stage')} ({', '.join(details)})"


def _facts(found: Inspection) -> Iterator[str]:
    header = found.header
    yield f"store      {found.folder} (format {header.format}; all hashes are right)"
    yield f"teachers   {' + '.join(map(describe_teacher, header.teachers)) or 'not named'}"
    for ran in header.runtimes or ():
        yield f"runtime    {ran.told}"
    if not isinstance(header.cross_fit, UnsetType):
        yield (
            f"cross-fit  {header.cross_fit.folds} folds of the training samples, each labelled by the "
            f"teacher that was trained without it; all else by the mean of all ({header.cross_fit.rule}, "
            f"{header.cross_fit.sha256[:DIGEST]})"
        )
    heads = ", ".join(f"{head.name} {head.num_classes:,} classes" for head in header.heads)
    yield f"data       {header.data} ({heads})"
    yield f"transform  {_transform(header)}"
    yield f"payload    {_payload(header)}; teachers ran in {header.precision}, seed {header.seed}"
    each, floor = found.size_bytes / found.records, sum(found.record_bytes.values())
    fields = ", ".join(f"{name} {size}" for name, size in found.record_bytes.items())
    yield (
        f"size       {scaled(found.size_bytes, 'B')} in {found.records:,} records: {each:.1f} bytes each, "
        f"the record itself {floor} ({fields})"
    )


def _transform(header: Header) -> str:
    made = header.transform
    if made.image is None:
        return f"texts cut to {made.max_tokens} tokens, tokenizer {str(made.tokenizer)[:DIGEST]}"
    height, width, channels = made.image
    augment = made.augment
    drawn = "whole images"
    if augment is not None and augment.crop == "pad":
        drawn = f"shifted by up to {augment.padding} pixels"
    elif augment is not None and augment.crop == "random-resized":
        low, high = augment.scale
        drawn = (
            f"random-resized crops (scale {low:g} to {high:g}, ratio {augment.ratio[0]:.3g} to "
            f"{augment.ratio[1]:.3g}{', uniform' if augment.aspect == 'uniform' else ''})"
        )
    flips = ", half of them mirrored" if augment is not None and augment.flip else ""
    boxes = {"pixels": "int16 pixels", "relative": "float32 fractions", "none": "none"}[header.boxes]
    return f"{drawn}{flips} of {height} x {width} x {channels} images; boxes as {boxes}"


def _payload(header: Header) -> str:
    payload = header.payload
    if payload.kind == "hard":
        return "hard (the largest class)"
    if payload.kind == "full":
        return "full (every class, float32)"
    return f"top-k (k {payload.k}, {payload.probabilities})"


def _parts_table(found: Inspection) -> RenderableType:
    table = result_table()
    table.add_column("part")
    for heading in ("samples", "views each", "records", "shards"):
        table.add_column(heading, justify="right")
    table.add_column("source")
    for part in found.header.parts:
        numbers = (part.rows, part.views, part.rows * part.views, len(part.shards))
        table.add_row(part.split, *(f"{number:,}" for number in numbers), part.source[:DIGEST])
    return table


def _histogram(one: Confidences) -> Iterator[Text]:
    """Lines of bars; the bins become finer where teachers are sure."""
    yield Text(f"confidence (largest probability) of {one.values.size:,} views of {one.split}", "bold")
    largest, total = max(one.counts), one.values.size
    for low, high, count in zip(EDGES, EDGES[1:], one.counts, strict=False):
        drawn = bar(count, largest)
        yield Text(f"  {low:<5g} to {high:<5g} {100 * count / total:6.2f}% {count:>11,} {drawn}")


def bar(count: int, largest: int) -> str:
    """A bar of `count` where the longest is of `largest`; what is not 0 is seen."""
    return "█" * round(BAR_WIDTH * count / max(largest, 1)) or ("▏" if count else "")


def _quantile_table(all_parts: list[Confidences]) -> RenderableType:
    table = result_table("quantiles of the confidence, and the share of views above")
    table.add_column("part")
    for name in (*QUANTILES, f"> {SURE}", f"> {VERY_SURE}"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in all_parts:
        shares = (f"{100 * one.above(value):.1f}%" for value in (SURE, VERY_SURE))
        table.add_row(one.split, *(f"{value:.5f}" for value in one.quantiles.values()), *shares)
    return table


def _bins(bins: Bins) -> Iterator[RenderableType]:
    report, given = bins.report, bins.thresholds
    limits = ", ".join(
        f"{name} {value:.5f}" + (f" (quantile {getattr(given, name):g})" if given.unit == "quantiles" else "")
        for name, value in report["limits"].items()
        if value is not None
    )
    what = "largest probability" if given.confidence == "max" else "probability of the ground truth"
    yield Text(f"FerKD's bins of {report['views']:,} training views by the {what}", "bold")
    yield Text(f"  {limits}")
    for told in report["ties"]:
        yield Text(f"  warning: {told}", "yellow")
    table = result_table()
    table.add_column("views of")
    table.add_column("views", justify="right")
    for name in BINS:
        table.add_column(name, justify="right")
    table.add_row(Text("all", "bold"), f"{report['views']:,}", *_shares(report["shares"]))
    by_class = sorted(report["by_class"].items(), key=lambda item: item[1]["kept"])
    for name, shares in by_class[:MOST_CLASSES]:
        table.add_row(Text(name), f"{bins.views_of_class[name]:,}", *_shares(shares))
    yield table
    more = len(by_class) - MOST_CLASSES
    yield Text(
        "too-hard and too-easy are dropped, hard gets the softened ground truth; least kept first"
        + (f", {more:,} more classes with --json" if more > 0 else "")
    )
    if bins.by == "teacher":
        yield Text(
            "classes are the teacher's own top class of each view, as the store holds no ground truth; "
            "--data PATH reads it"
        )
    else:
        yield Text("classes are the ground truth of the data")
    yield Text(
        f"survivors: {report['mean_survivors']:.2f} views a sample; with {bins.views_a_step} crops per "
        f"image, {report['filled_up']:,} of {report['samples']:,} samples need dropped views to fill up"
    )


def _shares(shares: dict[str, float]) -> Iterator[str]:
    return (f"{100 * shares[name]:.2f}%" for name in BINS)
