"""How a file reaches the disk: whole or not at all, with the permissions of the old file or of the umask.

`tempfile` and the writer of safetensors make what only its owner may read, whatever the umask says. A machine
that refuses a write is an error of ours that names the file, whichever library was writing.
"""

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from compactor_runtimes.errors import CompactorError, UnfitEnvironmentError, UsageError

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
}
"""Number of the system's error -> what to do; other errors are no refusal of the machine."""

# such a place was named by the user: something else stands there, or the name is none
_NO_PLACE = (errno.EISDIR, errno.EEXIST, errno.ENOTDIR, errno.ENAMETOOLONG)

# as safetensors, shutil and pyarrow write it
_NUMBER = re.compile(r"\b(?:os error|errno) (\d+)\b", re.IGNORECASE)
# numpy and onnxruntime lose the system's reason
_CUT_SHORT = re.compile(r"^\d+ requested and \d+ written$|Protobuf serialization failed")
_NO_SCRATCH = "No usable temporary directory"
# packages whose errors wrap the system's; torch raises RuntimeError, tokenizers a bare Exception
_LIBRARIES = ("safetensors", "onnx", "onnxruntime", "google")
_STEM = 40  # a name has 255 bytes, a letter up to 4 of them


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
    """The sentence on an error that is the machine's, or that a library made of one; else None."""
    each: BaseException | None = error
    while each is not None:
        found = _reason(each)
        if found is not None:
            reason, remedy = found
            return UnfitEnvironmentError(f"{place}: {reason}; {instead or remedy}; what was finished is kept")
        # torch's writer hides the system's error behind its own; what we raise in a handler is our own
        hidden = each.__context__ if _wraps(each) and not each.__suppress_context__ else None
        each = each.__cause__ or hidden
    return None


def _wraps(error: BaseException) -> bool:
    """Whether an error is of the kinds in which libraries hide what the system said."""
    if isinstance(error, OSError):
        return error.errno is None  # shutil.Error is one
    return type(error) in (RuntimeError, Exception) or type(error).__module__.partition(".")[0] in _LIBRARIES


def _reason(error: BaseException) -> tuple[str, str] | None:
    """What the system said and what to do."""
    text, number = str(error), error.errno if isinstance(error, OSError) else None
    if isinstance(error, FileNotFoundError) and _NO_SCRATCH in text:
        return "no folder for temporary files can be written", "make room, or set $TMPDIR to one that can"
    if _wraps(error):
        if written := _NUMBER.search(text):
            number = int(written[1])
        elif _CUT_SHORT.search(text):
            return "only a part of it could be written", _ROOM
    return (os.strerror(number), REMEDIES[number]) if number in REMEDIES else None


@contextmanager
def _placing(path: Path) -> Iterator[None]:
    """Turn the system's word that `path` is no place for a file into a wrong argument."""
    try:
        yield
    except OSError as error:
        refused = misplaced(error, path)
        if refused is None:
            raise
        raise refused from error


def misplaced(error: OSError, place: Path | str) -> UsageError | None:
    """The sentence on an error that says that `place` can hold no such file or folder; else None."""
    if error.errno not in _NO_PLACE:
        return None
    return UsageError(f"{place}: cannot be written: {os.strerror(error.errno)}; give another place")


@contextmanager
def written_whole(path: Path, instead: str = "") -> Iterator[Path]:
    """Give a file beside `path` to write to or to replace; it takes its place at the end of the block.

    It has reached the disk before the one rename, and its permissions are those of the file that stood
    there, or of a new file under the umask. After an error it is gone, and what stood at `path` is as it was.
    Where the folder takes no new file but the old one may be written, that is given itself.

    Args:
        path: the file; its folder is made if need be. A link stays one, a device or pipe is given itself.
        instead: as in `writing`.

    Raises:
        UnfitEnvironmentError: as in `writing`.
        UsageError: a folder stands there, a file where a folder should, or the name is too long.
    """
    with writing(path, instead), _placing(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if path.exists() and not path.is_file():
            yield path
            return
        whole = path.resolve()
        whole.parent.mkdir(parents=True, exist_ok=True)
        partial = whole.with_name(f".{whole.name[:_STEM]}.{os.urandom(4).hex()}.partial")
        mode = None
        try:
            with partial.open("xb") as file:
                mode = _final_mode(file.fileno(), whole)
        except OSError as error:
            if REMEDIES.get(error.errno or 0) != _PERMISSION or not os.access(whole, os.W_OK):
                raise
        if mode is None:
            yield whole
            return
        try:
            yield partial
            with partial.open("rb") as file:
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            partial.replace(whole)
        finally:
            with suppress(OSError):  # a folder that was taken away in between has its own error
                partial.unlink(missing_ok=True)


def _final_mode(new: int, old: Path) -> int:
    """The permissions that the open file `new` must have in the end; until then it gives no others."""
    if not old.exists():
        return stat.S_IMODE(os.fstat(new).st_mode)
    mode = stat.S_IMODE(old.stat().st_mode)
    os.fchmod(new, mode | stat.S_IWUSR)
    return mode


def write_whole(path: Path, content: bytes, instead: str = "") -> None:
    """Let `path` hold `content`, or what it held before; as `written_whole`."""
    with written_whole(path, instead) as partial:
        partial.write_bytes(content)


def new_folder(parent: Path, prefix: str) -> Path:
    """Make a folder of a name that nobody has in `parent` (made if need be), to be filled and renamed."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = parent / f"{prefix}{os.urandom(4).hex()}.partial"
    folder.mkdir()
    return folder
