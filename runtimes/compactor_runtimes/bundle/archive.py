"""A bundle in a zip file: unpacked for as long as it is opened, into a folder of this user alone.

Names, sizes and kinds of what is in it are looked at before anything is written.
"""

import shutil
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from zipfile import BadZipFile, ZipFile, ZipInfo

from compactor_runtimes.errors import IntegrityError, one_line
from compactor_runtimes.files import writing
from compactor_runtimes.predict.limits import shown_path

MANIFEST = "manifest.json"
MOST_FILES, MOST_BYTES = 10_000, 8 << 30
_BROKEN = (BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, UnicodeDecodeError)


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Give the bundle's folder for the block; in the file it lies at the top, or in one folder of its own.

    Raises:
        IntegrityError: no zip file, a damaged or an encrypted one, a name that leaves the folder, a link, or
            more than `MOST_FILES` or `MOST_BYTES`.
    """
    with TemporaryDirectory(prefix="compactor-") as name:
        folder = Path(name)
        try:
            with ZipFile(path) as archive:
                infos = _checked(archive, path)
                for info in infos:
                    target = folder / info.filename
                    with writing(target), archive.open(info) as source:
                        target.parent.mkdir(parents=True, exist_ok=True)
                        with target.open("xb") as file:
                            shutil.copyfileobj(source, file)
        except (*_BROKEN, OSError) as error:
            raise IntegrityError(
                f"{shown_path(path)}: cannot be read as a zip file ({one_line(error)}); copy it again"
            ) from error
        inside = [one for one in folder.iterdir() if one.is_dir()]
        whole = (folder / MANIFEST).is_file()
        yield folder if whole or len(inside) != 1 else inside[0]


def _checked(archive: ZipFile, path: Path) -> list[ZipInfo]:
    """The files of an archive, none of which could harm."""
    infos = [info for info in archive.infolist() if not info.is_dir()]
    shown, total = shown_path(path), sum(info.file_size for info in infos)
    if len(infos) > MOST_FILES or total > MOST_BYTES:
        raise IntegrityError(
            f"{shown}: {len(infos):,} files of {total:,} bytes found, at most {MOST_FILES:,} of "
            f"{MOST_BYTES:,} expected; unpack it yourself"
        )
    seen: set[str] = set()
    for info in infos:
        pure = PurePosixPath(info.filename)
        kind = stat.S_IFMT(info.external_attr >> 16)
        odd = pure.is_absolute() or ".." in pure.parts or "\\" in info.filename or info.filename in seen
        if odd or kind not in (0, stat.S_IFREG):
            raise IntegrityError(
                f"{shown}: holds {info.filename[:200]!r}, expected files inside it, each once; do not use it"
            )
        seen.add(info.filename)
    return infos
