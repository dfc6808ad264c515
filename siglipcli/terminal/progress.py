"""How far a run is: a bar on a terminal, a line every minute where stderr goes to a log, or nothing."""

from __future__ import annotations

import math
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Thread
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from siglipcli.errors import SiglipError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rich.console import Console

__all__ = ["EVERY", "MODES", "Progress", "bar", "duration", "plain", "shown_as"]

T = TypeVar("T")

MODES = ("auto", "bar", "plain", "none")
EVERY = 60.0
"""Seconds between two plain lines."""
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


@dataclass
class Progress:
    """How many inputs are done, of how many where that is known."""

    total: int | None = None
    done: int = 0
    started: float = field(default_factory=perf_counter)

    def count(self, items: Iterable[T]) -> Iterator[T]:
        """Count a stream as it passes; what has `items` counts as so many."""
        self.begin()
        for item in items:
            yield item
            self.add(item)

    def begin(self) -> None:
        """Start the clock: what came before the first input, such as encoding labels, is no part of the rate."""
        self.started = perf_counter()

    def add(self, item: object) -> None:
        """Count one item, which has been dealt with."""
        self.done += len(getattr(item, "items", "1"))

    def learn(self, total: Callable[[], int | None]) -> None:
        """Find the total on a thread of its own, as counting a folder takes a while."""

        def run() -> None:
            with suppress(SiglipError):  # the run itself meets it too, and says so
                self.total = total()

        Thread(target=run, name="siglip-total", daemon=True).start()

    def __str__(self) -> str:
        return f"{self.done:,} of {self.total:,}" if self.total else f"{self.done:,}"


@contextmanager
def bar(console: Console, progress: Progress) -> Iterator[Callable[[Iterable[T]], Iterator[T]]]:
    """Give a function that shows a stream on a bar: count, rate, time left."""
    with _new_bar(console) as drawn:
        task = drawn.add_task("", total=None)

        def show(items: Iterable[T]) -> Iterator[T]:
            progress.begin()
            for item in items:
                yield item
                progress.add(item)
                drawn.update(task, completed=progress.done, total=progress.total)

        yield show


def plain(
    progress: Progress,
    say: Callable[[str], None],
    every: float = EVERY,
    total: Callable[[], int | None] | None = None,
) -> Callable[[Iterable[T]], Iterator[T]]:
    """Return a function that says every so many seconds how far a stream is: for a log.

    `total` is called on a thread of its own, halfway to the first line: most runs have ended by then.
    """

    def show(items: Iterable[T]) -> Iterator[T]:
        progress.begin()
        due, half = progress.started + every, progress.started + every / 2
        for item in items:
            yield item
            progress.add(item)
            if (now := perf_counter()) >= half and total:
                half = math.inf
                progress.learn(total)
            if now >= due:
                due = now + every
                say(_line(progress, now))

    return show


def shown_as(mode: str, *, quiet: bool, rows_on_screen: bool) -> str:
    """Return what `auto` means here: a bar beside a screen without rows, lines in a log, or nothing."""
    if quiet or sys.stderr is None:
        return "none"
    if mode != "auto":
        return mode
    if sys.stderr.isatty():
        return "none" if rows_on_screen else "bar"
    return "plain"


def _line(progress: Progress, now: float) -> str:
    rate = progress.done / (now - progress.started)
    text = f"{progress} done, {rate:,.1f} per second"
    if progress.total and rate:
        text += f", about {duration((progress.total - progress.done) / rate)} left"
    return text


def duration(seconds: float) -> str:
    """Return seconds as people say them: 3 hours, 40 seconds."""
    for unit, size in (("days", _DAY), ("hours", _HOUR), ("minutes", _MINUTE)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} seconds"


def _new_bar(console: Console) -> Any:
    from rich import progress

    class Rate(progress.ProgressColumn):
        def render(self, task: progress.Task) -> str:
            return f"{task.speed:,.1f}/s" if task.speed else "–/s"

    return progress.Progress(
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        Rate(),
        progress.TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
    )
