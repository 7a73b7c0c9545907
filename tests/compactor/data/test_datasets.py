"""Names and paths: what is opened, where it is looked for, and what is said if it is not there."""

import time

import numpy as np
import pytest
from PIL import Image

from compactor.data.datasets import DATASETS, open_dataset
from compactor.data.spec import DataSpec
from compactor_runtimes.errors import UnfitEnvironmentError, UsageError
from compactor_runtimes.tables import resolve


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "recipes" / "shots"
    folder.mkdir(parents=True)
    for row in range(10):
        Image.fromarray(np.full((2, 2), row, dtype=np.uint8)).save(folder / f"{row}.png")
    return folder


def open_name(name, base, tmp_path, **settings):
    return open_dataset(DataSpec(dataset=name, **settings), base=base, cache=tmp_path / "cache")


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_every_entry_of_the_table_resolves(name):
    assert callable(resolve(DATASETS[name]))


def test_paths_resolve_against_the_base_then_the_data_folder(folder, tmp_path, monkeypatch):
    assert len(open_name("shots", folder.parent, tmp_path).report) == 2
    monkeypatch.setenv("COMPACTOR_DATA", str(folder.parent))
    assert len(open_name("shots", tmp_path, tmp_path).report) == 2
    assert len(open_name(str(folder), None, tmp_path).report) == 2


def test_missing_path_says_where_it_looked_and_what_there_is(tmp_path, monkeypatch):
    monkeypatch.setenv("COMPACTOR_DATA", "/data")
    with pytest.raises(UsageError) as caught:
        open_name("digit", tmp_path, tmp_path)
    for part in ("data.dataset", f"{tmp_path}/digit", "/data/digit", "did you mean 'digits'?"):
        assert part in str(caught.value)


def test_hub_id_is_answered_with_what_to_do(tmp_path, monkeypatch):
    """Offline within seconds; the endpoint is one that no network knows."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://hub.invalid")
    started = time.monotonic()
    with pytest.raises(UnfitEnvironmentError, match=r"'user/name': is no local path .* into one folder"):
        open_name("user/name", tmp_path, tmp_path)
    assert time.monotonic() - started < 8


def test_named_data_set_without_its_files_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.delenv("COMPACTOR_DATA", raising=False)
    with pytest.raises(UsageError, match=r"\$COMPACTOR_DATA is not set"):
        open_name("cifar10", tmp_path, tmp_path)
    monkeypatch.setenv("COMPACTOR_DATA", str(tmp_path))
    with pytest.raises(UsageError, match=r"cifar10/train\.parquet, which does not exist"):
        open_name("cifar10", tmp_path, tmp_path)


def test_settings_that_a_named_data_set_would_ignore_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"data.report: data set 'digits' brings its own"):
        open_name("digits", tmp_path, tmp_path, report="x.parquet")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "x.zip").write_text("a,b")
    with pytest.raises(
        UsageError, match=r"x\.zip is neither a folder nor a table \(\.parquet, \.csv, \.tsv, \.jsonl\)"
    ):
        open_name("x.zip", tmp_path, tmp_path)


def test_second_report_split_is_refused(folder, tmp_path):
    for split in ("train", "test"):
        (tmp_path / "set" / split).mkdir(parents=True)
    with pytest.raises(UsageError, match="data.report: .* has a report split of its own"):
        open_name("set", tmp_path, tmp_path, report=str(folder))
