"""Teachers as one ONNX graph: what it answers, what is refused, and when it is made once more."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from compactor.cache.folder import RunFolders
from compactor.data.class_names import match_classes
from compactor.models.build import build_model, load_model_folder, save_model
from compactor.models.bundled import OnnxBackbone
from compactor.models.class_order import put_in_order
from compactor.models.classifier import Backbone, ImageClassifier
from compactor.models.student import Student
from compactor.recipe.spec import ModelSpec
from compactor.release import exported_teachers as module
from compactor.release.exported_teachers import ExportedTeachers, MixedTeachers, export_teachers
from compactor.tasks import task_named
from compactor.tasks.image_classification import TASK
from compactor.tasks.texts import TextSplit
from compactor.teachers import Teachers
from compactor.torch_runtime import TorchRuntime
from compactor_runtimes.backends import open_runtime
from compactor_runtimes.errors import NumericGateError, UsageError
from tests import toys
from tests.compactor import text_toys

SPEC = ModelSpec(model="module:tests.toys:Mlp")


def classifier(seed: int, *, mean: float = 0.5, std: float = 0.5) -> ImageClassifier:
    torch.manual_seed(seed)
    return ImageClassifier(Backbone(toys.Mlp(), [mean], [std]), toys.info())


def turned() -> ImageClassifier:
    """A network whose classes were star, circle, square before they were put in the data's order."""
    model = classifier(3)
    match = match_classes(["star", "circle", "square"], toys.CLASSES, where="toy")
    assert match is not None
    put_in_order(model, match, toys.info(), "toy")
    return model


def pixels(n: int = 5) -> NDArray[np.float32]:
    return np.random.default_rng(0).random((n, 1, 8, 8), dtype=np.float32)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    powers = np.exp(logits.astype(np.float64))
    return powers / powers.sum(-1, keepdims=True)


