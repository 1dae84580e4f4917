"""Progress on stderr: a bar on a terminal, a plain line now and then in a log, nothing when asked to be quiet."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Reporter:
    """Shows steps done of ``total``, with a text of numbers and, from the second step on, the time left."""

    def __init__(
        self, title: str, total: int, done: int = 0, *, show: bool = True, seconds_between: float = 10.0
    ) -> None:
        self.title, self.total, self.first, self.show, self.between = title, total, done, show, seconds_between
        self.printed = time.monotonic()
        # When the first step was done here, which loads and compiles, and which it was.
        self.first_done: tuple[float, int] | None = None
        self.bar: Progress | None = None
        if show and sys.stderr.isatty():
            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TextColumn("{task.fields[numbers]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=False,
            )
            self.task = self.bar.add_task(title, total=total, completed=done, numbers="")

    def update(self, done: int, numbers: str) -> None:
        """``done`` steps are done; ``numbers`` is what to say beside."""
        if self.bar is not None:
            self.bar.update(self.task, completed=done, numbers=numbers)
            return
        now = time.monotonic()
        if self.first_done is None and done > self.first:
            self.first_done = now, done
        if self.show and (now - self.printed >= self.between or done == self.total):
            self.printed = now
            _write(f"{self.title}  {done}/{self.total}  {numbers}{self._left(now, done)}")

    def _left(self, now: float, done: int) -> str:
        """The time left at the rate of what came after the first step; nothing where that is not known yet."""
        began, first = self.first_done or (now, done)
        if done == self.total:
            return "  left 0:00"
        return f"  left {clock((now - began) / (done - first) * (self.total - done))}" if done > first else ""

    def say(self, text: str) -> None:
        """One line above the bar."""
        if self.bar is not None:
            self.bar.console.print(text, highlight=False, markup=False)
        elif self.show:
            _write(text)

    def __enter__(self) -> Self:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()


def _write(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def clock(seconds: float) -> str:
    """A time to read.

    >>> clock(75), clock(3725)
    ('1:15', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
