"""A complete bundle around a flatten + matmul classifier of 4 x 4 images, small enough to do by hand."""

import io
import math

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from safetensors.numpy import save_file

from compactor_runtimes.bundle.manifest import (
    Artifact,
    Component,
    DecodeImage,
    ExportSpec,
    Golden,
    GoldenCase,
    ImagePre,
    InputPort,
    Manifest,
    OutputPort,
    SoftmaxPost,
    ToFloat,
    encode_manifest,
)
from compactor_runtimes.bundle.open import file_entry

LABELS = ["red", "green", "blue"]
# Each class adds up its own colour plane: logits are the sums over 16 pixels of value / 255.
WEIGHT = np.repeat(np.eye(3, dtype=np.float32), 16, axis=0)


def classifier(weight=WEIGHT, *, frozen=False):
    """`logits = reshape(pixel_values, [0, -1]) @ weight`; `frozen` reshapes to [1, -1] whatever the batch."""
    shape = [1, -1] if frozen else [0, -1]
    graph = helper.make_graph(
        [
            helper.make_node("Reshape", ["pixel_values", "shape"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weight"], ["logits"]),
        ],
        "classifier",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3, 4, 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [
            numpy_helper.from_array(np.array(shape, np.int64), "shape"),
            numpy_helper.from_array(weight, "weight"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def softmax_by_hand(logits):
    powers = [math.exp(float(value) - float(max(logits))) for value in logits]
    return [power / sum(powers) for power in powers]


class Written:
    """A bundle on disk and its manifest; change either and `save()`."""

    def __init__(self, path, manifest, images):
        self.path, self.manifest, self.images = path, manifest, images

    def save(self):
        (self.path / "manifest.json").write_bytes(encode_manifest(self.manifest))

    def replace(self, **fields):
        self.manifest = msgspec.structs.replace(self.manifest, **fields)
        self.save()

    def replace_main(self, **fields):
        main = msgspec.structs.replace(self.manifest.main, **fields)
        self.replace(components={"main": main})

    def replace_artifact(self, **fields):
        self.replace_main(artifacts=[msgspec.structs.replace(self.manifest.main.artifacts[0], **fields)])

    def rehash(self):
        """Let the manifest state the digests of what lies there now."""
        self.replace(files=[file_entry(self.path, entry.path) for entry in self.manifest.files])
        artifacts = [
            msgspec.structs.replace(each, files=[file_entry(self.path, entry.path) for entry in each.files])
            for each in self.manifest.main.artifacts
        ]
        self.replace_main(artifacts=artifacts)


@pytest.fixture
def bundle(tmp_path):
    """A valid bundle of two golden cases."""
    return write_bundle(tmp_path / "bundle")


def write_bundle(root, *, steps=None, images=None):
    (root / "golden").mkdir(parents=True)
    (root / "artifacts").mkdir()
    onnx.save(classifier(), root / "artifacts/fp32.onnx")
    if images is None:
        images = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
        images[0, :, :, 0] //= 2  # case 0 is mostly not red
        images[1, :, :, 1:] //= 4  # case 1 is mostly red
    tensors, cases = {}, []
    for index, image in enumerate(images):
        name = f"case-{index}"
        (root / f"golden/{name}.png").write_bytes(png(image))
        feed = (image.astype(np.float32) * np.float32(1 / 255)).transpose(2, 0, 1)[None].copy()
        logits = feed.sum(axis=(2, 3))
        tensors |= {f"{name}.in": feed, f"{name}.out": logits}
        probabilities = softmax_by_hand(logits[0])
        best = int(np.argmax(probabilities))
        cases.append(
            GoldenCase(
                id=name,
                raw=f"golden/{name}.png",
                feeds={"pixel_values": f"{name}.in"},
                outputs={"logits": f"{name}.out"},
                decoded={"label": LABELS[best], "index": best, "confidence": probabilities[best]},
            )
        )
    save_file(tensors, root / "golden/tensors.safetensors")
    (root / "golden/cases.json").write_bytes(msgspec.json.encode(cases))
    listed = ["golden/cases.json", "golden/tensors.safetensors", *(case.raw for case in cases)]
    manifest = Manifest(
        schema_version=1,
        task="image-classification",
        name="colours",
        components={
            "main": Component(
                inputs=[
                    InputPort(
                        name="pixel_values",
                        dtype="float32",
                        axes=["batch", 3, 4, 4],
                        min=[1, 3, 4, 4],
                        max=[8, 3, 4, 4],
                        role="image",
                    )
                ],
                outputs=[
                    OutputPort(
                        name="logits", dtype="float32", axes=["batch", 3], role="logits", labels="label"
                    )
                ],
                artifacts=[
                    Artifact(
                        name="fp32",
                        spec=ExportSpec(),
                        files=[file_entry(root, "artifacts/fp32.onnx")],
                        status="verified",
                        limits={"logits": 1e-4},
                    )
                ],
            )
        },
        labels={"label": LABELS},
        pre=[ImagePre(input="pixel_values", steps=steps or [DecodeImage(), ToFloat()])],
        post=[SoftmaxPost(output="logits", labels="label")],
        files=[file_entry(root, each) for each in listed],
        golden=Golden(cases="golden/cases.json", tensors="golden/tensors.safetensors"),
        default_artifact="fp32",
    )
    written = Written(root, manifest, images)
    written.save()
    return written


@pytest.fixture
def make_classifier():
    return classifier


@pytest.fixture
def make_bundle():
    return write_bundle
