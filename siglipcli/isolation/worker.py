"""The worker as its parent sees it: bytes in, pixels or an ImageError out, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from siglipcli.errors import ImageError, SiglipError
from siglipcli.isolation.serve import ERROR, PIXELS, READY, REPLY, REQUEST

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from siglipcli.images import Limits

    Pixels = NDArray[np.uint8]

__all__ = ["CannotStartError", "Worker", "too_slow"]

_START = (
    "import sys; sys.path[:] = sys.argv[1:]; from siglipcli.isolation.serve import serve; serve()"
)
_NO_CONSOLE = 0
if sys.platform == "win32":
    _NO_CONSOLE = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_PIPE = 1 << 19  # bytes: a model's picture of 384x384 in one go
_PATIENCE = 5.0  # seconds for a killed process to be gone
_TIME_IS_UP = -getattr(signal, "SIGALRM", 0) or None  # the exit status of a process so ended


class CannotStartError(SiglipError):
    """This machine, or this Python, starts no worker process."""


class Worker:
    """A process that decodes, started when first needed, and again after a picture that killed it.

    One thread decodes; any may `kill`. Needs no close where `kill` or the end of the parent comes.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._decoded = 0  # pictures of this process
        self._over = False
        self._lock = Lock()

    def decode(
        self, data: bytes, size: int, limits: Limits, *, exact: bool, seconds: float = 0
    ) -> Pixels:
        """Do what `images.decode` does, there: uint8[size, size, 3].

        The kernel ends the process some time after `seconds` (0: never), should nobody else. Raises
        ImageError, also `crashed` and `timeout`; CannotStartError.
        """
        request = REQUEST.pack(len(data), size, limits.max_megapixels, seconds, exact)
        while True:
            process = self._process or self._start()
            is_fresh, self._decoded = self._decoded == 0, self._decoded + 1
            try:
                return self._exchange(process, request, data, size)
            except OSError:  # it died, or was killed
                status = self._forget()
            if status == _TIME_IS_UP:
                raise too_slow(seconds)
            # what an earlier picture did to its memory is no fault of this one
            if is_fresh or self._over:
                raise _crashed(status)

    def kill(self) -> None:
        """End the process, now and for good; a decode that is under way fails."""
        with self._lock:
            self._over = True
            if self._process:
                _end(self._process)

    def close(self) -> None:
        """Do `kill`, and close the pipes: for the thread that decodes, when it is done."""
        self.kill()
        self._forget()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._over:
                raise _crashed(None)
            self._process = process = _new_process()
            self._decoded = 0
        with suppress(OSError):
            if _read(process, len(READY)) == READY:
                return process
        status = self._forget()
        if self._over:
            raise _crashed(None)
        raise CannotStartError(f"a process for decoding ended at once, with status {status}")

    def _exchange(
        self, process: subprocess.Popen[bytes], request: bytes, data: bytes, size: int
    ) -> Pixels:
        _write(process, request)
        _write(process, data)
        kind, length = REPLY.unpack(_read(process, REPLY.size))
        if kind == PIXELS:
            pixels = np.empty((size, size, 3), np.uint8)
            if length != pixels.nbytes:
                raise OSError("not as agreed")
            _read_into(process, pixels.data.cast("B"))
            return pixels
        words = _read(process, min(length, 1 << 16)).decode(errors="replace")
        if kind != ERROR:
            raise RuntimeError(f"in a process for decoding: {words}")
        raise ImageError(*words.split("\n", 1))

    def _forget(self) -> int | None:
        """Let a process go; return its exit status, None if it has none."""
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return None
        _end(process)
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):  # what was not written cannot be
                pipe.close()  # type: ignore[union-attr]
        return process.returncode


def too_slow(seconds: float) -> ImageError:
    """Say that a picture had its time."""
    return ImageError(
        "timeout",
        f"Not read and decoded after {seconds:g} s; look at the file, or raise --image-timeout.",
    )


def _new_process() -> subprocess.Popen[bytes]:
    if not sys.executable or getattr(sys, "frozen", False):  # a program that carries its Python
        raise CannotStartError("this Python cannot start another")
    try:
        process = subprocess.Popen(  # noqa: S603  # this Python, and words of ours
            [sys.executable, "-c", _START, *map(str, sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=os.environ | _ONE_THREAD,
            start_new_session=True,  # the terminal's Ctrl-C is the parent's to answer
            creationflags=_NO_CONSOLE,
        )
    except (OSError, ValueError) as error:
        raise CannotStartError(f"a process for decoding cannot be started: {error}") from error
    _widen(process)
    return process


def _widen(process: subprocess.Popen[bytes]) -> None:
    if sys.platform == "linux":
        import fcntl

        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):  # more than this user may have
                fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE)  # type: ignore[union-attr]


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that may be gone already, and take its status: no zombie stays."""
    with suppress(OSError):
        process.kill()
    with suppress(subprocess.TimeoutExpired):  # the kernel waits for a dead disk
        process.wait(_PATIENCE)


def _write(process: subprocess.Popen[bytes], data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[process.stdin.write(rest) :]  # type: ignore[union-attr]


def _read(process: subprocess.Popen[bytes], count: int) -> bytes:
    """Read so many bytes. Raises OSError where they end before."""
    buffer = bytearray(count)
    _read_into(process, memoryview(buffer))
    return bytes(buffer)


def _read_into(process: subprocess.Popen[bytes], rest: memoryview) -> None:
    while rest:
        count = process.stdout.readinto(rest)  # type: ignore[union-attr]
        if not count:
            raise BrokenPipeError
        rest = rest[count:]


def _crashed(status: int | None) -> ImageError:
    how = f" with status {status}"
    if status is None:
        how = ""
    elif status < 0:
        with suppress(ValueError):
            how = f" by {signal.Signals(-status).name}"
    return ImageError(
        "crashed",
        f"The decoder was ended{how} by this picture;"
        " it may be hostile: look where it comes from, or convert it to PNG or JPEG.",
    )
