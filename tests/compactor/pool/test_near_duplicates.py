import subprocess
import sys

import numpy as np
import pytest

from compactor.data.spec import NearDuplicateSettings
from compactor.pool.near_duplicates import Match, NearDuplicates, within
from compactor_runtimes.errors import UsageError
from tests.compactor.pool.pictures import copies, embed, pictures

SETTINGS = NearDuplicateSettings()
REFERENCES = pictures(40)


@pytest.fixture(scope="module")
def search() -> NearDuplicates:
    return NearDuplicates(REFERENCES, embed, settings=SETTINGS)


@pytest.mark.parametrize(
    ("kind", "check", "transforms"),
    [
        ("exact", "exact", {"identity"}),
        ("flip", "pixels", {"flip"}),
        ("crop", "pixels", {"crop 0.90"}),
        ("bright", "pixels", {"identity"}),
        ("dark", "pixels", {"identity"}),
        ("noise", "pixels", {"identity"}),
    ],
)
def test_a_copy_is_matched_with_what_it_was_made_of(
    search: NearDuplicates, kind: str, check: str, transforms: set[str]
) -> None:
    made = copies(REFERENCES[5:17])[kind]
    found = search.match(made, embed(made))
    assert [one and one.reference for one in found] == list(range(5, 17))
    assert {one.check for one in found if one} == {check}
    assert {one.transform for one in found if one} == transforms
    assert all(one.score >= SETTINGS.pixels for one in found if one)


def test_a_reference_that_is_a_crop_of_the_image_is_matched() -> None:
    whole = pictures(6, seed=3)
    found = NearDuplicates(copies(whole)["crop"], embed, settings=SETTINGS).match(whole, embed(whole))
    assert [one and (one.reference, one.transform) for one in found] == [
        (row, "reference crop 0.90") for row in range(6)
    ]


def test_unrelated_images_are_not_matched(search: NearDuplicates) -> None:
    others = pictures(60, seed=1)
    assert search.match(others, embed(others)) == [None] * 60


def test_other_digits_of_the_same_class_are_not_copies() -> None:
    from sklearn.datasets import load_digits

    digits = np.asarray(load_digits().images * 15.9, np.uint8)[:400, :, :, None]
    search = NearDuplicates(digits[:150], embed, settings=SETTINGS)
    again = digits[:20] // 2 + 20  # darker, less contrast
    found = search.match(again, embed(again))
    assert [one and one.reference for one in found] == list(range(20))
    assert sum(one is not None for one in search.match(digits[150:], embed(digits[150:]))) <= 1


def test_tiny_images_are_compared_whole() -> None:
    tiny = pictures(30, side=8, channels=1)
    settings = NearDuplicateSettings(tiny_pixels=0.3, least_thumbnail=-1)
    found = NearDuplicates(tiny[:15], embed, settings=settings).match(tiny[15:], embed(tiny[15:]))
    assert {one.transform for one in found if one} == {"identity", "flip"}


def test_the_first_of_equal_references_is_named() -> None:
    twice = np.concatenate([REFERENCES[:3], REFERENCES[:3]])
    found = NearDuplicates(twice, embed, settings=SETTINGS).match(twice[3:], embed(twice[3:]))
    assert found == [Match(row, "exact", "identity", 1.0, 1.0) for row in range(3)]


def test_flat_images_are_copies_only_where_every_pixel_is_equal() -> None:
    flat = np.stack([np.full((32, 32, 3), level, np.uint8) for level in (0, 100, 200)])
    faint = np.random.default_rng(0).integers(0, 2, (1, 32, 32, 1), dtype=np.uint8)
    search = NearDuplicates(np.concatenate([flat, flat[:1] + faint]), embed, settings=SETTINGS)
    near = flat + faint + 1  # the same faint pattern on another grey
    assert search.match(near, embed(near)) == [None] * 3
    assert [one and one.reference for one in search.match(flat, embed(flat))] == [0, 1, 2]


def test_exact_copies_are_found_where_features_know_nothing() -> None:
    random = np.random.default_rng(0)
    search = NearDuplicates(
        REFERENCES,
        lambda images: random.normal(size=(len(images), 8)).astype(np.float32),
        settings=NearDuplicateSettings(neighbours=1, thumbnail_neighbours=0),
    )
    found = search.match(REFERENCES[7:9], np.ones((2, 8), np.float32))
    assert [one and one.reference for one in found] == [7, 8]


