"""Merging shares: the result is byte by byte what one machine makes, and what does not belong is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from compactor.cli.store_command import command
from compactor.label_store.header import UNFINISHED_FILE
from compactor.label_store.merge import difference, merge_stores
from compactor.label_store.unfinished import jobs_of, name_shards, shares_of
from compactor_runtimes.errors import IntegrityError, UsageError
from tests.compactor import label_toys


@pytest.fixture(scope="module")
def shares(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The seven shards (train 0-4, select 0-1) made as three shares. Do not change them."""
    folders = [tmp_path_factory.mktemp("share") for _ in range(3)]
    for number, folder in enumerate(folders):
        assert label_toys.make(folder, share=(number + 1, 3)) is None
    return folders


def test_merged_shares_are_the_store_that_one_machine_makes(
    shares: list[Path], whole: Path, tmp_path: Path
) -> None:
    merged = merge_stores(tmp_path / "all", shares)
    assert (merged.copied, merged.shards, merged.records) == (7, 7, 24 * 6 + 6)
    assert merged.is_whole
    assert label_toys.contents(tmp_path / "all") == label_toys.contents(whole)


def test_a_merge_says_what_is_missing_and_goes_on(shares: list[Path], whole: Path, tmp_path: Path) -> None:
    target = tmp_path / "all"
    first = merge_stores(target, [shares[0]])
    assert first.copied == 3  # shards 0, 3, 6 of seven
    assert [job.number for job in first.missing] == [1, 2, 4, 5]
    assert "4 of 7 are still missing: train 1-2, train 4, select 0)" in first.text()
    assert "compactor label RECIPE --share 2/3 and 3/3 makes them" in first.text()
    assert merge_stores(target, [shares[1]]).copied == 2
    last = merge_stores(target, shares)
    assert (last.copied, last.is_whole) == (2, True)
    assert merge_stores(target, [shares[0], whole]).copied == 0
    assert label_toys.contents(target) == label_toys.contents(whole)


def test_a_killed_merge_leaves_no_half_shard(shares: list[Path], tmp_path: Path) -> None:
    target = tmp_path / "all"
    merge_stores(target, shares[:1])
    (target / ".train-00001.npy.123").write_bytes(b"half")  # what a killed one leaves
    assert merge_stores(target, shares).is_whole


def test_another_store_is_refused_with_the_field_that_differs(shares: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    label_toys.make(other, label_toys.header(versions={"torch": "newer"}), share=(2, 3))
    with pytest.raises(
        UsageError, match=r"other: holds another store than .* \(versions\.torch: newer found, any"
    ):
        merge_stores(tmp_path / "all", [shares[0], other])
    assert not (tmp_path / "all").exists()
    with pytest.raises(UsageError, match="holds another store"):
        merge_stores(other, [shares[0]])


def test_the_difference_of_two_headers_is_followed_into_parts_and_teachers() -> None:
    one = label_toys.header()
    two = label_toys.header(teachers=[{"model": "toy", "weights": "9"}])
    assert difference(one, two) == "teachers.0.weights: 9 found, 8 expected"
    more = label_toys.header(views=8)
    assert difference(one, more) == "parts.0.views: 8 found, 6 expected"
    with pytest.raises(ValueError, match="two headers of one store"):
        difference(one, one)


def test_two_contents_of_one_shard_are_refused(shares: list[Path], tmp_path: Path) -> None:
    other = Path(shutil.copytree(shares[0], tmp_path / "other"))
    records = np.load(other / "train-00003.npy")
    records["label.p"][2, 1, 3] = 0
    np.save(other / "train-00003.npy", records)
    with pytest.raises(
        IntegrityError, match=r"all/train-00003.npy: differs from the shard of that name in .*other"
    ):
        merge_stores(tmp_path / "all", [shares[0], other])


def test_damage_of_a_source_is_named(shares: list[Path], damaged: Path, tmp_path: Path) -> None:
    cut = Path(shutil.copytree(shares[0], tmp_path / "cut"))
    (cut / "train-00003.npy").write_bytes((cut / "train-00003.npy").read_bytes()[:200])
    with pytest.raises(IntegrityError, match=r"cut/train-00003.npy: is damaged"):
        merge_stores(tmp_path / "all", [cut])
    np.save(cut / "train-00003.npy", np.zeros((5, 6)))
    with pytest.raises(IntegrityError, match=r"cut/train-00003.npy: holds records of another layout"):
        merge_stores(tmp_path / "all2", [cut])
    (damaged / "train-00001.npy").unlink()  # a finished store must have all that it lists
    with pytest.raises(IntegrityError, match=r"train-00001.npy is missing"):
        merge_stores(tmp_path / "all3", [damaged])


def test_what_is_no_source_is_refused(shares: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="both target and source"):
        merge_stores(shares[0], [shares[0]])
    with pytest.raises(UsageError, match=r"nowhere: is no folder"):
        merge_stores(tmp_path / "all", [tmp_path / "nowhere"])
    with pytest.raises(UsageError, match=r"holds neither store.json nor unfinished.json"):
        merge_stores(tmp_path / "all", [tmp_path])


def test_missing_shards_are_named_as_runs_and_as_the_fewest_shares() -> None:
    jobs = jobs_of(label_toys.header())
    assert [(job.file, job.first, job.rows) for job in jobs[3:6]] == [
        ("train-00003.npy", 15, 5),
        ("train-00004.npy", 20, 4),
        ("select-00000.npy", 0, 5),
    ]
    assert name_shards([jobs[number] for number in (0, 1, 2, 4, 5, 6)]) == "train 0-2, train 4, select 0-1"
    assert shares_of([jobs[number] for number in (0, 2, 4, 6)], 7) == ["1/2"]
    assert shares_of([jobs[number] for number in (2, 5)], 7) == ["3/3"]
    assert shares_of([jobs[1]], 7) == ["2/6"]  # 1 and 6 of five, 1 and 7 (which is none) of six


def test_the_command_merges_and_prints(shares: list[Path], tmp_path: Path) -> None:
    run = CliRunner()
    arguments = ["merge", str(tmp_path / "all"), *map(str, shares), "--quiet"]
    done = run.invoke(command, arguments, catch_exceptions=False)
    assert done.output == f"store: {tmp_path / 'all'} (7 shards copied; finished, 7 shards, 150 records)\n"
    part = run.invoke(
        command,
        ["merge", str(tmp_path / "part"), str(shares[0]), "--quiet", "--json"],
        catch_exceptions=False,
    )
    assert part.exit_code == 0
    found = json.loads(part.output)
    assert (found["whole"], found["missing_shares"]) == (False, ["2/3", "3/3"])
    assert (tmp_path / "part" / UNFINISHED_FILE).is_file()
