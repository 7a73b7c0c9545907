"""The seam of tasks: one contract for every entry, and a student with two inputs and two heads through it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compactor.data.spec import DataSpec
from compactor.evaluation import artifact_answers, student_answers
from compactor.models.student import Student
from compactor.records import Batch, DataInfo
from compactor.tasks import TASKS, task_named
from compactor_exporters import ExportSource, export_artifact
from compactor_exporters.verify import verify_artifact
from compactor_runtimes.backends.ort import open_runtime
from compactor_runtimes.errors import UsageError
from compactor_runtimes.manifest import ExportSpec, InputPort, OutputPort
from compactor_runtimes.preprocess import feeds_from

EXAMPLES = {"image-classification": DataSpec(dataset="digits")}


@pytest.mark.parametrize("name", TASKS)
def test_what_is_served_is_what_was_trained_on(name: str, tmp_path: Path) -> None:
    """Raw files through the manifest's preprocessing give the very arrays of the batches."""
    task = task_named(name)
    data = task.open(EXAMPLES[name], base=tmp_path)
    batches = list(task.batches(data.select))
    assert sum(batch.size for batch in batches) == len(data.select)
    raws = task.raws(data.select, 5, tmp_path)
    served = feeds_from(task.pre(data.info))([*raws, *task.edge_raws(data.select, tmp_path)])
    assert set(served) == set(batches[0].x)
    for key, values in served.items():
        np.testing.assert_allclose(values[:5], batches[0].x[key][:5].numpy(), atol=1e-7)
    assert {post.labels for post in task.post(data.info)} == set(data.info.classes) == {task.head}


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
    artifact = export_artifact(source, ExportSpec(), tmp_path)
    feeds = {name: value.numpy() for name, value in student.example(20).items()}
    artifact = verify_artifact(source, artifact, tmp_path, feeds=feeds)
    assert artifact.status == "verified", artifact.reason
    assert set(artifact.limits) == {"intent_logits", "slot_logits"}
    batches = [Batch(student.example(size), {}, torch.arange(size)) for size in (3, 2)]
    expected = student_answers(student, batches)
    runtime = open_runtime(tmp_path / artifact.files[0].path)
    found = artifact_answers(runtime, student.outputs, batches)
    runtime.close()
    assert {head: values.shape for head, values in found.items()} == {"intent": (5, 3), "slot": (5, 5, 2)}
    for head in expected:
        np.testing.assert_allclose(found[head], expected[head], atol=1e-5)
