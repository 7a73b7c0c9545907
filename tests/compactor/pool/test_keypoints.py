import numpy as np
import pytest

from compactor.data.spec import NearDuplicateSettings
from compactor.pool.keypoints import KeypointCheck
from compactor.pool.near_duplicates import NearDuplicates
from tests.compactor.pool.pictures import embed

pytest.importorskip("cv2")


def textured(count: int, seed: int) -> np.ndarray:
    """Photo-like [count, 128, 128, 3]: rectangles of many sizes."""
    random = np.random.default_rng(seed)
    images = np.full((count, 128, 128, 3), 128, np.uint8)
    for image in images:
        for _ in range(120):
            y, x = random.integers(0, 120, 2)
            height, width = random.integers(4, 30, 2)
            image[y : y + height, x : x + width] = random.integers(0, 255, 3)
    return images


@pytest.mark.slow
def test_a_turned_part_of_a_large_image_is_found_by_its_keypoints() -> None:
    import cv2

    references = textured(6, 0)
    turn = cv2.getRotationMatrix2D((64, 64), 12, 1.2)
    turned = np.stack([cv2.warpAffine(image, turn, (128, 128)) for image in references])
    search = NearDuplicates(references, embed, settings=NearDuplicateSettings(least_similarity=-1))
    found = search.match(turned, embed(turned))
    assert [one and one.reference for one in found] == list(range(6))
    assert {one.check for one in found if one} == {"keypoints"}
    others = textured(6, 1)
    assert search.match(others, embed(others)) == [None] * 6


@pytest.mark.slow
def test_a_mirrored_image_has_the_keypoints_of_its_mirror_image() -> None:
    check = KeypointCheck(NearDuplicateSettings())
    images = textured(3, 2)
    found = check.best(images[1, :, ::-1], [0, 1, 2], images)
    assert found is not None
    assert found[:2] == (1, "flip keypoints")


def test_few_keypoints_prove_nothing() -> None:
    check = KeypointCheck(NearDuplicateSettings())
    square = np.zeros((128, 128, 1), np.uint8)
    square[40:80, 40:80] = 255
    flat = np.zeros((128, 128, 1), np.uint8)
    assert check.best(square, [0, 1], np.stack([square, flat])) is None
