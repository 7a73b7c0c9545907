"""Parameters by part: the sizes of the literature, from real modules that take no memory."""

from pathlib import Path

import pytest
import torch

from compactor.models.build import build_model
from compactor.models.parameter_parts import parameter_parts
from compactor.models.student import parameter_count
from compactor.recipe.spec import ModelSpec
from tests import toys
from tests.compactor.models.test_encoder import build, every_norm, info_of
from tests.compactor.text_toys import IDS, bert_folder, text_info


@pytest.mark.slow
@every_norm
@pytest.mark.parametrize(
    ("model", "options", "layers", "intermediate", "rounded"),
    [
        ("12x768", {}, 12, 3072, "85.1"),
        ("6x768", {}, 6, 3072, "42.5"),
        ("4x768", {"intermediate": 1200}, 4, 1200, "16.8"),
        ("24x768", {}, 24, 3072, "170.1"),
        ("30x2560", {"heads": 32}, 30, 10240, "2360.3"),
    ],
)
def test_encoders_have_the_sizes_of_the_literature(
    model: str,
    options: dict[str, int],
    layers: int,
    intermediate: int,
    rounded: str,
    norm: str,
    tmp_path: Path,
) -> None:
    with torch.device("meta"):
        student = build(f"encoder:{model}", info_of(tmp_path), norm=norm, **options)
    parts = parameter_parts(student)
    assert parts is not None
    d, f = int(model.partition("x")[2]), intermediate
    assert parts["encoder"] == layers * (4 * d**2 + 2 * d * f + 9 * d + f)
    assert f"{parts['encoder'] / 1e6:.1f}" == rounded
    # post: the LayerNorm is of the embeddings; pre: it is the last one and counts with the heads (2 and 3)
    norms = {"post": (2 * d, 0), "pre": (0, 2 * d)}[norm]
    assert parts["embeddings"] == (IDS + 12 + 1) * d + norms[0]
    assert parts["heads"] == (2 + 3) * (d + 1) + norms[1]
    assert sum(parts.values()) == parameter_count(student)


def test_tied_embeddings_count_once(tmp_path: Path) -> None:
    parts = parameter_parts(build("encoder:1x32", info_of(tmp_path, "masked-lm")))
    assert parts is not None
    assert parts["embeddings"] == (IDS + 12 + 1) * 32 + 64
    assert parts["heads"] == 32 * 32 + 32 + 64 + IDS  # dense, LayerNorm, bias of the vocabulary


def test_parts_of_transformers_classifiers_and_of_other_models(tmp_path: Path) -> None:
    spec = ModelSpec(model=f"hf:{bert_folder(tmp_path / 'bert', num_labels=3)}")
    classifier = build_model(spec, text_info(tmp_path), base=tmp_path)
    parts = parameter_parts(classifier)
    assert parts is not None
    assert parts["embeddings"] == (IDS + 20 + 2) * 16 + 32
    assert parts["encoder"] == 4 * (4 * 16**2 + 2 * 16 * 24 + 9 * 16 + 24)
    assert parts["heads"] == (16 * 16 + 16) + (16 * 3 + 3)  # pooler and classifier
    bag = build("module:tests.compactor.text_toys:Bag", text_info(tmp_path))
    assert parameter_parts(bag) is None
    image = build_model(ModelSpec(model="module:tests.toys:Mlp"), toys.info(), base=tmp_path)
    assert parameter_parts(image) is None
