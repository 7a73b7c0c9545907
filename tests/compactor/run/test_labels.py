"""Labels of a stage: what a recipe may ask for, which stores fit it, and a run that only has a store."""

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from compactor.cache.journal import Journal
from compactor.cli.recipe_options import share_of
from compactor.data.spec import AugmentSpec
from compactor.label_store.header import STORE_FILE, Header, Payload
from compactor.label_store.store import open_store
from compactor.progress import SilentReporter
from compactor.recipe.load import LoadedRecipe, load_recipe, parse_recipe
from compactor.recipe.spec import LabelsSpec
from compactor.run import labels as module
from compactor.run import taught
from compactor.run.data import DataSets
from compactor.run.label import label_recipe
from compactor.run.labels import LabelJob, require_fit
from compactor.run.pipeline import run_recipe
from compactor.run.plan import make_plan
from compactor.run.stages import StageRunner
from compactor_runtimes.errors import IntegrityError, UnfitEnvironmentError, UsageError
from tests import toys
from tests.compactor import label_toys

RECIPE: dict[str, Any] = {
    "name": "toy",
    "task": "image-classification",
    "data": {"dataset": "digits", "limit": {"train": 60, "select": 40, "report": 50}},
    "student": {"model": "cifar:resnet8", "options": {"width": 4}},
    "stages": [
        {"id": "teacher", "method": "supervised", "steps": 3, "batch_size": 20},
        {
            "id": "distil",
            "method": "fkd",
            "teachers": ["stage:teacher"],
            "labels": {"crops": 3},
            "options": {"crops_per_image": 2},
            "steps": 4,
            "batch_size": 20,
            "augment": {"crop": "pad", "padding": 1},
        },
    ],
    "measure": {"profile": "smoke", "scenarios": ["single-stream"]},
}


def changed(**changes: Any) -> dict[str, Any]:
    """The recipe with other settings of its last stage."""
    raw = copy.deepcopy(RECIPE)
    raw["stages"][1] |= changes
    return raw


