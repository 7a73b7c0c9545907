"""Real recipes on workers: the same bytes as one process makes, whatever dies, and nothing done twice."""

import copy
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from compactor.cache.claims import progress_of
from compactor.label_store.header import STORE_FILE, UNFINISHED_FILE, read_header
from compactor.label_store.unfinished import jobs_of
from compactor.launch.ahead import Ahead
from compactor.launch.forecast import Wish, forecast
from compactor.launch.on_ray import RayActors
from compactor.launch.status import work_below
from compactor.launch.where import parse_where
from compactor.progress import SilentReporter
from compactor.recipe.load import LoadedRecipe, parse_recipe
from compactor.run.label import label_recipe
from compactor.run.plan import make_plan
from compactor_runtimes.environment import describe
from compactor_runtimes.errors import CompactorError, UnfitEnvironmentError, UsageError
from tests.compactor.run import test_labels

RECIPE: dict[str, Any] = copy.deepcopy(test_labels.RECIPE)
RECIPE["data"]["limit"]["train"] = 400


def recipe(**changes: Any) -> LoadedRecipe:
    """The recipe; with random weights its teacher is asked nothing."""
    raw = copy.deepcopy(RECIPE) | changes
    raw["stages"][0]["student"] = raw["student"] | {"trust_teacher": True}
    return LoadedRecipe(parse_recipe(raw), Path.cwd(), "toy")


def label(runs: Path, on: str) -> Path:
    """Label on workers; return the store."""
    ahead = Ahead(parse_where(on), runs, SilentReporter())
    [made] = label_recipe(recipe(), runs=runs, stage_id="distil", workers=ahead)
    assert made.is_whole
    return made.folder


def contents(store: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes() for path in store.iterdir() if path.is_file() and path.name[0] != "."
    }


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The store that one worker makes."""
    return contents(label(tmp_path_factory.mktemp("one"), "local:1,threads=1,shards=20"))


@pytest.mark.heavy
def test_two_local_workers_make_the_bytes_of_one(tmp_path: Path, one: dict[str, bytes]) -> None:
    store = label(tmp_path, "local:2,threads=1,shards=20")
    assert contents(store) == one
    header = read_header(store)
    assert header.threads == 1
    assert len([job for job in jobs_of(header) if job.part.split == "train"]) == 20
    [work] = work_below(tmp_path)
    assert len(work.progress.done) == len(jobs_of(header))
    assert (work.progress.running, work.progress.left, work.failed, work.eta_s) == ({}, {}, {}, 0.0)
    assert work.progress.spent_s > 0
    [again] = label_recipe(recipe(), runs=tmp_path, stage_id="distil")  # without --on: it is there
    assert again.folder == store


@pytest.mark.heavy
@pytest.mark.parametrize(
    "on", ["ray:workers=2,threads=1,shards=20", "slurm:cluster=local,workers=2,threads=1,shards=20"]
)
def test_other_launchers_make_the_same_bytes(tmp_path: Path, one: dict[str, bytes], on: str) -> None:
    pytest.importorskip("ray" if on.startswith("ray") else "submitit")
    assert contents(label(tmp_path, on)) == one


@pytest.mark.heavy
def test_what_ray_would_wait_for_for_ever_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnfitEnvironmentError, match=r"2 workers need 200 GPU, this machine has \d+ for Ray"):
        label(tmp_path, "ray:workers=2,threads=1,gpus=100")


def test_an_address_without_a_cluster_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--on ray: got 'nonsense', expected auto, HOST:PORT"):
        RayActors(tmp_path, parse_where("ray:nonsense"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(UnfitEnvironmentError, match=f"no cluster answers at 127.0.0.1:{port} "):
        RayActors(tmp_path, parse_where(f"ray:127.0.0.1:{port},workers=2"))


_DRIVER = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
from tests.compactor.launch.test_on_workers import label
label(Path({runs!r}), "local:2,threads=1,shards=20")
"""


