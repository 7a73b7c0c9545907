"""Verification passes a faithful artifact and rejects each unfaithful one, with the place of the worst."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
import torch
from onnx.numpy_helper import from_array, to_array
from torch import nn

from compactor_exporters import Workspace
from compactor_exporters.verify.artifact import answer_matches, concluded, verify_against, verify_artifact
from compactor_exporters.verify.noise import measure_noise
from compactor_exporters.verify.reference import Reference
from compactor_exporters.verify.samples import edge_samples, shape_grid
from compactor_runtimes.backends import Runtime, open_runtime
from compactor_runtimes.bundle.manifest import Artifact, Check, ExportSpec
from compactor_runtimes.bundle.open import file_entry
from compactor_runtimes.environment import isa_flags
from compactor_runtimes.errors import UnfitEnvironmentError, UsageError


def named(artifact: Artifact) -> dict[str, Check]:
    return {check.name: check for check in artifact.checks}


def changed(exported, folder: Path, change: Callable[[onnx.ModelProto], None]) -> Artifact:
    """A copy of the exported file with one change, verified."""
    model = onnx.load(exported.folder / "fp32.onnx")
    change(model)
    onnx.save(model, folder / "fp32.onnx")
    artifact = msgspec.structs.replace(exported.artifact, files=[file_entry(folder, "fp32.onnx")])
    return verify_artifact(exported.source, artifact, exported.at(folder), feeds=exported.feeds)


def weight(model: onnx.ModelProto, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    tensor = next(each for each in model.graph.initializer if each.name == name)
    tensor.CopyFrom(from_array(change(to_array(tensor).copy()), name))


def test_a_faithful_image_artifact_is_verified(image):
    steps = []
    artifact = verify_artifact(
        image.source, image.artifact, image.workspace, feeds=image.feeds, progress=steps.append
    )
    assert (artifact.status, artifact.reason) == ("verified", "")
    checks = named(artifact)
    assert {name: check.n for name, check in checks.items()} == {
        "shape-grid": 4,  # batch 1, 2, 7, 16
        "real-samples": 40,
        "edge-samples": 4,
        "noise-floor": None,
        "agreement": 40,
    }
    assert checks["agreement"].value == 1.0
    assert checks["real-samples"].limit == artifact.limits["logits"]
    assert "torch float32 vs float64" in checks["noise-floor"].detail
    assert "graph optimised vs not" in checks["noise-floor"].detail
    # float32 rounding of logits of about 5: eps * 8 * 5 = 5e-6 is the least, and nothing near 1e-3 the most
    assert 1e-6 < artifact.limits["logits"] < 1e-3
    groups = [f"fp32: {group}" for group in ("shape-grid", "real-samples", "edge-samples")]
    assert steps == ["torch reference", *groups, "noise floor"]
    assert artifact.isa == isa_flags()


def test_two_heads_of_free_length_are_verified(text):
    artifact = verify_artifact(text.source, text.artifact, text.workspace, feeds=text.feeds)
    assert (artifact.status, artifact.reason) == ("verified", "")
    checks = named(artifact)
    assert checks["shape-grid"].n == 8  # batch 1, 2, 7, 8 with 1 and with 24 tokens
    assert {name: checks[name].n for name in ("real-samples", "edge-samples", "padding")} == {
        "real-samples": 20,
        "edge-samples": 3,
        "padding": 8,  # the 4 shortest texts, by one token and to 24
    }
    assert set(artifact.limits) == {"intent_logits", "slot_logits"}


def test_the_grid_covers_every_batch_and_both_lengths(text):
    shapes = [feeds["input_ids"].shape for feeds in shape_grid(text.source, text.feeds)]
    assert shapes == [(b, tokens) for tokens in (1, 24) for b in (1, 2, 7, 8)]
    *_, (ids, mask) = (tuple(feeds.values()) for feeds in shape_grid(text.source, text.feeds))
    assert (mask == 1).all()
    lengths = text.feeds["attention_mask"].sum(axis=1)
    for row, real, length in zip(ids, text.feeds["input_ids"], lengths, strict=False):
        # the real tokens again and again, never the padding
        assert row.tolist() == (real[:length].tolist() * 24)[:24]
    shortest = next(shape_grid(text.source, text.feeds))
    assert shortest["input_ids"].tolist() == [[text.feeds["input_ids"][0, 0]]]


def test_edge_samples_are_the_extremes(image):
    (edges,) = edge_samples(image.source, image.feeds)
    black, white, board, inverse = edges["pixel_values"]
    assert (black == 0).all()
    assert (white == 1).all()
    assert board[0, 0, :4].tolist() == [0, 1, 0, 1]
    assert board[0, 1, :4].tolist() == [1, 0, 1, 0]
    assert (board + inverse == 1).all()


def one_percent(model: onnx.ModelProto) -> None:
    weight(model, "conv.weight", lambda values: values * np.float32(1.01))


def one_bias(model: onnx.ModelProto) -> None:
    def add(values: np.ndarray) -> np.ndarray:
        values[3] += np.float32(0.01)
        return values

    weight(model, "fc.bias", add)


def not_a_number(model: onnx.ModelProto) -> None:
    def put(values: np.ndarray) -> np.ndarray:
        values[3] = np.nan
        return values

    weight(model, "fc.bias", put)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (one_percent, "output 'logits' on pixel_values .*, in sample"),
        (one_bias, "difference 0.01, limit"),
        (not_a_number, "NaN or infinity from the artifact, first in sample 0"),
    ],
)
def test_a_changed_weight_is_rejected(image, tmp_path, change, words):
    artifact = changed(image, tmp_path, change)
    assert artifact.status == "rejected"
    assert not named(artifact)["real-samples"].passed
    assert re.search(words, artifact.reason)


def test_a_wrong_weight_does_not_widen_its_own_limit(image, tmp_path):
    faithful = verify_artifact(image.source, image.artifact, image.workspace, feeds=image.feeds)
    wrong = changed(image, tmp_path, one_bias)
    assert wrong.limits["logits"] < 4 * faithful.limits["logits"]


def test_the_worst_sample_is_named(image, tmp_path):
    feeds = {"pixel_values": np.zeros((5, 1, 8, 8), np.float32)}
    feeds["pixel_values"][3] = image.feeds["pixel_values"][
        0
    ]  # the only one on which the scaled weights differ much
    model = onnx.load(image.folder / "fp32.onnx")
    weight(model, "fc.weight", lambda values: values * np.float32(1.01))
    onnx.save(model, tmp_path / "fp32.onnx")
    artifact = verify_artifact(image.source, image.artifact, image.at(tmp_path), feeds=feeds)
    reference = (
        image.source.module(torch.from_numpy(feeds["pixel_values"])).detach() - image.source.module.fc.bias
    )
    worst = int((0.01 * reference).abs().amax(1).argmax())
    assert named(artifact)["real-samples"].detail.endswith(f"in sample {worst}")
    found = named(artifact)["real-samples"].value
    assert found == pytest.approx(0.01 * reference.abs().max().item(), rel=1e-3)


def test_a_batch_frozen_inside_the_graph_is_rejected_with_the_shape(image, tmp_path):
    def freeze(model: onnx.ModelProto) -> None:
        reshape = next(node for node in model.graph.node if node.op_type == "Reshape")
        target = next(each for each in model.graph.initializer if each.name == reshape.input[1])
        target.CopyFrom(from_array(np.array([2, 512]), target.name))

    artifact = changed(image, tmp_path, freeze)
    assert artifact.status == "rejected"
    assert "does not run on pixel_values [1, 1, 8, 8], which its ports allow" in artifact.reason
    assert named(artifact)["shape-grid"].passed is False


@pytest.mark.slow
def test_swapped_outputs_are_rejected(tmp_path, make_image_source):
    class Twins(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(64, 10), nn.Linear(64, 10)

        def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            x = pixel_values.flatten(1)
            return self.a(x), self.b(x)

    from compactor_exporters import export_artifact

    torch.manual_seed(0)
    source = make_image_source(Twins())
    heads = [msgspec.structs.replace(source.outputs[0], name=f"{name}_logits") for name in "ab"]
    source = replace(source, outputs=heads)
    workspace = Workspace(tmp_path)
    artifact = export_artifact(source, ExportSpec(), workspace)
    feeds = {"pixel_values": np.random.default_rng(0).random((6, 1, 8, 8), dtype=np.float32)}
    assert verify_artifact(source, artifact, workspace, feeds=feeds).status == "verified"
    model = onnx.load(tmp_path / "fp32.onnx")
    last = [node for node in model.graph.node if node.output[0] in ("a_logits", "b_logits")]
    last[0].output[0], last[1].output[0] = last[1].output[0], last[0].output[0]
    onnx.save(model, tmp_path / "fp32.onnx")
    swapped = verify_artifact(source, artifact, workspace, feeds=feeds)
    assert swapped.status == "rejected"
    assert "output 'a_logits'" in swapped.reason or "output 'b_logits'" in swapped.reason


def test_a_student_that_gives_nan_is_rejected(image, tmp_path):
    feeds = {"pixel_values": image.feeds["pixel_values"].copy()}
    feeds["pixel_values"][2] = np.nan
    artifact = verify_artifact(image.source, image.artifact, image.workspace, feeds=feeds)
    assert artifact.status == "rejected"
    assert "NaN or infinity from the student, first in sample" in artifact.reason


@pytest.mark.slow
def test_an_optimisation_that_changes_the_result_does_not_make_its_own_limit(image, tmp_path):
    """A student whose rounding noise is as large as its outputs: x * 1e8 summed and cancelled."""
    from compactor_exporters import export_artifact

    class Unstable(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(64, 10)

        def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
            x = self.fc(pixel_values.flatten(1))
            return (x + 1e7) - 1e7

    torch.manual_seed(0)
    module = Unstable().eval()
    source = replace(image.source, module=module, student_weights=module.state_dict(keep_vars=True))
    workspace = Workspace(tmp_path)
    artifact = export_artifact(source, ExportSpec(), workspace)
    verified = verify_artifact(source, artifact, workspace, feeds=image.feeds)
    assert verified.status == "rejected"
    assert named(verified)["noise-floor"].passed is False


def test_a_student_that_cannot_run_in_float64_is_verified_by_the_other_noises(image, tmp_path):
    from compactor_exporters import export_artifact

    class Single(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(64, 10)

        def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
            return self.fc(pixel_values.flatten(1).float())

    module = Single().eval()
    source = replace(image.source, module=module, student_weights=module.state_dict(keep_vars=True))
    workspace = Workspace(tmp_path)
    artifact = export_artifact(source, ExportSpec(), workspace)
    verified = verify_artifact(source, artifact, workspace, feeds=image.feeds)
    assert verified.status == "verified"
    assert "float64" not in named(verified)["noise-floor"].detail


def test_noise_takes_answers_that_are_known_and_is_the_same(image, monkeypatch):
    monkeypatch.setattr("os.cpu_count", torch.get_num_threads)  # as many as answered
    calls: list[tuple[int, ...]] = []
    reference = Reference(counted(image.source, calls), image.feeds)
    grid = [each for each in reference.groups["shape-grid"] if len(each.feeds["pixel_values"]) <= 2]
    path, feeds = image.folder / "fp32.onnx", [each.feeds for each in grid]
    before = len(calls)
    anew = measure_noise(reference.source, path, feeds)
    between = len(calls)
    taken = measure_noise(reference.source, path, feeds, [None, *(each.outputs for each in grid[1:])])
    if torch.get_num_threads() > 1:
        assert (between - before) - (len(calls) - between) == len(grid) - 1
    assert taken == anew


def test_thread_counts_are_set_back(image):
    before = torch.get_num_threads()
    verify_artifact(image.source, image.artifact, image.workspace, feeds=image.feeds)
    assert torch.get_num_threads() == before


def test_feeds_that_do_not_fit_are_refused(image, text, tmp_path):
    shutil.copy(image.folder / "fp32.onnx", tmp_path)
    with pytest.raises(UsageError, match=r"'pixel_values' got \(3, 8, 8\) float32"):
        verify_artifact(
            image.source,
            image.artifact,
            image.at(tmp_path),
            feeds={"pixel_values": np.zeros((3, 8, 8), np.float32)},
        )
    uneven = {"input_ids": text.feeds["input_ids"], "attention_mask": text.feeds["attention_mask"][:3]}
    with pytest.raises(UsageError, match=r"\[3, 20\] samples"):
        verify_artifact(text.source, text.artifact, text.workspace, feeds=uneven)


def counted(source, calls: list[tuple[int, ...]]):
    """The source, whose module notes the shape of each batch that it is asked."""
    inner = source.module

    class Counted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
            calls.append(tuple(pixel_values.shape))
            return self.inner(pixel_values)

    return replace(source, module=Counted().eval())


def test_torch_answers_once_for_all_artifacts(image, tmp_path):
    calls: list[tuple[int, ...]] = []
    reference = Reference(counted(image.source, calls), image.feeds)
    # The grid of 1, 2, 7, 16; 40 real samples by 16, the most that the ports allow; 4 edge samples.
    assert [shape[0] for shape in calls] == [1, 2, 7, 16, 16, 16, 8, 4]
    first = verify_against(reference, image.artifact, image.workspace)
    with_noise = len(calls)
    shutil.copy(image.folder / "fp32.onnx", tmp_path / "other.onnx")
    other = msgspec.structs.replace(
        image.artifact, name="other", files=[file_entry(tmp_path, "other.onnx")], spec=ExportSpec(fused=True)
    )
    second = verify_against(reference, other, image.at(tmp_path))
    assert len(calls) == with_noise
    assert (first.status, second.status) == ("verified", "verified")
    assert first.limits == second.limits


def test_the_runtime_of_the_verdict_is_recorded(image):
    reference = Reference(image.source, image.feeds)
    first = verify_against(reference, image.artifact, image.workspace)
    assert first.runtimes == ["ort-cpu"]
    second = verify_against(reference, first, image.workspace, runtime="openvino")
    assert (second.status, second.reason) == ("verified", "")
    assert second.runtimes == ["ort-cpu", "openvino"]
    assert second.limits == first.limits
    with pytest.raises(UsageError, match="runtime 'tensorrt' does not open"):
        verify_against(reference, first, image.workspace, runtime="tensorrt")
    with pytest.raises(UnfitEnvironmentError, match="CUDAExecutionProvider"):
        verify_against(reference, first, image.workspace, runtime="ort-cuda")


def engine_of(image, folder: Path) -> Artifact:
    (folder / "any.engine").write_bytes(b"engine")
    return Artifact(
        name="tensorrt-rtx-fp16",
        spec=ExportSpec(format="tensorrt-rtx", precision="fp16"),
        files=[file_entry(folder, "any.engine")],
        status="not-run",
    )


def test_an_engine_without_its_gpu_stays_not_run_with_the_reason(image, tmp_path, monkeypatch):
    def none_here(source: Path, *, threads: int | None, trust: bool) -> Runtime:
        assert trust  # it was made here
        raise UnfitEnvironmentError(f"{source.name}: not run: no NVIDIA GPU that CUDA can use")

    monkeypatch.setattr("compactor_runtimes.backends.tensorrt.open_tensorrt_rtx", none_here)
    found = verify_artifact(image.source, engine_of(image, tmp_path), image.at(tmp_path), feeds=image.feeds)
    assert (found.status, found.checks, found.runtimes) == ("not-run", [], [])
    assert found.reason == "any.engine: not run: no NVIDIA GPU that CUDA can use"


@pytest.mark.parametrize("right", [True, False])
def test_an_engine_on_its_gpu_is_verified_like_any_artifact(image, tmp_path, monkeypatch, right):
    """ONNX Runtime stands in for the GPU; a wrong answer is not within a limit of its own, for it is NaN."""

    def open_graph(source: Path, *, threads: int | None, trust: bool) -> Runtime:
        runtime = open_runtime("ort-cpu", image.folder / "fp32.onnx", threads=threads)
        if not right:
            run = runtime.run
            runtime.run = lambda feeds: {name: each * np.nan for name, each in run(feeds).items()}
        return runtime

    monkeypatch.setattr("compactor_runtimes.backends.tensorrt.open_tensorrt_rtx", open_graph)
    found = verify_artifact(image.source, engine_of(image, tmp_path), image.at(tmp_path), feeds=image.feeds)
    assert found.status == ("verified" if right else "rejected")
    assert found.runtimes == (["tensorrt-rtx"] if right else [])
    assert "precision" not in named(found)  # its file is no graph to be read


def test_a_wrong_fusion_cannot_raise_its_own_limit(image, tmp_path):
    """A fused copy that cancels 1e6 is as noisy as that within itself, and is held to the student's noise."""

    def cancel(model: onnx.ModelProto) -> None:
        node = model.graph.node[-1]
        big = from_array(np.array(1e6, np.float32), "big")
        model.graph.initializer.append(big)
        node.output[0] = "plain"
        model.graph.node.append(onnx.helper.make_node("Add", ["plain", "big"], ["shifted"]))
        model.graph.node.append(onnx.helper.make_node("Sub", ["shifted", "big"], ["logits"]))

    model = onnx.load(image.folder / "fp32.onnx")
    cancel(model)
    onnx.save(model, tmp_path / "fp32-fused.onnx")
    fused = Artifact(
        name="fp32-fused",
        spec=ExportSpec(fused=True),
        files=[file_entry(tmp_path, "fp32-fused.onnx")],
        status="not-run",
    )
    reference = Reference(image.source, image.feeds)
    faithful = verify_against(reference, image.artifact, image.workspace)
    wrong = verify_against(reference, fused, image.at(tmp_path))
    assert (wrong.status, wrong.limits) == ("rejected", faithful.limits)
    found = named(wrong)["real-samples"]
    assert found.value == pytest.approx(0.03, abs=0.02)  # float32 near 1e6 has steps of 1/16
    assert named(wrong)["noise-floor"] == named(faithful)["noise-floor"]


