"""Precisions that a machine cannot compute in are refused, those that it computes slowly are said."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from compactor.recipe.load import load_recipe
from compactor.run.plan import make_plan
from compactor.trainer.precision import told_precision
from compactor_runtimes.errors import UnfitEnvironmentError
from tests import toys
from tests.compactor.trainer.test_fit import train


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_half_precision_without_a_gpu_is_refused_rather_than_computed_in_another(
    tmp_path: Path,
) -> None:
    with pytest.raises(UnfitEnvironmentError, match=r"stage toy\.precision: fp16 .* use fp32, or bf16"):
        train(tmp_path, student=toys.classifier(), stage=toys.stage(precision="fp16"))


@pytest.mark.parametrize(
    ("has", "is_slow"),
    [
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, True),
        ({"avx512_bf16": True}, False),
        ({"amx_bf16": True}, False),
        ({"neon": True, "bf16": True}, False),
    ],
)
def test_bfloat16_is_slow_without_its_instructions(
    has: Mapping[str, bool], is_slow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    assert bool(told_precision("bf16", "stage toy")) == is_slow
    assert told_precision("fp32", "stage toy") == []


@pytest.mark.slow
def test_a_plan_tells_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    recipe = load_recipe("digits", ["stages.0.precision=bf16", "stages.1.precision=fp16"])
    plan = make_plan(recipe, tmp_path)
    assert [why for why in plan.blocked.values() if "fp16 is computed on a GPU alone" in why]
    assert [note for note in plan.notes if "this CPU has no instructions for it" in note]
