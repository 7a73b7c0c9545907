"""Open a bundle folder: every listed file lies inside it and is what the manifest says, or it does not open.

1. A file is read once: the bytes that were hashed are the bytes that are used (`Bundle.read`).
2. Every number of the manifest that something is made of is checked here, or against the graph when it opens.

Hashes detect damage, not an attacker, who could change the manifest as well.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import msgspec

from compactor_runtimes.bundle.check import check_manifest
from compactor_runtimes.bundle.manifest import FileEntry, GoldenCase, Manifest, decode_manifest
from compactor_runtimes.bundle.signature import SIGNATURE, check_signature
from compactor_runtimes.errors import IntegrityError, UsageError, one_line
from compactor_runtimes.objects import local_copy
from compactor_runtimes.predict.limits import shown_path

MANIFEST = "manifest.json"
MOST_JSON = 64 << 20  # bytes of a manifest


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
        return self.path / self._entry(relative).path

    def read(self, relative: str) -> bytes:
        """Read a listed file, and check what was read (rule 1).

        Raises:
            IntegrityError: the manifest lists no such file, or it is not what the manifest says.
        """
        return _checked(self.path, self._entry(relative))

    def _entry(self, relative: str) -> FileEntry:
        for entry in _entries(self.manifest):
            if entry.path == relative:
                return entry
        raise IntegrityError(f"{self.path / MANIFEST}: lists no file {relative!r}; export the bundle again")


def open_bundle(path: str | Path, *, check: bool = True, trusted_keys: Sequence[str | Path] = ()) -> Bundle:
    """Read the manifest of the folder `path` and check every file and reference in it.

    Args:
        path: the bundle's folder, or its address in an object store.
        check: whether files are read now; else they are looked for, and each is checked when it is read.
        trusted_keys: public keys (PEM), one of which must have signed the bundle; none = nobody is asked.

    Raises:
        UsageError: `path` is not a folder.
        IntegrityError: no manifest or one of another version; a listed file that is missing, damaged or
            outside the folder; a reference to something that the manifest does not list; or nobody whom
            `trusted_keys` name signed it.
    """
    if not isinstance(path, str | os.PathLike):
        raise UsageError(f"bundle: got {type(path).__name__}, expected the path of its folder")
    root = local_copy(path, what="bundle")
    content, where = _manifest_bytes(root), str(root / MANIFEST)
    if trusted_keys:
        keys = [Path(key) for key in trusted_keys]
        check_signature(content, resolve_inside(root, SIGNATURE), keys=keys, shown=str(root))
    manifest = decode_manifest(content, where=where)
    seen: dict[str, FileEntry] = {}
    for entry in _entries(manifest):
        if seen.setdefault(entry.path, entry) != entry:
            raise IntegrityError(f"{where}: lists {entry.path!r} twice with different digests; export again")
    check_manifest(manifest, where=where)
    bundle = Bundle(root, manifest)
    for entry in seen.values():
        if not check:
            _place(root, entry)
        elif entry.path != manifest.golden.cases:
            _hash_file(root, entry)
    bundle.file(manifest.golden.tensors)
    if check:
        read_cases(bundle)  # which is hashed as it is read
    return bundle


def _manifest_bytes(root: Path) -> bytes:
    with _reading(root):
        if not root.is_dir():
            found = "is a file" if root.exists() else "does not exist"
            raise UsageError(
                f"{shown_path(root)}: {found}; give a bundle, that is a folder with a {MANIFEST} as the "
                "exporter writes it"
            )
        manifest_path = resolve_inside(root, MANIFEST)
        if not manifest_path.is_file():
            raise IntegrityError(
                f"{root}: holds no {MANIFEST}, which is written last, so this is no complete bundle; "
                "copy the bundle again or finish the export"
            )
        with manifest_path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            content = file.read(min(size, MOST_JSON) + 1)
    if len(content) > MOST_JSON:
        where = root / MANIFEST
        raise IntegrityError(f"{where}: has over {MOST_JSON:,} bytes; get the bundle again from its source")
    return content


def read_cases(bundle: Bundle) -> list[GoldenCase]:
    """Read the list of golden cases.

    Raises:
        IntegrityError: it is damaged or empty, repeats an id, or names a raw file that is not listed.
    """
    name = bundle.manifest.golden.cases
    path = bundle.file(name)
    try:
        cases = msgspec.json.decode(bundle.read(name), type=list[GoldenCase])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise IntegrityError(
            f"{path}: is not a list of golden cases ({one_line(error)}); export the bundle again"
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


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what the system says of a file into one sentence."""
    try:
        yield
    except (OSError, ValueError) as error:
        if isinstance(error, UsageError | TimeoutError):
            raise
        why = getattr(error, "strerror", None) or one_line(error)
        raise IntegrityError(
            f"{shown_path(path)}: cannot be read ({why}); copy the bundle again, readable for this user"
        ) from error


def _place(root: Path, entry: FileEntry) -> Path:
    """Where a listed file lies, which has the size that is listed."""
    path, shown = resolve_inside(root, entry.path), root / entry.path
    with _reading(shown):
        if not path.is_file():  # before it is opened: a pipe would block for ever
            raise IntegrityError(f"{shown}: listed in the manifest but missing; copy the bundle again")
        _check_size(path.stat().st_size, entry, shown)
    return path


def _checked(root: Path, entry: FileEntry) -> bytes:
    """A listed file's bytes, which are those that were hashed."""
    path, shown = _place(root, entry), root / entry.path
    with _reading(shown), path.open("rb") as file:
        content = file.read(entry.bytes + 1)
    _check_size(len(content), entry, shown)
    _check_digest(hashlib.sha256(content).hexdigest(), entry, shown)
    return content


def _hash_file(root: Path, entry: FileEntry) -> None:
    path, shown = _place(root, entry), root / entry.path
    with _reading(shown):
        digest = _sha256(path)
    _check_digest(digest, entry, shown)


def _check_size(size: int, entry: FileEntry, shown: Path) -> None:
    if size != entry.bytes:
        raise IntegrityError(f"{shown}: {size} bytes found, {entry.bytes} expected; copy the bundle again")


def _check_digest(digest: str, entry: FileEntry, shown: Path) -> None:
    if digest != entry.sha256:
        raise IntegrityError(
            f"{shown}: damaged, sha256 {digest[:12]}... found, {entry.sha256[:12]}... expected; "
            "copy the bundle again"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
