"""What `clean` keeps and removes, on synthetic folders: limits, links, locks, and links that lead outside."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from compactor.cache.folder import RunFolders, link_stage
from compactor.clean import Limits, carry_out, parse_size, plan_clean
from compactor.clean.items import find_cache, find_runs, stage_lock, tree_size
from compactor.clean.terminal import age, command_line
from compactor.cli.clean_command import command
from compactor_runtimes.errors import UsageError

NOW = 2_000_000_000.0
DAY = 86_400.0
DIGESTS = {name: str(number) * 12 for number, name in enumerate("abcdef")}


def set_age(folder: Path, days: float) -> None:
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (NOW - days * DAY,) * 2, follow_symlinks=False)


def make_stage(root: Path, name: str, *, days: float, size: int = 1000, done: bool = True) -> Path:
    folder = RunFolders(root).stage(name, DIGESTS[name])
    folder.mkdir(parents=True)
    (folder / ".lock").touch()
    (folder / ("done.json" if done else "training.pt")).write_bytes(b"x" * size)
    set_age(folder, days)
    return folder


def make_teachers(root: Path, name: str, *, days: float, whole: bool = True) -> Path:
    folder = RunFolders(root).teachers(DIGESTS[name])
    folder.mkdir(parents=True)
    (folder / ("manifest.json" if whole else "something")).write_bytes(b"{}")
    set_age(folder, days)
    return folder


def make_run(
    root: Path, stamp: str, *, days: float, stages: tuple[Path, ...] = (), end: str = "done", size: int = 100
) -> Path:
    folder = root / stamp
    folder.mkdir(parents=True)
    lines = ['{"event": "start"}', f'{{"event": "{end}"}}'] if end else ['{"event": "start"}']
    journal = "\n".join(lines) + "\n"
    (folder / "journal.jsonl").write_text(journal)
    (folder / "rest").write_bytes(b"x" * (size - len(journal)))
    for stage in stages:
        link_stage(folder, stage.name.rpartition("-")[0], stage)
    set_age(folder, days)
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Recipe `toy`: stages a to c, runs of 30, 20 and 10 days; the newest is `latest` and needs b."""
    root = tmp_path / "runs" / "toy"
    a, b = make_stage(root, "a", days=30), make_stage(root, "b", days=20)
    make_stage(root, "c", days=5, done=False)
    make_run(root, "20330101-000000", days=30, stages=(a, b))
    make_run(root, "20330102-000000", days=20, stages=(b,))
    make_run(root, "20330103-000000", days=10, stages=(b,))
    (root / "latest").symlink_to("20330103-000000")
    return tmp_path / "runs"


def gone(runs: Path, *, cache: Path | None = None, **limits: float | bool | None) -> set[str]:
    """Names of what would go."""
    plan = plan_clean(runs, Limits(**limits), cache=cache, now_s=NOW)
    return {verdict.item.path.name for verdict in plan.verdicts if verdict.goes}


STAGE_A = f"a-{DIGESTS['a']}"
STAGE_B = f"b-{DIGESTS['b']}"
STAGE_C = f"c-{DIGESTS['c']}"
FIRST, SECOND, THIRD = (f"2033010{day}-000000" for day in (1, 2, 3))


def test_without_a_limit_nothing_goes_and_everything_is_listed(runs: Path) -> None:
    plan = plan_clean(runs, Limits(), now_s=NOW)
    assert not any(verdict.goes for verdict in plan.verdicts)
    assert plan.total_bytes == 3 * 1000 + 3 * 100
    assert {verdict.item.path.name for verdict in plan.verdicts} == {
        *(STAGE_A, STAGE_B, STAGE_C),
        *(FIRST, SECOND, THIRD),
    }


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"keep": 3}, set()),
        ({"keep": 2}, {FIRST, STAGE_A}),  # b is needed by the two that stay
        ({"keep": 1}, {FIRST, SECOND, STAGE_A}),
        ({"keep": 0}, {FIRST, SECOND, STAGE_A}),  # latest and what it needs stay; c can go on
        ({"older_than_days": 25}, {FIRST, STAGE_A}),
        ({"older_than_days": 1}, {FIRST, SECOND, STAGE_A, STAGE_C}),
        ({"older_than_days": 1, "keep": 2}, {FIRST, STAGE_A, STAGE_C}),
        ({"max_size_bytes": 3300}, set()),
        ({"max_size_bytes": 3299}, {FIRST}),  # run and stage are as old; the stage is needed by the run
        ({"max_size_bytes": 3199}, {FIRST, STAGE_A}),
        ({"max_size_bytes": 2199}, {FIRST, STAGE_A, SECOND}),
        ({"max_size_bytes": 2000}, {FIRST, STAGE_A, SECOND, STAGE_C}),
        ({"max_size_bytes": 0, "keep": 2}, {FIRST, STAGE_A, STAGE_C}),
    ],
)
def test_limits_pick_the_oldest_and_spare_what_is_needed(
    runs: Path, limits: dict[str, int], expected: set[str]
) -> None:
    assert gone(runs, **limits) == expected


