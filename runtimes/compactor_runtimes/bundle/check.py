"""Whether a manifest fits together: references between its parts, and the numbers of its ports."""

from collections.abc import Container

from compactor_runtimes.bundle.manifest import (
    BioPost,
    EmbeddingPost,
    ImagePre,
    InputPort,
    Manifest,
    OutputPort,
    SigmoidPost,
    SoftmaxPost,
    TextPre,
)
from compactor_runtimes.errors import IntegrityError
from compactor_runtimes.predict.bio import is_bio


def check_manifest(manifest: Manifest, *, where: str) -> None:
    """Check that what the records of the manifest say of each other holds.

    Args:
        manifest: of any version that is read.
        where: the file, as messages name it.

    Raises:
        IntegrityError: two of its parts contradict each other.
    """
    main = manifest.main
    names = [artifact.name for artifact in main.artifacts]
    _need(manifest.default_artifact, names, "default artifact", where=where)
    _check_pre(manifest, where=where)
    outputs = [port.name for port in main.outputs]
    for post in manifest.post:
        _need(post.output, outputs, "post-processed output", where=where)
        if not isinstance(post, EmbeddingPost):
            _need(post.labels, manifest.labels, "label list", where=where)
    for port in main.outputs:
        if port.labels is not None:
            _need(port.labels, manifest.labels, "label list", where=where)
            _check_width(port, len(manifest.labels[port.labels]), where=where)
    _check_rejected(manifest, where=where)
    _check_thresholds(manifest, where=where)
    _check_slots(manifest, where=where)


def _need(name: str, known: Container[str], what: str, *, where: str) -> None:
    if name not in known:
        raise IntegrityError(f"{where}: {what} {name!r} is not in the manifest; export the bundle again")


def _check_pre(manifest: Manifest, *, where: str) -> None:
    """Check that what preprocessing makes goes into inputs that take it."""
    inputs = {port.name: port for port in manifest.main.inputs}
    for each in manifest.main.inputs:
        _check_bounds(each, where=where)
    for pre in manifest.pre:
        if isinstance(pre, ImagePre):
            _need(pre.input, inputs, "pre-processed input", where=where)
            _check_image_port(inputs[pre.input], where=where)
            continue
        files = [entry.path for entry in manifest.files]
        _need(pre.tokenizer, files, "tokenizer file", where=where)
        for name in (pre.ids, pre.mask):
            _need(name, inputs, "pre-processed input", where=where)
            _check_text_port(inputs[name], pre, where=where)


def _check_rejected(manifest: Manifest, *, where: str) -> None:
    """Check that a label which rejects an answer can be answered."""
    for post in manifest.post:
        if not isinstance(post, SoftmaxPost) or post.reject_label is None:
            continue
        if post.reject_label not in manifest.labels[post.labels]:
            raise IntegrityError(
                f"{where}: rejected label {post.reject_label!r} is none of the labels {post.labels!r}; "
                "export the bundle again"
            )


def _check_thresholds(manifest: Manifest, *, where: str) -> None:
    """Check that each label has a threshold where any has one."""
    for post in manifest.post:
        if isinstance(post, SigmoidPost) and post.thresholds:
            known = manifest.labels[post.labels]
            if len(post.thresholds) != len(known):
                raise IntegrityError(
                    f"{where}: {len(post.thresholds)} thresholds found for the {len(known)} labels "
                    f"{post.labels!r}, expected one each; export the bundle again"
                )


def _check_width(port: OutputPort, labels: int, *, where: str) -> None:
    width = port.axes[-1]
    if isinstance(width, int) and width != labels:
        raise IntegrityError(
            f"{where}: output {port.name!r} has {width} classes, its label list {port.labels!r} {labels}; "
            "export the bundle again"
        )


def _check_slots(manifest: Manifest, *, where: str) -> None:
    """Check that slots can be read wherever they are decoded: of the tokens of a text, with BIO labels."""
    axes = {port.name: port.axes for port in manifest.main.outputs}
    for post in manifest.post:
        if not isinstance(post, BioPost):
            continue
        wrong = [label for label in manifest.labels[post.labels] if not is_bio(label)]
        if wrong:
            raise IntegrityError(
                f"{where}: labels {post.labels!r} of slots hold {wrong[:3]}, expected O, B-... and I-...; "
                "export the bundle again"
            )
        if len(axes[post.output]) != 3 or not any(isinstance(pre, TextPre) for pre in manifest.pre):
            raise IntegrityError(
                f"{where}: slots are decoded of {post.output!r} with axes {axes[post.output]}, expected the "
                "batch, tokens and labels of a text; export the bundle again"
            )


def _check_text_port(port: InputPort, pre: TextPre, *, where: str) -> None:
    """Check that an input takes every batch of texts that `pre` makes."""
    if port.dtype != "int64":
        raise IntegrityError(
            f"{where}: input {port.name!r} is {port.dtype}, texts are int64; export the bundle again"
        )
    if len(port.axes) != 2 or not isinstance(port.axes[1], str) or port.max[1] < pre.max_tokens:
        raise IntegrityError(
            f"{where}: input {port.name!r} has axes {port.axes} up to {port.max}, texts of up to "
            f"{pre.max_tokens} tokens need a named second axis that long; export the bundle again"
        )


def _check_image_port(port: InputPort, *, where: str) -> None:
    if len(port.axes) != 4 or port.dtype != "float32":
        raise IntegrityError(
            f"{where}: input {port.name!r} is {port.dtype} with axes {port.axes}, images are float32 with "
            "four: batch, channels, height and width; export the bundle again"
        )


def _check_bounds(port: InputPort, *, where: str) -> None:
    """Check that an input's bounds are those of its axes, and that a fixed one has no others."""
    fits = len(port.min) == len(port.max) == len(port.axes) and all(
        low <= high and (isinstance(axis, str) or low == high == axis)
        for axis, low, high in zip(port.axes, port.min, port.max, strict=True)
    )
    if not fits:
        raise IntegrityError(
            f"{where}: input {port.name!r} has axes {port.axes} from {port.min} to {port.max}, expected "
            "bounds of each axis, and of a fixed one itself; export the bundle again"
        )