def reduced(image, folder: Path, precision: str, change: Callable[[np.ndarray], np.ndarray], **settings):
    """The canonical graph as an artifact of another precision, with a changed bias."""
    model = onnx.load(image.folder / "fp32.onnx")
    weight(model, "fc.bias", change)
    if precision == "fp16":  # weights in float16, computed in float32: an exact stand-in
        for tensor in list(model.graph.initializer):
            if to_array(tensor).dtype == np.float32:
                cast = onnx.helper.make_node("Cast", [f"{tensor.name}-half"], [tensor.name], to=1)
                model.graph.node.insert(0, cast)
                half = from_array(to_array(tensor).astype(np.float16), f"{tensor.name}-half")
                model.graph.initializer.remove(tensor)
                model.graph.initializer.append(half)
    onnx.save(model, folder / "reduced.onnx")
    artifact = Artifact(
        name="reduced",
        spec=ExportSpec(precision=precision, **settings),
        files=[file_entry(folder, "reduced.onnx")],
        status="not-run",
    )
    return verify_artifact(image.source, artifact, image.at(folder), feeds=image.feeds)


def test_reduced_precision_is_held_to_twice_what_it_shows(image, tmp_path):
    artifact = reduced(image, tmp_path, "fp16", lambda bias: bias + np.float32(0.5))
    assert (artifact.status, artifact.reason) == ("verified", "")
    checks = named(artifact)
    largest = max(checks[name].value for name in ("shape-grid", "real-samples", "edge-samples"))
    assert largest == pytest.approx(0.5, abs=0.02)
    assert artifact.limits["logits"] == pytest.approx(2 * largest)
    assert artifact.errors["logits"].maximum == pytest.approx(checks["real-samples"].value)
    assert "noise-floor" not in checks
    assert checks["precision"].value == 1.0


