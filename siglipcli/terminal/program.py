"""A program on a terminal: errors become a line on stderr and an exit status, and the process ends at once."""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import typer

from siglipcli.errors import OutputError, SiglipError
from siglipcli.terminal import signals
from siglipcli.terminal.screen import complain
from siglipcli.terminal.status import ExitStatus, status_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["run", "translated"]


class _Closed(io.TextIOBase):
    """Stands for a standard output that was closed before the program began."""

    closed = True

    def write(self, text: str, /) -> int:
        del text
        raise OutputError("write error: standard output is closed.")

    def flush(self) -> None:
        return

    def isatty(self) -> bool:
        return False


# What a write to standard output says, where a command prints without `open_output`.
_FULL_OR_GONE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})


@contextmanager
def translated(words: Callable[[SiglipError], str]) -> Iterator[None]:
    """Turn errors into `words` on stderr and an exit status: the one place that does."""
    try:
        yield
    except SiglipError as error:
        complain(words(error))
        raise typer.Exit(status_of(error)) from error
    except BrokenPipeError as error:  # the reader has seen enough
        raise typer.Exit(ExitStatus.OK) from error
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # Rich ends the program for one
            raise typer.Exit(ExitStatus.OK) from stop
        raise
    except OSError as error:
        if error.errno not in _FULL_OR_GONE:
            raise
        complain(f"write error: {error.strerror}")
        raise typer.Exit(ExitStatus.CANNOT_GO_ON) from error
    except (signals.Stopped, KeyboardInterrupt) as error:
        signals.say()
        raise typer.Exit(signals.status_after() or ExitStatus.INTERRUPTED) from error


def run(app: Callable[[], object]) -> NoReturn:
    """Run a Typer app and end the process with a status of `ExitStatus`."""
    signals.install()
    sys.stdout = sys.stdout or _Closed()
    # print and Typer would take stdout for a stderr that is not there
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    try:
        app()
        status: int = ExitStatus.OK
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else ExitStatus.CANNOT_GO_ON
    except (Exception, KeyboardInterrupt, signals.Stopped) as error:  # noqa: BLE001  # the last line
        status = _last_words(error)
    _leave(status)


def _last_words(error: BaseException) -> int:
    if (status := signals.status_after()) is not None:  # whatever it broke on its way
        return status
    if isinstance(error, KeyboardInterrupt):
        return ExitStatus.INTERRUPTED
    complain(f"this is a bug in siglip: {type(error).__name__}: {error}. {_keep_traceback(error)}")
    return ExitStatus.CANNOT_GO_ON


def _keep_traceback(error: BaseException) -> str:
    import tempfile
    import traceback

    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="siglip-", suffix=".traceback.txt", delete=False, encoding="utf-8"
        ) as file:
            file.writelines(traceback.format_exception(error))
    except OSError:
        return "Its traceback could not be kept."
    return f"Its traceback is in {file.name}"


def _leave(status: int) -> NoReturn:
    """End now: no waiting for a thread inside a decoder, no taking down of a model's memory."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # the reader left
        pass
    except (OSError, ValueError) as error:
        if status <= ExitStatus.SOME_INPUTS_FAILED:  # else it was said already
            complain(f"write error: standard output: {error}")
            status = ExitStatus.CANNOT_GO_ON
    os._exit(status)