def test_labels_take_the_place_of_live_teachers() -> None:
    stage = parse_recipe(RECIPE).stages[1]
    assert stage.labels == LabelsSpec(crops=3, quantization="marginal-smoothing", k=5)
    parse_recipe(changed(method="kd", options={}))
    parse_recipe(changed(method="ferkd", options={"crops_per_image": 2, "thresholds": {"low": 0.1}}))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"labels": None},
            r"stages\.1\.labels: absent, but method 'fkd' learns from a label store; add labels",
        ),
        ({"labels": None, "method": "ferkd"}, r"stages\.1\.labels: absent, but method 'ferkd'"),
        (
            {"method": "supervised", "options": {}},
            r"labels: method 'supervised' cannot learn from a label store; .*one of kd, fkd, ferkd",
        ),
        (
            {"method": "kd", "options": {"average": "logits"}},
            r"stages\.1\.options\.average: logits found, but a label store holds mean probabilities",
        ),
        (
            {"method": "meal_v2", "options": {"discriminator": {"scores": "logits", "reduction": 2}}},
            r"scores: logits found, but a label store holds probabilities",
        ),
        (
            {"options": {"crops_per_image": 4}},
            r"crops_per_image: 4 found, but 3 crops of each sample are rec",
        ),
        ({"batch_size": 21}, r"batch_size: 21 is no multiple of crops_per_image 2; set it to 20 or 22"),
        (
            {"augment": {"policy": "randaugment"}},
            r"stages\.1\.augment: policy randaugment and erase 0 found, but a label store replays",
        ),
        ({"augment": {"erase": 0.1}}, r"stages\.1\.augment: policy none and erase 0\.1 found, but a label"),
        ({"augment": {"aspect": "uniform"}}, r"stages\.1\.augment: aspect: has no effect with crop none"),
        ({"labels": {"crop": 3}}, r"labels\.crop: unknown key; did you mean 'crops'\?"),
        ({"labels": {"crops": 0}}, r"labels\.crops: got 0, expected"),
        ({"labels": {"quantization": "ori"}}, r"labels\.quantization: got 'ori'"),
        ({"teachers": []}, r"teachers: method 'fkd' needs at least one"),
        (
            {"method": "ferkd", "options": {"crops_per_image": 2, "thresholds": {"low": 0.5, "mid": 0.1}}},
            r"thresholds: .*low <= mid <= top",
        ),
        (
            {"method": "ferkd", "options": {"crops_per_image": 2, "thresholds": {"lo": 0.5}}},
            r"options\.thresholds.*lo",
        ),
    ],
)
def test_mistakes_are_answered_in_one_sentence(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        parse_recipe(changed(**changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "idle"),
    [
        ({"crops": 3, "quantization": "full", "probabilities": "float32"}, ["probabilities", "full"]),
        ({"crops": 3, "quantization": "smoothing", "k": 3}, ["k", "smoothing"]),
        ({"store": "x", "crops": 3}, ["crops", "store is given"]),
        ({"store": "x", "seed": 3}, ["seed", "store is given"]),
        ({"store": "x", "boxes": "relative"}, ["boxes", "store is given"]),
        ({"store": "x", "evaluation": False}, ["evaluation", "store is given"]),
    ],
)
def test_settings_without_effect_warn(labels: dict[str, Any], idle: list[str]) -> None:
    name, why = idle
    with pytest.warns(UserWarning, match=rf"labels\.{name} has no effect where .*{why}") as caught:
        parse_recipe(changed(labels=labels))
    assert len(caught) == 1


def test_settings_with_effect_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for labels in (
            {"crops": 3, "quantization": "marginal-renorm", "k": 3, "probabilities": "float32"},
            {"crops": 3, "quantization": "hard", "boxes": "relative", "seed": 5, "evaluation": False},
            {"store": "x", "quantization": "marginal-smoothing", "k": 3},
        ):
            parse_recipe(changed(labels=labels))


# which stores fit


def job(wanted: Header, **labels: Any) -> LabelJob:
    stage = toys.stage(method="fkd", labels=LabelsSpec(crops=6, **labels))
    return LabelJob(stage, Path("labels/there"), "key", wanted, label_toys.splits())


def header(**changes: Any) -> Header:
    return label_toys.header(**changes)


def other_data(wanted: Header) -> Header:
    (train, select) = wanted.parts
    return msgspec.structs.replace(wanted, parts=[msgspec.structs.replace(train, source="else"), select])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda one: msgspec.structs.replace(one, teachers=[{"model": "b", "weights": "8"}]),
            r"was made by another teacher \(b found, toy expected\)",
        ),
        (
            lambda one: msgspec.structs.replace(one, teachers=[{"model": "toy", "weights": "9"}]),
            r"another teacher \(toy found, toy expected, with other weights or settings\)",
        ),
        (
            lambda one: msgspec.structs.replace(one, teachers=one.teachers * 2),
            r"another teacher \(toy \+ toy found, toy expected\)",
        ),
        (other_data, r"was made of other data \(toys, digest else; the recipe's toys has toy-48-0\)"),
        (
            lambda one: msgspec.structs.replace(
                one,
                transform=msgspec.structs.replace(one.transform, augment=AugmentSpec(crop="pad", padding=3)),
            ),
            r"was made with another transform \(augment \{crop: pad, padding: 3\} found, \{crop: pad, "
            r"padding: 2, flip: True\} expected\)",
        ),
        (
            lambda one: msgspec.structs.replace(
                one, transform=msgspec.structs.replace(one.transform, replay=99)
            ),
            r"another transform \(replay 99 found, 1 expected\)",
        ),
        (
            lambda one: msgspec.structs.replace(
                one, transform=msgspec.structs.replace(one.transform, image=(9, 9, 1))
            ),
            r"another transform \(image \(9, 9, 1\) found, \(8, 8, 1\) expected\)",
        ),
        (
            lambda one: msgspec.structs.replace(one, classes={"label": ["a"]}),
            r"has other classes than the data",
        ),
        (
            lambda one: msgspec.structs.replace(one, payload=Payload(kind="top-k", k=3)),
            r"marginal-smoothing labels with k 5 were asked for, but it holds the 3 largest classes",
        ),
    ],
)
def test_a_store_that_does_not_fit_is_refused(change: Callable[[Header], Header], says: str) -> None:
    """One sentence that names what differs; the recipe's own store fits."""
    require_fit(job(header()), header())
    with pytest.raises(UsageError, match=says) as caught:
        require_fit(job(header()), change(header()))
    assert "stage toy: label store labels/there" in str(caught.value) or "label store: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_samples_views_and_seeds_of_the_same_data_fit() -> None:
    found = header(views=9, seed=4, boxes="relative", source_digest="older")
    require_fit(job(header()), found)
    require_fit(job(header(teachers=[])), header(teachers=[{"model": "whoever"}]))
    require_fit(job(header(), quantization="smoothing"), header(payload=Payload(kind="top-k", k=3)))


def test_space_is_checked_before_the_first_record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """150 records of 24 bytes and 30 ids of 8 are 3840 bytes."""
    wanted = job(header())
    free = 3840

    class Usage:
        @property
        def free(self) -> int:
            return free

    asked: list[Path] = []

    def usage(place: Path) -> Usage:
        asked.append(place)
        return Usage()

    monkeypatch.setattr(module, "disk_usage", usage)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels").mkdir()
    wanted.require_space()
    assert asked == [Path("labels")]  # the store's own folder is not there yet
    free = 3839
    with pytest.raises(UnfitEnvironmentError, match=r"will take 3\.84 kB, the disk has 3\.84 kB free; lower"):
        wanted.require_space()
    assert not (tmp_path / "labels" / "there").exists()


