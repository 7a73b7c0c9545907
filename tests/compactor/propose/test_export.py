"""Which variants `compactor init` proposes, by task and by how many select rows there are to judge them."""

import msgspec
import pytest

from compactor.data.survey import Survey
from compactor.propose.data import Found
from compactor.propose.export import needed_rows, variants
from compactor.records import IMAGES, TEXTS, VECTORS
from compactor_exporters import EXPORTERS
from compactor_runtimes.bundle.manifest import Calibration, ExportSpec


def proposed(task: str, select: int) -> list[ExportSpec]:
    """The specs that a recipe's reader makes of the entries."""
    rows = {"train": 5000, "select": select, "report": 100}
    entries = variants(Found(task, {}, Survey("images", rows, {"a": 1, "b": 1}), "here"))
    return msgspec.convert([{entry.key: entry.value for entry in one} for one in entries], list[ExportSpec])


def test_gates_need_as_many_rows_as_the_strictest_of_them() -> None:
    # 0.95 of confidence: 0.995^598 <= 0.05 < 0.995^597, 0.98^149 <= 0.05 < 0.98^148
    assert 0.995**598 <= 0.05 < 0.995**597
    assert 0.98**149 <= 0.05 < 0.98**148
    assert [needed_rows(one, IMAGES) for one in ("int8", "fp16")] == [598, 598]  # at most 0.5 points lost
    assert [needed_rows(one, VECTORS) for one in ("int8", "fp16")] == [149, 598]


@pytest.mark.parametrize(
    ("task", "select", "names"),
    [
        (IMAGES, 598, ["fp32", "int8-static", "fp16"]),
        (IMAGES, 597, ["fp32"]),
        (TEXTS, 598, ["fp32", "fp32-fused", "int8-dynamic"]),
        (TEXTS, 597, ["fp32", "fp32-fused"]),
        (VECTORS, 149, ["fp32", "fp32-fused", "int8-dynamic"]),
        (VECTORS, 148, ["fp32", "fp32-fused"]),
    ],
)
def test_fp32_is_required_and_only_what_can_be_judged_is_proposed(
    task: str, select: int, names: list[str]
) -> None:
    specs = proposed(task, select)
    assert [spec.name for spec in specs] == names
    assert [spec.required for spec in specs] == [True, *[False] * (len(specs) - 1)]
    assert all(spec.kind in EXPORTERS for spec in specs)


def test_static_int8_is_calibrated_on_training_samples() -> None:
    assert proposed(IMAGES, 1000)[1].calibration == Calibration(split="train", samples=256)


def test_too_few_rows_are_said_in_the_recipe() -> None:
    survey = Survey("images", {"select": 90}, {})
    fp32 = variants(Found(IMAGES, {}, survey, "here"))[0]
    comments = " ".join(entry.comment for entry in fp32)
    assert "90 select rows are too few to judge int8 or fp16" in comments