def test_only_what_was_planned_goes_and_the_freed_bytes_are_exact(runs: Path) -> None:
    plan = plan_clean(runs, Limits(keep=1), now_s=NOW)
    assert plan.frees_bytes == 100 + 100 + 1000
    assert carry_out(plan) == 1200
    left = sorted(path.name for path in (runs / "toy").iterdir())
    assert left == [THIRD, "latest", "stages"]
    assert sorted(path.name for path in (runs / "toy" / "stages").iterdir()) == [STAGE_B, STAGE_C]
    assert (runs / "toy" / "latest" / "checkpoints" / "b" / "done.json").is_file()


def test_bundles_can_stay(runs: Path) -> None:
    bundle = runs / "toy" / FIRST / "bundle"
    bundle.mkdir()
    (bundle / "manifest.json").write_bytes(b"x" * 40)
    set_age(runs / "toy" / FIRST, 30)
    plan = plan_clean(runs, Limits(keep=2, keep_bundles=True), now_s=NOW)
    assert plan.frees_bytes == 100 + 1000  # and not the bundle's 40
    assert carry_out(plan) == 1100
    assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]
    assert not (runs / "toy" / "stages" / STAGE_A).exists()
    assert gone(runs, keep=1, keep_bundles=True) == {SECOND}  # nothing is left to free in the first
    assert gone(runs, keep=2) == {FIRST}


def test_a_stage_in_training_stays_and_so_does_its_recipe(runs: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from compactor.cache.folder import only_one\n"
        "with only_one(Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()\n"
    )
    stage = runs / "toy" / "stages" / STAGE_C
    planned = plan_clean(runs, Limits(older_than_days=1), now_s=NOW)
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(stage)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "in\n"
    set_age(stage, 5)
    (open_run := runs / "toy" / FIRST / "journal.jsonl").write_text('{"event": "start"}\n')
    set_age(runs / "toy" / FIRST, 30)
    assert open_run.is_file()
    try:
        # the first run has no end: it is the one that trains
        assert gone(runs, older_than_days=1) == {SECOND}
        carry_out(planned)  # planned before the training began
        assert stage.is_dir()
        (verdict,) = [each for each in planned.verdicts if each.item.path == stage.resolve()]
        assert (verdict.goes, verdict.why) == (False, "is being trained")
    finally:
        child.communicate()
    assert gone(runs, older_than_days=1) == {STAGE_C}


def test_a_run_without_an_end_stays_for_a_day(runs: Path) -> None:
    make_run(runs / "toy", "20330104-000000", days=0.9, end="")
    assert gone(runs, keep=0) == {FIRST, SECOND}  # its recipe's stages stay with it
    set_age(runs / "toy" / "20330104-000000", 1.1)
    assert gone(runs, keep=0) == {FIRST, SECOND, "20330104-000000", STAGE_A}


@pytest.mark.parametrize("end", ["failed", "interrupted"])
def test_a_run_that_failed_may_go(runs: Path, end: str) -> None:
    make_run(runs / "toy", "20330104-000000", days=0, end=end)
    assert "20330104-000000" in gone(runs, keep=0)


def test_the_runs_of_a_folder_of_seeds_stay_with_it(runs: Path) -> None:
    folder = runs / "toy" / "20330104-000000-seeds"
    folder.mkdir()
    (folder / "seeds.json").write_text(json.dumps({"runs": [f"../{FIRST}", f"../{SECOND}"]}))
    set_age(folder, 1)
    assert gone(runs, keep=1) == set()
    assert gone(runs, older_than_days=0.5, keep=0) == {FIRST, SECOND, STAGE_A, STAGE_C, folder.name}


