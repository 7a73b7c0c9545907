"""The program that is sent to the other machine: unpack, install, measure, send the profile back, clean up.

It is sent as text, so it uses the standard library alone and nothing of ours. Standard input brings the work
and is then the lifeline: its end, or silence, ends all that runs here. Standard output carries lines that
begin with a marker, the profile's bytes after one of them; standard error is what a user may read.
"""

import hashlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from typing import Any

SILENT_S = 180.0  # the other side says something every 20 s
MARK = "COMPACTOR_ELSEWHERE"  # variable by which processes of ours are found, whatever session they are in
UNFIT, INTERRUPTED = 6, 130
ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
PIPE = 0
TAIL = 400


class StopError(BaseException):
    """The lifeline ended, or a signal came."""


class FailedError(Exception):
    """What went wrong here, as one sentence, with the exit code of its kind."""

    def __init__(self, message: str, code: int = UNFIT) -> None:
        """Keep both."""
        self.message, self.code = message, code
        super().__init__(message)


class Pieces:
    """The archive on standard input: pieces with their length in front, 4 bytes each; 0 ends it."""

    def __init__(self) -> None:
        """Begin with the first piece."""
        self.left, self.ended = 0, False

    def read(self, size: int) -> bytes:
        """Return `size` bytes, fewer at the end."""
        found = bytearray()
        while len(found) < size and not self.ended:
            if not self.left:
                self.left = int.from_bytes(exactly(4), "big")
                self.ended = not self.left
            piece = received(min(self.left, size - len(found))) if self.left else b""
            self.left -= len(piece)
            found += piece
        return bytes(found)


def received(size: int) -> bytes:
    """Return what is there of the next `size` bytes of standard input, one at least."""
    if not select.select([PIPE], [], [], SILENT_S)[0]:
        raise StopError
    content = os.read(PIPE, size)
    if not content:
        raise StopError
    return content


def exactly(size: int) -> bytes:
    """Return the next `size` bytes of standard input."""
    found = bytearray()
    while len(found) < size:
        found += received(size - len(found))
    return bytes(found)


def watch() -> None:
    """Wait for the end of standard input, and stop the main thread then."""
    try:
        while True:
            received(4096)
    except StopError:
        os.kill(os.getpid(), signal.SIGTERM)


def say(marker: str, kind: str, content: bytes = b"", **fields: Any) -> None:
    """Send a line and what follows it."""
    sys.stdout.buffer.write(f"{marker} {json.dumps({'kind': kind, **fields})}\n".encode() + content)
    sys.stdout.buffer.flush()


def unpack(folder: Path) -> None:
    """Write the archive's files into `folder`, and nothing elsewhere."""
    pieces = Pieces()
    with tarfile.open(fileobj=pieces, mode="r|") as archive:  # type: ignore[call-overload]  # it only reads
        filtered: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        archive.extractall(folder, **filtered)
    while pieces.read(1 << 16):
        pass


def run(command: Sequence[str], folder: Path, environment: dict[str, str], *, relay: bool) -> tuple[int, str]:
    """Run a command to its end.

    Args:
        command: its words.
        folder: where it runs.
        environment: its variables.
        relay: show what it writes to standard error.

    Returns:
        Exit code, and the last of its lines that names an error, or the last of all.
    """
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if relay else subprocess.PIPE,
        stderr=subprocess.PIPE if relay else subprocess.STDOUT,
        start_new_session=True,
    )
    said = process.stderr if relay else process.stdout  # venv tells some of its errors on standard output
    assert said is not None
    last = error = ""
    with said:
        for line in said:
            text = line.decode("utf-8", "replace").strip()
            if relay and text:
                sys.stderr.write(f"{text}\n")
                sys.stderr.flush()
            last = text or last
            if text.lower().startswith("error: "):
                error = text[len("error: ") :]
    return process.wait(), error or last


