"""The seam of tasks: one contract for every entry, and a student with two inputs and two heads through it."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compactor.data.spec import DataSpec
from compactor.evaluation import artifact_answers, student_answers
from compactor.models import WRAPPERS
from compactor.models.build import build_model
from compactor.models.student import Student
from compactor.recipe.spec import ModelSpec
from compactor.records import (
    FIRST,
    HEADS,
    IDS,
    TASK_HEADS,
    Batch,
    DataInfo,
    Head,
    head_at,
    heads_of,
    reads_images,
)
from compactor.tasks import POSTS, TASKS, task_named
from compactor.tasks.image_classification import write_pngs
from compactor.tasks.texts import TEXT_CLASSIFICATION, TextSplit
from compactor_exporters import ExportSource, Workspace, export_artifact
from compactor_exporters.verify.artifact import verify_artifact
from compactor_runtimes.backends import open_runtime
from compactor_runtimes.bundle.manifest import (
    BioPost,
    ExportSpec,
    InputPort,
    OutputPort,
    SigmoidPost,
    SoftmaxPost,
)
from compactor_runtimes.errors import UsageError
from compactor_runtimes.predict.answers import CODECS
from compactor_runtimes.predict.images import feeds_from
from tests import toys
from tests.compactor.text_toys import CLASSES, WORDS, text_info, write_tokenizer


def sentences(folder: Path) -> DataSpec:
    """A table of texts of one to eight words, some of which the tokenizer does not know."""
    lines = ["text,label"]
    for row in range(60):
        words = [WORDS[(row * step) % len(WORDS)] for step in range(1, row % 8 + 2)]
        lines.append(f"{' '.join([*words, 'naïve猫'][row % 3 :] or words)},{CLASSES[row % 3]}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    tokenizer = write_tokenizer(folder / "tokenizer")
    return DataSpec(dataset=str(folder / "table.csv"), tokenizer=str(tokenizer), max_tokens=6)


def requests(folder: Path) -> DataSpec:
    """A table of texts with an intent each and a BIO label for each word."""
    lines = []
    for row in range(60):
        words = [WORDS[(row * step) % len(WORDS)] for step in range(1, row % 8 + 2)]
        slots = [["O", "B-thing", "I-thing"][(row + at) % 3] for at in range(len(words))]
        lines.append(json.dumps({"text": " ".join(words), "intent": CLASSES[row % 3], "slots": slots}))
    (folder / "table.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    tokenizer = write_tokenizer(folder / "tokenizer", [*WORDS, "[MASK]"])
    return DataSpec(
        dataset=str(folder / "table.jsonl"), tokenizer=str(tokenizer), max_tokens=6, label_column="intent"
    )


def several(folder: Path) -> DataSpec:
    """The sentences with a set of labels each."""
    spec = sentences(folder)
    lines = (folder / "table.csv").read_text(encoding="utf-8").splitlines()
    sets = [f"{line}|{CLASSES[row % 2]}" for row, line in enumerate(lines[1:])]
    (folder / "table.csv").write_text("\n".join([lines[0], *sets]) + "\n", encoding="utf-8")
    return spec


def pictures(folder: Path) -> DataSpec:
    """A table of noise with a set of labels each."""
    pixels = np.random.default_rng(0).integers(0, 255, (60, 8, 8, 1), dtype=np.uint8)
    files = write_pngs(pixels, folder / "pictures", prefix="x")
    rows = [
        {"image": str(path.relative_to(folder)), "label": CLASSES[row % 3 : row % 3 + 2]}
        for row, path in enumerate(files)
    ]
    (folder / "table.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return DataSpec(dataset=str(folder / "table.jsonl"), color="grey")


EXAMPLES: dict[str, Callable[[Path], DataSpec]] = {
    "image-classification": lambda folder: DataSpec(dataset="digits"),
    "text-classification": sentences,
    "image-multi-label": pictures,
    "text-multi-label": several,
    "embedding": sentences,
    "masked-lm": requests,
    "intent-slots": requests,
    "token-classification": requests,
}
SERVED = [name for name in TASKS if name != "masked-lm"]  # which trains encoders, and serves nobody


@pytest.mark.parametrize("name", SERVED)
def test_what_is_served_is_what_was_trained_on(name: str, tmp_path: Path) -> None:
    """Raw files through the manifest's preprocessing give the very arrays of the batches."""
    task = task_named(name)
    data = task.open(EXAMPLES[name](tmp_path), base=tmp_path)
    batches = list(task.batches(data.select))
    assert sum(batch.size for batch in batches) == len(data.select)
    for inside, file in task.assets(data.info).items():
        (tmp_path / inside).parent.mkdir(exist_ok=True)
        shutil.copyfile(file, tmp_path / inside)
    to_feeds = feeds_from(task.pre(data.info), tmp_path)
    raws = task.raws(data.select, 5, tmp_path / "raws")
    served = to_feeds(raws)
    first = next(task.batches(replace(data.select, rows=data.select.rows[:5]))).x
    assert set(served) == set(first)
    for key, values in served.items():
        np.testing.assert_allclose(values, first[key].numpy(), atol=1e-7)
    edges = task.edge_raws(data.select, tmp_path / "edges")
    assert {len(values) for values in to_feeds(edges).values()} == {len(edges)}
    if task.head.is_labelled:
        posts = [
            post for post in task.post(data.info) if isinstance(post, SoftmaxPost | SigmoidPost | BioPost)
        ]
        assert {post.labels for post in posts} == set(data.info.classes)
        assert set(data.info.classes) == {head.name for head in task.heads}
    else:
        assert [post.output for post in task.post(data.info)] == [task.head.name] == ["embedding"]


