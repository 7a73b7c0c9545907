"""The parent's end of one worker process: start it, talk to it with deadlines, and always end it."""

import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic, perf_counter_ns
from types import TracebackType
from typing import Self, TypeVar

import msgspec

from compactor_runtimes.errors import CompactorError, IntegrityError, UnfitEnvironmentError, UsageError
from compactor_runtimes.files import writing
from compactor_runtimes.measure.measurement import Answer, Command, Job, Quit
from compactor_runtimes.measure.worker import SAID

START_SECONDS = 300.0  # a big teacher on a slow disk; a worker that needs longer is taken for stuck
# RAYON: the tokenizers library
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
_TAIL_BYTES = 2000
_KINDS = {kind.exit_code: kind for kind in (UsageError, UnfitEnvironmentError, IntegrityError)}
T = TypeVar("T", bound=Answer)


class Child:
    """A worker as a context manager; leaving it, however, kills the process and its group."""

    def __init__(self, job: Job, folder: Path, *, python: str, cold_start: bool = False) -> None:
        """Write the job into `folder` and start the process; `started_ns` is taken just before."""
        self.name = job.candidate.name
        with writing(folder):
            handle, path = tempfile.mkstemp(suffix=".json", dir=folder)
            with os.fdopen(handle, "wb") as file:
                file.write(msgspec.json.encode(job))
            self._stderr = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed in close)
            self._stderr.write(bytes(_TAIL_BYTES))  # the last words have room on a disk that fills up
            self._stderr.seek(0)
        command = [python, "-P", "-m", "compactor_runtimes.measure.worker", path]
        command += ["--cold-start"] if cold_start else []
        self._buffer = bytearray()
        environment = _environment(job.threads)
        self.started_ns = perf_counter_ns()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=environment,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def __enter__(self) -> Self:
        """Return the running child."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process."""
        self.close()

    def ask(self, command: Command, expected: type[T], *, seconds: float) -> T:
        """Send a command and wait for its answer.

        Raises:
            UnfitEnvironmentError, CompactorError: see `receive`.
        """
        self._send(command)
        return self.receive(expected, seconds=seconds)

    def receive(self, expected: type[T], *, seconds: float) -> T:
        """Wait for one answer of the expected kind.

        Raises:
            UnfitEnvironmentError: the process died, was silent for `seconds`, or said something else.
            CompactorError: what the process itself said before it ended.
        """
        line = self._line(seconds)
        try:
            answer = msgspec.json.decode(line, type=Answer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._failure(f"answered {line[:80]!r}, expected {expected.__name__}") from error
        if not isinstance(answer, expected):
            raise self._failure(f"answered {type(answer).__name__}, expected {expected.__name__}")
        return answer

    def close(self, *, grace_seconds: float = 0.0) -> None:
        """End the process: ask it to quit and wait `grace_seconds` at most, then kill its process group."""
        if self._process.poll() is None and grace_seconds:
            try:
                self._send(Quit())
                self._process.wait(grace_seconds)
            except (CompactorError, subprocess.TimeoutExpired):
                pass  # it is killed below, and its samples are already here
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            assert stream is not None
            try:
                stream.close()
            except BrokenPipeError:
                pass  # unsent bytes to a process that is gone

    def _send(self, command: Command) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(msgspec.json.encode(command) + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._failure("has exited") from error

    def _line(self, seconds: float) -> bytes:
        assert self._process.stdout is not None
        descriptor, deadline = self._process.stdout.fileno(), monotonic() + seconds
        end = self._buffer.find(b"\n")
        while end < 0:
            ready, _, _ = select.select([descriptor], [], [], max(deadline - monotonic(), 0))
            if not ready:
                raise self._failure(f"gave no answer in {seconds:.0f} s")
            piece = os.read(descriptor, 1 << 20)
            if not piece:
                raise self._failure("has exited")
            found = piece.find(b"\n")
            end = -1 if found < 0 else len(self._buffer) + found
            self._buffer += piece
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    def _failure(self, what: str) -> CompactorError:
        """The one sentence that the process ended with, or its status and the end of its stderr."""
        if what == "has exited":
            self._process.wait(10)
            what = f"ended with status {self._process.returncode} while it was being measured"
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(size - _TAIL_BYTES, 0))
        tail = self._stderr.read().strip(b"\0").decode("utf-8", "replace").strip()
        last = tail.rpartition("\n")[2]
        kind = _KINDS.get(self._process.returncode)
        if kind is not None and last.startswith(SAID):
            return kind(f"measuring {self.name!r}: {last.removeprefix(SAID)}")
        said = f"its last words: {tail}" if tail else "it wrote nothing to stderr"
        return UnfitEnvironmentError(
            f"measuring {self.name!r}: the worker process {what}; "
            f"mend what it says or leave this candidate out; {said}"
        )


def _environment(threads: int | None) -> dict[str, str]:
    """Return the worker's environment: our import path, and the thread limit for every maths library."""
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    if threads is not None:
        environment |= dict.fromkeys(_THREAD_VARIABLES, str(threads))
    return environment