# whole runs


def loaded(folder: Path, raw: dict[str, Any], name: str = "toy.yaml") -> LoadedRecipe:
    (folder / name).write_text(yaml.safe_dump(raw))
    return load_recipe(str(folder / name))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe whose labels are made, under `runs`."""
    folder = tmp_path_factory.mktemp("made")
    label_recipe(loaded(folder, RECIPE), runs=folder / "runs")
    return folder


def store_of(made: Path) -> Path:
    (folder,) = (made / "runs" / "toy" / "labels").iterdir()
    return folder


def test_labels_are_made_once_and_no_teacher_is_opened_after_that(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """60 * 3 crops of training samples, and the 40 + 50 others whole."""
    store = open_store(store_of(made))
    assert store.records == 60 * 3 + 40 + 50
    assert {name: part.views for name, part in store.parts.items()} == {"train": 3, "select": 1, "report": 1}

    def refuse(*_: object) -> None:
        raise AssertionError("a teacher was opened")

    monkeypatch.setattr(taught, "open_teacher", refuse)
    recipe = loaded(made, RECIPE)
    data = DataSets(recipe, SilentReporter())
    plan = make_plan(recipe, made / "runs", data=data)
    assert [(step.id, step.action) for step in plan.steps if step.kind in ("label", "train")] == [
        ("teacher", "reuse"),
        ("distil", "reuse"),
        ("distil", "run"),
    ]
    runner = StageRunner(plan, SilentReporter(), Journal(None))
    for stage in plan.stages:
        runner.run(stage)
    (again,) = label_recipe(recipe, runs=made / "runs")
    assert (again.records, again.size_bytes) == (270, store.size_bytes)


def test_a_given_store_that_is_none(tmp_path: Path, made: Path) -> None:
    for path, error, says in (
        ("gone", UsageError, "gone was not found"),
        (str(tmp_path), UsageError, r"is no finished label store; finish it with `compactor label`"),
    ):
        raw = changed(labels={"store": path}, teachers=[])
        with pytest.raises(error, match=says):
            make_plan(loaded(tmp_path, raw), tmp_path / "runs")
    raw = changed(labels={"store": str(store_of(made))}, teachers=[])
    raw["data"]["image_size"] = 9
    with pytest.raises(UsageError, match=r"was made (of other data|with another transform)"):
        make_plan(loaded(tmp_path, raw), tmp_path / "runs")


def test_a_damaged_header_is_said_by_the_plan(tmp_path: Path) -> None:
    (tmp_path / STORE_FILE).write_text("{")
    raw = changed(labels={"store": str(tmp_path)}, teachers=[])
    with pytest.raises(IntegrityError, match="is damaged"):
        make_plan(loaded(tmp_path, raw), tmp_path / "runs")


def test_only_stages_with_labels_can_be_labelled(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"stage 'teacher' has no labels \(stages with labels: distil\); add"
    ):
        label_recipe(loaded(tmp_path, RECIPE), runs=tmp_path, stage_id="teacher")
    raw = copy.deepcopy(RECIPE)
    raw["stages"] = raw["stages"][:1]
    with pytest.raises(UsageError, match=r"no stage has labels \(stages with labels: none\)"):
        label_recipe(loaded(tmp_path, raw), runs=tmp_path)


@pytest.mark.parametrize("text", ["3/2", "0/2", "1", "a/b", "1/2/3", "-1/2"])
def test_shares_are_checked(text: str) -> None:
    assert share_of("2/4") == (2, 4)
    with pytest.raises(UsageError, match=rf"--share: got '{text}', expected I/N"):
        share_of(text)


@pytest.mark.slow
def test_a_store_speaks_for_teachers_that_are_not_there(tmp_path: Path, made: Path) -> None:
    """`teachers: []` and a store: the report compares with what the teachers said when they labelled."""
    raw = changed(labels={"store": str(store_of(made))}, teachers=[])
    raw["stages"] = raw["stages"][1:]
    result = run_recipe(loaded(tmp_path, raw), runs=tmp_path / "runs")
    assert result is not None
    rows = [(row.kind, row.subject) for row in result.report.accuracy]
    assert ("teacher", "teachers (label store)") in rows
    assert not [
        subject for kind, subject in rows if kind == "teacher" and subject != "teachers (label store)"
    ]
    (student,) = (row for row in result.report.accuracy if row.kind == "student")
    assert student.agreement_with_teacher is not None
    assert (student.n, student.split) == (50, "report")
    assert (result.bundle / "manifest.json").is_file()