@pytest.mark.parametrize("name", TASKS)
def test_a_model_of_the_task_takes_its_batches(name: str, tmp_path: Path) -> None:
    """Training batches go through a student that answers under the task's head."""
    task = task_named(name)
    data = task.open(EXAMPLES[name](tmp_path), base=tmp_path)
    kind = {
        "image-classification": "module:tests.toys:Mlp",
        "image-multi-label": "module:tests.toys:Mlp",
        "text-classification": "module:tests.compactor.text_toys:Bag",
        "text-multi-label": "module:tests.compactor.text_toys:Bag",
        "embedding": "module:tests.compactor.text_toys:Bag",
    }.get(name, "encoder:1x32")
    model = build_model(ModelSpec(model=kind), data.info, base=tmp_path)
    loader = task.loader(data.train, toys.stage(batch_size=7), seed=0, rank=0, world=1)
    batch = next(loader.epoch(0, np.arange(len(loader))))
    answers = model(**batch.x)
    assert set(answers) == {head.name for head in task.heads}
    if task.head.level == "token":
        assert len(answers[task.head.name]) == len(batch.x["positions"]) >= batch.size == 7
    else:
        assert {len(values) for values in answers.values()} == {batch.size} == {7}
    of_words = head_at(task.heads, "word")
    if of_words:
        assert answers[of_words.name].shape[:2] == batch.y[of_words.name].shape == batch.x[IDS].shape
    if task.head.activation == "sigmoid":
        assert batch.y[task.head.name].shape == answers[task.head.name].shape
    assert {port.name for port in model.inputs} == set(batch.x)


@pytest.mark.parametrize("name", TASKS)
def test_data_students_and_runtime_agree_on_the_heads(name: str, tmp_path: Path) -> None:
    """One table decides: labels, outputs and `post` follow from the heads, in their order."""
    task = task_named(name)
    info = task.open(EXAMPLES[name](tmp_path), base=tmp_path).info
    assert [replace(head, labels=()) for head in info.heads] == list(task.heads) == list(heads_of(name))
    for head in info.heads:
        assert list(head.labels) == (info.classes[head.name] if head.is_labelled else [])
    spec = ModelSpec(model="cifar:resnet8" if reads_images(name) else "encoder:1x32")
    ports = build_model(spec, info, base=tmp_path).outputs
    assert [port.name for port in ports] == [head.output for head in task.heads]
    for port, head in zip(ports, info.heads, strict=True):
        is_vector = head.activation == "none"
        assert (port.role, port.labels) == (("embedding", None) if is_vector else ("logits", head.name))
        assert len(port.axes) == {"sample": 2, "word": 3, "token": 2}[head.level]
        assert port.axes[-1] == len(head.labels) or not head.is_labelled
    if any((head.level, head.activation) not in POSTS for head in task.heads):
        with pytest.raises(UsageError, match=f"task {name}: trains encoders and ships nothing"):
            task.post(info)
        return
    posts = task.post(info)
    assert [post.output for post in posts] == [port.name for port in ports]
    assert [getattr(post, "labels", None) for post in posts] == [port.labels for port in ports]


def test_every_task_has_heads_and_a_wrapper_and_every_post_a_codec() -> None:
    assert set(TASKS) == set(TASK_HEADS) == set(WRAPPERS)
    assert {name for names in TASK_HEADS.values() for name in names} == set(HEADS)
    made = [type(post(Head("one", *key))) for key, post in POSTS.items()]
    assert {str(kind.__struct_config__.tag) for kind in made} == set(CODECS)


def test_heads_of_a_model_folder_come_from_its_task_and_classes() -> None:
    """What config.json has held since the first release."""
    info = DataInfo("intent-slots", {"slot": ["O", "B-x"], "intent": ["a", "b", "c"]})
    assert info.heads == (
        Head("intent", "sample", "softmax", ("a", "b", "c")),
        Head("slot", "word", "softmax", ("O", "B-x")),
    )
    vectors = DataInfo("embedding", {"label": ["a", "b"]})
    assert vectors.heads == (Head("embedding", "sample", "none"),)
    assert [head.output for head in (*info.heads, *vectors.heads, *toys.info().heads)] == [
        "intent_logits",
        "slot_logits",
        "embedding",
        "logits",
    ]


