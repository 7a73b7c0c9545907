"""Every input case comes out right or is refused in a clear sentence; and a case that does not is seen."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.input_cases.cases import Case, Refused, put_in
from benchmarks.suites.inputs import KINDS, cases
from compactor_runtimes.errors import UsageError

ALL = [case for kind in KINDS for case in cases(kind)]
SLOW = ("teachers", "texts", "images")  # some train, export, or open models


def chosen() -> Iterator[object]:
    """All that is refused or quick; one a way in of what trains to a bundle: suite `inputs` runs them all."""
    ways = set()
    for case in ALL:
        way = (case.kind, getattr(case.act, "func", case.act))
        is_long = case.kind in SLOW and not isinstance(case.wanted, Refused)
        if is_long and way in ways:
            continue
        ways.update([way] if is_long else [])
        yield pytest.param(case, id=case.name, marks=[pytest.mark.slow] if case.kind in SLOW else [])


@pytest.mark.parametrize("case", list(chosen()))
def test_what_goes_in_comes_out_right_or_is_refused(case: Case, tmp_path: Path) -> None:
    found = put_in(case, tmp_path)
    assert found.is_good, f"{found.verdict}: {found.answer}"


def test_there_are_enough_and_none_is_there_twice() -> None:
    names = [case.name for case in ALL]
    assert len(set(names)) == len(names) >= 60
    assert sum(case.keeps for case in ALL) >= 20


def refuse(said: str) -> object:
    raise UsageError(said)


@pytest.mark.parametrize(
    ("wanted", "act", "verdict"),
    [
        (1, lambda _: 1, "right"),
        (1, lambda _: 2, "silent and wrong"),
        (Refused("too"), lambda _: 2, "silent and wrong"),
        (Refused("too long"), lambda _: refuse("it is too long; cut it"), "refused clearly"),
        (Refused("too long"), lambda _: refuse("it is too short"), "refused wrongly"),
        (Refused("too long"), lambda _: refuse("it is too long\nand more"), "refused wrongly"),
        (Refused("too"), lambda _: refuse("too " * 500), "refused wrongly"),
        (1, lambda _: refuse("no"), "refused wrongly"),
        (1, lambda _: 1 // 0, "traceback"),
    ],
)
def test_verdicts(wanted: object, act: object, verdict: str, tmp_path: Path) -> None:
    assert put_in(Case("x", "y", wanted, act), tmp_path).verdict == verdict  # type: ignore[arg-type]
