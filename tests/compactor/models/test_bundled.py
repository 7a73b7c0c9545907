"""Teachers that are exported, and teachers of another image size: answers, refusals, digests, whole runs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from compactor.cache.digest import file_digest
from compactor.evaluation import stored_answers, student_answers
from compactor.label_store.store import open_store
from compactor.models.build import build_model, load_model_folder, save_model
from compactor.models.bundled import build as build_bundle
from compactor.models.references import model_digest
from compactor.models.trained_tokenizers import compared, trained_model
from compactor.progress import SilentReporter
from compactor.propose.proposal import propose
from compactor.recipe.load import LoadedRecipe, load_recipe, parse_recipe
from compactor.recipe.spec import ModelSpec
from compactor.records import Batch, DataInfo
from compactor.release import measurement
from compactor.release.export_model import export_model
from compactor.release.measurement import torch_name, weights_bytes
from compactor.release.variants import parse_variants
from compactor.run.data import DataSets
from compactor.run.label import label_recipe
from compactor.run.pipeline import run_recipe
from compactor.tasks.image_classification import TASK
from compactor.teachers import Teachers
from compactor.torch_runtime import TorchRuntime, open_runtime
from compactor_runtimes.errors import CompactorError, IntegrityError, UsageError
from compactor_runtimes.measure.harness import Measured
from compactor_runtimes.measure.measurement import Candidate
from tests import toys
from tests.compactor import text_toys
from tests.made_once import made_once
from tests.manifests import write_raw
from tests.runtimes.slot_bundles import write_slot_bundle

NAMES = [f"class {number}" for number in range(10)]
SIDE = 16  # of the pictures; the bundle's images are twice as large
INFO = toys.info(SIDE, 3, NAMES)
ROUNDING = 1e-4  # ONNX Runtime and torch add up in another order


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`whole` and `images`, the second of which lists and holds no torch student; `texts`; `pictures`."""
    return made_once(tmp_path_factory, "bundled", make_bundles)


def make_bundles(root: Path) -> None:
    specs, quiet = parse_variants("fp32"), SilentReporter()
    model = "cifar:resnet8?width=4"
    export_model(model, specs=specs, bundle=root / "whole", random_weights=True, reporter=quiet)
    edited(root / "whole", root / "images", without_student)
    text_toys.bert_folder(root / "bert", num_labels=3, id2label=dict(enumerate(text_toys.CLASSES)))
    text_toys.write_tokenizer(root / "bert")
    export_model(f"hf:{root / 'bert'}", specs=specs, bundle=root / "texts", reporter=quiet)
    rng = np.random.default_rng(0)
    for name in NAMES:
        (root / "pictures" / name).mkdir(parents=True)
        for number in range(8):
            pixels = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "pictures" / name / f"{number}.png")


def edited(source: Path, target: Path, change: Callable[[dict[str, Any], Path], Any]) -> Path:
    shutil.copytree(source, target)
    manifest = json.loads((target / "manifest.json").read_text())
    change(manifest, target)
    write_raw(target / "manifest.json", manifest)
    return target


def without_student(manifest: dict[str, Any], folder: Path) -> None:
    shutil.rmtree(folder / "student")
    manifest["files"] = [one for one in manifest["files"] if not one["path"].startswith("student/")]


def bundle(folder: Path, info: DataInfo = INFO, **options: Any) -> Any:
    return build_model(ModelSpec(model=f"bundle:{folder}", options=options), info, base=folder).eval()


def pixels(batch: int = 5, side: int = SIDE) -> torch.Tensor:
    return torch.rand((batch, 3, side, side), generator=torch.Generator().manual_seed(1))


def resized(images: torch.Tensor, side: int) -> torch.Tensor:
    """Pillow's bilinear filter, which is antialiased."""
    found = [
        np.asarray(Image.fromarray(plane.numpy()).resize((side, side), Image.Resampling.BILINEAR))
        for plane in images.flatten(0, 1)
    ]
    return torch.from_numpy(np.stack(found)).unflatten(0, images.shape[:2])