def test_links_are_neither_followed_nor_removed_behind(runs: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "stages").mkdir(parents=True)
    (outside / "precious").write_bytes(b"x" * 5000)
    make_run(outside, FIRST, days=900)
    make_stage(outside, "d", days=900)
    (runs / "linked").symlink_to(outside)
    (runs / "toy" / "20330101-000001").symlink_to(outside / FIRST)
    (runs / "toy" / "stages" / f"e-{DIGESTS['e']}").symlink_to(outside)
    (runs / "other").mkdir()
    (runs / "other" / "stages").symlink_to(outside / "stages")
    (runs / "toy" / FIRST / "checkpoints" / "far").symlink_to(outside)
    (runs / "toy" / FIRST / "big").symlink_to(outside / "precious")
    set_age(runs / "toy" / FIRST, 30)
    before = sorted(outside.rglob("*"))
    plan = plan_clean(runs, Limits(older_than_days=0, keep=0), now_s=NOW)
    assert all(verdict.item.path.is_relative_to(runs.resolve() / "toy") for verdict in plan.verdicts)
    carry_out(plan)
    assert sorted(outside.rglob("*")) == before
    assert not (runs / "toy" / FIRST).exists()
    assert (runs / "toy" / "20330101-000001").is_symlink()
    assert (runs / "toy" / "latest").resolve().is_dir()


