"""What runtimes say in the same words: feeds and threads that they refuse, closed ones, untrusted code."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compactor_runtimes.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNTRUSTED = "an engine is code and runs as such; pass trust=True (--trust) if you trust who built it"
MOST_THREADS = 1024  # more than any machine has cores; some runtimes fall over far larger numbers


class FeedsRefused(UsageError):
    """A graph does not take these feeds; whoever made them by a manifest's word knows whose fault it is."""


def refused(source: Path, feeds: "Mapping[str, NDArray[Any]]", why: str) -> FeedsRefused:
    """Make the error of a graph that does not take these feeds."""
    given = ", ".join(f"{name} {value.dtype}{list(value.shape)}" for name, value in feeds.items())
    return FeedsRefused(
        f"{source.name}: the graph refuses {given or 'no input'} ({why}); "
        "give the shapes and types that the bundle's manifest states"
    )


def closed(source: Path) -> UsageError:
    """Make the error of a runtime that was closed."""
    return UsageError(f"{source.name}: the runtime is closed; open it again")


def check_threads(threads: int | None) -> None:
    """Check a number of threads; None leaves it to the runtime.

    Raises:
        UsageError: it is no int from 1 to `MOST_THREADS`.
    """
    if threads is None:
        return
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= MOST_THREADS:
        raise UsageError(
            f"threads: got {threads!r}, expected 1 or more, at most {MOST_THREADS}, or None for the "
            "runtime's own choice"
        )
