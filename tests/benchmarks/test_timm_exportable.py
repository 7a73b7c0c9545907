"""The sweep over timm: no family is left out in silence, limits end a worker, figures name what fails."""

import pytest
import timm

from benchmarks.suites import timm_exportable as suite
from benchmarks.timm_families import SMALLEST


def test_every_family_is_named_once_by_a_model_of_its_own() -> None:
    assert set(SMALLEST) == set(timm.list_modules())
    for family, model in SMALLEST.items():
        assert model in timm.list_models(module=family)
        assert not model.startswith("test_")


def run(family: str, **result: object) -> dict[str, object]:
    settings = {"family": family, "model": f"{family}_tiny"}
    return {"settings": settings, "result": {"passed": True, "reason": "", "stopped": "", **result}}


def test_figures_name_what_fails_and_do_not_count_what_is_too_large() -> None:
    runs = [run("a"), run("b"), run("c")]
    runs += [run("d", passed=False, reason="axis frozen", found_before=True)]
    runs += [run("e", passed=False, reason="NaN", found_before=False)]
    runs += [run("f", passed=False, reason="", stopped="takes more than 6 GiB")]
    found = suite.figures(runs)
    share = found["timm_exportable"]
    assert (share.value, share.n) == (3 / 5, 5)
    assert "d_tiny (axis frozen)" in share.about
    assert "e_tiny (NaN)" in share.about
    late = found["timm_found_after_training"]
    assert (late.value, late.n) == (1, 2)
    assert "e_tiny" in late.about
    assert "d_tiny" not in late.about
    families = found["timm_families"]
    assert (families.value, families.n) == (5, 6)
    assert "f_tiny (takes more than 6 GiB)" in families.about


@pytest.mark.parametrize(
    ("limit", "value", "says"),
    [("MOST_GIB", 0.0, "more than 0 GiB"), ("LIMIT_S", 0.02, "more than 0.02 s of CPU time")],
)
def test_a_limit_ends_the_worker_and_is_the_reason(limit, value, says, monkeypatch) -> None:
    monkeypatch.setattr(suite, limit, value)
    monkeypatch.setattr(suite, "WORKER", "timeit")  # of the standard library: something that runs for a while
    monkeypatch.setattr(suite, "EVERY_S", 0.05)
    found = suite.execute({"family": "x", "model": "sum(range(10**8))"})
    assert says in found["stopped"]
    assert not found["passed"]


def test_a_worker_that_fails_by_itself_is_no_result(monkeypatch) -> None:
    monkeypatch.setattr(suite, "WORKER", "no_such_module")
    with pytest.raises(RuntimeError, match="the worker ended with status 1"):
        suite.execute({"family": "x", "model": "y"})
