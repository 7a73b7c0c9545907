import numpy as np
import pytest

from benchmarks.near_duplicates import KINDS, SAME, plants, registered
from tests.compactor.pool.pictures import copies, pictures


def test_every_kind_of_copy_is_made_of_every_image_and_the_same_again() -> None:
    images = pictures(4)
    made = plants(images, 3)
    assert list(made) == list(KINDS)
    assert len(made) == 6
    assert {(copy.shape, copy.dtype) for copy in made.values()} == {(images.shape, images.dtype)}
    assert all(np.array_equal(copy, plants(images, 3)[kind]) for kind, copy in made.items())
    assert np.array_equal(made["exact"], images)
    assert not any(np.array_equal(copy, images) for kind, copy in made.items() if kind != "exact")


def test_registration_tells_copies_from_other_images() -> None:
    pytest.importorskip("cv2")
    images, others = pictures(3), pictures(3, seed=1)
    crops = copies(images)["crop"]
    assert all(registered(crop, image) > SAME for crop, image in zip(crops, images, strict=True))
    assert all(registered(other, image) < SAME for other, image in zip(others, images, strict=True))
