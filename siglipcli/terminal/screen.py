"""What goes to stderr: errors, notes and progress. Results never do."""

from __future__ import annotations

import logging
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from siglipcli.terminal.progress import MODES, Progress, shown_as
from siglipcli.terminal.values import words
from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rich.console import Console

    from siglipcli.encoders.checkpoint import Progress as FetchProgress
    from siglipcli.results import Failure

__all__ = ["Quiet", "Terminal", "VerbosityOptions", "complain"]

T = TypeVar("T")


def complain(message: str) -> None:
    """Print one line on stderr; where stderr is gone too, stay silent."""
    try:
        print(f"siglip: {visible(message)}", file=sys.stderr)  # noqa: T201
    except (OSError, ValueError, AttributeError):
        return


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.")]


@dataclass(frozen=True)
class VerbosityOptions:
    """What is said on stderr."""

    heading = "Messages"

    quiet: Quiet = False
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Say on stderr what is used, and when.")
    ] = False
    progress: Annotated[
        str,
        typer.Option(
            **words(*MODES),
            envvar="SIGLIP_PROGRESS",
            help="A bar, plain lines (one per minute, for logs), or none; auto: what fits stderr.",
        ),
    ] = "auto"
    no_progress: Annotated[
        bool,
        typer.Option("--no-progress", envvar="SIGLIP_NO_PROGRESS", help="As --progress none."),
    ] = False


class Terminal:
    """A person's side of a run: notes and progress, each only where it is wanted.

    A bar shows only if stderr is a terminal and stdout is not: rows that appear on the same
    screen show the progress themselves.
    """

    def __init__(self, verbosity: VerbosityOptions, *, rows_on_screen: bool) -> None:
        self.quiet = verbosity.quiet
        self.verbose = verbosity.verbose and not verbosity.quiet
        _listen(logging.ERROR if self.quiet else logging.DEBUG if self.verbose else logging.INFO)
        self.started = time.perf_counter()
        mode = "none" if verbosity.no_progress else verbosity.progress
        self.shown_as = shown_as(mode, quiet=self.quiet, rows_on_screen=rows_on_screen)
        screen = sys.stderr is not None and sys.stderr.isatty()
        self.animated = screen and not self.quiet and mode in {"auto", "bar"}
        self.done = Progress()

    def note(self, message: str) -> None:
        """Say something worth knowing, unless --quiet."""
        if not self.quiet:
            complain(message)

    def failed(self, failure: Failure) -> None:
        """Say why an input has no result, unless --quiet."""
        self.note(f"{failure.file}: {failure.kind}: {failure.message}")

    def interrupted(self, *, stored: bool) -> str:
        """Return what to say of a run that a signal ends."""
        kept = " and stored; run the same command to continue" if stored else ""
        return f"interrupted: {self.done} done{kept}"

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
        with self.console.status(message) as status:
            yield lambda done, total: status.update(f"{message}: {done:,} of {total:,}")

    @contextmanager
    def stages(self) -> Iterator[Callable[[str, float], None]]:
        """Give a callback `(what is being done, part of the time that has passed)`: a bar, lines, or nothing."""
        if not self.animated:
            yield _Stages(self.note if self.shown_as == "plain" else self.detail).say
            return
        from rich import progress

        with progress.Progress(
            progress.BarColumn(), progress.TimeElapsedColumn(), progress.TextColumn("{task.description}", markup=False),
            console=self.console, transient=True,
        ) as bars:  # fmt: skip
            task = bars.add_task("", total=1.0)
            yield lambda words, part: bars.update(task, description=words, completed=part)

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
            console=self.console, transient=True,
        ) as bars:  # fmt: skip
            tasks: dict[str, progress.TaskID] = {}

            def show(name: str, done: int, total: int | None) -> None:
                if name not in tasks:
                    tasks[name] = bars.add_task(visible(name), total=total)
                bars.update(tasks[name], completed=done, total=total)

            yield show

    @contextmanager
    def progress(
        self, total: Callable[[], int | None]
    ) -> Iterator[Callable[[Iterable[T]], Iterator[T]]]:
        """Give a function that shows how far a stream is, in the way that fits; see `terminal.progress`.

        `total` is called on a thread of its own, or not at all; None where it cannot be known.
        """
        from siglipcli.terminal import progress

        if self.shown_as == "none":
            yield self.done.count
            return
        if self.shown_as == "plain":
            yield progress.plain(self.done, self.note, total=total)
            return
        self.done.learn(total)
        with progress.bar(self.console, self.done) as show:
            yield show

    @property
    def console(self) -> Console:
        """Rich's console on stderr."""
        from rich.console import Console

        return Console(stderr=True, highlight=False)


class _Stages:
    """Says each stage once, without the counts after its colon."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._last = ""

    def say(self, words: str, _part: float) -> None:
        stage = words.partition(":")[0]
        if stage != self._last:
            self._last = stage
            self._say(stage)


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
