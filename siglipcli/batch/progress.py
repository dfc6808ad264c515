"""How far a run is: two bars on a terminal (shards; images, with rate and time left), or a line a minute in a log."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

from siglipcli.terminal.progress import EVERY, duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from siglipcli.batch.shards import Outcome

__all__ = ["Progress", "shown"]


@dataclass
class Progress:
    """Shards and images that are done, of `shards` and, where that is known, of `total` images."""

    shards: int
    total: int | None = None
    done: int = 0
    images: int = 0
    started: float = field(default_factory=time.perf_counter)
    draw: Callable[[Progress], None] = field(default=lambda _: None)
    _lock: Lock = field(default_factory=Lock)

    def add_images(self, count: int) -> None:
        """Count rows that were written; called from any thread."""
        with self._lock:
            self.images += count
            self.draw(self)

    def add_shard(self, outcome: Outcome, *, with_images: bool = False) -> None:
        """Count a shard, and its images where nobody else does; called from any thread."""
        with self._lock:
            self.done += 1
            self.images += outcome.rows if with_images else 0
            self.draw(self)

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.started

    @property
    def expected(self) -> int | None:
        """All images: as listed, else as many a shard as there were in those that are done."""
        if self.total is not None or not self.done:
            return self.total
        return round(self.images / self.done * self.shards)

    def __str__(self) -> str:
        rate = self.images / self.seconds if self.seconds else 0.0
        text = f"{self.done:,} of {self.shards:,} shards, {self.images:,} images, {rate:,.1f} per second"
        if rate and (expected := self.expected):
            text += f", about {duration((expected - self.images) / rate)} left"
        return text


@contextmanager
def shown(
    progress: Progress, mode: str, say: Callable[[str], None], console: Any
) -> Iterator[None]:
    """Show a run's progress in a mode of `terminal.progress`; `console` is Rich's, for bars."""
    progress.started = time.perf_counter()
    if mode == "bar":
        with _bars(progress, console):
            yield
        return
    if mode == "plain":
        progress.draw = _Lines(say)
    yield


class _Lines:
    """Says every minute how far the run is."""

    def __init__(self, say: Callable[[str], None], every: float = EVERY) -> None:
        self._say = say
        self._every = every
        self._due = time.perf_counter() + every

    def __call__(self, progress: Progress) -> None:
        if (now := time.perf_counter()) >= self._due:
            self._due = now + self._every
            self._say(str(progress))


@contextmanager
def _bars(progress: Progress, console: Any) -> Iterator[None]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars

    with Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
    ) as bars:
        shards = bars.add_task("shards", total=progress.shards, rate="")
        images = bars.add_task("images", total=progress.total, rate="")

        def draw(now: Progress) -> None:
            rate = f"{now.images / now.seconds:,.1f}/s" if now.seconds else ""
            bars.update(shards, completed=now.done)
            bars.update(images, completed=now.images, total=now.expected, rate=rate)

        progress.draw = draw
        yield