def test_an_artifact_answers_as_the_torch_student_does(made: Path) -> None:
    teacher, student = bundle(made / "images"), load_model_folder(made / "whole" / "student")
    with torch.no_grad():
        torch.testing.assert_close(
            teacher(pixels(side=32))["label"], student(pixels(side=32))["label"], atol=ROUNDING, rtol=0
        )
        expected = student(resized(pixels(), 32))["label"]
        torch.testing.assert_close(teacher(pixels())["label"], expected, atol=ROUNDING, rtol=0)
    assert not list(teacher.parameters())
    session = teacher.backbone._runtime._session
    assert session.get_session_options().get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_batches_larger_than_the_graphs_are_split(made: Path, tmp_path: Path) -> None:
    def at_most_two(manifest: dict[str, Any], _: Path) -> None:
        manifest["components"]["main"]["inputs"][0]["max"][0] = 2

    teacher = bundle(edited(made / "images", tmp_path / "b", at_most_two))
    seen: list[int] = []
    run = teacher.backbone._runtime.run
    teacher.backbone._runtime.run = lambda feeds: (seen.append(len(feeds["pixel_values"])), run(feeds))[1]
    torch.testing.assert_close(teacher(pixels()), bundle(made / "images")(pixels()), atol=1e-6, rtol=0)
    assert seen == [2, 2, 1]


def test_texts_need_the_datas_own_tokenizer(made: Path, tmp_path: Path) -> None:
    info = text_toys.text_info(tmp_path)
    teacher, student = bundle(made / "texts", info), load_model_folder(made / "texts" / "student")
    x = student.example(3)
    with torch.no_grad():
        torch.testing.assert_close(teacher(**x), student(**x), atol=ROUNDING, rtol=0)
    save_model(teacher, ModelSpec(model="bundle:elsewhere"), tmp_path / "kept")
    torch.testing.assert_close(load_model_folder(tmp_path / "kept")(**x), teacher(**x))
    own = trained_model("teacher", ModelSpec(model=f"bundle:{made / 'texts'}"), None)
    assert own is not None
    assert info.text is not None
    assert compared([own], info.text, ["turn on"]) == []
    text_toys.write_tokenizer(tmp_path, [*reversed(text_toys.WORDS)])
    with pytest.raises(UsageError, match=r"another tokenizer \(.*assets/tokenizer.json\) than the data's"):
        compared([own], info.text, ["turn on"])
    with pytest.raises(UsageError, match="has 20 positions, data.max_tokens is 24"):
        bundle(made / "texts", text_toys.text_info(tmp_path / "long", max_tokens=24))


def test_a_saved_teacher_reads_its_bundle_in_any_process(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "images", tmp_path / "b")
    spec = ModelSpec(model="bundle:b")
    teacher = build_model(spec, INFO, base=tmp_path).eval()
    save_model(teacher, spec, tmp_path / "kept")
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["config.json"]
    runtime = open_runtime(tmp_path / "kept", threads=1)
    found = runtime.run({"pixel_values": pixels().numpy()})["logits"]
    np.testing.assert_array_equal(found, teacher(pixels())["label"].numpy())
    artifact = tmp_path / "b" / "artifacts" / "fp32.onnx"
    assert weights_bytes(teacher, tmp_path / "kept") == artifact.stat().st_size


@pytest.mark.parametrize("intents", [True, False])
def test_a_bundle_that_finds_slots_cannot_teach(tmp_path: Path, intents: bool) -> None:
    written = write_slot_bundle(tmp_path / "bundle", intents=intents)
    info = DataInfo(written.manifest.task, written.manifest.labels)
    with pytest.raises(UsageError, match=r"finds slots, expected classes or vectors.* with its weights$"):
        build_bundle(str(written.path), info, {}, False, tmp_path)


MAIN = ("components", "main")


def set_at(*path: Any) -> Callable[[dict[str, Any], Path], None]:
    """Set the manifest's value at `path`, whose last item it is."""

    def change(manifest: dict[str, Any], _: Path) -> None:
        inner: Any = manifest
        *keys, last, value = path
        for key in keys:
            inner = inner[key]
        inner[last] = value

    return change


def image_data(change: Callable[[list[str]], list[str]] = list, channels: int = 3) -> DataInfo:
    return toys.info(SIDE, channels, change(NAMES))


