"""One subject of suite `scale` in a process of its own: prints one JSON line.

Usage: python -m benchmarks.scale_worker SUBJECT
"""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.scale_recipe import ON, contents, label, recipe
from benchmarks.workers import ROOT

LOOP_S = 20.0
PROBED = 4  # shards a worker, before a forecast
MILLIONS = 10_000_000


def stores() -> dict[str, Any]:
    """The same labels by one process, two, Ray and submitit's local executor."""
    made = {}
    for name, on in (
        ("one", f"local:1,{ON}"),
        ("local2", f"local:2,{ON}"),
        ("ray", f"ray:workers=2,{ON}"),
        ("submitit", f"slurm:cluster=local,workers=2,{ON}"),
    ):
        with tempfile.TemporaryDirectory() as runs:
            made[name] = contents(label(Path(runs), on)[0])
    shards = sum(name.startswith("train-0") for name in made["one"])
    return {"shards": shards} | {f"{name}_equal": found == made["one"] for name, found in made.items()}


def speed() -> dict[str, Any]:
    """Shards a second of one and two local workers, and crops a second of one and two bare loops."""
    rates = {}
    for workers in (1, 2):
        with tempfile.TemporaryDirectory() as runs:
            _, seconds = label(Path(runs), f"local:{workers},{ON}")
            rates[f"local{workers}"] = workers / median(seconds)
        rates[f"loops{workers}"] = _loops(workers)
    return rates


def _loops(count: int) -> float:
    command = [sys.executable, "-m", "benchmarks.peers.teacher_loop"]
    processors = sorted(os.sched_getaffinity(0))[:count]
    running = [
        subprocess.Popen([*command, str(one), str(LOOP_S)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for one in processors
    ]
    return sum(float(process.communicate()[0]) for process in running)


def ray() -> dict[str, Any]:
    """Seconds between a worker's shards, which are no labelling, beside one Ray actor."""
    from compactor.cache.claims import JOURNALS

    with tempfile.TemporaryDirectory() as runs:
        store, seconds = label(Path(runs), f"ray:workers=1,{ON}")
        [journal] = (store / JOURNALS).glob("*.jsonl")
        events = [json.loads(line) for line in journal.read_text().splitlines()]
    whole_s = events[-1]["time_s"] - events[0]["time_s"]
    return {"between_s": (whole_s - sum(seconds)) / len(seconds), "shard_s": median(seconds)}


def plan() -> dict[str, Any]:
    """Begin and watch a store of ten million samples."""
    import numpy as np

    from compactor.cache.claims import progress_of
    from compactor.label_store.probe import divided
    from compactor.label_store.unfinished import jobs_of
    from compactor.label_store.write import StoreWriter, ids_file
    from compactor.run.data import DataSets
    from compactor.run.plan import make_plan

    loaded = recipe()
    with tempfile.TemporaryDirectory() as runs:
        from compactor.progress import SilentReporter

        [stage] = make_plan(loaded, Path(runs), data=DataSets(loaded, SilentReporter())).stages
        assert stage.labels is not None
        header, before = stage.labels.wanted, _peak_mb()
        started_s = time.perf_counter()
        ids = np.arange(MILLIONS, dtype=np.int64)
        [part] = header.parts
        from msgspec.structs import replace

        name, _, digest = ids_file("train", ids)
        wide = replace(part, rows=MILLIONS, ids=name, ids_sha256=digest)
        wide = replace(header, parts=[wide])
        begun = divided(wide, 0.001, workers=16, threads=4)
        writer = StoreWriter(Path(runs) / "store", begun, {"train": ids})
        files = {job.number: writer.folder / job.file for job in jobs_of(begun)}
        progress_of(writer.folder, files)
        return {
            "seconds": time.perf_counter() - started_s,
            "mb": _peak_mb() - before,
            "items": len(files),
        }


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def faults() -> dict[str, Any]:
    """What goes wrong in the middle; each must end with the store of an undisturbed process."""
    with tempfile.TemporaryDirectory() as runs:
        whole = contents(label(Path(runs), f"local:1,{ON}")[0])
    return {name: fault(whole) for name, fault in FAULTS.items()}


def _driver(runs: str, on: str) -> "subprocess.Popen[bytes]":
    code = "import sys; from pathlib import Path; from benchmarks.scale_recipe import label; "
    code += "label(Path(sys.argv[1]), sys.argv[2])"
    return subprocess.Popen([sys.executable, "-c", code, runs, on], cwd=ROOT, stderr=subprocess.PIPE)


def _wait_for(runs: str, shards: int) -> Path:
    """The store, once so many shards are there."""
    until_s = time.monotonic() + 300
    while time.monotonic() < until_s:
        found = list(Path(runs).glob("*/labels/*/train-0*.npy"))
        if len(found) >= shards:
            return found[0].parent
        time.sleep(0.02)
    raise TimeoutError(f"{shards} shards did not appear")


def _left_by_a_killed_driver(runs: str) -> Path:
    """A store that was begun by two local workers, whose driver then died."""
    driver = _driver(runs, f"local:2,{ON}")
    store = _wait_for(runs, 3)
    driver.kill()
    driver.wait()
    return store


def _workers_of(driver: "subprocess.Popen[bytes]") -> list[int]:
    children = Path(f"/proc/{driver.pid}/task/{driver.pid}/children").read_text().split()
    return [int(one) for one in children]


def _killed_worker(whole: dict[str, str]) -> bool:
    """kill -9 of a worker in the middle of a shard."""
    with tempfile.TemporaryDirectory() as runs:
        driver = _driver(runs, f"local:2,{ON}")
        store = _wait_for(runs, 3)
        os.kill(_workers_of(driver)[0], signal.SIGKILL)
        return driver.wait() == 0 and contents(store) == whole


def _killed_driver(whole: dict[str, str]) -> bool:
    """kill -9 of the driver; the same command once more makes what is missing, and nothing twice."""
    with tempfile.TemporaryDirectory() as runs:
        store = _left_by_a_killed_driver(runs)
        made = {path.name: path.stat().st_mtime_ns for path in store.glob("train-0*.npy")}
        again = _driver(runs, f"local:2,{ON}")
        is_same = again.wait() == 0 and contents(store) == whole
        return is_same and all((store / name).stat().st_mtime_ns == at for name, at in made.items())


def _stopped(whole: dict[str, str]) -> bool:
    """Ctrl-C, then the same command."""
    with tempfile.TemporaryDirectory() as runs:
        driver = _driver(runs, f"local:2,{ON}")
        store = _wait_for(runs, 3)
        driver.send_signal(signal.SIGINT)
        driver.wait()
        assert driver.stderr is not None
        said = driver.stderr.read().decode()
        return (
            "InterruptedRun" in said
            and _driver(runs, f"local:2,{ON}").wait() == 0
            and contents(store) == whole
        )


def _other_launcher(whole: dict[str, str]) -> bool:
    """Begun by local workers, killed, finished by submitit's."""
    with tempfile.TemporaryDirectory() as runs:
        store = _left_by_a_killed_driver(runs)
        label(Path(runs), f"slurm:cluster=local,workers=1,{ON}")
        return contents(store) == whole


def _full_disk(whole: dict[str, str]) -> bool:
    """A disk on which the store has no room: one sentence, and all of it once there is room."""
    with tempfile.TemporaryDirectory() as place:
        if subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", place], check=False
        ).returncode:
            raise RuntimeError("a small disk could not be mounted; run as root")
        try:
            driver = _driver(place, f"local:2,{ON}")
            driver.wait()
            assert driver.stderr is not None
            said = driver.stderr.read().decode().splitlines()[-1]
            subprocess.run(["mount", "-o", "remount,size=64m", place], check=True)
            store, _ = label(Path(place), f"local:2,{ON}")
            return ("No space left" in said or "free" in said) and contents(store) == whole
        finally:
            subprocess.run(["umount", "-l", place], check=True)


def _poisoned_image(whole: dict[str, str]) -> bool:
    """An image that cannot be decoded is named and ends the command; by choice it is left out and said."""
    import shutil

    from PIL import Image

    from compactor.progress import SilentReporter
    from compactor.run.data import DataSets
    from compactor_runtimes.errors import UsageError

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "images"
        for name, value in (("a", 40), ("b", 200)):
            for number in range(20):
                path = folder / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (32, 32), (value + number,) * 3).save(path)
        (folder / "a" / "3.png").write_bytes(b"poison")
        data = {"dataset": str(folder)}
        try:
            DataSets(recipe(), SilentReporter()).open(_spec(data))
        except UsageError as error:
            is_named = "3.png" in str(error)
        else:
            is_named = False
        kept = DataSets(recipe(), SilentReporter()).open(_spec(data | {"unreadable": "skip"}))
        rows = sum(len(part) for part in (kept.train, kept.select, kept.report))
        shutil.rmtree(folder)
        return is_named and rows == 39 and any("left out" in note for note in kept.notes)


