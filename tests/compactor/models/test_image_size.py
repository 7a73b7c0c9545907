"""Sizes that a module takes, found by trying; and modules of the user's own."""

from pathlib import Path

import pytest
import torch
from torch import nn

from compactor.models.build import build_model
from compactor.models.image_size import size_taken
from compactor.recipe.spec import ModelSpec
from compactor.records import IMAGES, DataInfo, ImageInfo
from compactor_runtimes.errors import UsageError


class Fixed(nn.Module):
    """Takes images of 3 channels and `height` x 6 alone."""

    def __init__(self, num_classes=2, height=6):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.head = nn.Linear(3 * height * 6, num_classes)

    def forward(self, x):
        return self.head(self.norm(x).flatten(1))


@pytest.mark.parametrize(
    ("height", "image", "own", "taken"),
    [
        (6, (6, 6), None, None),
        (6, (6, 6), 9, None),  # what fits is not resized, whatever a configuration says
        (6, (4, 7), 6, (6, 6)),
        (8, (4, 7), (8, 6), (8, 6)),
        (8, (4, 7), [8, 6], (8, 6)),
    ],
)
def test_the_own_size_is_taken_where_the_datas_is_not(height, image, own, taken):
    assert size_taken(Fixed(height=height), ImageInfo(*image, 3), own, where="model x") == taken


@pytest.mark.parametrize("own", [None, 7, (6,), "6"])
def test_what_takes_neither_is_refused_with_the_reason(own):
    with pytest.raises(
        UsageError, match=r"model x: takes no images of 4 x 7 pixels \(mat1 .*\); set data.image_size"
    ):
        size_taken(Fixed(), ImageInfo(4, 7, 3), own, where="model x")


def test_trying_changes_nothing():
    module = Fixed().train()
    module.norm.eval()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    state = torch.get_rng_state()
    size_taken(module, ImageInfo(4, 7, 3), 6, where="model x")
    assert torch.equal(torch.get_rng_state(), state)
    assert (module.training, module.norm.training, module.head.training) == (True, False, True)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


def test_a_module_of_ones_own_that_does_not_take_the_data_is_refused_before_it_trains():
    spec = ModelSpec(model="module:tests.compactor.models.test_image_size:Fixed")
    for side, fits in ((6, True), (8, False)):
        info = DataInfo(IMAGES, {"label": ["a", "b"]}, ImageInfo(side, side, 3))
        if fits:
            assert build_model(spec, info, base=Path()).size is None
        else:
            with pytest.raises(UsageError, match="Fixed: takes no images of 8 x 8 pixels"):
                build_model(spec, info, base=Path())