@pytest.mark.parametrize(
    ("change", "info", "options", "says"),
    [
        (
            None,
            image_data(lambda names: [*names[:9], "x"]),
            {},
            r"other classes apart .*\(10\).* than the data",
        ),
        (
            None,
            image_data(lambda names: names[:9]),
            {},
            r"apart .*\(10\).*\(9\)\); name .* set classes: subset",
        ),
        (None, image_data(channels=1), {}, "images of 3 channels, expected the data's 1"),
        (None, INFO, {"artifact": "fp16"}, "'fp16' is no verified ONNX artifact.* one of: fp32"),
        (None, INFO, {"width": 8}, r"options \{'width': 8\} found, expected at most"),
        (
            set_at(*MAIN, "artifacts", 0, "status", "rejected"),
            INFO,
            {},
            "'fp32' is no verified .*one of: none",
        ),
        (set_at(*MAIN, "artifacts", 0, "spec", "format", "tensorrt"), INFO, {}, "'fp32' is no verified ONNX"),
        (set_at("pre", 0, "steps", -1, "scale", 1.0), INFO, {}, "takes pixels times 1, expected times 1/255"),
        (set_at("task", "text-classification"), INFO, {}, "is for text-classification, the task is image-"),
        (set_at(*MAIN, "inputs", 0, "min", 0, 4), INFO, {}, "batches from one sample on"),
    ],
)
def test_what_does_not_fit_the_data_is_refused(
    change: Callable[[dict[str, Any], Path], None] | None,
    info: DataInfo,
    options: dict[str, Any],
    says: str,
    made: Path,
    tmp_path: Path,
) -> None:
    folder = edited(made / "images", tmp_path / "b", change) if change else made / "images"
    with pytest.raises(UsageError, match=says):
        bundle(folder, info, **options)


def test_digests_follow_the_artifact_and_the_size(made: Path, tmp_path: Path) -> None:
    def other_artifact(manifest: dict[str, Any], folder: Path) -> None:
        path = folder / "artifacts" / "fp32.onnx"
        path.write_bytes(path.read_bytes() + b"\0")
        entry = manifest["components"]["main"]["artifacts"][0]["files"][0]
        entry |= {"sha256": file_digest(path), "bytes": path.stat().st_size}

    edited(made / "images", tmp_path / "b", lambda *_: None)
    before = model_digest(ModelSpec(model="bundle:b"), tmp_path)
    assert before["bundle"] == file_digest(tmp_path / "b" / "manifest.json")
    shutil.rmtree(tmp_path / "b")
    edited(made / "images", tmp_path / "b", other_artifact)
    after = model_digest(ModelSpec(model="bundle:b"), tmp_path)
    assert {key for key in after if after[key] != before[key]} == {"bundle"}
    (tmp_path / "b" / "artifacts" / "fp32.onnx").write_bytes(b"damaged")
    with pytest.raises(IntegrityError, match="fp32.onnx"):
        bundle(tmp_path / "b")
    with pytest.raises(UsageError, match="holds no manifest.json; give a bundle's folder"):
        model_digest(ModelSpec(model="bundle:b/artifacts"), tmp_path)
    plain, sized = (model_digest(ModelSpec(model="cifar:resnet8", image_size=n), tmp_path) for n in (None, 9))
    assert "image_size" not in plain  # stores that were made before it name their teachers so
    assert sized == plain | {"image_size": 9}


def test_teachers_of_other_sizes_and_normalisations_average_what_each_says() -> None:
    """One enlarges and one reduces the same 16 x 16 pixels; each normalises its own way."""
    specs = [
        ModelSpec(model="cifar:resnet8", image_size=24, mean=[0.2, 0.3, 0.4], std=[0.1, 0.2, 0.3]),
        ModelSpec(model="cifar:resnet8", options={"width": 4}, image_size=8, mean=[0.5] * 3, std=[0.5] * 3),
    ]
    models = [build_model(spec, INFO, base=Path(), seed=seed).eval() for seed, spec in enumerate(specs)]
    shares = []
    for spec, model in zip(specs, models, strict=True):
        assert spec.image_size
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (spec.mean, spec.std))
        with torch.no_grad():
            logits = model.backbone((resized(pixels(), spec.image_size) - mean) / std)
        shares.append(logits.double().softmax(-1))
    found = Teachers(models)(Batch({"pixel_values": pixels()}, {}, torch.arange(5))).log_probs
    assert found is not None
    torch.testing.assert_close(found["label"].exp().double(), sum(shares) / 2, atol=1e-5, rtol=0)


