"""How a file reaches the disk: whole or not at all, with the permissions that the umask gives.

`tempfile` and the writer of safetensors make what only its owner may read, whatever the umask says. A machine
that refuses a write is an error of ours that names the file, whichever library was writing.
"""

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from compactor_runtimes.errors import CompactorError, UnfitEnvironmentError

_ROOM = "make room there and start again"
_PERMISSION = "let this user read and write there, or give another place"
REMEDIES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: "raise the limit of a file's size (ulimit -f) and start again",
    errno.EROFS: _PERMISSION,
    errno.EACCES: _PERMISSION,
    errno.EPERM: _PERMISSION,
    errno.EIO: "check the disk and start again",
    errno.EPIPE: "who reads it went away",
}
"""Number of the system's error -> what to do; other errors are no refusal of the machine."""

# as safetensors, shutil and pyarrow write it
_NUMBER = re.compile(r"\b(?:os error|errno) (\d+)\b", re.IGNORECASE)
# numpy and onnxruntime lose the system's reason
_CUT_SHORT = re.compile(r"^\d+ requested and \d+ written$|Protobuf serialization failed")
_NO_SCRATCH = "No usable temporary directory"


@contextmanager
def writing(path: Path, instead: str = "") -> Iterator[None]:
    """Turn a write that the machine refuses into one sentence; nothing but the write belongs in the block.

    Args:
        path: the file or folder that is written.
        instead: what to do other than what `REMEDIES` says.

    Raises:
        UnfitEnvironmentError: no room, no permission, or a broken disk; everything else passes as it is.
    """
    try:
        yield
    except CompactorError:
        raise
    except Exception as error:
        refused = refusal(error, path, instead)
        if refused is None:
            raise
        raise refused from error


def refusal(error: Exception, place: Path | str, instead: str = "") -> UnfitEnvironmentError | None:
    """The sentence on an error that is the machine's, or that one of the machine's led to; else None."""
    each: BaseException | None = error
    while each is not None:
        found = _reason(each)
        if found is not None:
            reason, remedy = found
            return UnfitEnvironmentError(f"{place}: {reason}; {instead or remedy}; what was finished is kept")
        each = each.__cause__ or each.__context__  # torch's writer hides the system's error behind its own
    return None


def _reason(error: BaseException) -> tuple[str, str] | None:
    """What the system said and what to do."""
    text, number = str(error), error.errno if isinstance(error, OSError) else None
    if _NO_SCRATCH in text:
        return "no folder for temporary files can be written", "make room, or set $TMPDIR to one that can"
    if number is None and (written := _NUMBER.search(text)):
        number = int(written[1])
    if number is None:
        return ("only a part of it could be written", _ROOM) if _CUT_SHORT.search(text) else None
    return (os.strerror(number), REMEDIES[number]) if number in REMEDIES else None


@contextmanager
def written_whole(path: Path, instead: str = "") -> Iterator[Path]:
    """Give a file beside `path` to write to or to replace; it takes its place at the end of the block.

    It has reached the disk before the one rename, and its permissions are those of a new file under the
    umask. After an error it is gone, and what stood at `path` is as it was.

    Args:
        path: the file; its folder is made if need be. A link stays one, a device or pipe is given itself.
        instead: as in `writing`.

    Raises:
        UnfitEnvironmentError: as in `writing`.
    """
    with writing(path, instead):
        if path.exists() and not path.is_file():
            yield path
            return
        whole = path.resolve()
        whole.parent.mkdir(parents=True, exist_ok=True)
        partial = whole.with_name(f".{whole.name}.{secrets.token_hex(4)}.partial")
        try:
            with partial.open("xb") as file:
                mode = os.fstat(file.fileno()).st_mode
            yield partial
            with partial.open("rb") as file:
                os.fchmod(file.fileno(), mode & 0o777)
                os.fsync(file.fileno())
            partial.replace(whole)
        finally:
            with suppress(OSError):  # a folder that was taken away in between has its own error
                partial.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes | memoryview, instead: str = "") -> None:
    """Let `path` hold `content`, or what it held before; as `written_whole`."""
    with written_whole(path, instead) as partial:
        partial.write_bytes(content)


def new_folder(parent: Path, prefix: str) -> Path:
    """Make a folder of a name that nobody has in `parent` (made if need be), to be filled and renamed."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = parent / f"{prefix}{secrets.token_hex(4)}.partial"
    folder.mkdir()
    return folder
