"""How targets write: files under the umask, text from this package's templates, a bundle's listed files."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template

from compactor_runtimes.backends import is_code
from compactor_runtimes.bundle.manifest import Artifact
from compactor_runtimes.bundle.open import MANIFEST, Bundle
from compactor_runtimes.bundle.signature import SIGNATURE
from compactor_runtimes.errors import UsageError
from compactor_runtimes.files import writing


@dataclass(frozen=True)
class Options:
    """What a user says of a deployment: the model's name there."""

    name: str


def put(folder: Path, relative: str, content: bytes | str) -> str:
    """Write one new file into a folder that is being filled; return `relative`."""
    path = folder / relative
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return relative


def template(name: str, /, **values: object) -> str:
    """Fill `templates/NAME`; a `$word` without a value is our mistake."""
    return Template(text_of(name)).substitute(values)


def text_of(name: str) -> str:
    """The file `templates/NAME` as it is."""
    return files("compactor_exporters.deploy").joinpath("templates", name).read_text("utf-8")


def put_bundle(bundle: Bundle, folder: Path, relative: str) -> list[str]:
    """Copy what the manifest lists, each file checked as it is read, and the signature where there is one."""
    written = [
        put(folder, f"{relative}/{name}", bundle.read(name)) for name in bundle.listed if name != MANIFEST
    ]
    for name in (MANIFEST, SIGNATURE):
        if (bundle.path / name).is_file():
            written.append(put(folder, f"{relative}/{name}", (bundle.path / name).read_bytes()))
    return written


def default_artifact(bundle: Bundle, target: str) -> Artifact:
    """What serves a bundle.

    Raises:
        UsageError: it is an engine, which runs on the GPU that it was built for, and is code.
    """
    named = bundle.manifest.default_artifact
    artifact = next(each for each in bundle.manifest.main.artifacts if each.name == named)
    if is_code(artifact):
        raise UsageError(
            f"{bundle.path}: its default artifact {named!r} is an engine, {target} serves ONNX on the CPU; "
            "export a bundle whose default is an ONNX artifact"
        )
    return artifact
