"""Count the steps of a measurement for whoever shows them."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with what is done next, the steps that are done, and how many there are."""


class Steps:
    """Steps of a known number; more of them, such as repetitions, leave the count at the end."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        """Tell `progress`, where there is one."""
        self._progress, self._done, self._total = progress, 0, total

    def tell(self, what: str) -> None:
        """Begin the next step."""
        if self._progress is not None:
            self._progress(what, min(self._done, self._total), self._total)
        self._done += 1

    def note(self, what: str) -> None:
        """Say what goes on without counting it."""
        if self._progress is not None:
            self._progress(what, min(self._done, self._total), self._total)
