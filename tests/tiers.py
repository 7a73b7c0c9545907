"""What is heavy, slow or in need of real data, and that nothing else is: a plugin.

1. A test marked neither `slow` nor `heavy` may use CALL_LIMIT_S of CPU time in its call. What its worker and
   the children that it waited for use counts; fixtures do not, they are shared. A first excess may be an
   import or another test's warm-up: the test runs once more, and fails if it is over the limit again, which
   is then as much longer as this machine, as loaded as it is, takes for a loop of REFERENCE_S.
2. A test marked `real_data` is skipped where $COMPACTOR_DATA is not set. Where it is and $CI too, a skip of
   such a test is a failure: there it would be the only proof.
"""

import os
import time
from collections.abc import Generator
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

CALL_LIMIT_S = 1.0
REFERENCE_S = 0.05  # of CPU time, for the loop of `slowness` on a machine of today
UNLIMITED = ("slow", "heavy")

used_s = pytest.StashKey[float]()


def slowness() -> float:
    """How many times as long as REFERENCE_S a loop takes here and now; at least 1."""
    took = []
    for _ in range(3):
        before = time.process_time()
        sum(number * number for number in range(1_000_000))
        took.append(time.process_time() - before)
    return max(1.0, min(took) / REFERENCE_S)


def cpu_s() -> float:
    """CPU seconds of this process and of the children that it waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Note what the call uses."""
    before = cpu_s()
    try:
        return (yield)
    finally:
        item.stash[used_s] = cpu_s() - before


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test, and once more if it passes over the limit; report the last time (rule 1)."""
    if any(item.get_closest_marker(name) for name in UNLIMITED):
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, log=False, nextitem=nextitem)
    if _is_over(item, reports, CALL_LIMIT_S):
        first_s, limit_s = item.stash[used_s], CALL_LIMIT_S * slowness()
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        if _is_over(item, reports, limit_s):
            call = next(report for report in reports if report.when == "call")
            call.outcome = "failed"
            call.longrepr = (
                f"{item.nodeid}: its call used {first_s:.2f} s and then {item.stash[used_s]:.2f} s of CPU "
                f"time, allowed are {limit_s:.2g} s here; make it cheaper (smaller toys, fewer shapes, a "
                "shared fixture), or mark it slow, or heavy if it belongs to `make test-heavy`"
            )
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _is_over(item: pytest.Item, reports: list[pytest.TestReport], limit_s: float) -> bool:
    return all(report.passed for report in reports) and item.stash[used_s] > limit_s


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs data that is not here (rule 2)."""
    if item.get_closest_marker("real_data") and not os.environ.get("COMPACTOR_DATA"):
        pytest.skip("COMPACTOR_DATA is not set; it must point at a folder with the data sets")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let no test of real data be skipped where data is promised (rule 2)."""
    report = yield
    promised = os.environ.get("COMPACTOR_DATA") and os.environ.get("CI")
    if report.skipped and promised and item.get_closest_marker("real_data"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = (
            f"{item.nodeid}: {reason}; under CI with COMPACTOR_DATA={os.environ['COMPACTOR_DATA']} a test of "
            "real data may not be skipped: put the data there, or unset COMPACTOR_DATA"
        )
    return report
