"""Wait until nothing else uses the machine."""

from collections.abc import Sequence
from time import monotonic

from compactor_runtimes.measure.conditions import watch
from compactor_runtimes.measure.progress import Steps
from compactor_runtimes.measure.validity import MAX_OTHERS

QUIET = MAX_OTHERS / 2
_TIMES = 2  # in a row


def wait_until_quiet(own: Sequence[int], seconds: float, steps: Steps) -> bool:
    """Wait, `seconds` at most, until others use under 5% of the CPU twice in a row; say whether they do."""
    ends, quiet = monotonic() + seconds, 0
    while True:
        used = watch(own).others
        quiet = quiet + 1 if used is None or used <= QUIET else 0
        if quiet == _TIMES:
            return True
        if monotonic() >= ends:
            return False
        if used is not None and used > QUIET:
            steps.note(f"waiting for quiet: other processes use {used:.0%} of the CPU")
