"""What the exporter promises of its graph, and which students it refuses."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx.numpy_helper import to_array
from torch import Tensor, nn

from compactor_exporters import EXPORTERS, Workspace, can_export, export_artifact
from compactor_exporters.graph.checks import check_graph
from compactor_exporters.onnx_fp32 import canonical_graph
from compactor_runtimes.bundle.manifest import Calibration, ExportSpec
from compactor_runtimes.errors import NumericGateError, UnfitEnvironmentError, UsageError
from compactor_runtimes.tables import resolve


def dims(value: onnx.ValueInfoProto) -> list[str | int]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def test_every_exporter_of_the_table_resolves():
    assert all(callable(resolve(f"{module}:export")) for module in EXPORTERS.values())


def test_what_this_release_cannot_export_is_said_without_trying(image, tmp_path):
    assert can_export(ExportSpec()) is None
    for spec, kind in (
        (ExportSpec(precision="int8"), "onnx/int8"),
        (ExportSpec(quantization="static"), "onnx/fp32/static"),
        (ExportSpec(precision="fp16", fused=True), "onnx/fp16/fused"),
        (ExportSpec(precision="fp16", exporter="optimum"), "onnx/fp16/optimum"),
    ):
        assert (can_export(spec) or "").startswith(f"{kind} has no exporter in this release")
    with pytest.raises(UnfitEnvironmentError, match="export of 'int8': onnx/int8 has no exporter"):
        export_artifact(image.source, ExportSpec(precision="int8"), image.at(tmp_path))
    assert not list(tmp_path.iterdir())


def test_weights_keep_names_and_values_with_batchnorm_unfolded(image):
    model = onnx.load(image.folder / "fp32.onnx")
    held = {name: tensor.numpy() for name, tensor in image.source.module.state_dict().items()}
    found = {initializer.name: to_array(initializer) for initializer in model.graph.initializer}
    for name in ("conv.weight", "bn.weight", "bn.running_var", "fc.weight", "fc.bias"):
        assert (found[name] == held[name]).all()
    assert "BatchNormalization" in {node.op_type for node in model.graph.node}
    assert {node.domain for node in model.graph.node} == {""}


def test_names_and_axes_are_the_ports(text):
    graph = onnx.load(text.folder / "fp32.onnx").graph
    assert {value.name: dims(value) for value in [*graph.input, *graph.output]} == {
        "input_ids": ["batch", "tokens"],
        "attention_mask": ["batch", "tokens"],
        "intent_logits": ["batch", 4],
        "slot_logits": ["batch", "tokens", 6],
    }


def test_the_file_says_what_it_is_and_not_where_it_was_made(image):
    content = (image.folder / "fp32.onnx").read_bytes()
    model = onnx.load_from_string(content)
    props = {prop.key: prop.value for prop in model.metadata_props}
    assert (props["name"], props["task"]) == ("toy-digits", "image-classification")
    assert props["compactor"]
    assert b".py" not in content
    assert model.opset_import[0].version == 18
    assert image.artifact.status == "not-run"
    assert image.artifact.files[0].bytes == len(content)


def test_nothing_is_printed(image, tmp_path, capfd):
    export_artifact(image.source, ExportSpec(), image.at(tmp_path))
    assert capfd.readouterr() == ("", "")


class FrozenBatch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(64, 10)

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.fc(pixel_values.reshape(2, 64))


class Normalised(FrozenBatch):
    def forward(self, pixel_values: Tensor) -> Tensor:
        return torch.softmax(self.fc(pixel_values.flatten(1)), -1)


class LogNormalised(FrozenBatch):
    def forward(self, pixel_values: Tensor) -> Tensor:
        return torch.softmax(self.fc(pixel_values.flatten(1)), -1).log()


class HiddenTable(FrozenBatch):
    """Weights in a plain attribute: torch sees neither a parameter nor a buffer, but exports them."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.linspace(0, 1, 640).reshape(64, 10)

    def forward(self, pixel_values: Tensor) -> Tensor:
        x = pixel_values.flatten(1)
        return self.fc(x) + x @ self.table


@pytest.mark.parametrize(
    ("module", "error", "words"),
    [
        (FrozenBatch, NumericGateError, "axis 'batch' .*frozen to 2"),
        (Normalised, UsageError, "output 'logits' ends in Softmax"),
        (LogNormalised, UsageError, "ends in (Log)?Softmax"),
        (HiddenTable, UsageError, r"not the student's own \(.*\[64, 10\]"),
    ],
)
def test_a_student_that_breaks_a_rule_is_refused_by_name(module, error, words, tmp_path, make_image_source):
    with pytest.raises(error, match=words):
        export_artifact(make_image_source(module()), ExportSpec(), Workspace(tmp_path))
    assert not list(tmp_path.glob("*.onnx"))


