"""The exception tree of all three packages; each class carries the exit code that the CLI returns for it.

A message is one sentence: the thing, what was found, what was expected, and the next step.
"""

from collections.abc import Iterator
from contextlib import contextmanager

_LONGEST = 300
_LONGEST_SENTENCE = 2000


class CompactorError(Exception):
    """Base of every error that is meant for the user; anything else that escapes is our bug (exit code 1)."""

    exit_code = 1


class UsageError(CompactorError, ValueError):
    """A recipe, an argument or a data set that cannot be used as given."""

    exit_code = 2


class InputError(UsageError):
    """One input of several cannot be used; `index` is its place among them, counted from 0."""

    def __init__(self, index: int, reason: str) -> None:
        """Name the place and what is wrong there."""
        self.index, self.reason = index, reason
        super().__init__(f"input number {index} (from 0): {reason}")


class NumericGateError(CompactorError):
    """An artifact's numbers differ from its reference by more than the stated limit."""

    exit_code = 3


class AccuracyGateError(CompactorError):
    """A task metric or an agreement is below its gate, or cannot be decided with the samples at hand."""

    exit_code = 4


class PerformanceGateError(CompactorError):
    """A latency, memory or size limit is exceeded."""

    exit_code = 5


class TimeLimitError(PerformanceGateError, TimeoutError):
    """A call took longer than it was given, or was cancelled."""


class QueueFullError(PerformanceGateError):
    """More waits to be answered than a server was told to hold; asking again a little later may do."""


class UnfitEnvironmentError(CompactorError):
    """This machine cannot do what was asked, or did something else (another provider or precision)."""

    exit_code = 6


class UnavailableError(UnfitEnvironmentError):
    """What would answer is not ready yet, or is closing."""


class MissingDependency(UnfitEnvironmentError, ImportError):
    """A package of an extra is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        """Name the package and the extra that brings it."""
        self.package, self.extra = package, extra
        super().__init__(
            f"package {package!r} is not installed, and this needs it; "
            f"install it with: pip install 'compactor-toolkit[{extra}]'"
        )


class IntegrityError(CompactorError):
    """A file is damaged, missing, or points outside its folder."""

    exit_code = 7

    def __init__(self, message: str) -> None:
        """Keep the sentence on one line and of a bounded length, whatever a stranger's file made of it."""
        text = " ".join(message.split())
        super().__init__(text if len(text) <= _LONGEST_SENTENCE else f"{text[:_LONGEST_SENTENCE]}...")


class InterruptedRun(CompactorError):
    """The user stopped the work; what is done is kept and the message holds the command that goes on."""

    exit_code = 130


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Turn a failed third-party import in the block into MissingDependency for `extra`.

    Raises:
        MissingDependency: a package other than our own could not be found.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if not package or package.startswith("compactor") or isinstance(error, MissingDependency):
            raise
        raise MissingDependency(package, extra) from error


def one_line(error: BaseException) -> str:
    """Render another package's error on one line of a bounded length."""
    text = " ".join(str(error).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
