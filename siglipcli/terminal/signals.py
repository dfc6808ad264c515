"""Ctrl-C, SIGTERM and SIGHUP: what was done is said, files are put away, and the status is the signal's.

While a command starts, a signal ends the process at once: nothing is begun that could be left half done,
and an exception raised inside the import of a native library may crash it. Inside `put_away`
a signal raises in the main thread, so that whole rows are flushed and drafts are removed. A second signal
soon after the first is the same keypress, or an impatient one: it is ignored while things are put away,
and ends the process at once after `_PATIENCE`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn

from siglipcli.terminal.status import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

__all__ = ["Stopped", "describe", "install", "put_away", "say", "status_after"]

_PATIENCE = 1.0  # seconds for putting away
_CURSOR = "\r\x1b[K\x1b[?25h"  # the line is cleared, the cursor shown: a progress bar hid it


class Stopped(BaseException):
    """A signal arrived; raised in the main thread so that files are put away."""


class _State:
    """What is going on in this process; there is one terminal and one run."""

    first: float | None = None
    number = 0
    raises = False
    words: Callable[[], str] | None = None


def install() -> None:
    """Take the signals over from Python."""
    _State.first, _State.number, _State.raises, _State.words = None, 0, False, None
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if (
            number is not None and signal.getsignal(number) != signal.SIG_IGN
        ):  # nohup ignores SIGHUP
            signal.signal(number, _arrived)


def describe(words: Callable[[], str]) -> None:
    """Say `words()` on stderr when a signal ends the run: what is done, and how to go on."""
    _State.words = words


@contextmanager
def put_away() -> Iterator[None]:
    """Let a signal raise `Stopped` in this block, whose `finally` clauses put things away."""
    before, _State.raises = _State.raises, True
    try:
        yield
    finally:
        _State.raises = before


def status_after() -> ExitStatus | None:
    """Return the status of a run that a signal ends; None where none arrived."""
    if _State.first is None:
        return None
    interrupted = _State.number == signal.SIGINT
    return ExitStatus.INTERRUPTED if interrupted else ExitStatus(128 + _State.number)


def _arrived(number: int, frame: FrameType | None) -> None:
    del frame
    if _State.first is None:
        _State.first, _State.number = time.monotonic(), number
        if _State.raises:
            raise Stopped
        _leave()
    if time.monotonic() - _State.first > _PATIENCE:
        _leave()


def _leave() -> NoReturn:
    with suppress(OSError, ValueError, RuntimeError, AttributeError):
        say()
    status = status_after()
    os._exit(ExitStatus.INTERRUPTED if status is None else status)


def say() -> None:
    """Print what was done so far, once."""
    words, _State.words = _State.words, None
    if sys.stderr is None or words is None:
        return
    line = f"{_CURSOR if sys.stderr.isatty() else ''}siglip: {words()}\n"
    try:
        number = sys.stderr.fileno()
    except (OSError, ValueError):  # a stream that is no file
        sys.stderr.write(line)
        return
    os.write(number, line.encode(errors="replace"))  # the signal may have come inside a write
