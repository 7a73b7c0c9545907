"""Pack what runs here into a wheel, without a build tool: the same files give the same bytes."""

import base64
import hashlib
import zipfile
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

from compactor_runtimes.errors import UnfitEnvironmentError
from compactor_runtimes.files import writing

DISTRIBUTION = "compactor-toolkit"
PACKAGES = ("compactor", "compactor_exporters", "compactor_runtimes")
_TAG = "py3-none-any"
_CACHES = ("__pycache__",)
_DAY = (1980, 1, 1, 0, 0, 0)  # the first that a zip file can tell


def pack_wheel(folder: Path) -> Path:
    """Write the wheel of this very code into `folder`, which exists.

    Works for editable and ordinary installs: files are those that an import would find, the metadata is that
    of the installation.

    Raises:
        UnfitEnvironmentError: the project is not installed here, or a package of it is missing.
    """
    try:
        found = distribution(DISTRIBUTION)
    except PackageNotFoundError as error:
        raise UnfitEnvironmentError(
            f"{DISTRIBUTION}: has no metadata here, so no wheel can be made of it; install it with pip"
        ) from error
    stem = f"{DISTRIBUTION.replace('-', '_')}-{found.version.replace('-', '_')}"
    info = f"{stem}.dist-info"
    contents = {name: content for package in PACKAGES for name, content in _files(package)}
    contents |= {f"{info}/{name}": content for name, content in _metadata(found)}
    record = [f"{name},sha256={_digest(content)},{len(content)}" for name, content in contents.items()]
    contents[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    path = folder / f"{stem}-{_TAG}.whl"
    with writing(path), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, content in contents.items():
            entry = zipfile.ZipInfo(name, _DAY)
            entry.compress_type, entry.create_system = zipfile.ZIP_DEFLATED, 3
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, content)
    return path


def _files(package: str) -> list[tuple[str, bytes]]:
    """Name in the wheel and content of every file of a package, by name."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UnfitEnvironmentError(f"package {package!r}: not found here; install {DISTRIBUTION} again")
    root = Path(next(iter(spec.submodule_search_locations)))
    paths = [
        path
        for path in sorted(root.rglob("*"))
        if path.is_file()
        and path.suffix != ".pyc"
        and not any(part in _CACHES or part.startswith(".") for part in path.relative_to(root).parts)
    ]
    return [(path.relative_to(root.parent).as_posix(), path.read_bytes()) for path in paths]


def _metadata(found: Distribution) -> list[tuple[str, bytes]]:
    wheel = f"Wheel-Version: 1.0\nGenerator: {DISTRIBUTION}\nRoot-Is-Purelib: true\nTag: {_TAG}\n"
    texts = {name: found.read_text(name) for name in ("METADATA", "entry_points.txt")}
    licences = [
        (f"licenses/{file.name}", file.read_binary())
        for file in found.files or []
        if file.parent.name == "licenses"
    ]
    kept = [(name, text.encode()) for name, text in texts.items() if text]
    return [*kept, ("WHEEL", wheel.encode()), *sorted(licences)]


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
