"""Write a bundle: everything in a temporary sibling folder, the manifest last, then one rename into place.

What a bundle means is `compactor_runtimes.bundle.manifest`; whether it holds is
`compactor_runtimes.golden.verify`, run afterwards by whoever called this.
"""

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from compactor_exporters.readme import render_readme
from compactor_exporters.source import ExportSource, forward
from compactor_exporters.verify.gates import raise_for_gates
from compactor_runtimes.bundle.manifest import (
    SCHEMA_VERSION,
    Artifact,
    Component,
    Golden,
    GoldenCase,
    Manifest,
    encode_manifest,
)
from compactor_runtimes.bundle.open import MANIFEST, file_entry, resolve_inside
from compactor_runtimes.errors import IntegrityError, NumericGateError, UsageError, needs_extra
from compactor_runtimes.files import new_folder, writing, written_whole
from compactor_runtimes.predict.answering import words_from
from compactor_runtimes.predict.answers import decoder_from
from compactor_runtimes.predict.images import feeds_from

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STUDENT_FILES = ("model.safetensors", "config.json")
_GOLDEN = Golden(cases="golden/cases.json", tensors="golden/tensors.safetensors")


@dataclass(frozen=True)
class BundleContents:
    """What goes into a bundle.

    `artifact_folder` holds the artifacts' files, `student_folder` model.safetensors and config.json (None:
    they stay where they are); `raws` are the raw inputs of the golden cases; `default_artifact`
    is the one that is loaded when none is named. The files that `source.assets` names are copied to their
    places in the bundle.
    """

    source: ExportSource
    artifacts: list[Artifact]
    artifact_folder: Path
    student_folder: Path | None
    raws: list[Path]
    default_artifact: str
    report_files: list[Path] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    licences: dict[str, str] = field(default_factory=dict)


def write_bundle(folder: Path, contents: BundleContents) -> Path:
    """Write the bundle `folder`; one that is there already is replaced at the very end, or left as it was.

    Returns:
        `folder`.

    Raises:
        NumericGateError, AccuracyGateError: a required artifact, or the default one, is not verified.
        UsageError: no golden input, or a default artifact that is not in the list.
        IntegrityError: a file to copy is missing, or an artifact changed after it was verified.
    """
    check_fit_to_ship(contents.artifacts, contents.default_artifact)
    if not contents.raws:
        raise UsageError(f"bundle of {contents.source.name!r}: got no golden input, expected at least one")
    partial = new_folder(folder.parent, f".{folder.name}.")
    try:
        _fill(partial, contents)
        move_into_place(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def check_fit_to_ship(artifacts: Iterable[Artifact], default_artifact: str | None = None) -> None:
    """Refuse to ship when a required artifact, the default one, or every one is not verified.

    Raises:
        NumericGateError, AccuracyGateError: the artifact's first failed check.
        UsageError: no artifact has the default's name.
    """
    known = {artifact.name: artifact for artifact in artifacts}
    if default_artifact is not None and default_artifact not in known:
        raise UsageError(
            f"bundle: default artifact {default_artifact!r} is not among the exported ones "
            f"({', '.join(known)})"
        )
    none_verified = all(not artifact.ships for artifact in known.values())
    for artifact in known.values():
        needed = artifact.spec.required or artifact.name == default_artifact or none_verified
        if artifact.ships or not needed:
            continue
        raise_for_gates(artifact.checks)
        kind = "required" if artifact.spec.required else "default" if default_artifact else "only"
        raise NumericGateError(
            f"bundle: the {kind} artifact {artifact.name!r} is {artifact.status}"
            f"{f' ({artifact.reason})' if artifact.reason else ''}, verified expected; verify it, or do "
            f"not ask for it"
        )


def _fill(root: Path, contents: BundleContents) -> None:
    """Write all files of the bundle into `root`, the manifest last."""
    source = contents.source
    if contents.student_folder is not None:
        for name in _STUDENT_FILES:
            _copy(contents.student_folder / name, root / "student" / name)
    artifacts = [_place_artifact(root, contents.artifact_folder, artifact) for artifact in contents.artifacts]
    for report in contents.report_files:
        _copy(report, root / "reports" / report.name)
    _write(root / "assets/labels.json", msgspec.json.format(msgspec.json.encode(source.labels), indent=1))
    for path, asset in source.assets.items():
        _copy(asset, resolve_inside(root, path))
    _write_golden(root, contents)
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        task=source.task,
        name=source.name,
        components={"main": Component(inputs=source.inputs, outputs=source.outputs, artifacts=artifacts)},
        labels=source.labels,
        pre=source.pre,
        post=source.post,
        files=[],
        golden=_GOLDEN,
        default_artifact=contents.default_artifact,
        metrics=contents.metrics,
        provenance=contents.provenance,
        licences=contents.licences,
    )
    _write(root / "README.md", render_readme(manifest).encode())
    in_artifacts = {entry.path for artifact in artifacts for entry in artifact.files}
    paths = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    files = [file_entry(root, path) for path in paths if path not in in_artifacts]
    for path in paths:
        _sync(root / path)
    _write(root / MANIFEST, encode_manifest(msgspec.structs.replace(manifest, files=files)))
    _sync(root / MANIFEST)
    for directory in (*{(root / path).parent for path in paths}, root):
        _sync(directory)


