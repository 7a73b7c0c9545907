"""A real server on loopback beside a handler that does nothing, and beside hostile clients.

`python -m benchmarks.http_worker digits|text|hostile` prints one JSON line.
"""

import base64
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

CLIENTS, ROUNDS, SECONDS = 32, 3, 20.0
TEXT = "turn on the light"


def digits() -> dict[str, Any]:
    """Images of 8 x 8 in JSON."""
    from benchmarks.foundation_worker import _bundle

    with tempfile.TemporaryDirectory() as name:
        bundle = _bundle(Path(name))
        raw = (bundle / "golden" / "case-000.png").read_bytes()
        return _compared(bundle, raw, json.dumps({"inputs": base64.b64encode(raw).decode()}).encode())


def text() -> dict[str, Any]:
    """Texts of four words for a bag of words: nothing but the server."""
    from tests.runtimes.text_bundles import write_text_bundle

    with tempfile.TemporaryDirectory() as name:
        bundle = write_text_bundle(Path(name) / "bundle").path
        return _compared(bundle, TEXT, json.dumps({"inputs": TEXT}).encode())


def _compared(bundle: Path, raw: Any, body: bytes) -> dict[str, Any]:
    """Offline, the null handler and ours, in turn."""
    rounds = []
    with _ours(bundle) as (ours, process):
        size = len(_asked(ours, body))
        with _started(["-m", "benchmarks.peers.null_handler"], size) as null:
            for _ in range(ROUNDS):
                floor = _load(null, SECONDS / 4, body)
                found = _load(ours, SECONDS, body)
                offline = _offline(bundle, raw)
                rounds.append(
                    {
                        "null_per_s": floor["requests"] / floor["seconds"],
                        "offline_per_s": offline,
                        "per_s": found["requests"] / found["seconds"],
                        "errors": found["errors"],
                        "n": found["requests"],
                        "took_ms": found["took_ms"],
                        "rss_bytes": _rss(process),
                    }
                )
    tail = sorted(value for one in rounds for value in one.pop("took_ms"))
    return {"rounds": rounds, "n": len(tail), "p50_ms": _at(tail, 0.5), "p99_ms": _at(tail, 0.99)}


def hostile() -> dict[str, Any]:
    """Good clients while others leave, send garbage, send 100 MB and trickle bytes."""
    from tests.runtimes.text_bundles import write_text_bundle

    stop, tried = Event(), {"left": 0, "garbage": 0, "large": 0, "trickled": 0}
    with tempfile.TemporaryDirectory() as name:
        bundle = write_text_bundle(Path(name) / "bundle").path
        with _ours(bundle) as (port, process):
            body = json.dumps({"inputs": TEXT}).encode()
            before = _rss(process)
            threads = [
                Thread(target=one, args=(port, stop, tried)) for one in (_leaves, _garbage, _large, _trickles)
            ]
            for thread in threads:
                thread.start()
            found = _load(port, SECONDS, body)
            stop.set()
            for thread in threads:
                thread.join()
            after = _rss(process)
    return {
        "n": found["requests"],
        "errors": found["errors"],
        "tried": tried,
        "rss_grown_bytes": after - before,
    }


def _leaves(port: int, stop: Event, tried: dict[str, int]) -> None:
    while not stop.is_set():
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)) as one:
            one.sendall(
                b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\n"
                + b'{"inputs": "turn on the light"'
            )
        tried["left"] += 1
        stop.wait(0.05)


def _garbage(port: int, stop: Event, tried: dict[str, int]) -> None:
    while not stop.is_set():
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)) as one:
            one.sendall(bytes(range(256)) * 8)
            one.settimeout(1)
            one.recv(100)
        tried["garbage"] += 1
        stop.wait(0.05)


def _large(port: int, stop: Event, tried: dict[str, int]) -> None:
    part = b"a" * (1 << 20)
    while not stop.is_set():
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)) as one:
            one.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(100):
                one.sendall(b"100000\r\n" + part + b"\r\n")
        tried["large"] += 1
        stop.wait(0.2)


def _trickles(port: int, stop: Event, tried: dict[str, int]) -> None:
    while not stop.is_set():
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)) as one:
            for byte in b"POST /predict HTTP/1.1\r\n" + b"x-a: b\r\n" * 1000:
                one.sendall(bytes([byte]))
                if stop.wait(0.1):
                    break
        tried["trickled"] += 1


@contextmanager
def _ours(bundle: Path) -> Iterator[tuple[int, int]]:
    command = ["-m", "compactor", "serve", f"it={bundle}", "--threads", "1", "--max-batch", "32", "--port"]
    with _started(command, None) as port:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with (
                suppress(urllib.error.URLError),
                urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready"),
            ):
                break
            time.sleep(0.1)
        yield port, _PROCESSES[port]


_PROCESSES: dict[int, int] = {}


@contextmanager
def _started(command: list[str], size: int | None) -> Iterator[int]:
    """A server in a process of its own on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = [str(port)] if size is None else [str(port), str(size)]
    process = subprocess.Popen(
        [sys.executable, *command, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _PROCESSES[port] = process.pid
    try:
        for _ in range(300):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def _asked(port: int, body: bytes) -> bytes:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/predict", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        return bytes(answer.read())


def _load(port: int, seconds: float, body: bytes) -> dict[str, Any]:
    command = [
        sys.executable,
        "-m",
        "benchmarks.http_load",
        str(port),
        "/predict",
        str(CLIENTS),
        str(seconds),
    ]
    done = subprocess.run(command, input=body, capture_output=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _offline(bundle: Path, raw: Any) -> float:
    from compactor_runtimes import load

    with load(bundle, threads=1) as model:
        batch = [raw] * 32
        model.predict(batch)
        begin, answered = time.perf_counter(), 0
        while time.perf_counter() - begin < 2:
            answered += len(model.predict(batch))
        return answered / (time.perf_counter() - begin)


def _at(ordered: list[float], q: float) -> float:
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def _rss(process: int) -> int:
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) << 10
    return 0


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]]()))
