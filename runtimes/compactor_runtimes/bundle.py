"""Open a bundle folder: every listed file lies inside it and is what the manifest says, or it does not open.

Hashes detect damage, not an attacker, who could change the manifest as well.
"""

import hashlib
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import msgspec

from compactor_runtimes.errors import IntegrityError, UsageError
from compactor_runtimes.manifest import FileEntry, GoldenCase, Manifest, decode_manifest

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files were checked: its folder and its manifest."""

    path: Path
    manifest: Manifest

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
    manifest_path = _inside(root, MANIFEST)
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
    path = _inside(root, relative)
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


def _inside(root: Path, relative: str) -> Path:
    """Resolve `relative` under `root`, following links, and refuse what leaves the folder."""
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
    path, shown = _inside(root, entry.path), root / entry.path
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
    inputs = {port.name for port in main.inputs}
    outputs = {port.name: port for port in main.outputs}
    artifacts = [artifact.name for artifact in main.artifacts]

    def need(name: str, known: Container[str], what: str) -> None:
        if name not in known:
            raise IntegrityError(f"{where}: {what} {name!r} is not in the manifest; export the bundle again")

    need(manifest.default_artifact, artifacts, "default artifact")
    for pre in manifest.pre:
        need(pre.input, inputs, "pre-processed input")
    for post in manifest.post:
        need(post.output, outputs, "post-processed output")
        need(post.labels, manifest.labels, "label list")
    for port in outputs.values():
        if port.labels is None:
            continue
        need(port.labels, manifest.labels, "label list")
        width, count = port.axes[-1], len(manifest.labels[port.labels])
        if isinstance(width, int) and width != count:
            raise IntegrityError(
                f"{where}: output {port.name!r} has {width} classes, its label list {port.labels!r} {count}; "
                "export the bundle again"
            )
