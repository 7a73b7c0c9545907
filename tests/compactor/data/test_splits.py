"""Stratified and balanced parts, and how a data set is put together."""

import numpy as np
import pytest

from compactor.data.cache import Stored
from compactor.data.spec import DataSpec
from compactor.data.splits import balanced_part, build_dataset, proportional_part, select_count
from compactor_runtimes.errors import UsageError


def counts(labels, positions):
    return np.unique(labels[positions], return_counts=True)[1].tolist()


def source(labels, digest="s", side=2):
    images = np.zeros((len(labels), side, side, 1), dtype=np.uint8)
    return Stored(images, np.array(labels, dtype=np.int64), [str(name) for name in range(3)], digest)


def test_proportional_part_gives_each_class_its_share_by_largest_remainder():
    labels = np.repeat([0, 1, 2], [20, 30, 50])
    # 7 rows of 100: exact shares 1.4, 2.1, 3.5 -> 1, 2, 3 and the one left goes to the largest remainder, 3.5
    assert counts(labels, proportional_part(labels, 7, seed=[0])) == [1, 2, 4]


def test_balanced_part_lets_small_classes_give_all_they_have():
    labels = np.repeat([0, 1, 2], [50, 30, 2])
    assert counts(labels, balanced_part(labels, 12, seed=[0])) == [5, 5, 2]
    assert counts(labels, balanced_part(labels, 8, seed=[0])) == [3, 3, 2]
    assert counts(labels, balanced_part(labels, 1000, seed=[0])) == [50, 30, 2]


def test_parts_depend_on_the_seed_alone_and_are_sorted():
    labels = np.tile([0, 1], 50)
    first = proportional_part(labels, 20, seed=[3])
    assert (first == proportional_part(labels, 20, seed=[3])).all()
    assert (np.diff(first) > 0).all()
    assert first.tolist() != proportional_part(labels, 20, seed=[4]).tolist()


def test_select_count_is_a_tenth_at_most_5000_unless_stated():
    assert [select_count(None, rows) for rows in (200, 50_000, 1_000_000)] == [20, 5000, 5000]
    assert select_count(0.25, 200) == 50
    assert select_count(7, 200) == 7
    with pytest.raises(UsageError, match=r"data.select: 200 rows wanted, but train has 200"):
        select_count(200, 200)


def test_nothing_published_means_disjoint_report_select_and_train():
    data = build_dataset(DataSpec(dataset="x"), {"train": source(np.repeat([0, 1], 50))}, seed=0)
    assert [len(data.report), len(data.select), len(data.train)] == [20, 8, 72]
    rows = np.concatenate([data.train.rows, data.select.rows, data.report.rows])
    assert np.sort(rows).tolist() == list(range(100))


def test_published_parts_stay_whole():
    stored = {"train": source([0] * 30), "select": source([0] * 7, "v"), "report": source([0] * 9, "r")}
    data = build_dataset(DataSpec(dataset="x"), stored, seed=0)
    assert [len(data.train), len(data.select), len(data.report)] == [30, 7, 9]


def test_limits_do_not_move_rows_between_splits():
    spec = DataSpec(dataset="x", limit={"train": 10, "select": 4})
    stored = {"train": source(np.repeat([0, 1], 50))}
    whole = build_dataset(DataSpec(dataset="x"), stored, seed=0)
    data = build_dataset(spec, stored, seed=0)
    assert set(data.train.rows) < set(whole.train.rows)
    assert set(data.select.rows) < set(whole.select.rows)
    assert counts(stored["train"].labels, data.train.rows) == [5, 5]
    assert data.train.digest != whole.train.digest
    assert data.report.digest == whole.report.digest


def test_digest_follows_source_rows_and_classes():
    def digest(seed=0, name="s"):
        return build_dataset(DataSpec(dataset="x"), {"train": source([0, 1] * 9, name)}, seed=seed).digest

    assert digest() == digest()
    assert len({digest(), digest(seed=1), digest(name="t")}) == 3


def test_sources_of_different_image_size_are_refused():
    stored = {"train": source([0] * 9), "report": source([0] * 9, side=3)}
    with pytest.raises(
        UsageError, match=r"images of report are \[3, 3, 1\].*those of train \[2, 2, 1\].*image_size"
    ):
        build_dataset(DataSpec(dataset="x"), stored, seed=0)


def test_too_few_rows_are_refused():
    with pytest.raises(UsageError, match="2 rows found, at least 3"):
        build_dataset(DataSpec(dataset="x"), {"train": source([0, 1])}, seed=0)