@pytest.mark.heavy
def test_a_killed_driver_and_killed_workers_lose_nothing(tmp_path: Path, one: dict[str, bytes]) -> None:
    """kill -9 of the driver while shards are made: its workers stop, and the next one finishes the store."""
    driver = subprocess.Popen([sys.executable, "-c", _DRIVER.format(path=sys.path, runs=str(tmp_path))])
    stores = tmp_path / "toy" / "labels"
    until_s = time.monotonic() + 120
    while time.monotonic() < until_s and len(list(stores.glob("*/train-0*.npy"))) < 4:
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    [store] = stores.iterdir()
    assert (store / UNFINISHED_FILE).is_file() or (store / STORE_FILE).is_file()
    while work_below(tmp_path)[0].progress.running:  # its workers, to the end of the batch at hand
        assert time.monotonic() < until_s
        time.sleep(0.1)
    [work] = work_below(tmp_path)
    plan = make_plan(recipe(), tmp_path)
    piece = next((one for one in forecast(plan, Wish(1)).pieces if one.what == "labels of distil"), None)
    if piece is not None:  # what is missing, at the pace of what is finished
        found = work.progress
        total = len(found.done) + len(found.running) + len(found.left) + len(found.waiting)
        assert piece.items == total - len(found.done)
        assert piece.measured == len(found.seconds) >= 2
        assert piece.item_s == pytest.approx(sum(found.seconds.values()) / piece.measured)
        where = describe()["cpu"]  # a part of its name, in any case
        [on_kind] = forecast(plan, Wish(2, gpu=str(where)[:12].upper())).pieces
        assert on_kind == piece
        assert forecast(plan, Wish(2, gpu=str(where)[:12])).left_out == ["distil"]
        with pytest.raises(
            UsageError, match=rf"no shard is finished on one \(but on .*{re.escape(str(where))}"
        ):
            forecast(plan, Wish(2, gpu="H100"))
    made = {path.name: path.stat().st_mtime_ns for path in store.glob("train-0*.npy")}
    assert contents(label(tmp_path, "local:2,threads=1,shards=20")) == one
    assert {name: (store / name).stat().st_mtime_ns for name in made} == made  # none was made again


@pytest.mark.heavy
def test_a_users_error_in_a_worker_is_the_commands_own(tmp_path: Path) -> None:
    ahead = Ahead(parse_where("local:2,threads=1"), tmp_path, SilentReporter())
    plan = make_plan(recipe(), tmp_path)
    broken = plan.stages[0].folder
    broken.parent.mkdir(parents=True)
    broken.write_text("a file in the place of the stage's folder")
    with pytest.raises((CompactorError, OSError)):
        label_recipe(recipe(), runs=tmp_path, stage_id="distil", workers=ahead)


@pytest.mark.heavy
def test_seeds_are_trained_at_once_and_only_once(tmp_path: Path) -> None:
    """Two seeds share the teacher's settings but not its weights: four trainings on two workers."""
    plans = [make_plan(recipe(seed=seed), tmp_path) for seed in (0, 1)]
    ahead = Ahead(parse_where("local:2,threads=1"), tmp_path, SilentReporter())
    ahead.train(plans)
    for plan in plans:
        assert [make_plan(plan.loaded, tmp_path).stages[at].action for at in (0, 1)] == ["reuse", "reuse"]
    spent = {one.order.kind: len(one.progress.done) for one in work_below(tmp_path)}
    assert spent["stages"] == 2
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("model.safetensors"))
    ahead.train(plans)
    assert sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("model.safetensors")) == before


@pytest.mark.heavy
def test_a_stage_is_trained_by_torchrun_in_several_processes(tmp_path: Path) -> None:
    raw = RECIPE["stages"][0] | {"student": RECIPE["student"], "sharding": "fsdp2"}
    plan = make_plan(recipe(stages=[raw]), tmp_path)
    Ahead(parse_where("local:1,processes=2"), tmp_path, SilentReporter()).train([plan])
    [stage] = make_plan(plan.loaded, tmp_path).stages
    assert stage.action == "reuse"
    assert (stage.folder / "student" / "model.safetensors").is_file()


def test_an_order_names_recipes_in_full() -> None:
    from compactor.launch.order import RecipeText

    loaded = recipe()
    text = RecipeText.of(loaded)
    assert text.read().recipe == loaded.recipe
    assert yaml.safe_load(text.text)["stages"][1]["labels"]["crops"] == 3


def test_what_died_is_told_from_what_runs(tmp_path: Path) -> None:
    """A child holds item 0 and dies; item 1 was never begun."""
    from compactor.cache.claims import JOURNALS, claimed

    files = {number: tmp_path / f"{number}.json" for number in (0, 1)}
    (tmp_path / JOURNALS).mkdir()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        held = claimed(tmp_path, files)  # a lock ends with its generator
        next(held)
        os.write(writer, b"x")
        signal.pause()
    os.read(reader, 1)
    found = progress_of(tmp_path, files)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert (list(found.running), list(found.left), found.waiting) == ([0], [], [1])
    assert str(child) in found.running[0]
    found = progress_of(tmp_path, files)
    assert (list(found.running), list(found.left), found.waiting) == ([], [0], [1])
