"""`--on`, `status`, `publish`, `plan --workers` and `plan --emit` as they are typed."""

import json
import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from msgspec.structs import replace

from compactor.cache.claims import claimed
from compactor.cli import cli
from compactor.launch.order import STOP, Order, RecipeText, StageItem, outcome_file
from compactor_runtimes.errors import UsageError

TOY = """
name: toy
task: image-classification
data: {dataset: digits, limit: {train: 60, select: 40, report: 50}}
student: {model: "cifar:resnet8", options: {width: 4}}
stages:
  - {id: teacher, method: supervised, steps: 3, batch_size: 20}
  - {id: distil, method: fkd, teachers: ["stage:teacher"], labels: {crops: 3}, options: {crops_per_image: 1},
     steps: 4, batch_size: 20}
"""


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    (tmp_path / "toy.yaml").write_text(TOY)
    return tmp_path / "toy.yaml"


@pytest.mark.parametrize("command", [("label",), ("run",), ("pool", "build"), ("recommend",)])
def test_a_launcher_that_is_none_is_refused_before_anything_is_read(
    toy: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    done = run(*command, toy, "--runs", tmp_path / "runs", "--on", "lokal:2")
    assert isinstance(done.exception, UsageError)
    assert "--on: got 'lokal:2', expected local:N" in str(done.exception)
    assert not (tmp_path / "runs").exists()


def test_shares_and_workers_exclude_each_other(toy: Path) -> None:
    done = run("label", toy, "--share", "1/2", "--on", "local:2")
    assert "--on and --share: give one" in str(done.exception)


def test_a_command_that_torchrun_started_starts_no_workers(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = run("run", toy, "--runs", tmp_path / "runs", "--on", "local:2")
    assert isinstance(done.exception, UsageError)
    assert "torchrun started 2 processes of this command" in str(done.exception)
    assert not (tmp_path / "runs").exists()


def test_status_tells_what_is_done_and_what_failed_and_stops_it(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "toy" / "work" / "abc"
    order = Order(
        kind="stages",
        folder=str(folder),
        runs=str(tmp_path),
        recipes=[],
        threads=1,
        items=[StageItem(0, "a"), StageItem(0, "b"), StageItem(0, "c")],
        on="local:workers=2,threads=1",
    )
    order.write()
    problem = "stage a: a layer of the width 0 cannot be trained"
    for number in claimed(folder, {0: folder / "0.json"}):
        (folder / f"{number}.json").write_text(json.dumps({"folder": "a", "problem": problem}))
    failed = json.dumps({"code": 2, "said": "recipe stages.0.lr: got -1, expected > 0"})
    outcome_file(order.place, "worker-2").write_text(failed)
    done = run("status", tmp_path / "runs", "--json")
    [found] = json.loads(done.stdout)
    assert (found["kind"], found["done"], found["waiting"], found["running"]) == ("stages", 1, 2, {})
    assert found["failed"] == {"worker-2": "recipe stages.0.lr: got -1, expected > 0", "a": problem}
    assert found["eta_s"] is None
    of_seeds = replace(order, recipes=[RecipeText("toy", ".", "{}")] * 2, items=[StageItem(1, "a")])
    of_seeds.write()
    [found] = json.loads(run("status", tmp_path / "runs", "--json").stdout)
    assert found["failed"]["a of recipe 2"] == problem
    order.write()
    shown = run("status", tmp_path / "runs").stdout
    assert "1 of 3" in shown
    assert not (order.place / STOP).exists()
    assert "all were asked to stop" in run("status", tmp_path / "runs", "--stop").stdout
    assert (order.place / STOP).exists()
    order.write()  # the next driver takes the wish back
    assert not (order.place / STOP).exists()


def test_status_of_nothing(tmp_path: Path) -> None:
    assert "no work that --on shares" in run("status", tmp_path).stdout
    assert "is no folder" in str(run("status", tmp_path / "none").exception)
    place = tmp_path / ".work"
    place.mkdir()
    (place / "order.json").write_text("{")
    assert re.search(r"order .*order\.json: is damaged", str(run("status", tmp_path).exception))


def test_a_folder_is_published_and_the_address_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPACTOR_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "store"
    folder.mkdir()
    (folder / "a.npy").write_bytes(bytes(10))
    (folder / "unfinished.json").write_text("{}")
    address = f"file://{tmp_path}/shared"
    assert "is not finished" in str(run("publish", folder, address).exception)
    (folder / "unfinished.json").unlink()
    assert (
        f"published: {address} (1 files, 10 B; 1 sent now)"
        in run("publish", folder, address, "--quiet").stdout
    )
    again = json.loads(run("publish", folder, address, "--json", "--quiet").stdout)
    assert (again["files"], again["sent"]) == (1, 0)
    assert (tmp_path / "shared" / "published.json").is_file()


def test_job_files_are_printed(toy: Path) -> None:
    text = run("plan", toy, "--set", "seed=3", "--emit", "slurm:nodes=2").stdout
    assert text.startswith("#!/bin/bash\n#SBATCH --job-name=toy\n")
    assert f"-m compactor run {toy} --set seed=3 &" in text
    job = yaml.safe_load(run("plan", toy, "--emit", "rayjob:image=a,claim=b").stdout)
    assert job["kind"] == "RayJob"
    assert "image is missing" in str(run("plan", toy, "--emit", "rayjob").exception)


def test_options_of_a_forecast_need_each_other(toy: Path) -> None:
    assert "--workers: has no effect without --cost" in str(run("plan", toy, "--workers", "2").exception)
    assert "--failures: has no effect" in str(run("plan", toy, "--cost", "--failures", "0.1").exception)
    assert "--gpu: has no effect without --workers" in str(run("plan", toy, "--gpu", "H100").exception)


@pytest.mark.slow
def test_a_plan_foretells_wall_time(toy: Path, tmp_path: Path) -> None:
    words = ("plan", toy, "--runs", tmp_path / "runs", "--no-trace", "--cost", "--workers", "3")
    done = run(*words, "--json")
    found = json.loads(done.stdout)["forecast"]
    assert [piece["what"] for piece in found["pieces"]] == [
        "train teacher",
        "labels of distil",
        "train distil",
    ]
    assert [wall["workers"] for wall in found["walls"]] == [1, 2, 3]
    assert found["walls"][0]["seconds"] >= found["walls"][2]["seconds"] > 0
    refused = run(*words, "--gpu", "H100").exception
    assert "--gpu H100: no shard is finished of the labels of distil" in str(refused)
    shown = run(*words).stdout
    assert "no number of workers goes below" in shown
    assert (tmp_path / "runs" / "toy" / "forecast.png").is_file()