def test_a_lock_that_is_a_link_keeps_its_stage_and_is_not_written_through(runs: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    lock = runs / "toy" / "stages" / STAGE_A / ".lock"
    lock.unlink()
    lock.symlink_to(victim)
    assert STAGE_A not in gone(runs, keep=0)
    assert victim.read_text() == "precious"


def test_latest_may_lead_to_another_recipe_or_nowhere(runs: Path) -> None:
    (runs / "alias").mkdir()
    (runs / "alias" / "latest").symlink_to(f"../toy/{FIRST}")
    (runs / "loop").mkdir()
    (runs / "loop" / "latest").symlink_to("latest")
    assert gone(runs, keep=0) == {SECOND}  # the first, and stage a that it needs, stay


def test_what_no_run_made_is_not_touched(runs: Path) -> None:
    for name in ("notes", "20330101-000009", ".hidden"):  # the second has a run's name but none of its files
        (runs / "toy" / name).mkdir()
    (runs / "toy" / "stages" / "mine").mkdir()
    carry_out(plan_clean(runs, Limits(keep=0, older_than_days=0), now_s=NOW))
    assert (runs / "toy" / "20330101-000009").is_dir()
    assert (runs / "toy" / "notes").is_dir()
    assert (runs / "toy" / "stages" / "mine").is_dir()


def test_a_removal_that_was_cut_off_is_finished(runs: Path) -> None:
    half = runs / "toy" / ".removing-20320101-000000"
    half.mkdir()
    (half / "rest").write_bytes(b"x" * 7)
    assert gone(runs) == set()
    plan = plan_clean(runs, Limits(keep=9), now_s=NOW)
    assert carry_out(plan) == 7
    assert not half.exists()


def test_a_folder_that_is_no_folder_of_runs_is_refused(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no folder"):
        find_runs(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=rf"does not look like.*did you mean --runs {runs}\?"):
        find_runs(runs / "toy")
    with pytest.raises(UsageError, match="does not look like a folder of runs"):
        find_runs(Path(__file__).parent)
    (tmp_path / "empty").mkdir()
    assert find_runs(tmp_path / "empty") == []


def test_the_cache_obeys_age_and_size_but_not_keep(runs: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    names = ("1" * 64, "2" * 64)
    for name, days in zip(names, (40, 2), strict=True):
        (cache / "data" / name).mkdir(parents=True)
        (cache / "data" / name / "images.npy").write_bytes(b"x" * 500)
        set_age(cache / "data" / name, days)
    for part in (f"data/.{'3' * 16}.tmp", "data/mine", "hub/datasets--owner--name", "hub/mine"):
        (cache / part).mkdir(parents=True)
        set_age(cache / part, 0.01)
    kinds = {(item.path.name[:6], item.kind, item.kept) for item in find_cache(cache, now_s=NOW)}
    assert kinds == {
        ("111111", "data", ""),
        ("222222", "data", ""),
        (".33333", "data", "is being written"),
        ("datase", "hub", ""),
    }
    assert gone(runs, cache=cache, keep=3) == set()
    assert gone(runs, cache=cache, older_than_days=35) == {names[0]}
    assert gone(runs, cache=cache, max_size_bytes=3300 + 999) == {names[0]}
    assert find_cache(tmp_path / "nowhere") == []


def test_sizes_count_hard_links_once_and_links_as_links(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 1000)
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    (tmp_path / "c").symlink_to("a")
    assert tree_size(tmp_path)[0] == 1001  # the link's own target string has one character


@pytest.mark.parametrize(
    ("text", "expected"),
    [("5GB", 5e9), ("1.5 tb", 1.5e12), ("2GiB", 2 * 2**30), ("700", 700), ("3k", 3000), ("4 B", 4)],
)
def test_sizes_are_read_as_people_write_them(text: str, expected: float) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "5 apples", "1e9"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected a size such as 5GB"):
        parse_size(text)


def test_ages_and_the_command_are_written_out() -> None:
    assert [age(seconds) for seconds in (-1, 90, 7200, 3 * DAY)] == ["0 min", "2 min", "2 h", "3 days"]
    limits = Limits(keep=2, older_than_days=1.5, max_size_bytes=1, keep_bundles=True)
    assert command_line(Path("my runs"), limits, cache=True, max_size="5 GB") == (
        "compactor clean --runs 'my runs' --cache --keep 2 --older-than 1.5 --max-size '5 GB' "
        "--keep-bundles --yes"
    )


def test_names_with_brackets_are_printed_as_they_are(tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "odd[red]", FIRST, days=1)
    assert f"odd[red]/{FIRST}" in CliRunner().invoke(command, ["--runs", str(tmp_path / "runs")]).output


def test_the_command_is_a_dry_run_until_it_is_told(runs: Path) -> None:
    start = ["--runs", str(runs)]
    text = CliRunner().invoke(command, start).output
    assert "found 3.30 kB in 6 folders; nothing would go, give --keep N" in text
    dry = CliRunner().invoke(command, [*start, "--keep", "1"]).output
    assert "would remove 3 and free 1.20 kB" in dry
    assert f"remove with: compactor clean --runs {runs} --keep 1 --yes" in dry.replace("\n", " ")
    assert "remove: not among the newest 1" in dry
    assert "keep: latest" in dry
    tight = CliRunner().invoke(command, [*start, "--max-size", "500"]).output
    assert "1.10 kB would stay, more than 500 B, because it may not go" in tight
    assert len(find_runs(runs)) == 6
    done = CliRunner().invoke(command, [*start, "--keep", "1", "--yes"]).output
    assert "removed 3, freed 1.20 kB (1,200 bytes)" in done
    assert len(find_runs(runs)) == 3
    found = json.loads(CliRunner().invoke(command, [*start, "--keep", "0", "--json"]).output)
    assert (found["total_bytes"], found["removable_bytes"], found["freed_bytes"]) == (2100, 0, None)
    assert {item["kind"] for item in found["items"]} == {"run", "stage"}


@pytest.mark.parametrize("mark", ["pool.json", "scores/abc/unfinished.json"])
def test_a_pool_is_counted_and_stays(tmp_path: Path, mark: str) -> None:
    """Recipes name it by its path, which nobody here can know."""
    file = tmp_path / "runs" / "mine" / "pool" / mark
    file.parent.mkdir(parents=True)
    file.write_bytes(b"0" * 100)
    [found] = find_runs(tmp_path / "runs")
    assert (found.kind, found.path, found.size_bytes) == ("pool", tmp_path / "runs" / "mine" / "pool", 100)
    assert found.kept == "recipes may name it"
    assert gone(tmp_path / "runs", keep=1, older_than_days=0.0, max_size_bytes=1) == set()


def test_orders_of_workers_go_once_nobody_is_at_them(runs: Path) -> None:
    order = runs / "toy" / "work" / DIGESTS["f"]
    (order / ".work").mkdir(parents=True)
    (order / ".work" / "order.json").write_bytes(b"{}")
    (runs / "toy" / "work" / "mine").mkdir()  # carries no mark of ours
    set_age(order, 10)
    assert [item.path.name for item in find_runs(runs, now_s=NOW) if item.kind == "work"] == [order.name]
    assert order.name not in gone(runs, older_than_days=20.0)
    assert order.name in gone(runs, keep=1) & gone(runs, older_than_days=5.0)
    with stage_lock(make_stage(runs / "toy", "d", days=1, done=False)) as free:  # a worker trains
        assert free
        assert order.name not in gone(runs, keep=1) | gone(runs, older_than_days=5.0)


def test_exported_teachers_go_once_no_run_shows_them(runs: Path) -> None:
    root = runs / "toy"
    shown, lost = make_teachers(root, "d", days=10), make_teachers(root, "e", days=10)
    make_teachers(root, "f", days=10, whole=False)  # carries no mark of ours
    link_stage(root / "20330103-000000", shown.name, shown, kind="exported-teachers")
    kinds = {item.path.name: item.kind for item in find_runs(runs, now_s=NOW)}
    assert (kinds[shown.name], kinds[lost.name]) == ("teachers", "teachers")
    assert DIGESTS["f"] not in kinds
    assert gone(runs, keep=1) & set(DIGESTS.values()) == {lost.name}
    assert gone(runs, max_size_bytes=0) & set(DIGESTS.values()) == {lost.name}
