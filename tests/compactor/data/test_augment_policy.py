"""Policies: torchvision's to the bit, drawn from a view's seed alone, and gone without a trace afterwards."""

import builtins

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from compactor.data.augment_policy import policy_of, seedable, view_seeds
from compactor.data.image_loader import ImageLoader, eval_batches
from compactor.data.spec import AugmentSpec
from compactor.data.splits import Split
from compactor.records import Batch
from compactor_runtimes.errors import MissingDependency

CUT = {"crop": "random-resized", "flip": True}
POLICIES = [
    {"policy": "randaugment"},
    {"policy": "randaugment", "magnitude": 21, "num_ops": 3, "policy_probability": 0.5},
    {"policy": "autoaugment"},
    {"erase": 0.5},
    {"policy": "autoaugment", "erase": 1.0},
]


@pytest.fixture(scope="module")
def split() -> Split:
    images = np.random.default_rng(0).integers(0, 256, (40, 12, 10, 3), dtype=np.uint8)
    return Split("train", images, {"label": np.arange(40) % 7}, np.arange(40), "digest")


def loader(split, spec, **settings):
    return ImageLoader(
        split, **({"batch_size": 8, "augment": AugmentSpec(**CUT, **spec), "seed": 3} | settings)
    )


def pixels(batches):
    return torch.cat([batch.x["pixel_values"] for batch in batches])


def views(count=6, size=16):
    return torch.from_numpy(
        np.random.default_rng(1).integers(0, 256, (count, 3, size, size)).astype(np.float32) / 255
    )


def changed(spec, x, seeds):
    batch = Batch(x={"pixel_values": x.clone()}, y={}, id=torch.arange(len(x)))
    return policy_of(AugmentSpec(**spec))(batch, np.array(seeds, dtype=np.uint32)).x["pixel_values"]


@pytest.mark.parametrize(
    ("spec", "reference"),
    [
        ({"policy": "randaugment"}, v2.RandAugment(num_ops=2, magnitude=9)),
        ({"policy": "randaugment", "magnitude": 30, "num_ops": 1}, v2.RandAugment(num_ops=1, magnitude=30)),
        ({"policy": "autoaugment"}, v2.AutoAugment(v2.AutoAugmentPolicy.IMAGENET)),
    ],
)
def test_a_policy_is_torchvisions_on_the_uint8_view(spec, reference):
    x, seeds = views(), [5, 6, 7, 8, 9, 2**32 - 1]
    got = changed(spec, x, seeds)
    assert not torch.equal(got, x)
    for view, seed, one in zip(x, seeds, got, strict=True):
        torch.manual_seed(seed)
        torch.rand(())  # whether it is applied
        expected = reference((view * 255).round().to(torch.uint8))
        assert torch.equal(one, expected.float() / 255)


def test_a_view_between_whole_values_is_rounded_before_its_policy():
    """100.4 and 100.6 of 255 are 100 and 101, which is what torchvision is given."""
    x = torch.tensor([100.4, 100.6]).view(2, 1, 1, 1).expand(2, 3, 8, 8) / 255
    for seed in range(20):
        got = changed({"policy": "randaugment", "magnitude": 0}, x, [seed, seed])
        for whole, one in zip((100, 101), got, strict=True):
            torch.manual_seed(seed)
            torch.rand(())
            expected = v2.RandAugment(magnitude=0)(torch.full((3, 8, 8), whole, dtype=torch.uint8))
            assert torch.equal(one, expected.float() / 255)


def test_erasing_blackens_one_rectangle_of_the_stated_area_and_nothing_else():
    x = views(count=40, size=20).clamp(min=0.01)
    got = changed({"erase": 1.0}, x, range(40))
    for before, after in zip(x, got, strict=True):
        black = (after == 0).all(0)
        assert torch.equal(after[:, ~black], before[:, ~black])
        rows, columns = black.any(1).sum(), black.any(0).sum()
        assert rows * columns == black.sum()  # a rectangle
        assert 0.01 < black.sum() / 400 < 0.36  # 2% to 33%, but for whole pixels


