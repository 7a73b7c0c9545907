"""The page's own steps, in JavaScript, against the bundle's, in Python."""

import numpy as np
import pytest
from PIL import Image

from compactor_runtimes.bundle.manifest import (
    CenterCrop,
    Cover,
    DecodeImage,
    ImagePre,
    Resize,
    SigmoidPost,
    SoftmaxPost,
    ToFloat,
)
from compactor_runtimes.predict.answers.classes import ClassCodec
from compactor_runtimes.predict.answers.labels import LabelsCodec
from compactor_runtimes.predict.images import ImagePipeline
from tests.exporters.deploy.in_node import in_node, needs_node

FEEDS = """
found = given.map(({ data, height, width, channels, steps, mode }) => {
  const image = { data: Uint8Array.from(data), height, width, channels };
  const { values, dims } = app.imageFeed(mode ? app.fromRgba(image, mode) : image, steps);
  return { values: Array.from(values), dims };
});
"""

STEPS = [
    [Resize(size=7, interpolation="bicubic"), CenterCrop(height=6, width=5)],
    [Resize(size=9, kind="exact")],
    [Cover(height=8, width=11, interpolation="bicubic"), CenterCrop(height=8, width=11)],
    [CenterCrop(height=3, width=2)],
]


def plain(step):
    import msgspec

    return msgspec.to_builtins(step)


@needs_node
def test_resizes_and_crops_give_the_bundles_numbers_to_the_bit(tmp_path):
    random = np.random.default_rng(0)
    given, expected = [], []
    for index in range(48):
        height, width = (int(each) for each in random.integers(5, 40, 2))
        mode, steps = ("RGB", "L")[index % 3 == 0], [DecodeImage(), *STEPS[index % 4], ToFloat()]
        pixels = random.integers(0, 256, (height, width, 3 if mode == "RGB" else 1), dtype=np.uint8)
        if index % 5 == 0:
            pixels = (pixels > 127).astype(np.uint8) * 255  # edges, where bicubic goes beyond 0 and 255
        pre = ImagePre(input="x", steps=[DecodeImage(mode=mode), *steps[1:]])
        made = ImagePipeline(pre)([pixels])
        expected.append(made)
        sizes = {"height": height, "width": width, "channels": pixels.shape[2]}
        given.append({"data": pixels.ravel().tolist(), **sizes, "steps": [plain(step) for step in steps[1:]]})
    for each, made in zip(in_node(FEEDS, given, tmp_path), expected, strict=True):
        assert each["dims"] == list(made.shape)
        np.testing.assert_array_equal(np.array(each["values"], np.float32), made.ravel())


@needs_node
def test_grey_is_pillows_grey(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 7, 4), dtype=np.uint8)
    sizes = {"height": 6, "width": 7, "channels": 4, "mode": "L", "steps": [plain(ToFloat())]}
    (found,) = in_node(FEEDS, [{"data": pixels.ravel().tolist(), **sizes}], tmp_path)
    grey = np.asarray(Image.fromarray(pixels[:, :, :3]).convert("L"), np.float32) * np.float32(1 / 255)
    np.testing.assert_array_equal(np.array(found["values"], np.float32), grey.ravel())


@needs_node
def test_answers_are_decoded_as_the_bundle_does(tmp_path):
    logits, labels = [0.5, -1.0, 2.0], ["a", "b", "c"]
    posts = [
        SoftmaxPost(output="y", labels="l", reject_below=0.9),
        SoftmaxPost(output="y", labels="l", reject_label="c"),
        SoftmaxPost(output="y", labels="l"),
        SigmoidPost(output="y", labels="l", thresholds=[0.7, 0.1, 0.5]),
        SigmoidPost(output="y", labels="l"),
    ]
    code = "found = given.posts.map((post) => app.answer({ y: given.logits }, post, given.labels));"
    given = {"posts": [plain(post) for post in posts], "logits": logits, "labels": labels}
    outputs = {"y": np.array([logits], np.float32)}
    for post, found in zip(posts, in_node(code, given, tmp_path), strict=True):
        codec = ClassCodec if isinstance(post, SoftmaxPost) else LabelsCodec
        (answer,) = codec(post, {"l": labels})(outputs)
        confidences = {each["label"]: each["confidence"] for each in found["scored"]}
        assert confidences == pytest.approx(
            dict(zip(labels, map(float, answer.probabilities), strict=True)), abs=1e-6
        )
        if isinstance(post, SoftmaxPost):
            assert (found["label"], found["rejected"]) == (answer.label, answer.rejected)
        else:
            assert found["labels"] == answer.labels


@needs_node
def test_a_vector_is_divided_by_its_length(tmp_path):
    code = "found = given.map((post) => app.answer({ y: [3, 4] }, post, []).vector);"
    posts = [{"type": "embedding", "output": "y", "normalize": each} for each in (True, False)]
    assert in_node(code, posts, tmp_path) == [[0.6, 0.8], [3, 4]]
