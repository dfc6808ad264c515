"""Calls a function in a Python process of its own, so that what it imports (torch) leaves with it.

The process is a fresh interpreter, which never runs the caller's `__main__`. It reads a function's name
and its arguments from stdin and writes pickled messages to stdout: log records, then how it ended. It
ends with its parent: stdin closes, and on Linux the kernel sends SIGKILL.
"""

from __future__ import annotations

import importlib
import logging
import os
import pickle
import signal
import subprocess
import sys
import traceback
from contextlib import contextmanager, suppress
from threading import Thread, Timer
from typing import TYPE_CHECKING, Any, BinaryIO

from siglipcli import processes
from siglipcli.errors import SiglipError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["run", "serve"]

_START = (
    "import sys; sys.path[:] = sys.argv[1:];"
    " from siglipcli.encoders.build_process import serve; serve()"
)
_READY = b"siglip: ready to build\n"  # no other program begins so
_START_SECONDS = 60.0
_PATIENCE = 5.0  # seconds for a killed process to be gone
_PLAIN = (str, int, float, bool, type(None), list, tuple)

logger = logging.getLogger("siglipcli")


def run(function: str, *arguments: object, executable: str | None = None) -> None:
    """Call `function`, "module:name", with arguments that pickle, and wait for its end.

    Where `executable` (this Python) starts no process, the function is called in this one. What it
    logs to "siglipcli" is logged here. Raises what it raises, without types that this process would
    have to import a library for; RuntimeError where the process is killed or crashes.
    """
    if executable is None:
        executable = sys.executable if processes.can_start_python() else ""
    with _started(executable) as process:
        if process is not None:
            _follow(process, function, arguments)
            return
    _function(function)(*arguments)


@contextmanager
def _started(executable: str) -> Iterator[subprocess.Popen[bytes] | None]:
    """Start a process that is ready to `serve`, None where that cannot be; it ends with the block."""
    process = _new_process(executable) if executable else None
    if process is None:
        yield None
        return
    try:
        if _is_ready(process):
            yield process
            return
    finally:
        _end(process)
    yield None


def _new_process(executable: str) -> subprocess.Popen[bytes] | None:
    is_debugging = logger.isEnabledFor(logging.DEBUG)
    try:
        return subprocess.Popen(  # noqa: S603  # this Python, and words of ours
            [executable, *processes.python_flags(), "-c", _START, *processes.import_paths()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if is_debugging else subprocess.DEVNULL,
            creationflags=processes.NO_CONSOLE,
        )
    except (OSError, ValueError) as error:
        logger.debug("no process can be started: %s", error)
        return None


def _is_ready(process: subprocess.Popen[bytes]) -> bool:
    late = Timer(_START_SECONDS, process.kill)  # of a program that is no Python, and waits
    late.daemon = True
    late.start()
    try:
        line: bytes = _pipe(process.stdout).readline(len(_READY))
        return line == _READY
    finally:
        late.cancel()


def _follow(process: subprocess.Popen[bytes], function: str, arguments: tuple[object, ...]) -> None:
    """Send the work, log what the process logs, and end as it ends."""
    try:
        requests = _pipe(process.stdin)
        pickle.dump((function, arguments, logger.getEffectiveLevel()), requests)
        requests.flush()  # and left open: its end is the end of the work
        while True:
            kind, content = pickle.load(_pipe(process.stdout))  # noqa: S301  # from our own code
            if kind == "log":
                logger.log(*content)
                continue
            break
    except (OSError, EOFError, pickle.UnpicklingError):
        raise RuntimeError(_crash(process)) from None
    if kind == "error":
        error, origin = content
        raise error from _RemoteError(origin)


class _RemoteError(Exception):
    """The traceback of an error in the other process, shown as the cause of the same error here."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _crash(process: subprocess.Popen[bytes]) -> str:
    with suppress(subprocess.TimeoutExpired):
        process.wait(_PATIENCE)
    status = process.returncode
    words = f"the process that prepares the model was ended{processes.how_it_ended(status)}"
    if status == -getattr(signal, "SIGKILL", 0):
        words += ", as it is where memory runs out"
    return words


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process if it runs, and take its status: no zombie stays."""
    with suppress(OSError):
        process.kill()
    with suppress(subprocess.TimeoutExpired):  # the kernel waits for a dead disk
        process.wait(_PATIENCE)
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):  # what was not written cannot be
            _pipe(pipe).close()


def _pipe(pipe: Any) -> Any:
    assert pipe is not None
    return pipe


def _function(name: str) -> Callable[..., object]:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)  # type: ignore[no-any-return]


def serve() -> None:
    """Do what stdin says and end; never returns."""
    processes.end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is the parent's to answer
    os.umask(0o077)
    requests, replies = processes.private_streams()
    with suppress(OSError):
        replies.write(_READY)
        replies.flush()
        _send(replies, _served(requests, replies))
    os._exit(0)


def _served(requests: BinaryIO, replies: BinaryIO) -> tuple[str, object]:
    """Do the work; return the last message."""
    try:
        function, arguments, level = pickle.load(requests)  # noqa: S301  # from the parent
        Thread(target=_end_after, args=(requests,), daemon=True).start()
        logger.setLevel(level)
        logger.addHandler(_Forwarded(replies))
        logger.propagate = False
        _function(function)(*arguments)
    except Exception as error:  # noqa: BLE001  # raised in the parent
        return "error", (_picklable(_portable(error)), traceback.format_exc())
    return "done", None


def _end_after(requests: BinaryIO) -> None:
    """End the process where the parent's end of stdin closes."""
    with suppress(OSError):
        requests.read(1)
    os._exit(1)


class _Forwarded(logging.Handler):
    """Sends log records to the parent."""

    def __init__(self, replies: BinaryIO) -> None:
        super().__init__()
        self._replies = replies

    def emit(self, record: logging.LogRecord) -> None:
        _send(self._replies, ("log", (record.levelno, "%s", record.getMessage())))


def _send(replies: BinaryIO, message: tuple[str, object]) -> None:
    replies.write(pickle.dumps(message))
    replies.flush()


def _picklable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  # our own
    except Exception:  # noqa: BLE001  # whatever its arguments raise
        return RuntimeError(str(error))
    return error


def _portable(error: Exception) -> Exception:
    """Return an error that unpickles without importing a library: torch's own is a RuntimeError there."""
    if isinstance(error, SiglipError):
        error.facts = {k: v if isinstance(v, _PLAIN) else str(v) for k, v in error.facts.items()}
        return error
    kinds: list[Any] = [kind for kind in type(error).__mro__ if kind.__module__ == "builtins"]
    if kinds[0] is type(error):
        return error
    if isinstance(error, OSError):
        return OSError(error.errno, error.strerror, error.filename)
    try:
        portable: Exception = kinds[0](str(error))
    except TypeError:  # of UnicodeError's kind
        return RuntimeError(str(error))
    return portable
