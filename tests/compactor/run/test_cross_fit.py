"""Cross-fitted labels from recipe to store: no label comes from a teacher that has seen its sample."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
import yaml

from compactor.label_store.store import LabelStore, open_store
from compactor.models.build import load_model_folder
from compactor.progress import SilentReporter
from compactor.recipe.load import LoadedRecipe, load_recipe
from compactor.run.diagnosed import diagnosed_labels
from compactor.run.label import label_recipe
from compactor.run.labels import LabelJob, require_fit
from compactor.run.plan import make_plan
from compactor.run.planned import Plan
from compactor.samplers.other_folds import OtherFolds
from compactor.tasks import task_named
from compactor_runtimes.errors import UsageError

pytestmark = pytest.mark.slow  # trains the teachers of three folds

SIZES = {"train": 60, "select": 20, "report": 20}
RECIPE: dict[str, Any] = {
    "name": "toy",
    "task": "image-classification",
    "data": {"dataset": "digits", "limit": SIZES},
    "student": {"model": "cifar:resnet8", "options": {"width": 4}},
    "stages": [
        {"id": "teacher", "method": "supervised", "epochs": 1, "batch_size": 20, "lr": 0.1},
        {
            "id": "distil",
            "method": "fkd",
            "teachers": ["stage:teacher"],
            "labels": {"crops": 2, "cross_fit": 3, "quantization": "full"},
            "options": {"crops_per_image": 2},
            "steps": 1,
            "batch_size": 20,
            "augment": {"crop": "pad", "padding": 1},
        },
    ],
}


def loaded(folder: Path, **labels: Any) -> LoadedRecipe:
    raw = msgspec.json.decode(msgspec.json.encode(RECIPE))
    raw["stages"][1]["labels"] |= labels
    (folder / "toy.yaml").write_text(yaml.safe_dump(raw))
    return load_recipe(str(folder / "toy.yaml"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LabelStore, dict[int, set[int]]]:
    """The run's folder, its store, and the positions that the teacher of each fold was trained on."""
    folder, visited = tmp_path_factory.mktemp("made"), dict[int, set[int]]()
    whole = OtherFolds.positions

    def noted(self: OtherFolds, *arguments: Any) -> Any:
        found = whole(self, *arguments)
        visited.setdefault(self.options.fold - 1, set()).update(found.tolist())
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OtherFolds, "positions", noted)
        [labels] = label_recipe(loaded(folder), runs=folder / "runs")
    return folder, open_store(labels.folder), visited


def planned(folder: Path) -> Plan:
    return make_plan(loaded(folder), folder / "runs")


def test_no_label_comes_from_a_teacher_that_has_seen_its_sample(
    made: tuple[Path, LabelStore, dict[int, set[int]]],
) -> None:
    """The stored label is what the fold's teacher says of the recorded crop; the others say otherwise."""
    folder, store, visited = made
    plan = planned(folder)
    *folds, distil = plan.stages
    assert [stage.action for stage in folds] == ["reuse"] * 3
    task, train = task_named(distil.task), distil.data.train
    models = [load_model_folder(stage.folder / "student").eval() for stage in folds]
    assert store.fold_of_row is not None
    assert np.bincount(store.fold_of_row).tolist() == [20, 20, 20]
    for fold in range(len(models)):
        own = np.flatnonzero(store.fold_of_row == fold)
        assert visited[fold] == set(range(60)) - set(own.tolist())
        ids, view = np.repeat(train.rows[own], 2), np.tile(np.arange(2), len(own))
        records = store.train.records(ids, view)
        batch = task.batch(train, ids, store.train.crops(records, view))
        with torch.no_grad():
            said = [one(**batch.x)["label"].softmax(-1).numpy() for one in models]
        stored = records["label.p"]
        np.testing.assert_allclose(stored, said[fold], atol=1e-5)
        for other in {0, 1, 2} - {fold}:
            assert np.abs(stored - said[other]).max(-1).min() > 1e-3
    assert len(models) == len(store.header.teachers) == 3
    assert len({one["weights"] for one in store.header.teachers}) == 3


def test_select_is_labelled_by_the_mean_of_all(made: tuple[Path, LabelStore, dict[int, set[int]]]) -> None:
    folder, store, _ = made
    *folds, distil = planned(folder).stages
    select = distil.data.select
    [batch] = task_named(distil.task).batches(select)
    with torch.no_grad():
        said = [load_model_folder(one.folder / "student").eval()(**batch.x)["label"] for one in folds]
    mean = torch.stack([one.softmax(-1) for one in said]).mean(0).numpy()
    np.testing.assert_allclose(store.parts["select"].column("label.p")[:, 0], mean, atol=1e-5)


def test_plan_reuses_and_a_second_run_gives_the_same_bytes(
    made: tuple[Path, LabelStore, dict[int, set[int]]], tmp_path: Path
) -> None:
    folder, store, _ = made
    steps = [(step.id, step.kind, step.action) for step in planned(folder).steps][:5]
    names = [f"teacher-fold{fold}of3" for fold in (1, 2, 3)]
    assert steps == [
        *((name, "train", "reuse") for name in names),
        ("distil", "label", "reuse"),
        ("distil", "train", "run"),
    ]
    assert "cross-fitted by 3 teachers" in planned(folder).steps[3].detail
    [again] = label_recipe(loaded(tmp_path), runs=tmp_path / "runs")
    files = sorted(path.name for path in store.folder.iterdir() if path.name != ".lock")
    assert "train-folds.npy" in files
    assert again.folder.name == store.folder.name
    for name in files:
        assert (again.folder / name).read_bytes() == (store.folder / name).read_bytes(), name


def test_the_plan_says_what_a_store_that_is_there_can_teach(
    made: tuple[Path, LabelStore, dict[int, set[int]]],
) -> None:
    """One step of 20 crops of 60 images, two an image: a sixth of a pass."""
    found = diagnosed_labels(planned(made[0]), SilentReporter())["distil"]
    assert found.is_cross_fitted
    assert {name: n for name, (_, n) in found.right.items()} == {"train": 120, "select": 20}
    assert found.gap is not None
    assert found.visits is not None
    assert found.visits.passes == pytest.approx(1 / 6)
    assert found.visits.of_each_view == pytest.approx(1 / 6)


def test_folds_are_in_the_key_and_more_of_them_than_rows_are_refused(tmp_path: Path) -> None:
    keys = {
        folds: make_plan(loaded(tmp_path, cross_fit=folds), tmp_path / "runs").labels["distil"]
        for folds in (2, 3)
    }
    assert keys[2] != keys[3]
    with pytest.raises(UsageError, match=r"61 folds of 60 training samples .*labels.cross_fit"):
        make_plan(loaded(tmp_path, cross_fit=61), tmp_path / "runs")


def test_a_store_that_was_divided_otherwise_is_refused(tmp_path: Path) -> None:
    job = make_plan(loaded(tmp_path), tmp_path / "runs").stages[-1].labels
    assert isinstance(job, LabelJob)
    require_fit(job, job.wanted)
    by_all = msgspec.structs.replace(job.wanted, cross_fit=msgspec.UNSET)
    with pytest.raises(UsageError, match=r"shared among its teachers otherwise \(all by all found, 3 folds"):
        require_fit(job, by_all)