def test_a_size_is_kept_with_the_model_folder_and_absent_from_a_students(tmp_path: Path) -> None:
    for size in (None, 24):
        spec = ModelSpec(model="cifar:resnet8", options={"width": 4}, image_size=size)
        model = build_model(spec, INFO, base=tmp_path).eval()
        save_model(model, spec, tmp_path / str(size))
        config = json.loads((tmp_path / str(size) / "config.json").read_text())
        assert config.get("image_size", "absent") == (size or "absent")
        torch.testing.assert_close(load_model_folder(tmp_path / str(size))(pixels()), model(pixels()))
        assert model.inputs[0].axes == ["batch", 3, SIDE, SIDE]
    spec = ModelSpec(model="module:tests.compactor.text_toys:Bag", image_size=24)
    with pytest.raises(UsageError, match="image_size is for images, the data are texts"):
        build_model(spec, text_toys.text_info(tmp_path), base=tmp_path)


# whole recipes


def raw(made: Path, **changes: Any) -> dict[str, Any]:
    return {
        "name": "toy",
        "task": "image-classification",
        "data": {"dataset": str(made / "pictures")},
        "teachers": [{"model": f"bundle:{made / 'images'}"}],
        "student": {"model": "cifar:resnet8", "options": {"width": 4}},
        "stages": [{"id": "distil", "method": "kd", "steps": 2, "batch_size": 8}],
        "export": [{"format": "onnx", "precision": "fp32", "required": True}],
        "measure": {"scenarios": []},
    } | changes


def loaded(folder: Path, plain: dict[str, Any]) -> LoadedRecipe:
    (folder / "toy.yaml").write_text(yaml.safe_dump(plain))
    return load_recipe(str(folder / "toy.yaml"))


@pytest.mark.slow
def test_a_bundle_without_torch_weights_teaches_a_whole_run(made: Path, tmp_path: Path) -> None:
    sized = {"model": "cifar:resnet8", "weights": "w.safetensors", "image_size": 24}
    spec = ModelSpec(model="cifar:resnet8", image_size=24)
    save_model(build_model(spec, INFO, base=tmp_path), spec, tmp_path / "sized")
    (tmp_path / "sized" / "model.safetensors").rename(tmp_path / "w.safetensors")
    plain = raw(made)
    result = run_recipe(
        loaded(tmp_path, plain | {"teachers": [*plain["teachers"], sized]}), runs=tmp_path / "r"
    )
    assert result is not None
    name = f"bundle:{made / 'images'}"
    rows = {row.subject: row for row in result.report.accuracy if row.kind == "teacher"}
    assert list(rows) == [name, "cifar:resnet8 (torch)", "teachers (torch and onnx)"]
    assert [row.parameters is None for row in rows.values()] == [True, False, True]
    assert rows[name].size_bytes == (made / "images" / "artifacts" / "fp32.onnx").stat().st_size
    # the report's teacher is the bundle's student, asked on enlarged pictures
    data = DataSets(loaded(tmp_path, plain), SilentReporter()).open(loaded(tmp_path, plain).recipe.data)
    said = student_answers(bundle(made / "images"), TASK.batches(data.report))["label"]
    right = (said.argmax(-1) == data.report.labels["label"][data.report.rows]).mean()
    assert rows[name].value == pytest.approx(right)


@pytest.mark.slow
def test_a_bundle_that_teaches_alone_is_measured_as_it_serves(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Candidate] = []

    def measure(candidates: list[Candidate], *rest: Any, **options: Any) -> Measured:
        asked.extend(candidates)
        return Measured([], [])

    monkeypatch.setattr(measurement, "measure", measure)
    measured = {"measure": {"scenarios": ["single-stream"], "profile": "smoke"}}
    assert run_recipe(loaded(tmp_path, raw(made) | measured), runs=tmp_path / "r") is not None
    teacher, student, shipped = asked
    folder = made / "images"
    assert (teacher.name, teacher.runtime, teacher.assets) == (f"bundle:{folder}", "ort-cpu", str(folder))
    assert teacher.source == str(folder / "artifacts" / "fp32.onnx")
    assert teacher.pre != student.pre  # it takes larger images
    assert (student.runtime, shipped.runtime) == (measurement.TORCH, "ort-cpu")