def test_grey_images_are_compared() -> None:
    grey = pictures(12, channels=1)
    made = copies(grey)["flip"]
    found = NearDuplicates(grey, embed, settings=SETTINGS).match(made, embed(made))
    assert [one and one.reference for one in found] == list(range(12))


@pytest.mark.slow
def test_how_the_pool_is_cut_changes_nothing(search: NearDuplicates) -> None:
    pool = np.concatenate([pictures(20, seed=2), *copies(REFERENCES[:6]).values()])
    features = embed(pool)
    whole = search.match(pool, features)
    for size in (1, 7, 33):
        parts = [
            search.match(pool[at : at + size], features[at : at + size]) for at in range(0, len(pool), size)
        ]
        assert [one for part in parts for one in part] == whole


def test_images_of_another_shape_are_refused(search: NearDuplicates) -> None:
    with pytest.raises(UsageError, match=r"images: shape \(32, 32, 1\) each found, expected .*\(32, 32, 3\)"):
        search.match(pictures(2, channels=1), np.ones((2, 192), np.float32))
    with pytest.raises(UsageError, match=r"features: shape \(5,\)"):
        search.match(pictures(2), np.ones((2, 5), np.float32))


def test_no_references_and_no_images_match_nothing(search: NearDuplicates) -> None:
    empty = NearDuplicates(REFERENCES[:0], embed, settings=SETTINGS)
    assert empty.match(REFERENCES[:2], embed(REFERENCES[:2])) == [None, None]
    assert search.match(REFERENCES[:0], embed(REFERENCES[:1])[:0]) == []
    assert within(REFERENCES[:0], np.empty((0, 3), np.float32), settings=SETTINGS) == []


def test_within_a_pool_the_first_is_kept_and_the_others_name_it() -> None:
    base = pictures(8, seed=4)
    made = copies(base)
    pool = np.concatenate([base, made["flip"], made["bright"], made["exact"], made["crop"]])
    told: list[tuple[int, int]] = []
    found = within(pool, embed(pool), settings=SETTINGS, progress=lambda done, all: told.append((done, all)))
    assert found[:8] == [None] * 8
    assert [one and one.reference for one in found[8:]] == list(range(8)) * 4
    assert [one and one.check for one in found[24:32]] == ["exact"] * 8
    assert told[-1] == (40, 40)


def test_within_names_kept_images_only_and_copies_of_a_copy_go_with_it() -> None:
    base = pictures(5, seed=5)
    made = copies(base)
    pool = np.concatenate([made["crop"], base, made["crop"], made["flip"]])
    found = within(pool, embed(pool), settings=SETTINGS)
    kept = {row for row, one in enumerate(found) if one is None}
    assert kept == set(range(5))
    assert {one.reference for one in found if one} <= kept
    assert [one and one.reference for one in found[10:15]] == list(range(5))  # an equal one of the first


def test_an_image_of_a_chain_is_kept_where_it_does_not_copy_what_is_kept() -> None:
    """b copies a and is removed; c copies b but not a: c stays."""
    strip = pictures(1, side=128, seed=6)[0]
    pool = np.stack([strip[at : at + 96, :96] for at in (0, 6, 12)])
    found = within(pool, embed(pool), settings=NearDuplicateSettings(keypoints_from=0))
    assert [one and (one.reference, one.transform) for one in found] == [None, (0, "shift"), None]


def test_as_many_features_as_images_are_expected() -> None:
    with pytest.raises(UsageError, match="2 features found, expected one for each of 3 images"):
        within(REFERENCES[:3], np.ones((2, 4), np.float32), settings=SETTINGS)


@pytest.mark.slow
def test_small_images_need_no_opencv() -> None:
    code = (
        "import sys; sys.modules['cv2'] = None\n"
        "from compactor.pool.near_duplicates import NearDuplicates\n"
        "from compactor.data.spec import NearDuplicateSettings\n"
        "from tests.compactor.pool.pictures import embed, pictures\n"
        "images = pictures(4)\n"
        "search = NearDuplicates(images, embed, settings=NearDuplicateSettings())\n"
        "assert all(search.match(images[:, :, ::-1], embed(images[:, :, ::-1])))\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