def test_reduced_precision_is_never_held_tighter_than_fp32(image, tmp_path):
    shutil.copy(image.folder / "fp32.onnx", tmp_path)
    int8 = msgspec.structs.replace(
        image.artifact, spec=ExportSpec(precision="int8", override="only to see limits")
    )
    faithful = verify_artifact(image.source, image.artifact, image.workspace, feeds=image.feeds)
    assert (
        verify_artifact(image.source, int8, image.at(tmp_path), feeds=image.feeds).limits == faithful.limits
    )


def test_weights_of_another_precision_are_rejected_or_shipped_with_a_reason(image, tmp_path):
    artifact = reduced(image, tmp_path, "int8", lambda bias: bias)
    assert artifact.status == "rejected"
    assert artifact.reason == "precision: asked for int8, weights found: 5,236 float32"
    # 72 of the convolution, 4 * 8 of BatchNorm, 5,120 + 10 of the layer, mean and scale
    shipped = reduced(image, tmp_path, "int8", lambda bias: bias, override="the size does not matter")
    assert (shipped.status, shipped.ships) == ("overridden", True)
    assert shipped.reason == f"the size does not matter (failed: {artifact.reason})"


def test_an_override_ships_what_differs_and_nothing_that_is_not_finite(image, tmp_path):
    def verified(change: Callable[[onnx.ModelProto], None]) -> Artifact:
        model = onnx.load(image.folder / "fp32.onnx")
        change(model)
        onnx.save(model, tmp_path / "fp32.onnx")
        artifact = msgspec.structs.replace(
            image.artifact,
            spec=ExportSpec(override="known and accepted"),
            files=[file_entry(tmp_path, "fp32.onnx")],
        )
        return verify_artifact(image.source, artifact, image.at(tmp_path), feeds=image.feeds)

    differs = verified(one_bias)
    assert (differs.status, differs.ships) == ("overridden", True)
    assert differs.reason.startswith("known and accepted (failed: shape-grid: output 'logits'")
    broken = verified(not_a_number)
    assert (broken.status, broken.ships) == ("rejected", False)
    assert "NaN or infinity from the artifact" in broken.reason
    assert broken.errors == {}
    assert verified(lambda model: None).status == "verified"  # an override that is not needed changes nothing