def bare(model: Student, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the network under a student says of inputs that are normalised by hand."""
    with torch.no_grad():
        found: NDArray[np.float32] = model.backbone(torch.from_numpy(inputs)).numpy()
    return found


def test_several_answer_with_the_log_of_their_mean_probabilities_each_with_its_own_normalisation() -> None:
    models = [classifier(1), classifier(2, mean=0.1, std=0.25)]
    x = pixels()
    with torch.no_grad():
        (found,) = MixedTeachers(models)(torch.from_numpy(x))
    parts = [softmax(bare(models[0], (x - 0.5) / 0.5)), softmax(bare(models[1], (x - 0.1) / 0.25))]
    np.testing.assert_allclose(found.numpy(), np.log((parts[0] + parts[1]) / 2), atol=1e-6)


def test_classes_that_were_put_in_order_are_so_in_the_graph() -> None:
    before, after = classifier(3), turned()
    x = pixels()
    with torch.no_grad():
        (found,) = MixedTeachers([after, after])(torch.from_numpy(x))
    # circle, square, star lay at 1, 2, 0
    expected = np.log(softmax(bare(before, (x - 0.5) / 0.5)))[:, [1, 2, 0]]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_weights_are_shares() -> None:
    models, x = [classifier(1), classifier(2)], pixels()
    with torch.no_grad():
        (found,) = MixedTeachers(models, [3.0, 1.0])(torch.from_numpy(x))
    first, second = (softmax(bare(model, (x - 0.5) / 0.5)) for model in models)
    np.testing.assert_allclose(found.numpy(), np.log(0.75 * first + 0.25 * second), atol=1e-6)


def test_labels_of_any_number_are_mixed_as_torch_mixes_them() -> None:
    models = [toys.several_classifier(["a", "b"], seed) for seed in (0, 1)]
    x = pixels()
    with torch.no_grad():
        (found,) = MixedTeachers(models)(torch.from_numpy(x))
    yes = np.mean([1 / (1 + np.exp(-bare(model, (x - 0.5) / 0.5).astype(float))) for model in models], 0)
    np.testing.assert_allclose(found.numpy(), np.log(yes / (1 - yes)), atol=1e-5)


def test_a_graph_among_several_cannot_be_put_into_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OnnxBackbone, "__init__", lambda self: torch.nn.Module.__init__(self))
    graph = OnnxBackbone()  # type: ignore[call-arg]
    graph.saved_model = "bundle:somewhere"
    other = classifier(1)
    other.backbone = graph
    with pytest.raises(UsageError, match=r"bundle:somewhere is a graph already .*; name the model"):
        module.teachers_source([classifier(0), other], TASK, "toy")


def test_teachers_of_other_inputs_or_too_large_for_a_file_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    large = ImageClassifier(Backbone(toys.Mlp(pixels=256), [0.5], [0.5]), toys.info(16))
    with pytest.raises(UsageError, match="their inputs or outputs differ"):
        module.teachers_source([classifier(0), large], TASK, "toy")
    monkeypatch.setattr(module, "LARGEST_FILE", 1000)
    with pytest.raises(UsageError, match=r"their weights take 4\.\d+ kB, .*leave measure.teacher at torch"):
        module.teachers_source([classifier(0)], TASK, "toy")


def saved(models: Sequence[Student], root: Path) -> list[Path]:
    folders = [root / str(number) for number in range(len(models))]
    for model, folder in zip(models, folders, strict=True):
        save_model(model, SPEC, folder)
    return folders


def exported(folders: list[Path], root: Path, steps: list[str] | None = None) -> ExportedTeachers:
    return export_teachers(
        [load_model_folder(folder) for folder in folders],
        folders,
        TASK,
        toys.split(16),
        name="toy-teachers",
        kept=RunFolders(root).teachers,
        scratch=root / "scratch",
        tell=(steps if steps is not None else []).append,
    )


@pytest.mark.slow
def test_the_graph_answers_as_the_teachers_do_in_torch_and_is_made_once(tmp_path: Path) -> None:
    folders = saved([classifier(1, mean=0.2), turned(), classifier(2, std=0.3)], tmp_path)
    steps: list[str] = []
    made = exported(folders, tmp_path, steps)
    assert steps[0] == "export"
    assert made.artifact.status == "verified"
    assert made.bundle.path.parent == tmp_path / "teachers"
    assert not (tmp_path / "scratch").exists()
    assert not (made.bundle.path / "student").exists()
    x = {"pixel_values": pixels()}
    graph = open_runtime("ort-cpu", made.file)
    ensemble = TorchRuntime(Teachers([load_model_folder(folder) for folder in folders]))
    np.testing.assert_allclose(graph.run(x)["logits"], ensemble.run(x)["logits"], atol=1e-5)

    written = (made.bundle.path / "manifest.json").stat().st_mtime_ns
    steps.clear()
    assert exported(folders, tmp_path, steps).bundle.path == made.bundle.path
    assert steps == []
    assert (made.bundle.path / "manifest.json").stat().st_mtime_ns == written

    made.file.write_bytes(made.file.read_bytes()[:-1])  # damaged: it is made again
    assert exported(folders, tmp_path, steps).bundle.path == made.bundle.path
    assert steps[0] == "export"
    save_model(classifier(7), SPEC, folders[0])
    assert exported(folders, tmp_path).bundle.path != made.bundle.path


def test_what_failed_is_not_kept_and_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def fails(*_: object) -> None:
        tried.append(1)
        (tmp_path / "scratch").mkdir()
        raise NumericGateError("teachers: their graph is rejected")

    monkeypatch.setattr(module, "_exported", fails)
    folders = saved([classifier(1)], tmp_path)
    for _ in range(2):
        with pytest.raises(NumericGateError):
            exported(folders, tmp_path)
    assert len(tried) == 2
    assert not (tmp_path / "teachers").exists()
    assert not (tmp_path / "scratch").exists()


class Refuses(toys.Mlp):
    """A network whose forward depends on its numbers, which no graph can."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * (2 if float(x.sum()) > 0 else 1)


@pytest.mark.slow
def test_a_teacher_that_cannot_be_traced_is_told_in_one_line(tmp_path: Path) -> None:
    model = ImageClassifier(Backbone(Refuses(), [0.5], [0.5]), toys.info()).eval()
    (folder,) = saved([model], tmp_path)
    with pytest.raises(UsageError, match="cannot trace the module") as raised:
        export_teachers(
            [model],
            [folder],
            TASK,
            toys.split(16),
            name="toy",
            kept=RunFolders(tmp_path).teachers,
            scratch=tmp_path / "scratch",
        )
    assert "\n" not in module.why_not(raised.value)
    assert not (tmp_path / "teachers").exists()


@pytest.mark.slow
def test_text_encoders_are_one_graph_of_their_mean_direction(tmp_path: Path) -> None:
    info = text_toys.text_info(tmp_path / "data", task="embedding")
    folders = []
    for seed in range(2):
        spec = ModelSpec(model=f"hf:{text_toys.bert_folder(tmp_path / f'bert-{seed}', seed=seed)}")
        folders.append(tmp_path / str(seed))
        save_model(build_model(spec, info, base=tmp_path, seed=seed), spec, folders[-1])
    models = [load_model_folder(folder) for folder in folders]
    texts = np.array(["turn on the light", "play music", "what time is it now"] * 4, dtype=object)
    assert info.text is not None
    split, task = TextSplit("select", texts, {}, np.arange(12), "toy", info.text), task_named("embedding")
    made = export_teachers(
        models,
        folders,
        task,
        split,
        name="toy",
        kept=RunFolders(tmp_path).teachers,
        scratch=tmp_path / "scratch",
    )
    feeds = {name: value.numpy() for name, value in next(task.batches(split)).x.items()}
    alone = [TorchRuntime(Teachers([load_model_folder(folder)])).run(feeds) for folder in folders]
    units = [one["embedding"] / np.linalg.norm(one["embedding"], axis=-1, keepdims=True) for one in alone]
    found = open_runtime("ort-cpu", made.file).run(feeds)["embedding"]
    np.testing.assert_allclose(found, (units[0] + units[1]) / 2, atol=1e-5)
