"""Cross-fitted labels in a store: each training sample by the teacher of its fold, all else by all."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from torch import nn

from compactor.label_store.folds import cross_fit_of, read_folds
from compactor.label_store.header import Header
from compactor.label_store.merge import merge_stores
from compactor.label_store.store import LabelStore, open_store
from compactor.label_store.verify_store import verify_store
from compactor_runtimes.errors import IntegrityError
from tests.compactor import label_toys

FOLDS = np.arange(24) * 7 % 3  # 0 1 2 0 ...
FOLDS[-2:] = 3  # of other data, which no teacher is trained on


def teachers() -> list[nn.Module]:
    return [label_toys.teacher(seed) for seed in range(3)]


def header() -> Header:
    return msgspec.structs.replace(label_toys.header(), cross_fit=cross_fit_of(FOLDS, 3))


def made(folder: Path, **options: object) -> LabelStore:
    label_toys.make(folder, header(), teachers=teachers(), fold_of_row=FOLDS, **options)
    return open_store(folder)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> LabelStore:
    return made(tmp_path_factory.mktemp("fitted"))


def test_each_sample_is_labelled_by_the_teacher_of_its_fold(fitted: LabelStore, tmp_path: Path) -> None:
    """As if that teacher had labelled all; select, and samples of no fold, as the mean of all would."""
    alone = [label_toys.store(tmp_path / str(n), teachers=[one]) for n, one in enumerate(teachers())]
    mean = label_toys.store(tmp_path / "mean", teachers=teachers())
    assert fitted.fold_of_row is not None
    assert fitted.fold_of_row.tolist() == FOLDS.tolist()
    for name in ("label.ids", "label.p", "box", "flip"):
        ours, by_all = fitted.train.column(name), mean.train.column(name)
        for fold, store in enumerate([*alone, mean]):
            np.testing.assert_allclose(
                ours[fold == FOLDS].astype(float),
                store.train.column(name)[fold == FOLDS].astype(float),
                atol=1e-3,
            )
        if name == "label.p":
            assert (ours[FOLDS < 3] != by_all[FOLDS < 3]).any((1, 2)).all()
        np.testing.assert_array_equal(fitted.parts["select"].column(name), mean.parts["select"].column(name))


def test_shares_and_what_was_left_of_a_killed_run_give_the_same_bytes(
    fitted: LabelStore, tmp_path: Path
) -> None:
    """Two shares merged, and a run that finds a shard of another there, hold what one run holds."""
    for share in (1, 2):
        label_toys.make(
            tmp_path / str(share), header(), teachers=teachers(), fold_of_row=FOLDS, share=(share, 2)
        )
    assert merge_stores(tmp_path / "merged", [tmp_path / "1", tmp_path / "2"]).is_whole
    made(tmp_path / "1")  # goes on with the share that is there
    for folder in ("merged", "1"):
        assert label_toys.contents(tmp_path / folder) == label_toys.contents(fitted.folder)


def test_the_folds_are_checked(tmp_path: Path) -> None:
    path = made(tmp_path).folder / "train-folds.npy"
    assert verify_store(tmp_path).counts["folds of cross-fitted labels"] == (24, "samples")
    whole = path.read_bytes()
    path.write_bytes(whole[:-2] + b"\0\0")
    with pytest.raises(IntegrityError, match=r"train-folds\.npy: is damaged, so that nobody knows which"):
        open_store(tmp_path)
    path.unlink()
    with pytest.raises(IntegrityError, match="is missing"):
        read_folds(tmp_path, header())
    made(tmp_path)
    assert path.read_bytes() == whole
