"""The process that opens damaged bundles and answers hostile inputs: one JSON line a case on standard output.

Started as `python -m benchmarks.fuzz_child bundles|inputs FOLDER`; each line of standard input is a case. Its
memory is limited, and a case that takes too long is ended by an alarm that no code can catch by accident.
"""

import json
import os
import random
import resource
import shutil
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

MEMORY = 6 << 30
SECONDS = 20
CLEAR_PEAK = "5"  # what /proc/self/clear_refs takes to forget the largest memory so far


class TooLong(BaseException):
    """The alarm; no Exception, so that nothing takes it for an error of its own."""


def main(arguments: list[str]) -> None:
    """Answer cases until the end of input."""
    kind, folder = arguments
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, _ring)
    warnings.simplefilter("ignore")
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)  # what Rust and C++ print of their failures
    case = BundleCases(Path(folder)) if kind == "bundles" else InputCases(Path(folder))
    for line in sys.stdin:
        told = json.loads(line)
        begin = time.perf_counter()
        said = case.run(told)
        channel.write(json.dumps({**told, **said, "seconds": round(time.perf_counter() - begin, 3)}) + "\n")


def _ring(*_: object) -> None:
    raise TooLong


def judged(work: Any) -> dict[str, Any]:
    """Call, and say what came of it: an answer, an error of the family, another error, or no end."""
    from compactor_runtimes.errors import CompactorError

    signal.alarm(SECONDS)
    try:
        return {"outcome": "answered", "value": work()}
    except CompactorError as error:
        text = str(error)
        bad = "\n" in text or len(text) > 3000
        return {"outcome": "untidy" if bad else "typed", "error": f"{type(error).__name__}: {text[:200]}"}
    except TooLong:
        return {"outcome": "hang", "error": "did not end"}
    except BaseException as error:
        return {"outcome": "untyped", "error": f"{type(error).__name__}: {str(error)[:200]}"}
    finally:
        signal.alarm(0)


class BundleCases:
    """Each case is a fresh copy of one of the whole bundles of the folder, changed by a seed."""

    def __init__(self, folder: Path) -> None:
        """Ask each whole bundle for its answers."""
        self._folder = folder
        self._work = folder / f"work-{os.getpid()}"
        self._whole = {
            path.name: self._answers(path)
            for path in sorted(folder.iterdir())
            if path.name.startswith("whole-")
        }

    def run(self, told: dict[str, Any]) -> dict[str, Any]:
        """Change, load, ask, verify."""
        from benchmarks.fuzz_bundles import change, hash_again

        bundle = self._work / "bundle"
        shutil.rmtree(self._work, ignore_errors=True)
        shutil.copytree(self._folder / told["bundle"], bundle)
        what = change(bundle, random.Random(told["seed"]))
        if told["hashed"]:
            hash_again(bundle)
        answer = judged(lambda: self._answers(bundle))
        proof = judged(lambda: self._verified(bundle))
        differs = answer["outcome"] == "answered" and answer["value"] != self._whole[told["bundle"]]
        wrong = differs and not (told["hashed"] and proof.get("value") is not True)
        worst = max((answer, proof), key=lambda one: RANK[one["outcome"]])
        return {
            "what": what,
            "outcome": "accepted_wrong" if wrong else worst["outcome"],
            "loaded": answer["outcome"] == "answered",
            "error": worst.get("error", ""),
        }

    def _answers(self, bundle: Path) -> Any:
        from compactor_runtimes import load

        with load(bundle, threads=1) as model:
            given = _GIVEN[model.takes]
            inputs = [one() for one in given]
            together = model.predict(inputs)
            return _plain([each.to_dict() for each in [*together, *map(model.predict, inputs)]])

    def _verified(self, bundle: Path) -> bool:
        from compactor_runtimes import verify_bundle

        return bool(verify_bundle(bundle, threads=1))


RANK = {name: rank for rank, name in enumerate(("answered", "typed", "untidy", "untyped", "hang"))}


def _plain(value: Any) -> Any:
    """Answers without the last digits of their numbers."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return value


def _image(seed: int) -> Any:
    import numpy as np

    return np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)


_GIVEN: dict[str, list[Any]] = {
    "image": [lambda: _image(1), lambda: _image(2)],
    "text": [
        lambda: "turn on the light music",
        lambda: "off",
        lambda: "music the light off on turn turn turn",
    ],
}


class InputCases:
    """Each case is one input for one of the whole bundles of the folder, made from a seed."""

    def __init__(self, folder: Path) -> None:
        """Load the models once; all cases of this process share them."""
        from compactor_runtimes import load

        self._folder = folder
        paths = [path for path in sorted(folder.iterdir()) if path.name.startswith("whole-")]
        self._models = {path.name: load(path, threads=1) for path in paths}
        for model in self._models.values():
            model.warm_up()

    def run(self, told: dict[str, Any]) -> dict[str, Any]:
        """Make the input, ask, and look how much memory that took."""
        from benchmarks.fuzz_inputs import make_input

        model = self._models[told["bundle"]]
        chance = random.Random(told["seed"])
        what, raw = make_input(model.takes, chance, self._folder / f"given-{os.getpid()}")
        before = _memory("VmRSS")
        Path("/proc/self/clear_refs").write_text(CLEAR_PEAK)
        found = judged(lambda: _finite(model.predict(raw)))
        grown = max(0, _memory("VmHWM") - before)
        wrong = found["outcome"] == "answered" and found["value"] is not True
        return {
            "what": what,
            "outcome": "accepted_wrong" if wrong else found["outcome"],
            "error": found.get("error", ""),
            "bytes": grown,
        }


def _memory(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) << 10
    return 0


def _finite(answer: Any) -> bool:
    """Whether every number of an answer is one."""
    said = answer if isinstance(answer, list) else [answer]
    try:
        json.dumps([each.to_dict() for each in said], allow_nan=False)
    except ValueError:
        return False
    return True


if __name__ == "__main__":
    main(sys.argv[1:])
