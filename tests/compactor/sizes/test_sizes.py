"""`plan --sizes`: counts against hand computation, ladders, groups, and the command on tiny models."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from rich.console import Console
from torch import nn

from compactor import sizes
from compactor.cli import cli
from compactor.progress import SilentReporter
from compactor.recipe.load import LoadedRecipe, parse_recipe
from compactor.recipe.spec import ModelSpec
from compactor.sizes import drift_reason, groups, joined, measure_sizes, student_and_teachers, workshop
from compactor.sizes.ladder import default_ladder, display_name, parse_candidate, timm_siblings
from compactor.sizes.plot import plot_sizes, quartiles_ns
from compactor.sizes.result import SizeRow, Sizes
from compactor.sizes.terminal import hint, render_sizes
from compactor.sizes.workshop import Workshop, count_flops
from compactor_runtimes.errors import UsageError
from compactor_runtimes.measure.harness import Measured
from compactor_runtimes.measure.measurement import Candidate, Measurement

TINY = "cifar:resnet8?width=2"
RECIPE: dict[str, Any] = {
    "name": "toy",
    "task": "image-classification",
    "data": {"dataset": "digits"},
    "student": {"model": "cifar:resnet8", "options": {"width": 8}},
    "stages": [
        {"id": "teacher", "method": "supervised", "student": {"model": "cifar:resnet14"}, "epochs": 1},
        {"id": "distil", "method": "kd", "teachers": ["stage:teacher"], "epochs": 1},
    ],
}


def loaded(**changes: Any) -> LoadedRecipe:
    return LoadedRecipe(parse_recipe(RECIPE | changes), Path.cwd(), "toy")


def measurement(subject: str, samples_ns: list[int], blocks: list[int], *reasons: str) -> Measurement:
    return Measurement(
        subject=subject,
        subject_digest="",
        scope="compute",
        scenario="single-stream",
        batch=1,
        sample_set_digest="",
        threads=None,
        provider="CPU",
        samples_ns=samples_ns,
        blocks=blocks,
        load_s=0.1,
        rss_bytes=1000,
        pss_bytes=None,
        environment={},
        valid=not reasons,
        reasons=list(reasons),
    )


def row(name: str, samples_ns: list[int] | None = None, **changes: Any) -> SizeRow:
    spec = parse_candidate(name)
    compute = measurement(name, samples_ns, [0] * len(samples_ns)) if samples_ns else None
    plain = {"is_student": False, "is_teacher": False, "parameters": 1000, "flops": 1, "compute": compute}
    return SizeRow(name=name, model=spec.model, options=spec.options, **(plain | changes))


def some_sizes(rows: list[SizeRow]) -> Sizes:
    return Sizes(recipe="toy", command="", profile="smoke", threads=None, environment={}, rows=rows)


def test_a_candidate_is_a_model_with_options() -> None:
    assert parse_candidate("cifar:resnet20") == ModelSpec(model="cifar:resnet20")
    found = parse_candidate("hf:folder?num_hidden_layers=3&hidden_act=relu&tie=true")
    assert found.options == {"num_hidden_layers": 3, "hidden_act": "relu", "tie": True}
    assert parse_candidate(display_name(found)).options["num_hidden_layers"] == 3


@pytest.mark.parametrize("text", ["cifar:resnet20?width", "cifar:resnet20?", "cifar:resnet20?=8"])
def test_an_option_without_a_value_is_explained(text: str) -> None:
    with pytest.raises(UsageError, match=r"expected MODEL\?option=value.*for example 'cifar:resnet20"):
        parse_candidate(text)


def test_cifar_students_get_other_depths_and_widths() -> None:
    ladder = default_ladder(ModelSpec(model="cifar:resnet8", options={"width": 8}), lambda: None)
    assert [display_name(spec) for spec in ladder] == [
        "cifar:resnet14?width=8",
        "cifar:resnet20?width=8",
        "cifar:resnet32?width=8",
        "cifar:resnet8",
        "cifar:resnet8?width=32",
    ]


def test_encoders_get_other_depths_in_the_students_own_words() -> None:
    student = ModelSpec(model="package:some/model", options={"num_hidden_layers": 3})
    ladder = default_ladder(student, lambda: 4)
    assert [spec.options for spec in ladder] == [{"num_hidden_layers": count} for count in (1, 2, 4)]
    whole = ModelSpec(model="package:some/model")
    assert [spec.options["num_hidden_layers"] for spec in default_ladder(whole, lambda: 6)] == [1, 2, 3, 4]
    picked = ModelSpec(model="package:some/model", options={"layers": [0, 2, 4], "pooling": "cls"})
    ladder = default_ladder(picked, lambda: 6)
    assert [spec.options["layers"] for spec in ladder] == [[0], [0, 5], [0, 2, 3, 5], [0, 1, 2, 3, 4, 5]]
    assert parse_candidate(display_name(ladder[1])) == ladder[1]


@pytest.mark.parametrize("model", ["module:mine:Net", "hf:no-layers", "timm:inception_v4"])
def test_a_student_without_obvious_siblings_needs_candidates(model: str) -> None:
    with pytest.raises(UsageError, match=f"{model}.*name them, for example --candidate"):
        default_ladder(ModelSpec(model=model), lambda: None)


def test_timm_siblings_differ_in_size_alone() -> None:
    known = [
        *("resnet18", "resnet34", "resnet50", "resnet50d", "resnetv2_50", "resnet101"),
        *("vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch16_224", "vit_base_patch8_224"),
        *("vit_small_patch16_384", "mobilenetv3_small_050", "mobilenetv3_small_100", "mobilenetv2_050"),
    ]
    assert timm_siblings("resnet34", known) == ["resnet18", "resnet50", "resnet101"]
    assert timm_siblings("vit_small_patch16_224.augreg", known) == [
        "vit_tiny_patch16_224",
        "vit_base_patch16_224",
    ]
    assert timm_siblings("mobilenetv3_small_050", known) == ["mobilenetv3_small_100"]
    many = [f"net{number}" for number in range(20)]
    assert timm_siblings("net10", many) == ["net7", "net8", "net9", "net11", "net12", "net13"]


def test_flops_of_a_resnet_are_those_computed_by_hand(tmp_path: Path) -> None:
    """ResNet-8 of width 8 on 8 x 8 grey pixels with 10 classes, multiply-adds by layer."""
    recipe = loaded()
    data = sizes.DataSets(recipe, SilentReporter()).open(recipe.recipe.data)
    counts = Workshop(recipe, data, tmp_path).count(ModelSpec(model="cifar:resnet8", options={"width": 8}))
    first = 64 * 8 * 9
    group1 = 2 * 64 * 8 * 8 * 9
    group2 = 16 * (8 * 16 + 16 * 16) * 9
    group3 = 4 * (16 * 32 + 32 * 32) * 9
    assert counts.flops == 2 * (first + group1 + group2 + group3 + 32 * 10) == 378_496
    convolutions = 9 * (8 + 2 * 64 + (128 + 256) + (512 + 1024))
    norms = 2 * (8 + 2 * 8 + 2 * 16 + 2 * 32)
    assert counts.parameters == convolutions + norms + (32 * 10 + 10) == 19_074


def test_flops_of_attention_are_counted() -> None:
    class Attention(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.scaled_dot_product_attention(x, x, x)

    length, width = 6, 4  # two products of [6, 4] x [4, 6] size
    assert count_flops(Attention(), [torch.rand(1, 1, length, width)]) == 2 * (2 * length * length * width)


def test_a_model_that_does_not_take_the_samples_is_refused_in_one_sentence(tmp_path: Path) -> None:
    recipe = loaded()
    data = sizes.DataSets(recipe, SilentReporter()).open(recipe.recipe.data)
    uneven = "timm:test_vit?patch_size=15"  # neither 8 nor its own 160 pixels are a multiple of it
    with pytest.raises(UsageError, match=r"timm:test_vit: takes no images of 8 x 8 pixels .*data.image_size"):
        Workshop(recipe, data, tmp_path).count(parse_candidate(uneven))


def test_the_teachers_are_those_of_the_last_stage_without_weights() -> None:
    student, teachers = student_and_teachers(loaded())
    assert display_name(student) == "cifar:resnet8?width=8"
    assert teachers == [ModelSpec(model="cifar:resnet14")]
    own = {"model": "cifar:resnet20", "weights": "resnet20.safetensors"}
    stages = [{"id": "distil", "method": "kd", "student": own, "teachers": [own], "epochs": 1}]
    assert student_and_teachers(loaded(stages=stages)) == (
        ModelSpec(model="cifar:resnet20"),
        [ModelSpec(model="cifar:resnet20")],
    )


def test_the_student_is_in_every_group() -> None:
    rows = [row(f"cifar:{name}") for name in "sabcdef"]
    names = [[one.name.removeprefix("cifar:") for one in group] for group in groups(rows)]
    assert names == [["s", "a", "b", "c", "d"], ["s", "e", "f"]]
    assert [len(group) for group in groups(rows[:1])] == [1]


def test_parts_of_one_subject_are_joined_with_their_own_blocks() -> None:
    first = measurement("s", [10] * 30 + [11] * 30, [0] * 30 + [1] * 30, "a busy machine")
    second = measurement("s", [20] * 30 + [21] * 30, [0] * 30 + [1] * 30)
    whole = joined([first, second])
    assert whole.spread.block_medians_ns == [10, 11, 20, 21]
    assert whole.reasons == [
        "a busy machine",
        "block medians differ by 110% (limit 25%): measure again on a steady machine",
    ]
    assert not whole.valid
    assert joined([second]) == second
    assert drift_reason([first, second]) == (
        "the recipe's student differed by 95% from group to group (limit 25%)"  # 20.5 / 10.5 - 1
    )
    assert drift_reason([first, first]) == ""


def test_speed_is_compared_with_all_teachers_in_turn() -> None:
    def timed(name: str, *blocks: int, **changes: Any) -> SizeRow:
        return row(name, compute=measurement(name, list(blocks), list(range(len(blocks)))), **changes)

    rows = [
        timed("cifar:s", 98, 102, is_student=True),
        timed("cifar:t", 290, 310, is_teacher=True),
        timed("cifar:u", 190, 210, is_teacher=True),
        timed("cifar:near", 470, 490),
        timed("cifar:slow", 990, 1010),
        row("cifar:shaky", compute=measurement("", [249, 251], [0, 1], "busy")),
        row("cifar:never"),
    ]
    found = some_sizes(rows)
    assert found.teachers_ns == 500
    ratio = found.against_teachers(rows[0])
    assert ratio is not None
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((100 / 500, 98 / 520, 102 / 480))
    assert ratio.verdict == "better"
    assert found.against_teachers(rows[-1]) is None
    assert some_sizes(rows[:1]).against_teachers(rows[0]) is None
    console = Console(file=io.StringIO(), width=180)
    console.print(render_sizes(found))
    text = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    for shown in (
        "vs 2 teachers",
        "5.0x faster",
        "1.0x, noise",
        "2.0x slower",
        "2.0x faster *",
        "both in ONNX Runtime",
    ):
        assert shown in text, shown


def test_the_hint_replaces_model_options_and_weights() -> None:
    found = some_sizes([row("cifar:resnet8", [100]), row("cifar:resnet8?width=8", [200], is_student=True)])
    assert hint(found, loaded(), Path("runs")) == (
        "compactor run toy --set student.model=cifar:resnet8 --set 'student.options={}'"
    )
    own = {"model": "cifar:resnet20", "weights": "resnet20.safetensors"}
    stages = [{"id": "only", "method": "supervised", "student": own, "epochs": 1}]
    found = some_sizes([row("cifar:resnet20", [9], is_student=True), row("cifar:resnet32", [10])])
    assert hint(found, loaded(stages=stages), Path("runs")) == (
        "compactor run toy --set stages.0.student.model=cifar:resnet32 --set stages.0.student.weights=null"
    )
    stages[0]["student"] = {"model": "hf:encoder", "weights": "pretrained"}
    assert "weights" not in hint(found, loaded(stages=stages), Path("runs"))


@pytest.mark.slow
def test_the_plot_is_the_same_file_each_time(tmp_path: Path) -> None:
    assert quartiles_ns([4, 1, 3, 2, 8, 7, 6, 5]) == (3, 6)
    rows = [
        row("cifar:resnet8", [100, 110, 120, 130], is_student=True),
        *(row(f"cifar:resnet8?width={k}", [100 + k], parameters=1000 + k) for k in range(8)),
        row("cifar:resnet20", [900], is_teacher=True, parameters=9000),
        row("cifar:resnet32"),
    ]
    files = [plot_sizes(some_sizes(rows), folder) for folder in (tmp_path, tmp_path)]
    assert [path.name for path in files[0]] == ["sizes.svg", "sizes.png"]
    svg = files[0][0].read_bytes()
    plot_sizes(some_sizes(rows), tmp_path)
    assert files[0][0].read_bytes() == svg
    assert svg.count(b"<!-- cifar:resnet8?width=") == 8  # one label a point


class FakeShop:
    """Counts and exports nothing, so that only the order of the work is tested."""

    def __init__(self, recipe: LoadedRecipe, data: Any, folder: Path) -> None:
        self.feed_shapes = {"x": [1]}

    def count(self, model: ModelSpec) -> workshop.Counts:
        return workshop.Counts(10, 20)

    def samples(self, count: int) -> list[Path]:
        return []

    def export(self, model: ModelSpec, name: str) -> Candidate:
        if "width=32" in name:
            raise UsageError("cannot be traced")
        return Candidate(
            name=name, runtime="", source="", digest="", pre=[], post=[], labels={}, size_bytes=5
        )


def test_ctrl_c_keeps_the_groups_that_were_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []

    def fake_measure(candidates: list[Candidate], *_: Any, **__: Any) -> Measured:
        calls.append([one.name for one in candidates])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return Measured(
            [measurement(one.name, [100 - k] * 50, [0] * 50) for k, one in enumerate(candidates)], []
        )

    monkeypatch.setattr(workshop, "Workshop", FakeShop)
    monkeypatch.setattr(sizes, "measure", fake_measure)
    saved: list[Sizes] = []
    found = measure_sizes(
        loaded(), [], profile="smoke", command="", reporter=SilentReporter(), save=saved.append
    )
    assert not found.finished
    # the student, its teacher, three depths of its width; then the student with the two other widths
    assert calls == [
        [
            *("cifar:resnet8?width=8", "cifar:resnet14", "cifar:resnet14?width=8"),
            *("cifar:resnet20?width=8", "cifar:resnet32?width=8"),
        ],
        ["cifar:resnet8?width=8", "cifar:resnet8"],
    ]
    assert [one.name for one in found.rows[:5]] == calls[0][::-1]  # fastest first
    assert found.rows[4].is_student
    assert found.rows[3].is_teacher
    assert [(one.compute, one.onnx_bytes) for one in found.rows[5:]] == [(None, 5), (None, None)]
    assert found.rows[6].problem == "cannot be traced"
    assert len(saved) == 1
    assert not saved[0].finished


def test_bad_candidates_and_idle_options_are_usage_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments, sentence in (
        (["--candidate", TINY], "--candidate: has no effect without --sizes"),
        (["--profile", "quick"], "--profile: has no effect without --sizes"),
        (["--sizes", "--candidate", "resnet8"], "model 'resnet8': expected FAMILY:NAME"),
        (["--sizes", "--candidate", "cifar:resnet9"], "expected resnetD with D = 6n + 2"),
        (["--sizes", "--candidate", "cifar:resnet8?depth=2"], "expected at most {width:"),
    ):
        found = CliRunner().invoke(cli, ["plan", "digits", *arguments])
        assert isinstance(found.exception, UsageError), found.output
        assert found.exception.exit_code == 2
        assert sentence in str(found.exception)
    assert list(tmp_path.iterdir()) == []  # nothing was measured, so nothing is kept


@pytest.mark.slow
def test_the_command_measures_prints_and_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stages = [{"id": "only", "method": "supervised", "epochs": 1}]
    student = {"model": "cifar:resnet8", "options": {"width": 4}}
    Path("toy.yaml").write_text(json.dumps(RECIPE | {"stages": stages, "student": student}))
    done = CliRunner().invoke(cli, ["plan", "toy.yaml", "--sizes", "--candidate", TINY])
    assert done.exception is None, done.exception
    chosen = """--set student.model=cifar:resnet8 --set 'student.options={"width":2}'"""
    assert f"compactor run toy.yaml {chosen}" in done.output
    (folder,) = Path("runs/toy/sizes").iterdir()
    assert {path.name for path in folder.iterdir()} == {"sizes.json", "sizes.svg", "sizes.png"}
    found = json.loads((folder / "sizes.json").read_text())
    assert found["finished"]
    assert found["command"] == "compactor plan toy.yaml --sizes --candidate 'cifar:resnet8?width=2'"
    assert found["flops_input"] == {"pixel_values": [1, 1, 8, 8]}
    rows = {one["name"]: one for one in found["rows"]}
    assert set(rows) == {TINY, "cifar:resnet8?width=4"}
    assert rows["cifar:resnet8?width=4"]["is_student"]
    for one in rows.values():
        assert len(one["compute"]["samples_ns"]) >= 44  # what p90 needs
        assert one["end_to_end"]["scope"] == "end-to-end"
        assert one["compute"]["rss_bytes"] > one["onnx_bytes"] > 4 * one["parameters"]
        assert one["name"] in done.output
