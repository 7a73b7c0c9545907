"""Building: what is chosen and listed, that nothing is done twice, and that a stop changes no byte."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from compactor.data.pool_file import read_pool
from tests.command_line import start_compactor
from tests.compactor import pool_toys
from tests.compactor.pool_toys import NEW, PLANTED

OWN = 200 + 270 + 359  # rows of digits that the recipe trains, selects and reports on
CANDIDATES = NEW + 2 * PLANTED + 1797 - OWN


def removed(folder: Path) -> list[dict[str, object]]:
    pool = read_pool(folder / "runs/toy/pool")
    lines = (pool.path.parent / pool.record.removed_list).read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_every_candidate_is_accounted_for(built: Path) -> None:
    record = read_pool(built / "runs/toy/pool").record
    assert record.candidates == CANDIDATES
    assert record.candidates == record.kept + record.passed_over + sum(one.images for one in record.removed)
    assert [one.own for one in record.sources] == [0, OWN]
    assert record.kept == sum(one.kept for one in record.sources) == sum(record.histogram)
    assert max(record.histogram) <= 20
    assert record.histogram == [min(20, count) for count in record.eligible]
    assert sum(record.confidence.candidates) == CANDIDATES
    assert sum(record.confidence.kept) == record.kept


def test_planted_copies_are_removed_and_listed_with_their_match(built: Path) -> None:
    data = pool_toys.digits()
    by_name = {one["name"]: one for one in removed(built)}
    for split in (data.report, data.select):
        for row in split.rows[:PLANTED]:
            one = by_name[f"{split.name}-{row}.png"]
            assert (one["against"], one["of"]) == (split.name, row)
            assert one["score"]
    taken = read_pool(built / "runs/toy/pool").parts
    kept = {(source, row) for source, part in enumerate(taken) for row in part.rows.tolist()}
    assert not {(one["source"], one["row"]) for one in by_name.values()} & kept


def test_rows_of_the_recipes_own_splits_are_no_candidates(built: Path) -> None:
    data = pool_toys.digits()
    rows = read_pool(built / "runs/toy/pool").parts[1].rows
    for split in (data.train, data.select, data.report):
        assert not np.isin(rows, split.rows).any()
    assert f"{OWN:,} of 1,797 images are rows of the recipe's own splits" in " ".join(
        (built / "stderr.txt").read_text().split()
    )


def test_what_is_there_is_not_made_again(own: Path) -> None:
    before = pool_toys.contents(own / "runs")
    moved = pool_toys.build(own)
    assert "is replaced: other sources, or other contents" not in moved.stderr
    assert "pool: reused" in moved.stderr
    assert pool_toys.contents(own / "runs") == before


@pytest.mark.slow
def test_another_rule_uses_the_same_scores_and_says_what_is_replaced(own: Path) -> None:
    pool = own / "runs/toy/pool"
    scores = {name: one for name, one in pool_toys.contents(pool).items() if name.startswith("scores")}
    done = pool_toys.build(own, "--set", "pool.take.top=3", "--json")
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stderr.split())
    assert "is replaced: pool.take" in said
    assert "its scores are used again" in said
    assert "images/s" not in said
    found = json.loads(done.stdout)
    assert found["whole"]
    assert max(found["histogram"]) == 3
    again = pool_toys.contents(pool)
    assert {name: one for name, one in again.items() if name.startswith("scores")} == scores
    record = read_pool(pool).record
    assert set(record.files) <= set(again)
    back = pool_toys.build(own)
    assert back.returncode == 0
    assert max(read_pool(pool).record.histogram) <= 20


@pytest.mark.slow
def test_other_weights_make_other_scores_beside_the_old_ones(own: Path) -> None:
    done = pool_toys.build(own, "--set", "teachers.0.options.width=4", "--set", "pool.k=3")
    assert done.returncode == 0, done.stderr
    folders = sorted(path.name for path in (own / "runs/toy/pool/scores").iterdir())
    assert len(folders) == 2
    assert Path(read_pool(own / "runs/toy/pool").record.scores).name in folders
    assert "is replaced: other data, settings, versions or code" in " ".join(done.stderr.split())


@pytest.mark.slow
def test_the_pools_data_may_name_the_pool_before_it_is_there(unbuilt: Path, built: Path) -> None:
    recipe = yaml.safe_load((unbuilt / "recipe.yaml").read_text())
    assert recipe["data"]["also"] == [{"dataset": "runs/toy/pool/pool.json"}]
    done = pool_toys.build(unbuilt)
    assert done.returncode == 0, done.stderr
    ours, theirs = (pool_toys.contents(folder / "runs/toy/pool") for folder in (unbuilt, built))
    assert ours.keys() == theirs.keys()
    [name] = [name for name, content in ours.items() if content != theirs[name]]
    assert name == "pool.json"  # which holds the path of the images
    assert ours[name].replace(str(unbuilt).encode(), str(built).encode()) == theirs[name]


@pytest.mark.slow
def test_shares_are_made_one_by_one(unbuilt: Path, built: Path) -> None:
    first = pool_toys.build(unbuilt, "--share", "2/2", "--json")
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["whole"] is False
    assert "still missing" in pool_toys.build(unbuilt, "--share", "2/2").stdout
    assert pool_toys.build(unbuilt, "--share", "1/2").returncode == 0
    assert read_pool(unbuilt / "runs/toy/pool").record.key == read_pool(built / "runs/toy/pool").record.key


@pytest.mark.slow
def test_a_time_limit_keeps_what_is_done_and_says_how_to_go_on(unbuilt: Path, built: Path) -> None:
    stopped = pool_toys.build(unbuilt, "--max-hours", "1e-9")
    assert stopped.returncode == 130
    assert "go on with: compactor pool build recipe.yaml" in stopped.stderr
    assert not (unbuilt / "runs/toy/pool/pool.json").exists()
    assert pool_toys.build(unbuilt).returncode == 0
    assert read_pool(unbuilt / "runs/toy/pool").record.key == read_pool(built / "runs/toy/pool").record.key


@pytest.mark.slow
def test_another_folder_is_taken_where_it_is_asked_for(unbuilt: Path) -> None:
    done = pool_toys.build(unbuilt, "--out", "elsewhere")
    assert done.stdout.splitlines()[-1] == "next:  compactor pool inspect elsewhere"
    assert read_pool(unbuilt / "elsewhere").record.kept


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["pool.sources=[{dataset: nothing}]"], "pool.sources.0.dataset: nothing was not found"),
        (["pool.sources=[{dataset: a.json}]"], "a.json is a pool, which is chosen from sources"),
        (
            ["pool.sources=[{dataset: images}, {dataset: ./images}]"],
            "pool.sources.1.dataset: ./images is named twice",
        ),
        (
            ["pool.sources=[{dataset: digits}]", "data.limit={}"],
            "no image is left beside the recipe's own rows",
        ),
        (["pool=null"], "has no part `pool`; add pool: {sources:"),
        (["teachers.0.trust_teacher=false"], "is no better than chance"),
    ],
)
def test_what_cannot_be_built_is_refused(unbuilt: Path, changes: list[str], message: str) -> None:
    done = pool_toys.build(unbuilt, *(word for one in changes for word in ("--set", one)))
    assert done.returncode == 2
    assert message in done.stderr
    assert not (unbuilt / "runs/toy/pool/pool.json").exists()


def test_a_stage_cannot_score_what_it_is_trained_on(unbuilt: Path) -> None:
    stages = "[{id: t, method: supervised, epochs: 1, batch_size: 64, lr: 0.1}]"
    done = pool_toys.build(unbuilt, "--set", "teachers=[stage:t]", "--set", f"stages={stages}")
    assert done.returncode == 2
    assert "stage t: scores the images of the pool that it is to be trained on itself" in done.stderr


def test_images_of_another_size_are_refused_by_name(unbuilt: Path) -> None:
    large = np.zeros((9, 9, 1), dtype=np.uint8)
    pool_toys.write_png(unbuilt / "large" / "a.png", large)
    done = pool_toys.build(unbuilt, "--set", "pool.sources=[{dataset: large}]")
    assert done.returncode == 2
    assert "images of large are [9, 9, 1]" in done.stderr


def test_a_run_says_how_to_build_the_pool_that_it_names(unbuilt: Path) -> None:
    from tests.command_line import compactor

    done = compactor("plan", "recipe.yaml", cwd=unbuilt, env=pool_toys.cache(unbuilt))
    assert done.returncode == 2
    assert "a pool is made by `compactor pool build RECIPE`" in done.stderr


@pytest.mark.heavy
def test_a_killed_build_goes_on_and_ends_with_the_same_bytes(unbuilt: Path, built: Path) -> None:
    """Killed as soon as the first shard is there, then interrupted like a user would, then finished."""
    shards = unbuilt / "runs/toy/pool/scores"
    for how in (signal.SIGKILL, signal.SIGINT):
        process = start_compactor(
            "pool",
            "build",
            "recipe.yaml",
            cwd=unbuilt,
            env=pool_toys.cache(unbuilt) | {"OMP_NUM_THREADS": "1"},
        )
        deadline_s = time.monotonic() + 120
        while not list(shards.glob("*/features-*")) and process.poll() is None:
            assert time.monotonic() < deadline_s
            time.sleep(0.005)
        os.kill(process.pid, how)
        process.communicate(timeout=120)
    done = pool_toys.build(unbuilt)
    assert done.returncode == 0, done.stderr
    ours, theirs = (pool_toys.contents(folder / "runs/toy/pool") for folder in (unbuilt, built))
    differ = [name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)]
    assert differ == ["pool.json"]
