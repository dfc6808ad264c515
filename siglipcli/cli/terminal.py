"""What goes to stderr: complaints, notes and the progress bar. Answers never do."""

from __future__ import annotations

import logging
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from siglipcli.errors import SiglipError
from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from siglipcli.cli.options import VerbosityOptions
    from siglipcli.encoders.checkpoint import Progress as FetchProgress

__all__ = ["Terminal", "complain"]

T = TypeVar("T")


def complain(message: str) -> None:
    """Print one line on stderr; where stderr is gone too, stay silent."""
    try:
        print(f"siglip: {visible(message)}", file=sys.stderr)  # noqa: T201
    except (OSError, ValueError, AttributeError):
        return


class Terminal:
    """A person's side of a run: notes and a progress bar, each only where it is wanted.

    The bar shows only if stderr is a terminal and stdout is not: rows that appear on the same
    screen show the progress themselves.
    """

    def __init__(self, verbosity: VerbosityOptions, *, rows_on_screen: bool) -> None:
        self.quiet = verbosity.quiet
        self.verbose = verbosity.verbose and not verbosity.quiet
        _listen(logging.ERROR if self.quiet else logging.DEBUG if self.verbose else logging.INFO)
        self.started = time.perf_counter()
        screen = sys.stderr is not None and sys.stderr.isatty()
        self.animated = screen and not verbosity.quiet and not verbosity.no_progress
        self._shows_bar = self.animated and not rows_on_screen

    def note(self, message: str) -> None:
        """Say something worth knowing, unless --quiet."""
        if not self.quiet:
            complain(message)

    def detail(self, message: str) -> None:
        """Say something only --verbose asks for, with the seconds since the start."""
        if self.verbose:
            complain(f"[{time.perf_counter() - self.started:.2f} s] {message}")

    @contextmanager
    def waiting(self, message: str) -> Iterator[Callable[[int, int], None]]:
        """Show a spinner while something slow happens; give what tells it how many of how many are done."""
        if not self.animated:
            yield lambda _done, _total: None
            return
        with self._console().status(message) as status:
            yield lambda done, total: status.update(f"{message}: {done:,} of {total:,}")

    @contextmanager
    def fetching(self) -> Iterator[FetchProgress | None]:
        """Give a callback `(file, done, total)` in bytes that draws downloads as they go."""
        if not self.animated:
            yield None
            return
        from rich import progress

        with progress.Progress(
            progress.TextColumn("{task.description}", markup=False), progress.BarColumn(), progress.DownloadColumn(),
            progress.TransferSpeedColumn(), progress.TimeRemainingColumn(compact=True),
            console=self._console(), transient=True,
        ) as bars:  # fmt: skip
            tasks: dict[str, progress.TaskID] = {}

            def show(name: str, done: int, total: int | None) -> None:
                if name not in tasks:
                    tasks[name] = bars.add_task(visible(name), total=total)
                bars.update(tasks[name], completed=done, total=total)

            yield show

    @contextmanager
    def bar(
        self, total: Callable[[], int | None]
    ) -> Iterator[Callable[[Iterable[T]], Iterator[T]]]:
        """Give a function that counts a stream on a progress bar: count, rate, time left.

        What has `items` counts as so many. `total` is called on a thread of its own, as counting a folder takes a while.
        """
        if not self._shows_bar:
            yield iter
            return
        from threading import Thread

        with _new_bar(self._console()) as bar:
            task = bar.add_task("", total=None)

            def count() -> None:
                with suppress(SiglipError):  # the run itself meets it too, and says so
                    bar.update(task, total=total())

            Thread(target=count, daemon=True).start()
            yield lambda items: _counted(items, bar, task)

    def _console(self) -> Console:
        from rich.console import Console

        return Console(stderr=True, highlight=False)


class _Lines(logging.Handler):
    """The library's log as lines on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        complain(record.getMessage())


def _listen(level: int) -> None:
    logger = logging.getLogger("siglipcli")
    logger.handlers = [_Lines()]
    logger.propagate = False
    logger.setLevel(level)


def _counted(items: Iterable[T], bar: Bar, task: TaskID) -> Iterator[T]:
    for item in items:
        bar.advance(task, len(getattr(item, "items", "1")))
        yield item


def _new_bar(console: Console) -> Bar:
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
