"""`compactor inspect BUNDLE`."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from compactor_runtimes.bundle.manifest import ImageStep, Manifest, Pre

MOST_FACTS = 6  # of a list that is printed whole
DIGEST = re.compile("[0-9a-f]{64}")


@click.command("inspect")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the whole manifest as JSON.")
def command(bundle: Path, as_json: bool) -> None:
    """Show what is in a bundle: interface, artifacts, metrics, licences (hashes are checked)."""
    import msgspec
    from rich.table import Table
    from rich.text import Text

    from compactor.cli import emit_json, result_console
    from compactor_runtimes.bundle.open import open_bundle

    manifest = open_bundle(bundle).manifest
    if as_json:
        emit_json(msgspec.to_builtins(manifest))
        return
    console = result_console()
    about = f", {manifest.task}, schema {manifest.schema_version}"
    console.print(Text.assemble((manifest.name, "bold"), about))
    for line in _interface(manifest):
        console.print(line)
    table = Table(title="artifacts", title_justify="left")
    for column in ("name", "status", "bytes", "limit", "checks"):
        table.add_column(column, overflow="fold")
    for artifact in manifest.main.artifacts:
        passed = sum(check.passed for check in artifact.checks)
        limits = ", ".join(f"{name} {limit:.3g}" for name, limit in artifact.limits.items())
        size = f"{sum(entry.bytes for entry in artifact.files):,}"
        star = " *" if artifact.name == manifest.default_artifact else ""
        status = "OVERRIDDEN" if artifact.status == "overridden" else artifact.status
        table.add_row(artifact.name + star, status, size, limits, f"{passed}/{len(artifact.checks)}")
    table.caption, table.caption_justify = "* loaded by default", "left"
    console.print(table)
    for line in _artifacts(manifest):
        console.print(line)
    for subject, metric in manifest.metrics.items():
        shown = ", ".join(
            f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in metric.items()
        )
        console.print(f"{subject}: {shown}")
    for what, licence in manifest.licences.items():
        console.print(f"licence of {what}: {licence}")


def _interface(manifest: "Manifest") -> "Iterator[str]":
    """Yield lines on what goes in, what comes out, and what happens before and after the graph."""
    from compactor_runtimes.predict.answers import open_codec

    for direction, ports in (("input", manifest.main.inputs), ("output", manifest.main.outputs)):
        for port in ports:
            yield f"{direction} {port.name}: {port.dtype} {port.axes} ({port.role})"
    for pre in manifest.pre:
        yield f"before the graph: {_pre(pre)}"
    for post in manifest.post:
        yield f"after the graph: {open_codec(post, manifest.labels).describe()}"
    for name, labels in manifest.labels.items():
        shown = ", ".join(labels[:10]) + (", ..." if len(labels) > 10 else "")
        yield f"labels {name}: {len(labels)} ({shown})"


def _artifacts(manifest: "Manifest") -> "Iterator[str]":
    """Yield for each artifact why it is used or not, how it was made, how far off it is, and where judged."""
    choice = manifest.provenance.get("choice", {})
    for artifact in manifest.main.artifacts:
        status = "OVERRIDDEN" if artifact.status == "overridden" else artifact.status
        yield f"{artifact.name}: {status}{f': {artifact.reason}' if artifact.reason else ''}"
        chosen = choice.get(artifact.name)
        if chosen is not None and artifact.ships:  # otherwise it repeats the reason
            yield f"  {chosen['decision']}: {chosen['reason']}"
        if artifact.made:
            yield f"  made: {'; '.join(f'{key} {_fact(value)}' for key, value in artifact.made.items())}"
        for output, error in artifact.errors.items():
            yield (
                f"  differs from the student, {output}: at most {error.maximum:.3g}, mean {error.mean:.3g}, "
                f"smallest cosine {error.cosine:.6f}, n {error.n:,}"
            )
        if artifact.isa:
            yield f"  verdict reached on: {', '.join(artifact.isa)}"


def _fact(value: "Any", *, nested: bool = False) -> str:
    """One fact of how an artifact was made, short: digests are cut, what is long or lies deep is counted."""
    if isinstance(value, dict | list):
        if nested or len(value) > MOST_FACTS:
            return f"({len(value)} {'entry' if len(value) == 1 else 'entries'})"
        if isinstance(value, dict):
            shown = [f"{key} {_fact(each, nested=True)}" for key, each in value.items()]
        else:
            shown = [_fact(each, nested=True) for each in value]
        return f"({', '.join(shown)})" if shown else "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value[:12]}..." if isinstance(value, str) and DIGEST.fullmatch(value) else str(value)


def _pre(pre: "Pre") -> str:
    """What happens to a raw input, in words."""
    from compactor_runtimes.bundle.manifest import ImagePre

    if isinstance(pre, ImagePre):
        return f"image -> {', '.join(_step(step) for step in pre.steps)} -> {pre.input}"
    return (
        f"text -> tokens of {pre.tokenizer}, at most {pre.max_tokens}, a batch padded on the right with id "
        f"{pre.pad_id} -> {pre.ids}, {pre.mask}"
    )


def _step(step: "ImageStep") -> str:
    from compactor_runtimes.bundle.manifest import CenterCrop, Cover, DecodeImage, Resize

    match step:
        case DecodeImage():
            return f"decode to {step.mode}"
        case Resize():
            size = f"{step.size} x {step.size}" if step.kind == "exact" else f"a short side of {step.size}"
            return f"resize to {size} ({step.interpolation})"
        case Cover():
            return f"resize until {step.height} x {step.width} is covered ({step.interpolation})"
        case CenterCrop():
            return f"cut the central {step.height} x {step.width}"
        case _:
            return f"float32 times {step.scale:.6g}"
