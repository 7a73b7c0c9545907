"""optimum as another road to the fp32 graph: verified like ours, and what is said where it cannot be gone."""

import json
import os
import stat
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from compactor_exporters import Workspace, can_export, export_artifact
from compactor_exporters.onnx_optimum import PYTHON
from compactor_exporters.verify.artifact import verify_artifact
from compactor_runtimes.bundle.manifest import ExportSpec, InputPort, OutputPort
from compactor_runtimes.errors import NumericGateError, UnfitEnvironmentError

SPEC = ExportSpec(exporter="optimum")
needs_optimum = pytest.mark.skipif(
    not Path(os.environ.get(PYTHON, "")).is_file(),
    reason=f"{PYTHON} names no Python that has optimum; `make test-optimum` makes one and runs this",
)


class Only(nn.Module):
    """The logits of a transformers classifier, and nothing else."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.model(input_ids=input_ids, attention_mask=attention_mask).logits


class Scaled(Only):
    """A weight that transformers does not know of."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return super().forward(input_ids, attention_mask) * self.scale


class Doubled(Only):
    """Another computation on the same weights: only the numbers can tell."""

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return super().forward(input_ids, attention_mask) * 2


def bert(name: str) -> nn.Module:
    import transformers

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=32,
        num_labels=4,
        attn_implementation="eager",
    )
    model: nn.Module = getattr(transformers, name)(config)
    return model


@pytest.fixture
def source_of(text):
    from dataclasses import replace

    def make(module: nn.Module, *, per_token: bool = False, swapped: bool = False):
        axes = ["batch", "tokens", 4] if per_token else ["batch", 4]
        ports: list[InputPort] = text.source.inputs[::-1] if swapped else text.source.inputs
        return replace(
            text.source,
            module=module.eval(),
            inputs=ports,
            outputs=[OutputPort(name="logits", dtype="float32", axes=axes, role="logits")],
            student_weights=module.state_dict(keep_vars=True),
        )

    return make


@pytest.fixture
def child(tmp_path, monkeypatch):
    """A Python of another environment that is none: a script with the given lines."""

    def make(*lines: str) -> None:
        path = tmp_path / "python"
        path.write_text("\n".join([f"#!{sys.executable}", "import sys, json", *lines]))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv(PYTHON, str(path))

    return make


@needs_optimum
@pytest.mark.parametrize("name", ["BertForSequenceClassification", "BertForTokenClassification"])
def test_optimums_graph_gets_our_ports_and_is_verified(source_of, text, tmp_path, capfd, name):
    source = source_of(Only(bert(name)), per_token="Token" in name)
    capfd.readouterr()
    workspace = Workspace(tmp_path)
    artifact = export_artifact(source, SPEC, workspace)
    assert capfd.readouterr() == ("", "")
    assert artifact.status == "not-run"
    assert artifact.made["class"] == name
    assert artifact.made["weights_as_trained"] is True
    assert artifact.made["versions"]["transformers"].startswith("4.")
    content = (tmp_path / "fp32-optimum.onnx").read_bytes()
    graph = onnx.load_from_string(content)
    assert [value.name for value in graph.graph.input] == ["input_ids", "attention_mask"]
    assert graph.opset_import[0].version == 18
    assert b".py" not in content
    assert list(tmp_path.iterdir()) == [tmp_path / "fp32-optimum.onnx"]
    verified = verify_artifact(source, artifact, workspace, feeds=text.feeds)
    assert verified.status == "verified", verified.reason
    assert {"shape-grid", "real-samples", "padding"} <= {check.name for check in verified.checks}


@needs_optimum
def test_another_order_of_inputs_is_kept(source_of, tmp_path):
    class Swapped(Only):
        def forward(self, attention_mask: torch.Tensor, input_ids: torch.Tensor) -> torch.Tensor:
            return super().forward(input_ids, attention_mask)

    source = source_of(Swapped(bert("BertForSequenceClassification")), swapped=True)
    export_artifact(source, SPEC, Workspace(tmp_path))
    graph = onnx.load(tmp_path / "fp32-optimum.onnx").graph
    assert [value.name for value in graph.input] == ["attention_mask", "input_ids"]