def test_a_module_with_weights_of_another_is_refused(image, make_image_source, tmp_path):
    student = image.source.module
    wrapped = nn.Sequential(student, nn.Linear(10, 10))
    source = make_image_source(wrapped, student_weights=student.state_dict(keep_vars=True))
    with pytest.raises(UsageError, match=r"2 weights that are not the student's own \(1.bias, 1.weight\)"):
        export_artifact(source, ExportSpec(), Workspace(tmp_path))


def test_a_copy_of_the_students_weights_is_not_the_student(image, make_image_source, tmp_path):
    from copy import deepcopy

    source = make_image_source(
        deepcopy(image.source.module), student_weights=image.source.module.state_dict(keep_vars=True)
    )
    with pytest.raises(UsageError, match=r"9 weights .*bn\.bias"):
        export_artifact(source, ExportSpec(), Workspace(tmp_path))


def test_a_source_in_training_mode_or_with_a_wrong_example_is_refused(image, make_image_source):
    with pytest.raises(UsageError, match=r"\(3, 1, 8, 8\).*batch of 2"):
        make_image_source(image.source.module, example={"pixel_values": torch.rand(3, 1, 8, 8)})
    source = make_image_source(FrozenBatch())
    source.module.train()
    with pytest.raises(UsageError, match="training mode"):
        replace(source, name="other")


@pytest.fixture
def model(image) -> onnx.ModelProto:
    return onnx.load(image.folder / "fp32.onnx")


def change_weight(model: onnx.ModelProto) -> None:
    weight = next(each for each in model.graph.initializer if each.name == "conv.weight")
    weight.CopyFrom(onnx.numpy_helper.from_array(to_array(weight) * 1.01, weight.name))


def freeze_output(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2


def foreign_operator(model: onnx.ModelProto) -> None:
    relu = next(node for node in model.graph.node if node.op_type == "Relu")
    relu.op_type, relu.domain = "Gelu", "com.microsoft"
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))


def rename_output(model: onnx.ModelProto) -> None:
    model.graph.node[-1].output[0] = model.graph.output[0].name = "scores"


def dangling_input(model: onnx.ModelProto) -> None:
    model.graph.node[-1].input[0] = "nowhere"


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (change_weight, UsageError, r"conv\.weight \[8, 1, 3, 3\]"),
        (freeze_output, NumericGateError, "frozen to 2|not valid ONNX"),
        (foreign_operator, UsageError, "com.microsoft:Gelu"),
        (rename_output, NumericGateError, r"outputs are \['scores'\], the ports declare \['logits'\]"),
        (dangling_input, NumericGateError, "not valid ONNX"),
    ],
)
def test_a_changed_graph_breaks_its_rule(image, model, change, error, words):
    check_graph(model, image.source)
    change(model)
    with pytest.raises(error, match=words):
        check_graph(model, image.source)


@pytest.mark.parametrize(
    "setting", [{"gpus": ["sm89"]}, {"scheme": "u8u8"}, {"calibration": Calibration(samples=8)}]
)
def test_a_setting_that_fp32_has_no_use_for_is_refused(setting):
    (key,) = setting
    assert f"takes no {key}" in (can_export(ExportSpec(**setting)) or "")


@pytest.mark.slow
def test_every_artifact_derives_from_one_traced_graph(image, tmp_path):
    source, workspace = image.source, Workspace(tmp_path)
    assert canonical_graph(source, workspace) == tmp_path / "canonical/fp32.onnx"
    export_artifact(source, ExportSpec(), workspace)
    assert canonical_graph(source, workspace.inside("elsewhere")) == tmp_path / "fp32.onnx"
    assert not (tmp_path / "elsewhere").exists()


def test_an_epsilon_is_no_zero(make_image_source, tmp_path):
    class Epsilon(FrozenBatch):
        def forward(self, pixel_values: Tensor) -> Tensor:
            return self.fc(torch.log(pixel_values.flatten(1) + 1e-9))

    export_artifact(make_image_source(Epsilon()), ExportSpec(), Workspace(tmp_path))
    constants = [to_array(each) for each in onnx.load(tmp_path / "fp32.onnx").graph.initializer]
    assert any(each.size == 1 and each.item() == np.float32(1e-9) for each in constants)
