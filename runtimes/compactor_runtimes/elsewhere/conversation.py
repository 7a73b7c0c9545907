"""What is said over a pipe to `there.py` and back: bundles and wheels go, lines and one profile come."""

import hashlib
import io
import re
import subprocess
import tarfile
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import IO

import msgspec

from compactor_runtimes.elsewhere.errand import Errand
from compactor_runtimes.elsewhere.remote_command import NO_PYTHON
from compactor_runtimes.errors import CompactorError, IntegrityError, UsageError
from compactor_runtimes.measure.profile_file import MOST_BYTES

ALIVE_S = 20.0
LONGEST_LINE = 64 << 10
MOST_NOISE = 1 << 20  # what a login shell prints before us
_PIECE = 1 << 18
_PLACES = re.compile(rb"\b(bundles|samples)/([0-9]+)(?![0-9])")


class Line(msgspec.Struct):
    """A line of the other side: kind "folder", "profile" (`size` bytes follow) or "end"."""

    kind: str
    path: str = ""
    size: int = 0
    sha256: str = ""
    code: int = 0
    message: str = ""
    left: str = ""


End = Line


class Conversation:
    """One errand's talk. `words` are the last lines of standard error, `folder` is where it works there."""

    def __init__(
        self,
        errand: Errand,
        wheel: Path,
        extras: Sequence[str],
        packages: Sequence[str],
        *,
        marker: str,
        note: Callable[[str], None],
    ) -> None:
        """Say nothing yet."""
        self._errand, self._wheel, self._marker, self._note = errand, wheel, marker, note
        self._wheels, self._bundles = errand.wheel_files(), errand.bundle_files()
        samples = [f"samples/{number}" for number in range(len(errand.samples))]
        self._job = {
            "bundles": [f"bundles/{number}" for number in range(len(errand.bundles))],
            "words": [*errand.words, *(word for one in samples for word in ("--samples", one))],
            "wheel": wheel.name,
            "extras": list(extras),
            "packages": list(packages),
            "offline": errand.wheels is not None,
            "keep": errand.keep,
        }
        self.words: deque[str] = deque(maxlen=30)
        self.folder = ""
        self.no_python: str | None = None
        self.profile: bytes | None = None
        self._failed: CompactorError | None = None
        self._over = Event()
        self._threads: list[Thread] = []

    def hold(self, process: "subprocess.Popen[bytes]") -> Line | None:
        """Send all, relay what is said, and return the last line; None where the pipe ended before it.

        Raises:
            IntegrityError: what came is not what was announced, or too much.
            UsageError: a file could not be read here.
        """
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        for act, pipe in ((self._send, process.stdin), (self._relay, process.stderr)):
            thread = Thread(target=act, args=(pipe,), daemon=True)
            thread.start()
            self._threads.append(thread)
        end = self._listen(process.stdout)
        if self._failed is not None:
            raise self._failed
        return end

    def hang_up(self, process: "subprocess.Popen[bytes]") -> None:
        """End the lifeline: the other side stops and cleans up."""
        self._over.set()
        if self._threads:
            sender = self._threads[0]
            sender.join(1)
            if sender.is_alive():  # within a write that the network does not take
                process.terminate()
                sender.join()
        assert process.stdin is not None
        with suppress(OSError, ValueError):
            process.stdin.close()

    def close(self, process: "subprocess.Popen[bytes]") -> None:
        """Wait for the threads and close the pipes; the process has ended."""
        for thread in self._threads:
            thread.join(5)
        reading = self._threads and self._threads[-1].is_alive()  # the pipe is held open by another process
        for pipe in (process.stdin, process.stdout, None if reading else process.stderr):
            if pipe is None:
                continue
            with suppress(OSError, ValueError):
                pipe.close()

    def local(self, text: bytes) -> bytes:
        """Call bundles and samples as they are called here."""
        places = {b"bundles": self._errand.bundles, b"samples": self._errand.samples}

        def own(found: "re.Match[bytes]") -> bytes:
            here, number = places[found[1]], int(found[2])
            if number >= len(here):
                return found[0]
            return msgspec.json.encode(str(here[number]))[1:-1]

        if self.folder:
            text = text.replace(self.folder.encode() + b"/", b"")
        return _PLACES.sub(own, text)

    def _send(self, pipe: IO[bytes]) -> None:
        try:
            job = msgspec.json.encode(self._job)
            pipe.write(len(job).to_bytes(4, "big") + job)
            pieces = _Pieces(pipe, self._over)
            with tarfile.open(fileobj=pieces, mode="w|", bufsize=_PIECE, dereference=True) as archive:
                for name, path in self._files():
                    archive.add(path, name, filter=_anonymous)
            pipe.write(bytes(4))
            pipe.flush()
            while not self._over.wait(ALIVE_S):
                pipe.write(b".")
                pipe.flush()
        except BrokenPipeError:
            pass  # the client has ended, and says why
        except OSError as error:
            place = error.filename or "a bundle"
            self._failed = UsageError(f"{place}: cannot be read here: {error.strerror}; mend that first")
            with suppress(OSError):
                pipe.close()

    def _files(self) -> list[tuple[str, Path]]:
        return [
            (f"own/{self._wheel.name}", self._wheel),
            *((f"wheels/{path.name}", path) for path in self._wheels),
            *self._bundles,
            *((f"samples/{number}", path) for number, path in enumerate(self._errand.samples)),
        ]

    def _relay(self, pipe: IO[bytes]) -> None:
        for line in iter(lambda: pipe.readline(LONGEST_LINE), b""):
            text = _printable(line.decode("utf-8", "replace"))
            if text:
                self.words.append(text)
                if self.folder:  # before it there is the client alone, whose last words become the error
                    self._note(self.local(text.encode()).decode("utf-8", "replace"))

    def _listen(self, pipe: IO[bytes]) -> Line | None:
        noise = 0
        marker = self._marker.encode() + b" "
        for line in iter(lambda: pipe.readline(LONGEST_LINE), b""):
            if not line.startswith(marker):
                noise += len(line)
                if noise > MOST_NOISE:
                    raise IntegrityError(
                        f"the other side: more than {MOST_NOISE >> 20} MiB found that Compactor did not "
                        "write; let its login shell print nothing"
                    )
                continue
            said = line[len(marker) :].strip()
            if said.startswith(NO_PYTHON.encode()):
                self.no_python = _printable(said[len(NO_PYTHON) :].decode("utf-8", "replace")).strip(" ;")
                return None
            try:
                found = msgspec.json.decode(said, type=Line)
            except msgspec.DecodeError as error:
                raise IntegrityError(f"the other side: {error}; measure again") from error
            if found.kind == "folder":
                self.folder = found.path
            elif found.kind == "profile":
                self.profile = self._content(pipe, found)
            else:
                return msgspec.structs.replace(found, message=_printable(found.message))
        return None

    def _content(self, pipe: IO[bytes], said: Line) -> bytes | None:
        if not 0 <= said.size <= MOST_BYTES:
            raise IntegrityError(
                f"the other side: a profile of {said.size:,} bytes announced, expected {MOST_BYTES:,} at most"
            )
        content = pipe.read(said.size)
        if len(content) < said.size:
            return None  # the connection was lost
        if hashlib.sha256(content).hexdigest() != said.sha256:
            raise IntegrityError("the other side: another profile came than its SHA-256 said; measure again")
        return content


class _Pieces(io.RawIOBase):
    """Writes with the length in front, which `there.Pieces` reads."""

    def __init__(self, pipe: IO[bytes], over: Event) -> None:
        """Write to `pipe` until `over`."""
        self._pipe, self._over = pipe, over

    def writable(self) -> bool:
        """Say that it can be written."""
        return True

    def write(self, content: bytes) -> int:  # type: ignore[override]  # tarfile gives bytes
        """Write one piece."""
        if self._over.is_set():
            raise BrokenPipeError
        if content:
            self._pipe.write(len(content).to_bytes(4, "big"))
            self._pipe.write(content)
        return len(content)


def _printable(text: str) -> str:
    """Text of another machine for this one's terminal: one line without codes."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leave out whose the files are, and what is neither a file nor a folder."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o755 if entry.isdir() else 0o644
    return entry if entry.isdir() or entry.isfile() else None
