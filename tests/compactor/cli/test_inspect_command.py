"""`inspect` on a bundle with variants: why each is used or not, how it was made, how far off it is."""

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from compactor.cli.inspect_command import command
from compactor_runtimes.bundle.manifest import (
    Artifact,
    CenterCrop,
    Cover,
    DecodeImage,
    ExportSpec,
    ImageStep,
    Manifest,
    OutputErrors,
    Resize,
    ToFloat,
    decode_manifest,
    encode_manifest,
)
from compactor_runtimes.bundle.open import MANIFEST
from tests.runtimes.conftest import write_bundle
from tests.runtimes.text_bundles import write_text_bundle

ERRORS = OutputErrors(n=256, maximum=0.3125, mean=0.02, p99=0.1, cosine=0.9938, snr_db=31.0, worst_sample=12)


def with_variants(manifest: Manifest) -> Manifest:
    fp32 = manifest.main.artifacts[0]
    int8 = Artifact(
        name="int8-static",
        spec=ExportSpec(precision="int8", quantization="static", override="small above all"),
        files=fp32.files,
        status="overridden",
        limits=fp32.limits,
        reason="small above all (failed: min-agreement: 90 of 100 samples agree)",
        made={
            "from": "fp32",
            "scheme": "u8u8",
            "calibration": {"samples": 256, "split": "train", "digest": "ab" * 32, "ids": [3, 5]},
            "kept": [f"node_{number}" for number in range(37)],
            "largest": 12.345678,
        },
        errors={"logits": ERRORS},
        isa=["avx2", "avx512_vnni"],
    )
    engine = Artifact(
        name="tensorrt-rtx-fp16",
        spec=ExportSpec(format="tensorrt-rtx", precision="fp16"),
        files=[],
        status="not-run",
        reason="no GPU of sm89 here",
    )
    main = msgspec.structs.replace(manifest.main, artifacts=[fp32, int8, engine])
    choice = {
        "fp32": {"decision": "chosen", "reason": "nothing that ships is faster"},
        "int8-static": {"decision": "not chosen", "reason": "slower than fp32 here"},
        "tensorrt-rtx-fp16": {"decision": "not run", "reason": "no GPU of sm89 here"},
    }
    return msgspec.structs.replace(manifest, components={"main": main}, provenance={"choice": choice})


def inspected(bundle: Path) -> str:
    result = CliRunner().invoke(command, [str(bundle)], catch_exceptions=False)
    return " ".join(result.output.split())


def test_it_tells_each_variant_with_its_reason_its_making_and_its_errors(tmp_path: Path) -> None:
    bundle = write_text_bundle(tmp_path / "bundle").path
    path = bundle / MANIFEST
    path.write_bytes(encode_manifest(with_variants(decode_manifest(path.read_bytes(), where="toy"))))
    text = inspected(bundle)
    for shown in (
        "fp32: verified chosen: nothing that ships is faster",
        "int8-static: OVERRIDDEN: small above all (failed: min-agreement: 90 of 100 samples agree)",
        "not chosen: slower than fp32 here",
        "made: from fp32; scheme u8u8; calibration (samples 256, split train, digest abababababab..., "
        "ids (2 entries)); "
        "kept (37 entries); largest 12.35",
        "differs from the student, logits: at most 0.312, mean 0.02, smallest cosine 0.993800, n 256",
        "verdict reached on: avx2, avx512_vnni",
        "tensorrt-rtx-fp16: not-run: no GPU of sm89 here",
    ):
        assert shown in text, shown
    assert text.count("no GPU of sm89 here") == 1


def test_a_bundle_without_a_choice_is_shown_as_before(tmp_path: Path) -> None:
    text = inspected(write_text_bundle(tmp_path / "bundle").path)
    assert "fp32: verified" in text
    assert "chosen" not in text


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([Resize(size=8), CenterCrop(height=8, width=8)], "resize to a short side of 8 (bilinear), cut the"),
        (
            [Cover(height=8, width=6), CenterCrop(height=8, width=6)],
            "resize until 8 x 6 is covered (bilinear)",
        ),
    ],
)
def test_what_happens_to_an_image_is_said_in_words(
    tmp_path: Path, steps: list[ImageStep], words: str
) -> None:
    bundle = write_bundle(tmp_path / "bundle", steps=[DecodeImage(), *steps, ToFloat()])
    result = CliRunner().invoke(command, [str(bundle.path)])
    assert words in " ".join(result.output.split())