@pytest.mark.parametrize(
    ("spec", "share"),
    [({"policy": "autoaugment", "policy_probability": 0.25}, 0.25), ({"erase": 0.1}, 0.1)],
)
def test_only_the_stated_share_of_views_is_touched(spec, share):
    x = views(count=600, size=4).clamp(min=0.2)
    got = changed(spec, x, view_seeds(0, 0, 0, 600))
    touched = float((got != x).flatten(1).any(1).float().mean())
    # 4 standard deviations of a binomial share; a policy may find nothing to change in a view
    assert share - 0.12 < touched < share + 4 * (share * (1 - share) / 600) ** 0.5


@pytest.mark.parametrize("spec", POLICIES)
def test_epochs_steps_seeds_and_places_differ_but_repeat(split, spec):
    order = np.zeros(24, dtype=np.int64)
    whole = pixels(loader(split, spec).epoch(0, order))
    assert torch.equal(whole, pixels(loader(split, spec).epoch(0, order)))
    assert not torch.equal(whole, pixels(loader(split, spec).epoch(1, order)))
    assert not torch.equal(whole, pixels(loader(split, spec, seed=4).epoch(0, order)))
    numbers = {tuple(view_seeds(*key, 8)) for key in [(3, 0, 0), (3, 0, 1), (3, 1, 0), (4, 0, 0)]}
    assert len({number for one in numbers for number in one}) == 32


@pytest.mark.parametrize("spec", POLICIES)
@pytest.mark.parametrize("world", [2, 3])
def test_ranks_together_are_the_single_process(split, spec, world):
    order = np.random.default_rng(1).permutation(40)[:20]
    single = list(loader(split, spec).epoch(1, order))
    ranks = [list(loader(split, spec, rank=rank, world=world).epoch(1, order)) for rank in range(world)]
    for step, whole in enumerate(single):
        assert torch.equal(pixels(rank[step] for rank in ranks), whole.x["pixel_values"])


@pytest.mark.parametrize("spec", POLICIES)
def test_start_continues_as_if_never_stopped(split, spec):
    whole = list(loader(split, spec).epoch(2, np.arange(24)))
    assert torch.equal(pixels(whole[1:]), pixels(loader(split, spec).epoch(2, np.arange(24), start=1)))


@pytest.mark.parametrize("spec", POLICIES)
def test_the_global_generator_goes_on_as_if_nothing_had_been_drawn(split, spec):
    torch.manual_seed(0)
    torch.rand(3)
    before = torch.get_rng_state()
    for _ in loader(split, spec).epoch(0, np.arange(24)):
        assert torch.equal(torch.get_rng_state(), before)  # dropout draws while batches are made


def test_the_generator_is_put_back_after_an_error_too():
    before = torch.get_rng_state()

    def fail() -> None:
        with seedable() as seed:
            seed(1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert torch.equal(torch.get_rng_state(), before)


def test_views_of_a_policy_are_those_that_were_cut(split):
    """What is drawn for cuts and flips does not change with a policy, and untouched views keep their bits."""
    plain = list(loader(split, {}).epoch(0, np.arange(24)))
    erased = list(loader(split, {"erase": 0.5}).epoch(0, np.arange(24)))
    for first, second in zip(plain, erased, strict=True):
        assert torch.equal(first.crop.box, second.crop.box)
        assert torch.equal(first.crop.flip, second.crop.flip)
        x, y = first.x["pixel_values"], second.x["pixel_values"]
        assert torch.equal(x[y != 0], y[y != 0])
        assert y.stride() == x.stride()
    assert any((batch.x["pixel_values"] == 0).any() for batch in erased)


def test_grey_images_and_evaluation(split):
    grey = Split("train", split.inputs[..., :1], split.labels, split.rows, "grey")
    spec = {"policy": "randaugment", "erase": 0.5}
    assert pixels(loader(grey, spec).epoch(0, np.arange(16))).shape == (16, 1, 12, 10)
    assert torch.equal(pixels(eval_batches(grey, 8))[0, 0] * 255, torch.from_numpy(grey.inputs[0, ..., 0]))


def test_without_a_policy_torchvision_is_never_asked_for(split, monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("torchvision"):
            raise ModuleNotFoundError("No module named 'torchvision'", name="torchvision")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert loader(split, {}).policy is None
    with pytest.raises(MissingDependency, match=r"pip install 'compactor-toolkit\[vision\]'"):
        loader(split, {"erase": 0.1})
