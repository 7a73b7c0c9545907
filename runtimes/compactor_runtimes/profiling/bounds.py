"""The latency bound of the server scenario: `p99=50ms`."""

import re

from compactor_runtimes.errors import UsageError
from compactor_runtimes.measure.measurement import Bound

_FORM = re.compile(r"p(\d{1,2}(?:\.\d{1,3})?)\s*=\s*(\d+(?:\.\d+)?)\s*(us|ms|s)")
_UNITS = {"us": 1e3, "ms": 1e6, "s": 1e9}


def parse_bound(text: str) -> Bound:
    """Read a percentile and the time within which it must lie.

    Raises:
        UsageError: it is something else, a percentile below the median or no time at all.
    """
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"--bound {text!r}: expected a percentile and a time, such as p99=50ms or p90=800us")
    q, ns = float(found[1]) / 100, round(float(found[2]) * _UNITS[found[3]])
    if q < 0.5 or ns < 1:
        raise UsageError(f"--bound {text!r}: expected p50 or more and a time above 0, such as p99=50ms")
    return Bound(q=q, ns=ns)
