"""Manifests of all schema versions are read, and what versions added survives a round trip."""

import json

import msgspec
import pytest

from compactor_runtimes import load, open_bundle
from compactor_runtimes.bundle.manifest import (
    SCHEMA_VERSION,
    Artifact,
    Calibration,
    ExportSpec,
    OutputErrors,
    SoftmaxPost,
    decode_manifest,
    encode_manifest,
)
from compactor_runtimes.errors import IntegrityError

ERRORS = OutputErrors(n=3, maximum=0.2, mean=0.1, p99=0.19, cosine=0.99, snr_db=20.0, worst_sample=1)
ADDED = {
    "artifact": {"made", "errors", "isa", "runtimes"},
    "spec": {"scheme", "fused", "exporter", "gpus", "override"},
    "check": {"observed"},
}


def without(record: dict, names: set[str]) -> dict:
    return {key: value for key, value in record.items() if key not in names}


def test_a_manifest_as_version_1_wrote_it_is_read(bundle):
    written = json.loads((bundle.path / "manifest.json").read_text())
    assert written["schema_version"] == 1
    [artifact] = written["components"]["main"]["artifacts"]
    assert artifact.keys() >= ADDED["artifact"]
    old = without(artifact, ADDED["artifact"])
    old["spec"] = without(old["spec"], ADDED["spec"]) | {"parent": None}
    written["components"]["main"]["artifacts"] = [old]
    (bundle.path / "manifest.json").write_text(json.dumps(written))
    [read] = open_bundle(bundle.path).manifest.main.artifacts
    assert (read.made, read.errors, read.isa, read.ships) == ({}, {}, [], True)
    assert (read.spec.scheme, read.spec.override) == ("auto", None)


def test_a_manifest_as_version_2_wrote_it_is_read_and_names_no_runtime(bundle):
    bundle.replace(schema_version=2)
    written = json.loads((bundle.path / "manifest.json").read_text())
    for artifact in written["components"]["main"]["artifacts"]:
        del artifact["runtimes"]
    (bundle.path / "manifest.json").write_text(json.dumps(written))
    [read] = open_bundle(bundle.path).manifest.main.artifacts
    assert (read.runtimes, read.ships) == ([], True)


def test_what_version_3_says_survives(bundle):
    spec = ExportSpec(
        precision="int8", quantization="static", calibration=Calibration(samples=8), override="a demo"
    )
    made = {"from": "fp32", "kept_fp32": {"large": ["node_add"]}, "largest_activation": 1e5}
    bundle.replace_artifact(
        spec=spec,
        status="overridden",
        made=made,
        errors={"logits": ERRORS},
        isa=["avx2"],
        reason="a demo",
        runtimes=["ort-cpu"],
    )
    bundle.replace(schema_version=SCHEMA_VERSION)
    read = decode_manifest(encode_manifest(bundle.manifest), where="here")
    assert read == bundle.manifest
    assert read.main.artifacts[0].made == made
    assert read.main.artifacts[0].runtimes == ["ort-cpu"]


def test_a_manifest_as_version_3_wrote_it_is_read_and_rejects_nothing(bundle):
    bundle.replace(schema_version=3)
    written = json.loads((bundle.path / "manifest.json").read_text())
    for name in ("reject_below", "reject_label"):
        del written["post"][0][name]
    (bundle.path / "manifest.json").write_text(json.dumps(written))
    [post] = open_bundle(bundle.path).manifest.post
    assert (post.reject_below, post.reject_label) == (None, None)
    with load(bundle.path) as model:
        assert [one.rejected for one in model.predict(list(bundle.images))] == [False, False]


def test_what_version_4_says_survives(bundle):
    post = SoftmaxPost(output="logits", labels="label", reject_below=0.625, reject_label="green")
    bundle.replace(schema_version=SCHEMA_VERSION, post=[post])
    assert open_bundle(bundle.path).manifest.post == [post]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"reject_label": "grey"}, "rejected label 'grey' is none of the labels 'label'"),
        ({"reject_below": 1.5}, r"Expected `float` <= 1.0 - at `\$.post\[0\].reject_below`"),
    ],
)
def test_what_rejects_an_answer_is_checked(bundle, entry, message):
    post = {"type": "softmax", "output": "logits", "labels": "label", **entry}
    written = json.loads((bundle.path / "manifest.json").read_text()) | {"post": [post]}
    (bundle.path / "manifest.json").write_text(json.dumps(written))
    with pytest.raises(IntegrityError, match=message):
        open_bundle(bundle.path)


def test_a_changed_letter_of_the_manifest_itself_is_found(bundle):
    bundle.replace(schema_version=SCHEMA_VERSION)
    path = bundle.path / "manifest.json"
    whole = path.read_text()
    assert open_bundle(bundle.path).manifest == bundle.manifest
    path.write_text(json.dumps(json.loads(whole)))  # another layout is no damage
    assert open_bundle(bundle.path).manifest == bundle.manifest
    for old, new in (('"red"', '"rod"'), ("fp32.onnx", "fp33.onnx"), ('"digest":', '"digests":')):
        path.write_text(whole.replace(old, new, 1))
        with pytest.raises(IntegrityError, match="damaged, it is not what its own digest says"):
            open_bundle(bundle.path, check=False)


@pytest.mark.parametrize("version", [0, 6, "2", None])
def test_other_versions_are_refused_by_name(bundle, version):
    written = json.loads((bundle.path / "manifest.json").read_text()) | {"schema_version": version}
    with pytest.raises(IntegrityError, match=f"here: schema version {version!r} found"):
        decode_manifest(json.dumps(written).encode(), where="here")


@pytest.mark.parametrize(
    ("status", "ships"),
    [("verified", True), ("overridden", True), ("not-run", False), ("rejected", False)],
)
def test_what_ships(status, ships):
    assert Artifact(name="a", spec=ExportSpec(), files=[], status=status).ships is ships


@pytest.mark.parametrize(
    ("settings", "kind", "name"),
    [
        ({}, "onnx/fp32", "fp32"),
        ({"precision": "fp16"}, "onnx/fp16", "fp16"),
        ({"precision": "fp16", "target": "trt-rtx"}, "onnx/fp16", "fp16-trt-rtx"),
        ({"fused": True}, "onnx/fp32/fused", "fp32-fused"),
        ({"exporter": "optimum"}, "onnx/fp32/optimum", "fp32-optimum"),
        (
            {"precision": "int8", "quantization": "dynamic", "fused": True},
            "onnx/int8/dynamic/fused",
            "int8-dynamic-fused",
        ),
        ({"format": "tensorrt-rtx", "precision": "fp16"}, "tensorrt-rtx/fp16", "tensorrt-rtx-fp16"),
    ],
)
def test_kind_and_name(settings, kind, name):
    spec = ExportSpec(**settings)
    assert (spec.kind, spec.name) == (kind, name)


def test_an_override_needs_words():
    with pytest.raises(msgspec.ValidationError, match="length >= 1"):
        msgspec.convert({"override": ""}, ExportSpec)
