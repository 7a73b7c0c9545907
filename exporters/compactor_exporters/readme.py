"""The README of a bundle, rendered from its manifest alone."""

from compactor_runtimes.bundle.manifest import (
    Artifact,
    BioPost,
    EmbeddingPost,
    Manifest,
    SigmoidPost,
    SoftmaxPost,
    TextPre,
)

_LABELS_SHOWN = 12


def render_readme(manifest: Manifest) -> str:
    """Render Markdown: what the bundle is, how to predict with it, how to verify it, labels and licences."""
    main = manifest.main
    ports = [
        f"- {kind} `{port.name}`: {port.dtype} [{', '.join(str(axis) for axis in port.axes)}], {port.role}"
        for kind, group in (("input", main.inputs), ("output", main.outputs))
        for port in group
    ]
    labels = [
        f"- `{name}` ({len(names)}): {_shortened(names)}" for name, names in sorted(manifest.labels.items())
    ]
    licences = [f"- {what}: {licence}" for what, licence in sorted(manifest.licences.items())]
    return f"""# {manifest.name}

A compact model for {manifest.task}, exported and checked by compactor-toolkit. It runs without torch.

## Predict

{_usage(manifest)}

## Verify on this machine

```sh
compactor verify path/to/this/folder
```

This runs the golden cases through preprocessing, every artifact and decoding, and compares the numbers with
the limits below. It needs neither torch nor a network.

## Graph

{_lines(ports)}

| artifact | status | files | largest difference from the student | limits | reason |
|---|---|---|---|---|---|
{_lines([_row(artifact, manifest.default_artifact) for artifact in main.artifacts])}

## Labels

{_lines(labels) or "None."}

## Licences

{_lines(licences) or "None recorded; ask whoever trained the model."}
"""


def _usage(manifest: Manifest) -> str:
    """How to predict from Python and from a shell, for what this bundle takes and gives."""
    text = any(isinstance(pre, TextPre) for pre in manifest.pre)
    kinds = {type(post) for post in manifest.post}
    extra, given = ("text", "turn on the light") if text else ("image", "image.png")
    note = "\nA `str` is a text here, never a path; a list of texts gives a list.\n" if text else ""
    told = "vector" if EmbeddingPost in kinds else "labels" if SigmoidPost in kinds else "label"
    code = f'print(model.predict("{given}").{told})'
    if SigmoidPost in kinds:
        note += (
            "\nAn answer has the labels whose probability reaches their threshold (none, or several), their "
            "`confidences`, and the `probabilities` of all labels.\n"
        )
    if BioPost in kinds:
        said = "answer.label, answer.confidence, answer.slots" if SoftmaxPost in kinds else "answer.slots"
        code = f'answer = model.predict("{given}")\nprint({said})'
        note += "Of a slot, `text[slot.start:slot.end] == slot.value`; `slot.name` says what it is.\n"
    note += "".join(_rejects(post) for post in manifest.post if isinstance(post, SoftmaxPost))
    return f"""```python
from compactor_runtimes import load
model = load("path/to/this/folder")
{code}
```
{note}
```sh
pip install 'compactor-toolkit[{extra}]'
compactor predict path/to/this/folder {f'"{given}"' if text else given}
```"""


def _rejects(post: SoftmaxPost) -> str:
    """Which answers should not be acted on; nothing where none is rejected."""
    ways = [f"its confidence lies below {post.reject_below:.4g}"] if post.reject_below else []
    ways += [f"it is `{post.reject_label}`"] if post.reject_label is not None else []
    if not ways:
        return ""
    return f"\nAn answer has a label, a confidence, and `rejected`, which is true if {' or '.join(ways)}.\n"


def _row(artifact: Artifact, default: str) -> str:
    """One line of the table of artifacts."""
    name = f"{artifact.name} (default)" if artifact.name == default else artifact.name
    files = ", ".join(f"{entry.path} ({entry.bytes / 1000:.0f} kB)" for entry in artifact.files) or "none"
    limits = ", ".join(f"{output} {limit:.2g}" for output, limit in artifact.limits.items()) or "none"
    errors = ", ".join(f"{output} {error.maximum:.2g}" for output, error in artifact.errors.items()) or "none"
    reason = artifact.reason.replace("|", "\\|").replace("\n", " ")
    return f"| {name} | {artifact.status} | {files} | {errors} | {limits} | {reason} |"


def _shortened(names: list[str]) -> str:
    """The first labels, and how many more there are."""
    more = len(names) - _LABELS_SHOWN
    return ", ".join(names[:_LABELS_SHOWN]) + (f", ... and {more} more" if more > 0 else "")


def _lines(items: list[str]) -> str:
    """Join lines."""
    return "\n".join(items)
