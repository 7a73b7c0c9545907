"""What the page is made of, and what it refuses; the page in a browser is `test_web_browser.py`."""

import json

import msgspec
import numpy as np
import pytest

from compactor_exporters.deploy import deploy
from compactor_exporters.deploy.tokenizer_kinds import check_tokenizer
from compactor_exporters.deploy.web import web_artifact
from compactor_runtimes.bundle.manifest import ExportSpec
from compactor_runtimes.bundle.open import open_bundle
from compactor_runtimes.errors import IntegrityError, UsageError
from tests.exporters.deploy.web_stand_ins import vendor_nothing
from tests.runtimes.conftest import write_bundle
from tests.runtimes.slot_bundles import write_slot_bundle


@pytest.fixture(autouse=True)
def vendored(monkeypatch):
    vendor_nothing(monkeypatch)


def test_golden_cases_go_along_with_stored_outputs_and_ids(texts, tmp_path):
    from safetensors.numpy import load_file

    folder = deploy(texts, "web", output=tmp_path / "out").folder
    tensors = load_file(texts / "golden/t.safetensors")
    cases = json.loads((folder / "model/golden.json").read_text())
    assert len(cases) == 5
    for case in cases:
        assert (folder / "model" / case["raw"]).read_bytes() == (texts / case["raw"]).read_bytes()
        np.testing.assert_array_equal(case["outputs"]["logits"], tensors[f"{case['id']}.out"].ravel())
        assert case["ids"] == tensors[f"{case['id']}.ids"].ravel().tolist()
    assert {path.name for path in (folder / "vendor").iterdir()} == {
        *("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm", "tokenizers.min.mjs"),
    }


def test_an_image_page_needs_no_tokenizer_and_says_what_it_is(images, tmp_path):
    folder = deploy(images, "web", output=tmp_path / "out", name="toy").folder
    assert not (folder / "vendor/tokenizers.min.mjs").exists()
    model = json.loads((folder / "model/model.json").read_text())
    assert (model["name"], model["takes"], model["labels"]) == ("toy", "image", ["red", "green", "blue"])
    assert model["bytes"] == (images / "artifacts/fp32.onnx").stat().st_size
    assert model["limit"] == 1e-4


def test_the_page_allows_no_request_to_another_host(images, tmp_path):
    folder = deploy(images, "web", output=tmp_path / "out").folder
    text = (folder / "index.html").read_text()
    assert "default-src 'none'" in text
    for name in ("index.html", "app.mjs", "README.md"):
        content = (folder / name).read_text().replace("http://127.0.0.1:8000/", "")
        assert "http://" not in content
        assert "https://" not in content


@pytest.mark.parametrize(
    ("specs", "expected"),
    [
        ([ExportSpec()], 0),
        ([ExportSpec(precision="int8", quantization="dynamic"), ExportSpec()], 1),
        ([ExportSpec(), ExportSpec(target="web")], 1),
        ([ExportSpec(precision="fp16"), ExportSpec(precision="int8", quantization="static")], 1),
    ],
)
def test_the_artifact_is_the_one_for_the_browser_or_the_exact_one(specs, expected, tmp_path):
    written = write_bundle(tmp_path / "bundle")
    (artifact,) = written.manifest.main.artifacts
    made = [msgspec.structs.replace(artifact, name=f"a{n}", spec=spec) for n, spec in enumerate(specs)]
    written.manifest = msgspec.structs.replace(written.manifest, default_artifact="a0")
    written.replace_main(artifacts=made)
    assert web_artifact(open_bundle(written.path)).name == f"a{expected}"


def test_fp16_alone_is_refused(tmp_path):
    written = write_bundle(tmp_path / "bundle")
    written.replace_artifact(spec=ExportSpec(precision="fp16"))
    with pytest.raises(UsageError, match=r"fp32 \(verified\) found"):
        deploy(written.path, "web", output=tmp_path / "out")


def test_slots_are_refused_by_name(tmp_path):
    written = write_slot_bundle(tmp_path / "bundle")
    with pytest.raises(UsageError, match="bio found"):
        deploy(written.path, "web", output=tmp_path / "out")


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ({"model": {"type": "Other"}}, "model Other"),
        ({"model": {"type": "BPE"}, "normalizer": {"type": "Nmt"}}, "normalizer Nmt"),
        (
            {
                "model": {"type": "BPE"},
                "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "UnicodeScripts"}]},
            },
            "pre_tokenizer UnicodeScripts",
        ),
    ],
)
def test_a_tokenizer_that_the_page_cannot_compute_is_refused_by_name(parts, named):
    with pytest.raises(UsageError, match=named):
        check_tokenizer(json.dumps(parts).encode(), "tokenizer.json")


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"model": 1}'])
def test_what_is_no_tokenizer_is_refused(content):
    with pytest.raises(IntegrityError, match="is no tokenizer.json"):
        check_tokenizer(content, "tokenizer.json")