@pytest.mark.slow
def test_a_bundle_that_teaches_alone_is_compared_in_its_own_runtime(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # other tests run beside this one, and of what is INVALID nothing is claimed
    monkeypatch.setattr("compactor_runtimes.measure.rounds.machine_reasons", lambda conditions: [])
    monkeypatch.setattr("compactor_runtimes.measure.rounds.sample_reasons", lambda *samples: [])
    measured = {"measure": {"scenarios": ["single-stream"], "profile": "smoke"}}
    result = run_recipe(loaded(tmp_path, raw(made) | measured), runs=tmp_path / "r")
    assert result is not None
    name = f"bundle:{made / 'images'}"
    providers = {one.subject: one.provider for one in result.report.measurements}
    assert providers == {
        name: "CPUExecutionProvider",
        "student (torch)": "torch",
        "onnx fp32": "CPUExecutionProvider",
    }
    said = result.report.recommendation
    assert said.startswith("Ship onnx fp32: in ONNX Runtime CPU it is ")
    assert name in said
    assert "the effect of the runtime" not in said


def test_exported_teachers_that_answer_together_say_what_computes_them(made: Path, tmp_path: Path) -> None:
    one, student = bundle(made / "images"), load_model_folder(made / "whole" / "student")
    exported = "CPUExecutionProvider called by torch"
    for models, provider in (([one, one], exported), ([one, student], f"torch and {exported}")):
        assert TorchRuntime(Teachers(models)).provider == provider
    assert TorchRuntime(Teachers([student])).provider == "torch"
    assert torch_name(["bundle:a", "bundle:b"]) == "teachers (onnx)"


def test_a_label_store_of_a_bundle_names_it_and_says_what_it_says(made: Path, tmp_path: Path) -> None:
    stage = {"id": "distil", "method": "kd", "steps": 2, "batch_size": 8, "labels": {"crops": 2}}
    recipe = loaded(tmp_path, raw(made, stages=[stage]))
    (labels,) = label_recipe(recipe, runs=tmp_path / "runs")
    store = open_store(labels.folder)
    assert store.header.teachers == [model_digest(recipe.recipe.teachers[0], tmp_path)]
    assert store.header.teachers[0]["bundle"] == file_digest(made / "images" / "manifest.json")
    data = DataSets(recipe, SilentReporter()).open(recipe.recipe.data)
    found = stored_answers(store, data.select)
    assert found is not None
    said = student_answers(bundle(made / "images"), TASK.batches(data.select))["label"]
    np.testing.assert_array_equal(found["label"].argmax(-1), said.argmax(-1))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"student": {"model": "bundle:b"}},
            "recipe student: bundle:b is an exported model, which cannot learn",
        ),
        ({"student": {"model": "cifar:resnet8", "image_size": 9}}, "only teachers resize their images"),
        ({"stages": [], "student": {"model": "bundle:b"}}, "which cannot learn"),
        (
            {"teachers": [{"model": "bundle:b", "weights": "pretrained"}]},
            "has its own weights.* remove weights",
        ),
        ({"teachers": [{"model": "bundle:b", "image_size": 9}]}, "has its own image_size"),
        ({"teachers": [{"model": "bundle:b", "mean": [0.5]}]}, "has its own mean"),
    ],
)
def test_recipes_that_use_a_bundle_otherwise_are_refused(
    changes: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=says):
        parse_recipe(raw(tmp_path, **changes))


def test_no_stage_starts_from_a_bundle(tmp_path: Path) -> None:
    for changes, says in (
        ({"init": "bundle:b"}, "stages.0.init: 'bundle:b' is an exported model"),
        ({"student": {"model": "bundle:b"}}, "stages.0.student: bundle:b is an exported model"),
    ):
        plain = raw(tmp_path)
        plain["stages"][0] |= changes
        with pytest.raises(UsageError, match=says):
            parse_recipe(plain)


def test_init_proposes_a_bundle_as_a_teacher_only(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Path(shutil.copytree(made, tmp_path / "made"))
    monkeypatch.chdir(made)
    plain = yaml.safe_load(propose("bundle:images", "cifar:resnet8", "pictures", base=made).yaml)
    assert plain["teachers"] == [{"model": "bundle:./images"}]
    assert [stage["id"] for stage in plain["stages"]] == ["distil"]
    shutil.copytree("pictures", "fewer", ignore=shutil.ignore_patterns("class 9"))
    (made / "fewer" / "class 8").rename(made / "fewer" / "other")
    for teacher, student, data, says in (
        ("bundle:images", "bundle:images", "pictures", "student bundle:images: is an exported model"),
        (
            "bundle:images@pretrained",
            "cifar:resnet8",
            "pictures",
            "has its weights, pretrained found as well",
        ),
        ("bundle:images", "cifar:resnet8", "fewer", r"tells 10 classes apart \(class 0.*; use data with its"),
        ("bundle:pictures", "cifar:resnet8", "pictures", "holds no manifest.json"),
    ):
        with pytest.raises(CompactorError, match=says):
            propose(teacher, student, data, base=made)
