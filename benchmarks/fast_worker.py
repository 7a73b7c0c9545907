"""One subject of the suite of fast teachers, in a process of its own: prints one JSON line.

Usage: python -m benchmarks.fast_worker '{"subject": "label", "runtime": "ort-int8", "images": 2048, ...}'
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.label_store_worker import ONLINE, Case, _epoch, _warm, labels
from compactor.label_store.store import open_store
from compactor.progress import SilentReporter
from compactor.run.moved import MovedTeachers, on_runtimes
from compactor.teachers import Teachers

ONE_VIEW = "stages.0.options={crops_per_image: 1}"


def label(settings: dict[str, Any]) -> dict[str, Any]:
    """Make a store of whole vectors; in the first block also by torch, to tell how far they are from its."""
    case = _case(settings, [*labels("full"), ONE_VIEW])
    found = _teachers(case)
    _warm(found.teachers, settings)
    seconds, said = _labelled(case, found.teachers)
    result = {"seconds": seconds, "crops": len(said), "runtime": _runtime(found)}
    if settings["block"] == 0:
        _, exact = _labelled(case, case.teachers())
        result |= _divergence(exact, said)
    return result


def live(settings: dict[str, Any]) -> dict[str, Any]:
    """Steps of fit() with the teacher at work in it."""
    overrides = [*ONLINE, *_on(settings)]
    chosen = _runtime(_teachers(Case(settings, overrides)))  # exported and chosen before steps are timed
    return {**_epoch(settings, overrides), "runtime": chosen}


def _on(settings: dict[str, Any]) -> list[str]:
    """The runtime, by the bounds of its entry where `auto` chooses, by none where it is named."""
    runtime = settings["runtime"]
    named = runtime not in ("torch", "auto")
    bounds = ["teachers.0.max_kl=100", "teachers.0.min_agreement=0"] if named else []
    return [f"teachers.0.runtime={runtime}", *bounds]


def _case(settings: dict[str, Any], overrides: list[str]) -> Case:
    return Case(settings, [*overrides, *_on(settings)])


def _teachers(case: Case) -> MovedTeachers:
    return on_runtimes(case.stage, case.teachers(), name=case.plan.name, reporter=SilentReporter())


def _runtime(found: MovedTeachers) -> str:
    return found.ran[0].runtime if found.ran else "torch"


def _labelled(case: Case, teachers: Teachers) -> tuple[float, NDArray[np.float32]]:
    """Seconds from stored images to finished files, and the probabilities [crops, classes] in them."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        seconds = case.label(teachers, store)
        said = open_store(store).train.column("label.p")
        return seconds, np.array(said).reshape(-1, said.shape[-1])


def _divergence(exact: NDArray[np.float32], said: NDArray[np.float32]) -> dict[str, float]:
    """KL(exact || said) in float64: its mean and deviation; what float32 has as 0 counts as its least."""
    least = float(np.finfo(np.float32).tiny)
    p, q = (np.maximum(one.astype(np.float64), least) for one in (exact, said))
    kl = (p * np.log(p / q)).sum(-1)
    return {"kl_mean": float(kl.mean()), "kl_std": float(kl.std())}


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print(json.dumps({"label": label, "live": live}[given["subject"]](given)))
