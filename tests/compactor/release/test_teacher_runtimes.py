"""Teachers on other runtimes: as near to torch as their entries ask, and `auto` that keeps its choice."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compactor.cache.folder import RunFolders
from compactor.data.splits import Dataset
from compactor.models.on_runtime import OnGraph
from compactor.models.references import model_digest
from compactor.recipe.spec import ModelSpec
from compactor.release import runtime_choice
from compactor.release.runtime_choice import choose
from compactor.release.teacher_runtimes import GRAPHS, Moving, Workplace, require_usable
from compactor.tasks import task_named
from compactor.tasks.image_classification import TASK
from compactor_runtimes.backends import openvino
from compactor_runtimes.errors import AccuracyGateError, MissingDependency, UsageError
from tests import toys


def entry(**changes: Any) -> ModelSpec:
    return ModelSpec(**{"model": "module:tests.toys:Mlp", "runtime": "ort-fp32", **changes})


def moving(root: Path, spec: ModelSpec) -> Moving:
    whole = toys.split(48)
    train, select = replace(whole, rows=np.arange(32)), replace(whole, name="select", rows=np.arange(32, 48))
    data = Dataset("image-classification", train, select, select, toys.info(), "toy")
    kept, device = RunFolders(root).teachers, torch.device("cpu")
    return Moving(
        toys.classifier().eval(), spec, Workplace(TASK, data, "toy", kept, root / "scratch", device)
    )


def test_without_a_runtime_a_teacher_is_named_as_before() -> None:
    """As label stores of old name it: the keys are those that a model had then."""
    plain = model_digest(ModelSpec(model="cifar:resnet20"), Path())
    assert plain.keys() == {"model", "weights", "options", "mean", "std"}
    assert model_digest(entry(max_kl=0.1), Path()) == {
        **model_digest(ModelSpec(model="module:tests.toys:Mlp"), Path()),
        "runtime": "ort-fp32",
        "max_kl": 0.1,
    }


def test_what_cannot_run_here_or_has_no_distribution_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise MissingDependency("openvino", "openvino")

    monkeypatch.setattr(openvino, "probe", missing)
    with pytest.raises(MissingDependency, match=r"compactor-toolkit\[openvino\]"):
        require_usable("openvino", TASK)
    with pytest.raises(UsageError, match="runtime ort-fp32: needs answers that are classes or labels"):
        require_usable("ort-fp32", task_named("embedding"))


@pytest.mark.slow
def test_a_graph_in_fp32_answers_as_torch_and_8_bits_are_held_to_the_bound(tmp_path: Path) -> None:
    one = moving(tmp_path, entry())
    graph = one.open("ort-fp32")
    assert isinstance(graph, OnGraph)
    ran = one.ran("ort-fp32", graph, 0)
    assert (ran.rows, ran.agreement, ran.provider) == (16, 1.0, "CPUExecutionProvider")
    assert ran.kl < 1e-10
    pixels = one.model.example(5)
    with torch.no_grad():
        torch.testing.assert_close(graph(**pixels)["label"], one.model(**pixels)["label"], atol=1e-5, rtol=0)

    tight = moving(tmp_path, entry(runtime="ort-int8", max_kl=1e-12))
    with pytest.raises(
        AccuracyGateError,
        match=r"teacher module:tests.toys:Mlp on ort-int8: mean KL .* on 16 select rows, expected at most "
        r"1e-12 and at least 99.5%; name another runtime, or raise max_kl",
    ):
        tight.ran("ort-int8", tight.open("ort-int8"), 0)
    assert len(list((tmp_path / "teachers").glob("*.json"))) == 1  # one teacher, whatever it runs on


@pytest.mark.slow
def test_auto_takes_the_fastest_near_enough_and_keeps_its_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[set[str]] = []

    def speeds(models: dict[str, Any], batch: Any) -> dict[str, float]:
        timed.append(set(models))
        return {name: 300.0 if name == "ort-fp32" else 100.0 for name in models}

    monkeypatch.setattr(runtime_choice, "speeds", speeds)
    monkeypatch.setitem(GRAPHS, "openvino", GRAPHS["openvino-bf16"])
    asked = entry(runtime="auto", max_kl=1e-9, min_agreement=0.0)
    first = choose(moving(tmp_path, asked), batch_size=8)
    assert first.runtime == "ort-fp32"
    (near,) = timed
    assert {"torch", "ort-fp32"} <= near
    assert not near & {"torch-bf16", "ort-int8"}
    said = dict(line.removeprefix("teacher module:tests.toys:Mlp on ").split(": ", 1) for line in first.told)
    assert said["ort-fp32"].startswith("300 samples/s, mean KL ")
    assert said["ort-fp32"].endswith("chosen")
    assert said["ort-int8"].endswith("too far")
    assert choose(moving(tmp_path, asked), batch_size=8) == first
    assert len(timed) == 1
    choose(moving(tmp_path, entry(runtime="auto", max_kl=1.0, min_agreement=0.0)), batch_size=8)
    assert {"torch-bf16", "ort-int8"} <= timed[1]  # other bounds: chosen anew
