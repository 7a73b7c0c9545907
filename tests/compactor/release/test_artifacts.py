"""Exporting for a shipment: what is left out and what ends the run; how long making and checking took."""

from pathlib import Path

import msgspec
import pytest

from compactor.evaluation import student_answers
from compactor.progress import SilentReporter
from compactor.recipe.spec import GatesSpec
from compactor.release.artifacts import Shipment, export_and_judge, export_source
from compactor.tasks import task_named
from compactor_runtimes.bundle.manifest import ExportSpec
from compactor_runtimes.errors import UsageError
from tests.toys import classifier, split

TASK = "image-classification"
STATIC = ExportSpec(precision="int8", quantization="static")


def shipped(specs: list[ExportSpec], folder: Path) -> Shipment:
    """Without data: nothing calibrates int8."""
    student, select = classifier().eval(), split()
    return export_and_judge(
        export_source(student, "toy", TASK),
        specs,
        GatesSpec(),
        folder,
        student=student_answers(student, task_named(TASK).batches(select)),
        teacher=None,
        select=select,
        reporter=SilentReporter(),
    )


@pytest.mark.slow
def test_an_optional_variant_without_calibration_is_left_out_and_a_required_one_ends_the_run(
    tmp_path: Path,
) -> None:
    shipment = shipped([ExportSpec(required=True), STATIC], tmp_path / "a")
    assert [one.status for one in shipment.artifacts] == ["verified", "rejected"]
    assert "needs real samples for its ranges, no data were given" in shipment.artifacts[1].reason
    assert min(shipment.seconds.values()) > 0
    with pytest.raises(UsageError, match="needs real samples"):
        shipped([msgspec.structs.replace(STATIC, required=True)], tmp_path / "b")