@needs_optimum
def test_verification_rejects_what_optimum_did_not_see(source_of, text, tmp_path):
    source = source_of(Doubled(bert("BertForSequenceClassification")))
    workspace = Workspace(tmp_path)
    artifact = export_artifact(source, SPEC, workspace)
    wrong = verify_artifact(source, artifact, workspace, feeds=text.feeds)
    assert wrong.status == "rejected"
    assert "real-samples" in wrong.reason


def test_without_the_environment_a_sentence_says_how_to_make_it(image, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(PYTHON, raising=False)
    reason = can_export(SPEC)
    assert reason is not None
    assert "neither .venv-optimum/bin/python nor COMPACTOR_OPTIMUM_PYTHON is there" in reason
    assert "`make test-optimum`" in reason
    assert "pip install optimum-onnx onnxruntime" in reason
    with pytest.raises(UnfitEnvironmentError, match="make test-optimum"):
        export_artifact(image.source, SPEC, image.at(tmp_path))
    monkeypatch.setenv(PYTHON, "/nowhere/python")
    assert "names /nowhere/python, which is no file" in str(can_export(SPEC))
    monkeypatch.delenv(PYTHON)
    python = tmp_path / ".venv-optimum" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert can_export(SPEC) is None
    assert "takes no gpus" in str(can_export(ExportSpec(exporter="optimum", gpus=["sm89"])))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Only(bert("BertForQuestionAnswering")), "found BertForQuestionAnswering and outputs"),
        (lambda: Scaled(bert("BertForSequenceClassification")), "with scale outside of it"),
        (lambda: nn.Linear(2, 2), "found no transformers model and outputs"),
    ],
)
def test_a_student_that_is_more_than_a_transformers_classifier_is_refused(
    source_of, child, tmp_path, make, words
):
    child()
    with pytest.raises(UnfitEnvironmentError, match=f"{words}.*export this student without exporter"):
        export_artifact(source_of(make()), SPEC, Workspace(tmp_path / "out"))


def test_the_childs_last_words_are_in_the_error(source_of, child, tmp_path):
    source = source_of(Only(bert("BertForSequenceClassification")))
    child("sys.exit('many words\\nValueError: bert is too old.')")
    with pytest.raises(UnfitEnvironmentError, match=r"python: ValueError: bert is too old; install optimum"):
        export_artifact(source, SPEC, Workspace(tmp_path / "out"))
    assert list((tmp_path / "out").iterdir()) == []


def test_this_environment_has_no_optimum_and_says_so(source_of, tmp_path, monkeypatch):
    """The real child, in a Python without the package."""
    monkeypatch.setenv(PYTHON, sys.executable)
    source = source_of(Only(bert("BertForSequenceClassification")))
    with pytest.raises(UnfitEnvironmentError, match=r"No module named 'optimum'; install optimum-onnx"):
        export_artifact(source, SPEC, Workspace(tmp_path))


def test_a_graph_with_a_frozen_axis_is_refused(source_of, child, tmp_path):
    """Names of axes are put right, sizes never are."""
    value = onnx.helper.make_tensor_value_info
    ids, mask = (value(n, onnx.TensorProto.INT64, [2, "sequence"]) for n in ("input_ids", "attention_mask"))
    logits = value("logits", onnx.TensorProto.FLOAT, [2, 4])
    constant = onnx.numpy_helper.from_array(np.zeros((2, 4), np.float32), "zeros")
    node = onnx.helper.make_node("Identity", ["zeros"], ["logits"])
    graph = onnx.helper.make_graph([node], "frozen", [ids, mask], [logits], [constant])
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10),
        tmp_path / "frozen.onnx",
    )
    child(
        "import shutil, pathlib",
        "asked = json.load(open(sys.argv[3]))",
        "pathlib.Path(asked['out']).mkdir()",
        f"shutil.copyfile({str(tmp_path / 'frozen.onnx')!r}, asked['out'] + '/model.onnx')",
        f"open(asked['result'], 'w').write({json.dumps(json.dumps({'versions': {}}))})",
    )
    source = source_of(Only(bert("BertForSequenceClassification")))
    with pytest.raises(NumericGateError, match="axis 'batch' is frozen to 2"):
        export_artifact(source, SPEC, Workspace(tmp_path / "out"))
