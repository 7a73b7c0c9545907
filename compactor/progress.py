"""How long work tells the user where it stands; the work itself only sees the Reporter protocol."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

NOTE_EVERY_S = 15.0


class Bar(Protocol):
    """One piece of work with a known length."""

    def at(self, done: int, text: str = "", total: int | None = None) -> None:
        """Say how much is done and, in a few words, how it goes; `total` corrects the length."""


class Reporter(Protocol):
    """Where progress goes."""

    def note(self, text: str) -> None:
        """Say one line that stays on the screen."""

    def bar(self, title: str, total: int) -> AbstractContextManager[Bar]:
        """Open a progress bar for the block."""


class SilentReporter:
    """Say nothing."""

    def note(self, text: str) -> None:
        """Ignore the line."""

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Bar]:
        """Yield a bar that shows nothing."""
        yield _NoBar()


class _NoBar:
    def at(self, done: int, text: str = "", total: int | None = None) -> None:
        pass


class RichReporter:
    """Bars with throughput, ETA and losses on a terminal; a line now and then where the output is a file."""

    def __init__(self, console: Console) -> None:
        """Write to `console`, which should be standard error so that results can be piped."""
        self.console = console

    def note(self, text: str) -> None:
        """Print the line."""
        self.console.print(text, markup=False, emoji=False, highlight=False)

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Bar]:
        """Show a bar on a terminal, lines elsewhere."""
        if not self.console.is_terminal:
            yield _LineBar(self, title, total)
            return
        # narrow enough for 80 columns, with room for throughput and losses
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TextColumn("eta", markup=False),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[text]}", markup=False),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(title, total=total, text="")
            yield _RichBar(progress, task)


class _RichBar:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self.progress, self.task = progress, task

    def at(self, done: int, text: str = "", total: int | None = None) -> None:
        self.progress.update(self.task, completed=done, text=text, total=total)


class _LineBar:
    def __init__(self, reporter: RichReporter, title: str, total: int) -> None:
        self.reporter, self.title, self.total = reporter, title, total
        self.last_s = time.monotonic()

    def at(self, done: int, text: str = "", total: int | None = None) -> None:
        self.total = total or self.total
        now_s = time.monotonic()
        if now_s - self.last_s >= NOTE_EVERY_S:
            self.last_s = now_s
            self.reporter.note(f"{self.title}: {done}/{self.total} {text}")