def install(job: dict[str, Any], folder: Path, environment: dict[str, str]) -> str:
    """Make an environment with our wheel; return its folder of programs."""
    code, said = run([sys.executable, "-m", "venv", "venv"], folder, environment, relay=False)
    if code:
        raise FailedError(
            f"no virtual environment can be made with {sys.executable}: {said[-TAIL:]}; install what it "
            "lacks there (Debian: python3-venv)"
        )
    programs = str(folder / "venv" / "bin")
    source = ["--no-index", "--find-links", "wheels"] if job["offline"] else []
    wheel = f"{folder / 'own' / job['wheel']}[{','.join(job['extras'])}]"
    pip = [f"{programs}/python", "-m", "pip", "install", "--quiet", "--no-cache-dir", *source]
    code, said = run([*pip, wheel, *job["packages"]], folder, environment, relay=False)
    if code:
        remedy = (
            "put what it names into the folder of --wheels, for that machine's Python and processor"
            if job["offline"]
            else "where that machine has no network, take along what is needed with --wheels"
        )
        raise FailedError(f"pip could not install Compactor: {said[-TAIL:]}; {remedy}")
    return programs


def work(marker: str, folder: Path, environment: dict[str, str], job: dict[str, Any]) -> int:
    """Do all of it; return the exit code of the measurement."""
    unpack(folder)
    Thread(target=watch, daemon=True).start()
    sys.stderr.write("installing Compactor there\n")
    sys.stderr.flush()
    programs = install(job, folder, environment)
    command = [f"{programs}/compactor", "measure", *job["bundles"], *job["words"], "--out", "out"]
    environment["PATH"] = f"{programs}{os.pathsep}{environment.get('PATH', os.defpath)}"
    code, said = run(command, folder, environment, relay=True)
    profile = folder / "out" / "profile.json"
    if profile.is_file():
        content = profile.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        say(marker, "profile", content, size=len(content), sha256=digest)
    if code < 0:
        raise FailedError(f"signal {-code} ended the measurement there; look whether its memory was enough")
    if code:
        raise FailedError(said, code)
    return code


def end_processes(folder: Path) -> None:
    """Kill what was started here, also what made a session of its own."""
    wanted = f"{MARK}={folder}".encode()
    for _ in range(20):  # what is being started now is found the next time
        found = False
        for place in Path("/proc").glob("[0-9]*"):
            try:
                if wanted in (place / "environ").read_bytes().split(b"\0"):
                    os.kill(int(place.name), signal.SIGKILL)
                    found = True
            except OSError:
                continue  # another user's, or gone
        if not found:
            return
        select.select([], [], [], 0.05)


def stop(number: int, frame: Any) -> None:
    """Leave what the main thread does."""
    raise StopError


def signals(handler: Any) -> None:
    """Let a handler have all signals that end us."""
    for number in ENDING:
        signal.signal(number, handler)


def main(marker: str) -> None:
    """Work, and leave nothing here."""
    os.umask(0o077)
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # until the folder's removal is certain
    signals(stop)
    try:
        folder = Path(tempfile.mkdtemp(prefix="compactor-"))
    except OSError as error:
        say(marker, "end", code=UNFIT, message=f"{error}; set TMPDIR there to a folder that can be written")
        return
    keep, message, code = False, "", UNFIT
    try:
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
            (folder / "tmp").mkdir()
            job = json.loads(exactly(int.from_bytes(exactly(4), "big")))
            keep = job["keep"]
            say(marker, "folder", path=str(folder))
            environment = {
                **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
                "TMPDIR": str(folder / "tmp"),
                "XDG_CACHE_HOME": str(folder / "tmp"),
                "PIP_DISABLE_PIP_VERSION_CHECK": "1",
                MARK: str(folder),
            }
            code = work(marker, folder, environment, job)
        finally:
            signals(signal.SIG_IGN)
    except StopError:
        message, code = "it was stopped there", INTERRUPTED
    except FailedError as error:
        message, code = error.message, error.code
    except (OSError, tarfile.TarError) as error:
        message = f"{error}; mend that there and start again"
    finally:
        end_processes(folder)
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    try:
        say(marker, "end", code=code, message=message, left=str(folder) if folder.exists() else "")
    except OSError:
        os._exit(code)  # nobody listens


if __name__ == "__main__":
    main(sys.argv[1])
