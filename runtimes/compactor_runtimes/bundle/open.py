"""Open a bundle folder: every listed file lies inside it and is what the manifest says, or it does not open.

Hashes detect damage, not an attacker, who could change the manifest as well.
"""

import hashlib
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import msgspec

from compactor_runtimes.bundle.manifest import (
    BioPost,
    EmbeddingPost,
    FileEntry,
    GoldenCase,
    ImagePre,
    InputPort,
    Manifest,
    OutputPort,
    SigmoidPost,
    SoftmaxPost,
    TextPre,
    decode_manifest,
)
from compactor_runtimes.errors import IntegrityError, UsageError
from compactor_runtimes.predict.bio import is_bio

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files were checked: its folder and its manifest."""

    path: Path
    manifest: Manifest

    @property
    def listed(self) -> list[str]:
        """All that belongs to it: the manifest, and what that lists."""
        return [MANIFEST, *dict.fromkeys(entry.path for entry in _entries(self.manifest))]

    def file(self, relative: str) -> Path:
        """Path of a listed file.

        Raises:
            IntegrityError: the manifest lists no such file.
        """
        if not any(entry.path == relative for entry in _entries(self.manifest)):
            raise IntegrityError(
                f"{self.path / MANIFEST}: lists no file {relative!r}; export the bundle again"
            )
        return self.path / relative


def open_bundle(path: str | Path) -> Bundle:
    """Read the manifest of the folder `path` and check every file and reference in it.

    Raises:
        UsageError: `path` is not a folder.
        IntegrityError: no manifest or one of another version; a listed file that is missing, damaged or
            outside the folder; a reference to something that the manifest does not list.
    """
    root = Path(path)
    if not root.is_dir():
        found = "is a file" if root.exists() else "does not exist"
        raise UsageError(
            f"{root}: {found}; give a bundle, that is a folder with a {MANIFEST} as the exporter writes it"
        )
    manifest_path = resolve_inside(root, MANIFEST)
    if not manifest_path.is_file():
        raise IntegrityError(
            f"{root}: holds no {MANIFEST}, which is written last, so this is no complete bundle; "
            "copy the bundle again or finish the export"
        )
    manifest = decode_manifest(manifest_path.read_bytes(), where=str(root / MANIFEST))
    seen: dict[str, FileEntry] = {}
    for entry in _entries(manifest):
        if seen.setdefault(entry.path, entry) != entry:
            raise IntegrityError(
                f"{root / MANIFEST}: lists {entry.path!r} twice with different digests; export again"
            )
    for entry in seen.values():
        _check_file(root, entry)
    _check_references(manifest, where=str(root / MANIFEST))
    bundle = Bundle(root, manifest)
    bundle.file(manifest.golden.tensors)
    read_cases(bundle)
    return bundle


def read_cases(bundle: Bundle) -> list[GoldenCase]:
    """Read the list of golden cases.

    Raises:
        IntegrityError: it is damaged or empty, repeats an id, or names a raw file that is not listed.
    """
    path = bundle.file(bundle.manifest.golden.cases)
    try:
        cases = msgspec.json.decode(path.read_bytes(), type=list[GoldenCase])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise IntegrityError(
            f"{path}: is not a list of golden cases ({error}); export the bundle again"
        ) from error
    if not cases:
        raise IntegrityError(f"{path}: holds no golden case, at least one expected; export the bundle again")
    if len({case.id for case in cases}) != len(cases):
        raise IntegrityError(f"{path}: two golden cases have the same id; export the bundle again")
    for case in cases:
        bundle.file(case.raw)
    return cases


def file_entry(root: Path, relative: str) -> FileEntry:
    """Describe the file `relative` (POSIX path) of the folder `root` for a manifest.

    Raises:
        IntegrityError: no such file, or it lies outside `root`.
    """
    path = resolve_inside(root, relative)
    if not path.is_file():
        raise IntegrityError(
            f"{root / relative}: no such file, so it cannot be listed in the manifest; write it first"
        )
    return FileEntry(path=relative, sha256=_sha256(path), bytes=path.stat().st_size)


def _entries(manifest: Manifest) -> Iterator[FileEntry]:
    yield from manifest.files
    for component in manifest.components.values():
        for artifact in component.artifacts:
            yield from artifact.files


def resolve_inside(root: Path, relative: str) -> Path:
    """Resolve the POSIX path `relative` under `root`, following links.

    Raises:
        IntegrityError: it leaves the folder, or names nothing.
    """
    pure = PurePosixPath(relative)
    if not relative or "\0" in relative or pure.is_absolute() or ".." in pure.parts:
        raise IntegrityError(
            f"{root / MANIFEST}: path {relative!r} found, expected one inside the bundle without '..'; "
            "do not use this bundle, get it again from its source"
        )
    try:
        resolved = (root / pure).resolve()
    except (OSError, RuntimeError) as error:  # a loop of links is a RuntimeError before Python 3.13
        raise IntegrityError(
            f"{root / relative}: cannot be followed ({error}); copy the bundle again"
        ) from error
    if not resolved.is_relative_to(root.resolve()):
        raise IntegrityError(
            f"{root / relative}: leads to {resolved}, outside the bundle; "
            "copy the bundle with links followed, or do not use it"
        )
    return resolved


def _check_file(root: Path, entry: FileEntry) -> None:
    path, shown = resolve_inside(root, entry.path), root / entry.path
    try:
        if not path.is_file():  # before it is opened: a pipe would block for ever
            raise IntegrityError(f"{shown}: listed in the manifest but missing; copy the bundle again")
        size = path.stat().st_size
        if size != entry.bytes:
            raise IntegrityError(
                f"{shown}: {size} bytes found, {entry.bytes} expected; copy the bundle again"
            )
        digest = _sha256(path)
    except OSError as error:
        raise IntegrityError(f"{shown}: cannot be read ({error}); copy the bundle again") from error
    if digest != entry.sha256:
        raise IntegrityError(
            f"{shown}: damaged, sha256 {digest[:12]}... found, {entry.sha256[:12]}... expected; "
            "copy the bundle again"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check_references(manifest: Manifest, *, where: str) -> None:
    """Check that what the records of the manifest say of each other holds."""
    main = manifest.main

    def need(name: str, known: Container[str], what: str) -> None:
        if name not in known:
            raise IntegrityError(f"{where}: {what} {name!r} is not in the manifest; export the bundle again")

    need(manifest.default_artifact, [artifact.name for artifact in main.artifacts], "default artifact")
    inputs = {port.name: port for port in main.inputs}
    for pre in manifest.pre:
        if isinstance(pre, ImagePre):
            need(pre.input, inputs, "pre-processed input")
            continue
        need(pre.tokenizer, [entry.path for entry in manifest.files], "tokenizer file")
        for name in (pre.ids, pre.mask):
            need(name, inputs, "pre-processed input")
            _check_text_port(inputs[name], pre, where=where)
    outputs = [port.name for port in main.outputs]
    for post in manifest.post:
        need(post.output, outputs, "post-processed output")
        if not isinstance(post, EmbeddingPost):
            need(post.labels, manifest.labels, "label list")
    for port in main.outputs:
        if port.labels is not None:
            need(port.labels, manifest.labels, "label list")
            _check_width(port, len(manifest.labels[port.labels]), where=where)
    _check_rejected(manifest, where=where)
    _check_thresholds(manifest, where=where)
    _check_slots(manifest, where=where)


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
    if len(port.axes) != 2 or not isinstance(port.axes[1], str) or port.max[1] < pre.max_tokens:
        raise IntegrityError(
            f"{where}: input {port.name!r} has axes {port.axes} up to {port.max}, texts of up to "
            f"{pre.max_tokens} tokens need a named second axis that long; export the bundle again"
        )