def test_concluded_by_the_checks_alone():
    good, bad = Check(name="good", passed=True), Check(name="bad", passed=False, value=3.0, detail="too far")
    dead = Check(name="dead", passed=False, detail="no number")
    spec, override = ExportSpec(), ExportSpec(override="so be it")
    cases = [
        (spec, [good], "verified", ""),
        (spec, [good, bad], "rejected", "bad: too far"),
        (override, [good, bad], "overridden", "so be it (failed: bad: too far)"),
        (override, [bad, dead], "rejected", "bad: too far; dead: no number"),
    ]
    for each, checks, status, reason in cases:
        artifact = Artifact(name="a", spec=each, files=[], status="not-run", reason="stale", checks=checks)
        assert (concluded(artifact).status, concluded(artifact).reason) == (status, reason)


def test_a_shape_that_does_not_run_is_rejected_whatever_the_override(image, tmp_path):
    def freeze(model: onnx.ModelProto) -> None:
        reshape = next(node for node in model.graph.node if node.op_type == "Reshape")
        target = next(each for each in model.graph.initializer if each.name == reshape.input[1])
        target.CopyFrom(from_array(np.array([2, 512]), target.name))

    overridden = replace(
        image,
        artifact=msgspec.structs.replace(image.artifact, spec=ExportSpec(override="please")),
    )
    assert changed(overridden, tmp_path, freeze).status == "rejected"


def test_top1_counts_a_sample_only_if_all_its_positions_agree(text):
    reference = {"intent_logits": np.array([[1.0, 0], [1, 0]]), "slot_logits": np.zeros((2, 2, 3))}
    found = {"intent_logits": np.array([[0.6, 0.5], [1, 0]]), "slot_logits": np.zeros((2, 2, 3))}
    found["slot_logits"][1, 1, 2] = 1
    assert answer_matches(reference, found, text.source.outputs).tolist() == [True, False]
