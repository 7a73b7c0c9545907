"""Send seeded cases to processes that may fall over, and count what became of them."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any, Literal

PATIENCE_S = 60  # the child's own alarm comes first, unless what runs cannot be interrupted
SHOWN = 12

Kind = Literal["bundles", "inputs"]


def fuzz(kind: Kind, first: int, count: int, *, workers: int = 2) -> dict[str, Any]:
    """Try the cases `first` to `first + count - 1`; every second bundle gets new digests.

    Returns:
        counts of outcomes, the bad ones in words, and of inputs the largest growth of memory in bytes.
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        bundles = whole_bundles(folder)
        cases = [
            {"seed": seed, "bundle": bundles[seed % len(bundles)], "hashed": bool(seed // len(bundles) % 2)}
            for seed in range(first, first + count)
        ]
        found: SimpleQueue[dict[str, Any]] = SimpleQueue()
        threads = [
            Thread(target=_drive, args=(kind, folder, cases[number::workers], found))
            for number in range(workers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    told = list(_drain(found))
    bad = [one for one in told if one["outcome"] not in ("answered", "typed")]
    largest = max(told, key=lambda one: one.get("bytes", 0))
    return {
        "cases": len(told),
        "outcomes": dict(Counter(one["outcome"] for one in told)),
        "loaded": sum(bool(one.get("loaded")) for one in told),
        "bad": [
            " ".join(str(one.get(key, "")) for key in ("outcome", "seed", "bundle", "what", "error"))
            for one in islice(sorted(bad, key=lambda one: one["seed"]), SHOWN)
        ],
        "largest_bytes": largest.get("bytes", 0),
        "largest": " ".join(str(largest.get(key, "")) for key in ("seed", "bundle", "what")),
        "slowest_s": max((one.get("seconds", 0.0) for one in told), default=0.0),
    }


def whole_bundles(folder: Path) -> list[str]:
    """Write the bundles that are changed: images with and without resizing, texts of each kind of answer."""
    from msgspec.structs import replace

    from compactor_runtimes.bundle.manifest import (
        SCHEMA_VERSION,
        CenterCrop,
        Cover,
        DecodeImage,
        Resize,
        ToFloat,
        decode_manifest,
        encode_manifest,
    )
    from tests.runtimes.conftest import write_bundle
    from tests.runtimes.slot_bundles import write_slot_bundle
    from tests.runtimes.text_bundles import write_text_bundle

    crop = CenterCrop(height=4, width=4)
    write_bundle(folder / "whole-image")
    write_bundle(folder / "whole-resized", steps=[DecodeImage(), Resize(size=4), crop, ToFloat()])
    write_bundle(folder / "whole-covered", steps=[DecodeImage(), Cover(height=4, width=4), crop, ToFloat()])
    write_text_bundle(folder / "whole-text")
    write_text_bundle(folder / "whole-vector", embedding=True)
    write_slot_bundle(folder / "whole-slots")
    for path in folder.glob("whole-*/manifest.json"):
        manifest = decode_manifest(path.read_bytes(), where=str(path))
        path.write_bytes(encode_manifest(replace(manifest, schema_version=SCHEMA_VERSION)))
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("whole-"))


def _drive(
    kind: Kind, folder: Path, cases: list[dict[str, Any]], found: "SimpleQueue[dict[str, Any]]"
) -> None:
    """Answer cases in turn; one that ends its process is told as such, and the next gets a new process."""
    rest = list(cases)
    while rest:
        with _Child(kind, folder) as child:
            while rest:
                case = rest.pop(0)
                answer = child.ask(case)
                if answer is None:
                    found.put(case | {"outcome": "died", "what": child.why})
                    break
                found.put(answer)


class _Child:
    """One process that answers cases."""

    def __init__(self, kind: Kind, folder: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.fuzz_child", kind, str(folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._lines: SimpleQueue[str] = SimpleQueue()
        self.why = ""
        Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> "_Child":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def ask(self, case: dict[str, Any]) -> dict[str, Any] | None:
        """The answer; None if the process died or had to be ended."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(case) + "\n")
            self._process.stdin.flush()
            line = self._lines.get(timeout=PATIENCE_S)
        except (Empty, OSError):
            self.why = "did not end and had to be killed"
            return None
        if not line:
            self.why = f"the process ended with {self._process.wait()}"
            return None
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")


def _drain(found: "SimpleQueue[dict[str, Any]]") -> Iterator[dict[str, Any]]:
    while not found.empty():
        yield found.get()
