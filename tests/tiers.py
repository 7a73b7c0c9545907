"""What is heavy, slow or in need of real data, and that nothing else is: a plugin.

1. A test marked neither `slow` nor `heavy` should use at most CALL_LIMIT_S of CPU time in its call. What its
   worker and the children that it waited for use counts; fixtures do not, they are shared. Those over it are
   listed when all is done: how long a second's work takes is the machine's affair, and no reason to fail.
   What takes CALL_CEILING_S belongs to another tier on any machine: it runs once more, since a first call may
   be an import or another test's warm-up, and fails if it takes that long again.
2. A test marked `real_data` is skipped where $COMPACTOR_DATA is not set. Where it is and $CI too, a skip of
   such a test is a failure: there it would be the only proof.
"""

import os
from collections.abc import Generator
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

CALL_LIMIT_S = 1.0
CALL_CEILING_S = 15.0
UNLIMITED = ("slow", "heavy")
LISTED = 15
WHAT_TO_DO = (
    "make it cheaper (smaller toys, fewer shapes, a shared fixture), or mark it slow, or heavy if it belongs "
    "to `make test-heavy`"
)

USED = "cpu_s"
used_s = pytest.StashKey[float]()


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
        if not _is_unlimited(item):
            item.user_properties = [(USED, item.stash[used_s])]  # read where the summary is written


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test, and once more if it passes over the ceiling; report the last time (rule 1)."""
    if _is_unlimited(item):
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, log=False, nextitem=nextitem)
    if _is_over(item, reports):
        first_s = item.stash[used_s]
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        if _is_over(item, reports):
            call = next(report for report in reports if report.when == "call")
            call.outcome = "failed"
            call.longrepr = (
                f"{item.nodeid}: its call used {first_s:.2f} s and then {item.stash[used_s]:.2f} s of CPU "
                f"time, allowed are {CALL_CEILING_S:g} s; {WHAT_TO_DO}"
            )
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _is_unlimited(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(name) for name in UNLIMITED)


def _is_over(item: pytest.Item, reports: list[pytest.TestReport]) -> bool:
    return all(report.passed for report in reports) and item.stash[used_s] > CALL_CEILING_S


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List what is slower than its tier should be, the slowest first (rule 1)."""
    over = sorted(
        (
            (seconds, report.nodeid)
            for report in terminalreporter.getreports("passed")
            for name, seconds in report.user_properties
            if name == USED and report.when == "call" and seconds > CALL_LIMIT_S
        ),
        reverse=True,
    )
    if over:
        terminalreporter.section(f"{len(over)} used over {CALL_LIMIT_S:g} s of CPU time here")
        for seconds, nodeid in over[:LISTED]:
            terminalreporter.write_line(f"{seconds:.2f} s  {nodeid}")
        terminalreporter.write_line(WHAT_TO_DO)


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
