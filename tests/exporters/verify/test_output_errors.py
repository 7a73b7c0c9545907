"""Error statistics against values worked out by hand."""

import math

import numpy as np
import pytest

from compactor_exporters.verify.output_errors import output_errors
from compactor_runtimes.bundle.manifest import OutputPort

PORTS = [OutputPort(name="logits", dtype="float32", axes=["batch", 2], role="logits")]


def arrays(*rows: list[float]) -> dict[str, np.ndarray]:
    return {"logits": np.array(rows, np.float32)}


def test_values_by_hand_over_two_batches():
    student = [arrays([3, 4], [0, 2]), arrays([1, 0])]
    artifact = [arrays([3, 4], [0, 1]), arrays([0.5, 0.5])]
    found = output_errors(list(zip(student, artifact, strict=True)), PORTS)["logits"]
    # Differences 0, 0, 0, 1, 0.5, 0.5; the largest is in the second sample, number 1.
    assert (found.n, found.maximum, found.worst_sample) == (3, 1.0, 1)
    assert found.mean == pytest.approx(2 / 6)
    # Sorted 0, 0, 0, 0.5, 0.5, 1: position 0.99 * 5 = 4.95 lies 95% of the way from 0.5 to 1.
    assert found.p99 == pytest.approx(0.5 + 0.95 * 0.5)
    # [1, 0] and [0.5, 0.5] are 45 degrees apart; the others point the same way.
    assert found.cosine == pytest.approx(math.sqrt(0.5))
    # Power of the student 9 + 16 + 4 + 1 = 30, of the difference 1 + 0.25 + 0.25 = 1.5: 20 times.
    assert found.snr_db == pytest.approx(10 * math.log10(20))


def test_the_same_numbers_have_no_ratio():
    found = output_errors([(arrays([3, 4]), arrays([3, 4]))], PORTS)["logits"]
    assert (found.maximum, found.mean, found.p99, found.snr_db) == (0.0, 0.0, 0.0, None)
    assert found.cosine == pytest.approx(1.0)


def test_zeros_are_as_similar_as_can_be():
    found = output_errors([(arrays([0, 0], [1, 0]), arrays([0, 0], [1, 0]))], PORTS)["logits"]
    assert found.cosine == 1.0


def test_an_axis_of_tokens_belongs_to_its_sample():
    ports = [OutputPort(name="slots", dtype="float32", axes=["batch", "tokens", 2], role="logits")]
    student = {"slots": np.zeros((2, 3, 2), np.float32)}
    artifact = {"slots": student["slots"].copy()}
    artifact["slots"][1, 2, 0] = -4
    found = output_errors([(student, artifact)], ports)["slots"]
    assert (found.n, found.worst_sample, found.maximum, found.mean) == (2, 1, 4.0, 4 / 12)


@pytest.mark.parametrize("wrong", [[[math.nan, 0.0]], [[math.inf, 0.0]], [[0.0, 0.0, 0.0]]])
def test_nothing_is_told_of_values_that_cannot_be_compared(wrong):
    assert output_errors([(arrays([1, 0]), arrays(*wrong))], PORTS) == {}