def _place_artifact(root: Path, folder: Path, artifact: Artifact) -> Artifact:
    """Copy an artifact's files to artifacts/; a rejected one keeps its entry and reason, without files."""
    if artifact.status == "rejected":
        return msgspec.structs.replace(artifact, files=[])
    placed = []
    for entry in artifact.files:
        relative = f"artifacts/{entry.path}"
        _copy(folder / entry.path, root / relative)
        copied = file_entry(root, relative)
        if copied.sha256 != entry.sha256:
            raise IntegrityError(
                f"{folder / entry.path}: changed since artifact {artifact.name!r} was exported; export "
                f"it again"
            )
        placed.append(copied)
    return msgspec.structs.replace(artifact, files=placed)


def _write_golden(root: Path, contents: BundleContents) -> None:
    """Store for each raw input the fed array, the torch student's outputs, and the decoded result."""
    with needs_extra("ort"):
        from safetensors.numpy import save_file

    source = contents.source
    to_feeds, decode = feeds_from(source.pre, root), decoder_from(source.post, source.labels)
    to_words = words_from(source.pre, source.post, root)
    tensors: dict[str, NDArray[Any]] = {}
    cases = []
    for index, raw in enumerate(contents.raws):
        case_id = f"case-{index:03d}"
        copied = root / "golden" / f"{case_id}{raw.suffix.lower()}"
        _copy(raw, copied)
        feeds = to_feeds([copied])
        missing = [port.name for port in source.inputs if port.name not in feeds]
        if missing:
            raise UsageError(
                f"bundle of {source.name!r}: no preprocessing gives {missing}, only {sorted(feeds)} are made "
                "from a raw input"
            )
        outputs = forward(source, feeds)
        decoded, arrays = decode.keep(decode(outputs, to_words([copied]))[0], case_id)
        keys = {name: f"{case_id}.{name}" for name in feeds | outputs}
        arrays |= {keys[name]: values for name, values in (feeds | outputs).items()}
        tensors |= {
            key: values.copy() for key, values in arrays.items()
        }  # safetensors stores memory as it is
        cases.append(
            GoldenCase(
                id=case_id,
                raw=copied.relative_to(root).as_posix(),
                feeds={name: keys[name] for name in feeds},
                outputs={name: keys[name] for name in outputs},
                decoded=decoded,
            )
        )
    with written_whole(root / _GOLDEN.tensors) as partial:
        save_file(tensors, partial)
    _write(root / _GOLDEN.cases, msgspec.json.format(msgspec.json.encode(cases), indent=1))


def _copy(source: Path, target: Path) -> None:
    """Copy one file.

    Raises:
        IntegrityError: it is missing, or another file already has its place.
    """
    if not source.is_file():
        raise IntegrityError(f"{source}: no such file, and the bundle needs it; write it before the bundle")
    if target.exists():
        raise IntegrityError(f"{source}: the bundle already has a file {target.name!r}; give it another name")
    target.parent.mkdir(parents=True, exist_ok=True)
    with writing(target):
        shutil.copyfile(source, target)


def _write(path: Path, content: bytes) -> None:
    """Write one file, with a newline at its end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path):
        path.write_bytes(content.rstrip(b"\n") + b"\n")


def _sync(path: Path) -> None:
    """Make sure that a file or folder is on the disk before the next step relies on it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with writing(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def move_into_place(partial: Path, folder: Path) -> None:
    """Rename the finished folder; the one it replaces is put back if that fails."""
    old = partial.with_suffix(".old")
    if folder.exists():
        folder.rename(old)
    try:
        partial.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    _sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)
