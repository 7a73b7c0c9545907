"""The raw samples that bundles are measured with: their golden cases, or files of the user's own."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from compactor_runtimes.bundle.manifest import TextPre
from compactor_runtimes.bundle.open import Bundle, read_cases
from compactor_runtimes.errors import UsageError
from compactor_runtimes.files import write_whole

Kind = Literal["image", "text"]
TEXT_SUFFIX = ".txt"


def kind_of(bundles: Sequence[Bundle]) -> Kind:
    """What all bundles take.

    Raises:
        UsageError: some take images and some texts.
    """
    kinds: dict[Kind, list[str]] = {}
    for bundle in bundles:
        is_text = any(isinstance(pre, TextPre) for pre in bundle.manifest.pre)
        kinds.setdefault("text" if is_text else "image", []).append(str(bundle.path))
    if len(kinds) > 1:
        raise UsageError(
            f"measure: {', '.join(kinds['image'])} take images and {', '.join(kinds['text'])} texts, "
            "expected bundles of one kind, which are fed the same samples; measure each kind by itself"
        )
    return next(iter(kinds))


def golden_samples(bundle: Bundle) -> list[Path]:
    """The raw inputs of a bundle's golden cases, each content once."""
    found: dict[str, Path] = {}
    for case in read_cases(bundle):
        path = bundle.file(case.raw)
        found.setdefault(hashlib.sha256(path.read_bytes()).hexdigest(), path)
    return list(found.values())


def given_samples(places: Sequence[Path], kind: Kind, scratch: Path) -> list[Path]:
    """Files as they were given; of a folder all its files in order of their names; each line of a text file.

    Args:
        places: files and folders.
        kind: what the bundles take.
        scratch: where lines of texts are written, a file each.

    Raises:
        UsageError: no such place, or nothing in it.
    """
    files: list[Path] = []
    for place in places:
        if place.is_dir():
            inside = sorted(
                path for path in place.iterdir() if path.is_file() and not path.name.startswith(".")
            )
            if not inside:
                raise UsageError(f"--samples {place}: a folder without files found, expected some in it")
            files += inside
        elif place.is_file():
            files.append(place)
        else:
            raise UsageError(f"--samples {place}: no such file or folder; give images, or a text file")
    if kind == "image":
        return files
    texts = [line for path in files for line in _lines(path)]
    if not texts:
        raise UsageError(f"--samples: no line of text found in {', '.join(map(str, files[:3]))}")
    paths = []
    for number, text in enumerate(texts):
        paths.append(scratch / f"{number:06}{TEXT_SUFFIX}")
        write_whole(paths[-1], text.encode())
    return paths


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise UsageError(f"--samples {path}: is no UTF-8 text ({error.reason}); convert it first") from error
