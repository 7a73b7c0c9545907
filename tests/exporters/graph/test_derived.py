"""Constants of a graph that are no weight by value: computed from the student's own, or from elsewhere."""

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx.numpy_helper import from_array, to_array
from torch import Tensor, nn

from compactor_exporters import Workspace, export_artifact, onnx_fp32
from compactor_exporters.graph.checks import check_weights
from compactor_exporters.verify.artifact import verify_artifact
from compactor_runtimes.bundle.manifest import ExportSpec
from compactor_runtimes.errors import UsageError


class Head(nn.Module):
    """One linear layer, to whose weights [10, 64] `change` does something."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(10, 64)), nn.Parameter(torch.randn(10))

    def change(self, weight: Tensor) -> Tensor:
        return weight

    def forward(self, pixel_values: Tensor) -> Tensor:
        return F.linear(pixel_values.flatten(1), self.change(self.weight), self.bias)


class Indexed(Head):
    """A table of biases that is read by an index, as windows of attention have it."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(20, 10))
        self.register_buffer("index", torch.arange(640).reshape(64, 10) * 7 % 20)

    def change(self, weight: Tensor) -> Tensor:
        return weight + self.table[self.index.view(-1), 0].view(64, 10).t()


class Tied(Head):
    """One weight under two names, of which torch takes either."""

    def __init__(self) -> None:
        super().__init__()
        self.tied = self.weight

    def change(self, weight: Tensor) -> Tensor:
        return weight * self.tied.mean(1, keepdim=True) + self.tied.flip(1)


class NamedAsTorchDoes(Indexed):
    """Torch names what it computes `index`, `add`, ...; a weight may have such a name too."""

    def __init__(self) -> None:
        super().__init__()
        self.add, self.linear = nn.Parameter(torch.randn(10, 64)), nn.Parameter(torch.randn(10, 64))

    def change(self, weight: Tensor) -> Tensor:
        return super().change(weight) + self.add * self.linear


class Standardised(Head):
    """A kernel of mean 0 and variance 1, as in nfnet."""

    def change(self, weight: Tensor) -> Tensor:
        return F.batch_norm(weight[None], None, None, training=True, eps=1e-6)[0]


class OwnProduct(Head):
    """What the student learned in two factors."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(10, 2)), nn.Parameter(torch.randn(2, 64))

    def change(self, weight: Tensor) -> Tensor:
        return weight + 0.5 * self.a @ self.b


class Positions(Head):
    """A table of sines that the forward computes from nothing."""

    def change(self, weight: Tensor) -> Tensor:
        place = torch.arange(64) / 64
        return weight * torch.stack([torch.sin(k * place) for k in range(1, 11)])


class Other(Head):
    """Weights in a plain attribute, which torch exports: an adapter's, or a teacher's."""

    def __init__(self) -> None:
        super().__init__()
        self.other = self.made()

    def made(self) -> Tensor:
        return torch.randn(10, 64)

    def change(self, weight: Tensor) -> Tensor:
        return weight + self.other


class OtherScale(Other):
    """No more numbers than a normalisation may bring, and yet trained elsewhere."""

    def made(self) -> Tensor:
        return torch.randn(10, 1)


class OtherProduct(OtherScale):
    def change(self, weight: Tensor) -> Tensor:
        return weight + self.other * self.other.view(1, 10).repeat(1, 7)[:, :64]


class OtherBytes(Other):
    """Quantised, with the scale apart."""

    def made(self) -> Tensor:
        return torch.randint(-127, 127, (10, 64), dtype=torch.int8)

    def change(self, weight: Tensor) -> Tensor:
        return weight + self.other.float() * 0.01


class OtherIndex(Other):
    """The student's own numbers in an order that it does not have."""

    def made(self) -> Tensor:
        return torch.randperm(640)

    def change(self, weight: Tensor) -> Tensor:
        return weight.reshape(-1)[self.other].view(10, 64)


OURS = [Head, Indexed, NamedAsTorchDoes, Tied, Standardised, OwnProduct, Positions]
FOREIGN = [Other, OtherScale, OtherProduct, OtherBytes, OtherIndex]


@pytest.mark.slow  # about a second each
@pytest.mark.parametrize("module", OURS)
def test_what_is_computed_from_the_students_weights_ships(module, tmp_path, make_image_source):
    source, workspace = make_image_source(module()), Workspace(tmp_path)
    feeds = {"pixel_values": np.random.default_rng(0).random((8, 1, 8, 8), np.float32)}
    found = verify_artifact(source, export_artifact(source, ExportSpec(), workspace), workspace, feeds=feeds)
    assert found.status == "verified", found.reason


@pytest.mark.slow  # about a second each
@pytest.mark.parametrize("module", FOREIGN)
def test_what_came_from_elsewhere_does_not_however_it_enters(module, tmp_path, make_image_source):
    with pytest.raises(UsageError, match=r"holds weights that are not the student's own \("):
        export_artifact(make_image_source(module()), ExportSpec(), Workspace(tmp_path))
    assert not list(tmp_path.glob("*.onnx"))


def traced(source):
    graph, before = onnx_fp32._translate(source)
    check_weights(graph, source, before)
    return graph, before


@pytest.mark.slow
def test_a_derived_constant_is_compared_and_not_only_looked_up(make_image_source):
    source = make_image_source(OwnProduct())
    graph, before = traced(source)
    with pytest.raises(UsageError, match="not the student's own"):
        check_weights(graph, source)  # without what was traced nothing says where it is from
    derived = next(one for one in graph.graph.initializer if list(one.dims) in ([10, 64], [64, 10]))
    for change in (lambda values: values * (1 + 1e-4), lambda values: np.roll(values, 1), np.negative):
        changed = onnx.ModelProto.FromString(graph.SerializeToString())
        (held,) = (one for one in changed.graph.initializer if one.name == derived.name)
        held.CopyFrom(from_array(change(to_array(derived)).astype(np.float32), derived.name))
        with pytest.raises(UsageError, match=derived.name):
            check_weights(changed, source, before)


@pytest.mark.slow
def test_it_is_computed_from_the_module_and_not_from_what_was_traced(make_image_source):
    """Weights that changed after the tracing, in place of a graph that was made of another's."""
    module = OwnProduct()
    source = make_image_source(module)
    graph, before = traced(source)
    copied = onnx.ModelProto.FromString(graph.SerializeToString())  # or it would share the module's memory
    with torch.no_grad():
        module.a.mul_(2)
    with pytest.raises(UsageError, match="not the student's own"):
        check_weights(copied, source, before)


def test_rounding_is_the_only_difference_that_passes() -> None:
    from compactor_exporters.graph.derived import ROUNDING, _is_same

    values = np.array([1.0, -np.inf, 0.5, -4.0], np.float32)
    assert _is_same(values, values.copy())
    assert _is_same(values + np.float32(2e-6), values)
    assert not _is_same(values + np.float32(8 * ROUNDING), values)
    assert not _is_same(np.where(np.isfinite(values), values, 0), values)
    assert not _is_same(values.reshape(2, 2), values)
    assert not _is_same(values.astype(np.float64), values)