@pytest.mark.parametrize("name", TASKS)
def test_at_most_limits_what_is_read(name: str, tmp_path: Path) -> None:
    at_most = 400 if name == "image-classification" else 20  # of 1,797 digits and of 60 sentences
    data = task_named(name).open(EXAMPLES[name](tmp_path), base=tmp_path, at_most=at_most)
    assert len(data.train) + len(data.select) + len(data.report) == at_most


def test_raw_texts_survive_their_files(tmp_path: Path) -> None:
    """One newline is added and one dropped, so that a text's own newlines stay."""
    texts = np.array(["turn on", "play\n", "é 猫"], dtype=object)
    info = text_info(tmp_path)
    assert info.text is not None
    split = TextSplit("select", texts, {}, np.array([0, 1, 2]), "toy", info.text)
    paths = TEXT_CLASSIFICATION.raws(split, 3, tmp_path)
    assert [path.name for path in paths] == ["select000.txt", "select001.txt", "select002.txt"]
    assert [path.read_bytes().decode() for path in paths] == ["turn on\n", "play\n\n", "é 猫\n"]
    edges = [path.read_bytes().decode() for path in TEXT_CLASSIFICATION.edge_raws(split, tmp_path)]
    assert len(edges[0]) == 2
    assert len(edges[1]) > 8_192
    assert not edges[2].isascii()


def test_unknown_task() -> None:
    with pytest.raises(
        UsageError, match=r"unknown task 'image'; did you mean 'image-classification'\?|known"
    ):
        task_named("image")


class TwoHeads(Student):
    """A token encoder with a pooled head and a head for each token, as joint intent and slots will have."""

    def __init__(self) -> None:
        super().__init__()
        self.info = DataInfo("intent-slots", {"intent": ["a", "b", "c"], "slot": ["O", "B-x"]})
        self.backbone = nn.ModuleDict(
            {"embed": nn.Embedding(11, 6), "intent": nn.Linear(6, 3), "slot": nn.Linear(6, 2)}
        )

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        hidden = self.backbone["embed"](input_ids) * attention_mask.unsqueeze(-1)
        pooled = hidden.sum(1) / attention_mask.sum(1, keepdim=True)
        return {"intent": self.backbone["intent"](pooled), "slot": self.backbone["slot"](hidden)}

    @property
    def inputs(self) -> list[InputPort]:
        axes: list[str | int] = ["batch", "length"]
        roles = {"input_ids": "tokens", "attention_mask": "mask"}
        return [
            InputPort(name=name, dtype="int64", axes=axes, min=[1, 2], max=[64, 32], role=role)
            for name, role in roles.items()
        ]

    @property
    def outputs(self) -> list[OutputPort]:
        return [
            OutputPort(
                name="intent_logits", dtype="float32", axes=["batch", 3], role="logits", labels="intent"
            ),
            OutputPort(
                name="slot_logits", dtype="float32", axes=["batch", "length", 2], role="logits", labels="slot"
            ),
        ]

    def example(self, batch: int = 2) -> dict[str, Tensor]:
        ids = torch.arange(batch * 5).view(batch, 5) % 11
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def saved(self) -> dict[str, Any]:
        return {}


@pytest.mark.slow
def test_two_heads_go_from_student_to_artifact_by_name(tmp_path: Path) -> None:
    torch.manual_seed(0)
    student = TwoHeads().eval()
    source = ExportSource(
        name="joint",
        task="intent-slots",
        module=student.deploy(),
        example=student.example(),
        inputs=student.inputs,
        outputs=student.outputs,
        pre=[],
        post=[],
        labels=student.info.classes,
        student_weights=dict(student.state_dict(keep_vars=True)),
    )
    workspace = Workspace(tmp_path)
    artifact = export_artifact(source, ExportSpec(), workspace)
    feeds = {name: value.numpy() for name, value in student.example(20).items()}
    artifact = verify_artifact(source, artifact, workspace, feeds=feeds)
    assert artifact.status == "verified", artifact.reason
    assert set(artifact.limits) == {"intent_logits", "slot_logits"}
    words = torch.arange(5)  # every token is the first of a word
    batches = [
        Batch(student.example(size), {}, torch.arange(size), aux={FIRST: words.expand(size, -1)})
        for size in (3, 2)
    ]
    expected = student_answers(student, batches)
    runtime = open_runtime("ort-cpu", tmp_path / artifact.files[0].path)
    found = artifact_answers(runtime, student.outputs, batches)
    runtime.close()
    assert {head: values.shape for head, values in found.items()} == {"intent": (5, 3), "slot": (5, 5, 2)}
    for head in expected:
        np.testing.assert_allclose(found[head], expected[head], atol=1e-5)