def _spec(plain: dict[str, Any]) -> Any:
    import msgspec

    from compactor.data.spec import DataSpec

    return msgspec.convert(plain, DataSpec)


FAULTS: dict[str, Callable[[dict[str, str]], bool]] = {
    "worker killed with -9": _killed_worker,
    "driver killed with -9": _killed_driver,
    "Ctrl-C": _stopped,
    "finished by another launcher": _other_launcher,
    "disk full": _full_disk,
    "poisoned image": _poisoned_image,
}


def forecast() -> dict[str, Any]:
    """Wall time of what is left of the labels after a few shards, foretold and measured."""
    from compactor.launch.forecast import Wish, simulated
    from compactor.launch.forecast import forecast as foretell
    from compactor.run.plan import make_plan

    foretold, measured = {}, {}
    for count in (1, 2):
        on = f"local:{count},{ON}"
        with tempfile.TemporaryDirectory() as runs:
            driver = _driver(runs, on)
            _wait_for(runs, PROBED * count)
            driver.send_signal(signal.SIGINT)
            driver.wait()
            [labels, _] = foretell(make_plan(recipe(), Path(runs)), Wish(count)).pieces
            foretold[count] = simulated([labels], count).seconds
            measured[count] = _wall_s(runs, on)
    return {"foretold_s": foretold, "measured_s": measured}


def _wall_s(runs: str, on: str) -> float:
    """Go on with the labels: from the first shard's begin to the last one's end."""
    from compactor.cache.claims import JOURNALS

    started_s = time.time()
    store, _ = label(Path(runs), on)
    times = [
        at_s
        for path in (store / JOURNALS).glob("*.jsonl")
        for line in path.read_text().splitlines()
        if (at_s := json.loads(line)["time_s"]) > started_s
    ]
    return max(times) - min(times)


def fsdp2() -> dict[str, Any]:
    """The tests of divided students: two processes equal one, and a checkpoint goes on in one."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "heavy", "-p", "no:cacheprovider"]
    names = "fsdp2 or divided"
    done = subprocess.run(
        [*command, "tests/compactor/trainer/test_fit.py", "-k", names],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return {"passed": done.returncode == 0, "said": done.stdout.splitlines()[-1]}


SUBJECTS: dict[str, Callable[[], dict[str, Any]]] = {
    one.__name__: one for one in (stores, speed, ray, plan, faults, forecast, fsdp2)
}

if __name__ == "__main__":
    print(json.dumps(SUBJECTS[sys.argv[1]]()))
