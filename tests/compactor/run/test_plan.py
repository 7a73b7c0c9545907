"""What a plan says of exports: which are optional, calibrated, overridden, or cannot be made."""

from pathlib import Path

import pytest

from compactor.recipe.load import load_recipe
from compactor.run.plan import make_plan
from compactor_runtimes.errors import UnfitEnvironmentError


def exports(tmp_path: Path, *entries: str) -> dict[str, str]:
    """Details by name, of the embedded data set."""
    loaded = load_recipe("digits", [f"export=[{', '.join(entries)}]"])
    return {step.id: step.detail for step in make_plan(loaded, tmp_path).steps if step.kind == "export"}


def test_it_says_what_static_int8_is_calibrated_on_and_what_is_optional(tmp_path: Path) -> None:
    found = exports(
        tmp_path,
        "{precision: fp32, required: true}",
        "{precision: int8, quantization: static}",
        "{precision: fp16, override: the target has no fp32}",
    )
    assert found == {
        "fp32": "required",
        "int8-static": "optional; calibrated on 256 samples of train (minmax)",
        "fp16": "optional; ships even if a gate fails: the target has no fp32",
    }
    split = "{precision: int8, quantization: static, calibration: {split: select, samples: 40}, scheme: u8u8}"
    assert exports(tmp_path, split) == {
        "int8-static": "optional; calibrated on 40 samples of select (minmax); scheme u8u8"
    }


def test_an_engine_names_its_gpus(tmp_path: Path) -> None:
    found = exports(tmp_path, "{}", "{format: tensorrt-rtx, precision: fp16, target: trt-rtx, gpus: [sm89]}")
    assert list(found.values())[1] == "optional; for sm89"


def test_an_optional_export_that_cannot_be_made_stops_nothing_and_a_required_one_does(tmp_path: Path) -> None:
    kind = "format: tensorrt, precision: int8, quantization: dynamic"  # there is no such exporter
    make_plan(load_recipe("digits", [f"export=[{{}}, {{{kind}}}]"]), tmp_path).require_runnable()
    overridden = f"export=[{{{kind}, required: true, override: it is optional to me}}]"
    plan = make_plan(load_recipe("digits", [overridden]), tmp_path)
    assert [step.action for step in plan.steps if step.kind == "export"] == ["cannot"]
    with pytest.raises(UnfitEnvironmentError, match="has no exporter in this release"):
        plan.require_runnable()
