"""Teachers of some of the data's classes, from the recipe to the saved student; mixers by name."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compactor.cache.folder import STUDENT
from compactor.cache.journal import Journal
from compactor.data.splits import Dataset
from compactor.label_store.header import read_header
from compactor.models.build import load_model_folder
from compactor.models.class_order import last_linear
from compactor.models.classifier import Backbone, ImageClassifier
from compactor.progress import SilentReporter
from compactor.recipe.load import LoadedRecipe, parse_recipe
from compactor.run.asked import Asking
from compactor.run.plan import make_plan
from compactor.run.stages import TARGETS, StageRunner
from compactor.tasks.image_classification import TASK
from compactor.teachers import Teachers
from compactor_runtimes.errors import UsageError
from tests import toys
from tests.compactor.data.test_extra_images import write_images

SMALL = {"model": "cifar:resnet8", "options": {"width": 4}}
BRIGHT = {"low": 0, "middle": 3, "high": 6}  # first bright line of each class
LENGTH = {"epochs": 2, "batch_size": 10, "lr": 0.05}


def write_classes(folder: Path, names: list[str], rows: int = 60) -> None:
    """A folder of images for each class; which third is bright tells them apart."""
    rng = np.random.default_rng(len(names))
    for name in names:
        images = rng.integers(0, 100, (rows, 8, 8, 3), dtype=np.uint8)
        images[:, BRIGHT[name] : BRIGHT[name] + 2] += 150
        write_images(folder / name, images)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COMPACTOR_CACHE", str(tmp_path / "cache"))
    write_classes(tmp_path / "old", ["low", "high"])
    write_classes(tmp_path / "all", ["low", "middle", "high"])
    return tmp_path


def recipe(method: str = "weight_aligning", **changes: Any) -> dict[str, Any]:
    old = {"dataset": "old", "classes": ["low", "high"]}
    return {
        "name": "toy",
        "task": "image-classification",
        "data": {"dataset": "all", "classes": ["high", "middle", "low"]},
        "student": SMALL,
        "stages": [
            {"id": "old", "method": "supervised", "data": old, **LENGTH},
            {"id": "grow", "method": method, "teachers": ["stage:old"], "init": "stage:old", **LENGTH}
            | changes,
        ],
    }


def planned(folder: Path, raw: dict[str, Any]) -> tuple[StageRunner, list[Path]]:
    plan = make_plan(LoadedRecipe(parse_recipe(raw), folder, "toy"), folder / "runs")
    runner = StageRunner(plan, SilentReporter(), Journal(None))
    return runner, [runner.run(stage) for stage in plan.stages]


@pytest.mark.slow
def test_a_student_grows_from_the_old_model_and_is_aligned(folder: Path) -> None:
    runner, (old, grown) = planned(folder, recipe())
    said = "\n".join([*runner.plan.notes, *runner.notes])
    assert "teacher stage:old: knows 2 of the data's 3 classes (high, low (2))" in said
    assert "the student starts from stage:old, whose rows are taken by name; middle (1) are new" in said
    assert "student: starts from stage:old, whose rows are taken by name: high, low (2); middle (1)" in said
    assert "weights aligned: the rows of middle are multiplied by gamma" in said
    assert "teacher stage:old: does not know all the data's classes, the student is not compared" in said
    assert runner.plan.judges == ()
    layer = last_linear(load_model_folder(grown / STUDENT), "label")
    assert layer is not None
    weight = layer.weight.detach()
    assert weight.shape[0] == 3
    norms = weight.norm(dim=1)
    torch.testing.assert_close(norms[1], norms[[0, 2]].mean())  # the new class is as long as the old ones
    assert load_model_folder(old / STUDENT).info.classes == {"label": ["low", "high"]}


@pytest.mark.slow
def test_probes_let_teachers_of_other_classes_teach(folder: Path) -> None:
    """Live and from a store; a store of another mixer does not fit."""
    raw = recipe("kd", mixer={"name": "parc", "options": {"power": 0}}, options={"soft_weight": 1.0})
    del raw["stages"][1]["init"]
    raw["stages"][1]["teachers"] = ["stage:old", "stage:old"]
    runner, (_, live) = planned(folder, raw)
    said = "\n".join([*runner.plan.notes, *runner.notes])
    assert (
        "teacher stage:old: has classes of its own (low, high (2)), a head fitted to labels answers" in said
    )
    assert "grow: teacher old: PARC " in said
    found = json.loads((live / TARGETS).read_text())["parc"]
    assert found["weights"] == [0.5, 0.5]
    assert found["select_accuracy"][0] > 0.5
    raw["stages"][1]["labels"] = {"crops": 1}
    runner, (_, stored) = planned(folder, raw)
    (job,) = [stage.labels for stage in runner.plan.stages if stage.labels]
    header = read_header(job.folder)
    assert header.mixer == {"name": "parc", "options": {"power": 0}}
    raw["stages"][1]["labels"] = {"store": str(job.folder)}
    raw["stages"][1]["mixer"] = "parc"
    with pytest.raises(UsageError, match=r"mixed otherwise \(parc with power: 0 found, parc expected\)"):
        planned(folder, raw)


@pytest.mark.slow
def test_one_mixer_has_one_key_and_another_another(folder: Path) -> None:
    def key(**changes: Any) -> str:
        raw = recipe("kd", **changes)
        raw["stages"][0]["data"] = raw["data"]
        loaded = LoadedRecipe(parse_recipe(raw), folder, "toy")
        return make_plan(loaded, folder / "runs").stages[1].digest

    assert key(mixer="parc") == key(mixer={"name": "parc"}) == key(mixer={"name": "parc", "options": {}})
    assert len({key(), key(mixer="parc"), key(mixer={"name": "parc", "options": {"power": 2}})}) == 3


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"method": "kd"}, r"teacher stage:old: tells other classes apart \(low, high \(2\)\)"),
        (
            {"method": "kd", "mixer": {"name": "parc", "options": {"heads": "own"}}},
            "tells other classes apart",
        ),
    ],
)
def test_methods_that_know_no_groups_refuse_them(folder: Path, changes: dict[str, Any], says: str) -> None:
    raw = recipe(**changes)
    raw["stages"][0]["epochs"] = 1
    with pytest.raises(UsageError, match=says):
        planned(folder, raw)


@pytest.mark.parametrize(
    ("classes", "says"),
    [
        (["low", "middle", "high"], r"teacher stage:old: knows all classes of the data"),
        (["other", "low"], r"teacher stage:old: knows classes that the data have not \(other, low \(2\)"),
    ],
)
def test_an_old_model_knows_some_of_the_classes(folder: Path, classes: list[str], says: str) -> None:
    """The plan says it, before anything is trained."""
    write_images(folder / "old" / "middle", np.zeros((9, 8, 8, 3), np.uint8))
    if "other" in classes:
        (folder / "old" / "middle").rename(folder / "old" / "other")
        (folder / "old" / "high").rename(folder / "high")
    raw = recipe()
    raw["stages"][0]["data"]["classes"] = classes
    with pytest.raises(UsageError, match=says):
        make_plan(LoadedRecipe(parse_recipe(raw), folder, "toy"), folder / "runs")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"mixer": "parc"},
            "stages.1.mixer: has no effect, method 'weight_aligning' learns from one teacher",
        ),
        ({"method": "supervised", "mixer": "mean"}, "'supervised' learns from no teacher; remove it"),
        ({"method": "kd", "mixer": "prac"}, "unknown mixer 'prac'; did you mean 'parc'"),
        (
            {"method": "kd", "mixer": {"name": "parc", "options": {"p": 1}}},
            r"mixer\.options\.p: unknown option",
        ),
        ({"teachers": ["stage:old", "stage:old"]}, "2 found, but method 'weight_aligning' takes 1 at most"),
        ({"labels": {"crops": 1}}, "method 'weight_aligning' cannot learn from a label store"),
        (
            {"method": "fkd", "teachers": [], "mixer": "parc", "labels": {"store": "there"}, "init": None},
            r"has no effect where labels\.store names a store",
        ),
    ],
)
def test_mistakes_are_answered_in_one_sentence(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_recipe(recipe() | {"stages": [recipe()["stages"][0], recipe()["stages"][1] | changes]})


@pytest.mark.parametrize("changes", [{"method": "weight_aligning"}, {"method": "kd", "mixer": "parc"}])
def test_only_one_class_a_sample(changes: dict[str, Any]) -> None:
    raw = recipe() | {"task": "intent-slots"}
    raw["student"] = {"model": "encoder:1x8"}
    raw["stages"] = [
        {"id": "one", "teachers": [{"model": "hf:x", "weights": "pretrained"}], **LENGTH} | changes
    ]
    with pytest.raises(UsageError, match="task intent-slots answers"):
        parse_recipe(raw)


@pytest.mark.slow
def test_a_fitted_mixer_needs_fixed_answers(folder: Path) -> None:
    raw = recipe("ssld", mixer="parc")
    raw["stages"][0] |= {"epochs": 1, "data": raw["data"]}
    with pytest.raises(UsageError, match="they teach by those of each batch; set options.teacher_bn: eval"):
        planned(folder, raw)


def asked(answers: list[int], classes: list[str]) -> list[str]:
    """Ask a teacher of some classes that answers so, by the class of the row, on 900 rows of three."""
    data = toys.split(900)
    select, report = replace(data, name="select"), replace(data, name="report")
    dataset = Dataset("image-classification", data, select, report, toys.info(), "toy")

    class Fixed(ImageClassifier):
        def forward(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
            bright = torch.stack(
                [pixel_values[:, 0, a:b].mean((1, 2)) for a, b in ((0, 2), (2, 5), (5, 8))], 1
            )
            said = torch.tensor(answers)[bright.argmax(1)]
            return {"label": torch.nn.functional.one_hot(said, len(classes)).float()}

    model = Fixed(Backbone(toys.Mlp(len(classes)), [0.5], [0.5]), toys.info(classes=classes))
    asking = Asking("toy", dataset, TASK, SilentReporter(), False)
    return asking.teachers(["stage:old"], Teachers([model]), parse_recipe(recipe()))


def test_a_teacher_of_some_classes_is_asked_on_these() -> None:
    """Star and circle: rows of squares do not count; the wrong order of the two stops."""
    assert asked([1, 0, 0], ["star", "circle"]) == []
    with pytest.raises(UsageError, match=r"another order .*'star' means 'circle', 'circle' means 'star'"):
        asked([0, 0, 1], ["star", "circle"])
    with pytest.raises(UsageError, match="no better than chance: 50.0% balanced accuracy on 600 select rows"):
        asked([0, 0, 0], ["star", "circle"])
    (said,) = asked([0, 0, 0], ["star"])
    assert "it knows one class, and can only answer that" in said
