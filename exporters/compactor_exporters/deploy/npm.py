"""Packages of npm whose files go into a web page: fetched by npm, held against a hash that is pinned here.

The registry is the one that npm is set to; a package that it changed is refused.
"""

import base64
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from compactor_runtimes.errors import IntegrityError, UnfitEnvironmentError, one_line

_LIMIT_S = 600
_MOST_BYTES = 64 << 20  # of one file of a package


@dataclass(frozen=True)
class Package:
    """A package: name, version, sha512 of its archive as npm writes it, licence, and what is taken."""

    name: str
    version: str
    integrity: str
    licence: str
    files: tuple[str, ...]


ONNXRUNTIME_WEB = Package(
    "onnxruntime-web",
    "1.30.0",
    "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
    "MIT",
    ("dist/ort.wasm.bundle.min.mjs", "dist/ort-wasm-simd-threaded.wasm"),
)
TOKENIZERS = Package(
    "@huggingface/tokenizers",
    "0.2.0",
    "sha512-LidMHe1FpcSYH4vcSjXooda34pC0M8m1gmDOv7SQi6Iv+ib1zX7J3sHBCC9/3FPCkn2k1b55FneVqMRxrr99pg==",
    "Apache-2.0",
    ("dist/tokenizers.min.mjs",),
)


def fetch(package: Package) -> dict[str, bytes]:
    """Return the files of a package that are taken, by their names without folders.

    Raises:
        UnfitEnvironmentError: npm is missing, or cannot get the package.
        IntegrityError: it is not the package whose hash is pinned.
    """
    wanted = f"{package.name}@{package.version}"
    npm = shutil.which("npm")
    if npm is None:
        raise UnfitEnvironmentError(
            f"npm: is not installed here, and fetches {wanted}; install Node.js with npm"
        )
    with tempfile.TemporaryDirectory() as scratch:
        command = [npm, "pack", wanted, "--pack-destination", scratch, "--ignore-scripts", "--silent"]
        try:
            done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, timeout=_LIMIT_S)
        except subprocess.TimeoutExpired as error:
            raise UnfitEnvironmentError(f"npm: no {wanted} within {_LIMIT_S} s; try again") from error
        found = sorted(Path(scratch).glob("*.tgz"))
        if done.returncode != 0 or len(found) != 1:
            said = done.stderr.strip().splitlines() or ["no word"]
            raise UnfitEnvironmentError(
                f"npm: cannot get {wanted} ({said[-1]}); make a registry reachable that has it"
            )
        return unpacked(found[0].read_bytes(), package)


def unpacked(archive: bytes, package: Package) -> dict[str, bytes]:
    """The files that are taken of an archive, which is first held against the pinned hash.

    Raises:
        IntegrityError: it is another archive.
    """
    digest = "sha512-" + base64.b64encode(hashlib.sha512(archive).digest()).decode()
    if digest != package.integrity:
        raise IntegrityError(
            f"{package.name}@{package.version}: {digest[:19]}... found, {package.integrity[:19]}... "
            "expected; the registry gave another package than this release knows, do not use it"
        )
    found = {}
    try:
        with tarfile.open(fileobj=BytesIO(archive), mode="r:gz") as opened:
            for name in package.files:
                file = opened.extractfile(f"package/{name}")
                found[name.rpartition("/")[2]] = file.read(_MOST_BYTES) if file else b""
    except (KeyError, tarfile.TarError) as error:
        raise IntegrityError(
            f"{package.name}@{package.version}: lacks a file ({one_line(error)}); install this release again"
        ) from error
    return found
