import numpy as np
import pytest

from compactor.pool.views import central, mirrored, pixel_views, thumbnails
from tests.compactor.pool.pictures import pictures


@pytest.mark.parametrize("side", [32, 48])
def test_views_of_a_mirrored_image_are_those_mirrored(side: int) -> None:
    images = pictures(3, side=side)
    views = pixel_views(images)
    np.testing.assert_allclose(views.mirrored(), pixel_views(mirrored(images)).vectors, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(views.vectors, axis=2), 1, atol=1e-5)


def test_the_first_view_is_the_whole_image() -> None:
    images = pictures(3)
    np.testing.assert_allclose(
        pixel_views(images, 1).vectors[:, 0], pixel_views(images).vectors[:, 0], atol=1e-6
    )


def test_brightness_and_contrast_do_not_change_views() -> None:
    images = pictures(2) // 2
    np.testing.assert_allclose(pixel_views(images).vectors, pixel_views(images * 2 + 1).vectors, atol=1e-4)
    np.testing.assert_allclose(thumbnails(images), thumbnails(images * 2 + 1), atol=1e-4)


def test_contrast_is_that_of_high_frequencies_in_grey_levels() -> None:
    ramp = np.broadcast_to(np.arange(0, 64, 2, dtype=np.uint8)[:, None, None], (32, 32, 1))
    stripes = np.where(np.arange(32)[:, None, None] % 8 < 4, 80, 120).astype(np.uint8)
    stripes = np.broadcast_to(stripes, (32, 32, 1))
    flat, wide, high = pixel_views(np.stack([np.full((32, 32, 1), 9, np.uint8), ramp, stripes])).contrast
    assert flat < 1e-3
    assert wide < 3
    assert 10 < high < 20


def test_the_middle_of_a_gradient_is_a_flatter_gradient() -> None:
    ramp = np.broadcast_to(np.linspace(0, 240, 40)[None, :, None], (40, 40, 3)).astype(np.uint8)[None]
    middle = central(ramp)
    assert middle.shape == ramp.shape
    assert middle[0, 20, 0, 0] == pytest.approx(0.05 * 240, abs=4)
    assert middle[0, 20, -1, 0] == pytest.approx(0.95 * 240, abs=4)
