"""The worker as its parent sees it: bytes in, pixels or an ImageError out, however it ends.

pebble's ProcessPool was tried in its place, and loses promises: it imports the caller's `__main__` again
(a script without a main guard ends in a RuntimeError), its resource tracker and fork server outlive
the pool, and its timeout counts a busy machine's seconds against the image. A process and its first image
take 0.35 s with it (least of 5; 0.53 s median for spawn, 0.45 s for forkserver), 0.20 s (0.34 s) here.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

import numpy as np

from siglipcli import processes
from siglipcli.errors import ImageError, SiglipError
from siglipcli.images.worker_main import BUG, NO_MEMORY, PIXELS, READY, REPLY, REQUEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from siglipcli.images import Limits

    Pixels = NDArray[np.uint8]

__all__ = ["CannotStartError", "Processes", "Worker", "too_slow"]

_START = "import sys; sys.path[:] = sys.argv[1:]; from siglipcli.images.worker_main import serve; serve()"
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_SECRET = re.compile(r"(^|_)(KEYS?|TOKENS?|SECRETS?|PASSWORDS?|CREDENTIALS)(_|$)", re.IGNORECASE)
_PIPE = 1 << 19  # bytes: a model's image of 384x384 in one go
_MOST_IMAGES = 1_000
"""Images of one process: what its decoders leak does not add up for ever."""
_PATIENCE = 5.0  # seconds for a killed process to be gone
_LAST_MOMENT = (
    1.0  # seconds for a process that closed its pipes to end by itself, and so to tell why
)
_START_SECONDS = 20  # for a process to be ready
_TIME_IS_UP = -getattr(signal, "SIGALRM", 0) or None  # the exit status of a process so ended
_MAY_PASS = {errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR}


_PATHS = processes.import_paths()


class CannotStartError(SiglipError):
    """No worker process was started, by this machine or this Python; `may_pass`: a later one may be."""

    def __init__(self, message: str, *, may_pass: bool = False) -> None:
        super().__init__(message)
        self.may_pass = may_pass


class _RefusedError(ImageError):
    """An image that found too little memory, in a process that others may have filled."""


class Processes:
    """Worker processes that wait for the next run, at most so many, and the thread that starts them.

    A process costs about 0.2 s to start; a thread per run costs 0.0001 s, so those are not kept. Linux
    ends a worker with the thread that started it (PR_SET_PDEATHSIG): a thread that outlives the runs
    starts them all.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._idle: list[tuple[subprocess.Popen[bytes], int]] = []
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="siglip-starter")
        self._is_closed = False
        self._lock = Lock()

    def take(self) -> tuple[subprocess.Popen[bytes], int] | None:
        """Return a waiting process and how many images it has decoded; None if there is none."""
        with self._lock:
            return self._idle.pop() if self._idle else None

    def start(self) -> subprocess.Popen[bytes]:
        """Start a process. Raises CannotStartError."""
        try:
            return self._starter.submit(_new_process).result()
        except RuntimeError as error:  # closed, or this Python is about to end
            raise CannotStartError(f"no worker process can be started: {error}") from error

    def give_back(self, process: subprocess.Popen[bytes], decoded: int) -> None:
        """Keep a process that is not at work for the next run, or end it where there are enough."""
        with self._lock:
            if not self._is_closed and len(self._idle) < self._most:
                self._idle.append((process, decoded))
                return
        _release(process, 0)

    def close(self) -> None:
        """End the processes that wait, and start no more."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for process, _ in idle:
            with suppress(OSError):
                process.kill()  # all at once, then wait for each
        for process, _ in idle:
            _release(process, 0)
        self._starter.shutdown()


class Worker:
    """A process that decodes, started when first needed, and again after an image that killed it.

    One thread decodes; any may `kill`. Needs no close where `kill` or the end of the parent comes.
    `watch` is called with False when a process is about to be started, and with True when it is ready.
    Processes come from `processes`, if any, and go back there.
    """

    def __init__(
        self, watch: Callable[[bool], object] = bool, processes: Processes | None = None
    ) -> None:
        self._watch = watch
        self._processes = processes
        self._process: subprocess.Popen[bytes] | None = None
        self._decoded = 0  # images of this process
        self._is_busy = False
        self._over = False
        self._lock = Lock()

    @property
    def pid(self) -> int | None:
        """The process's number, if there is one."""
        process = self._process
        return process.pid if process else None

    def decode(
        self,
        data: bytes,
        size: int,
        limits: Limits,
        *,
        exact: bool,
        color_management: bool = True,
        allow_truncated: bool = False,
        seconds: float = 0,
    ) -> Pixels:
        """Do what `images.decode` does, there: uint8[size, size, 3].

        An orphan's process ends some time after `seconds` (0: never). Raises ImageError, also
        `crashed` and `timeout`; CannotStartError.
        """
        flags = exact, color_management, allow_truncated
        request = REQUEST.pack(len(data), size, limits.max_megapixels, seconds, *flags)
        with self._lock:
            self._is_busy = True
        try:
            return self._decode_in_turn(request, data, size, seconds)
        finally:
            with self._lock:
                self._is_busy = False

    def _decode_in_turn(self, request: bytes, data: bytes, size: int, seconds: float) -> Pixels:
        """Decode in the process at hand, then, where an earlier image spoilt that, in a fresh one."""
        if self._decoded >= _MOST_IMAGES:
            self._forget()
        process = self._process or self._reuse()
        while True:
            process = process or self._start()
            is_fresh, self._decoded = self._decoded == 0, self._decoded + 1
            # what an earlier image did to its memory is no fault of this one
            is_last = is_fresh or self._over
            try:
                return self._exchange(process, request, data, size)
            except _RefusedError:
                if is_last:
                    raise
                self._forget()
            except OSError:  # it died, or was killed
                status = self._forget(_LAST_MOMENT)
                if status == _TIME_IS_UP:
                    raise too_slow(seconds) from None
                if is_last or self._over:
                    raise _crashed(status) from None
            process = None

    def release(self) -> None:
        """Leave the process to the next run, or kill it if it is at work; for good. Waits for nothing."""
        with self._lock:
            process, decoded = self._process, self._decoded
            if process and self._processes and not self._is_busy:
                self._over, self._process = True, None
                self._processes.give_back(process, decoded)
                return
        self.kill()

    def kill(self) -> None:
        """End the process, now and for good; a decode that is under way fails. Waits for nothing."""
        with self._lock:
            self._over = True
            if self._process:
                with suppress(OSError):
                    self._process.kill()

    def wait(self) -> None:
        """Wait, for so long, until a process that was killed is gone."""
        if process := self._process:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE)

    def close(self) -> None:
        """Do `kill`, and close the pipes: for the thread that decodes, when it is done."""
        self.kill()
        self._forget()

    def _reuse(self) -> subprocess.Popen[bytes] | None:
        """Take a process that an earlier run left."""
        with self._lock:
            if self._processes and not self._over and (waiting := self._processes.take()):
                self._process, self._decoded = waiting
            return self._process

    def _start(self) -> subprocess.Popen[bytes]:
        self._watch(False)
        try:
            process = self._begin()
        except CannotStartError as error:
            if not error.may_pass:
                raise
            process = self._begin()
        self._watch(True)
        return process

    def _begin(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._over:
                raise _crashed(None)
            start = self._processes.start if self._processes else _new_process
            self._process = process = start()
            self._decoded = 0
        with _deadline(process) as is_late, suppress(OSError):
            if _read(process, len(READY)) == READY:
                return process
        status = self._forget(_LAST_MOMENT)
        if self._over:
            raise _crashed(None)
        if is_late.is_set():
            raise CannotStartError(f"a process for decoding is not ready after {_START_SECONDS} s")
        raise CannotStartError(
            f"a process for decoding ended at once, with status {status}",
            may_pass=status is not None and status < 0,
        )

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
        if kind == BUG:
            raise RuntimeError(f"in a process for decoding: {words}")
        raise (_RefusedError if kind == NO_MEMORY else ImageError)(*words.split("\n", 1))

    def _forget(self, seconds: float = 0) -> int | None:
        """Let a process go, which may end by itself first; return its exit status, if it has one."""
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return None
        _release(process, seconds)
        return process.returncode


def too_slow(seconds: float) -> ImageError:
    """Say that an image had its time."""
    return ImageError(
        "timeout",
        f"Not read and decoded after {seconds:g} s; look at the file, or raise that timeout.",
    )


def _new_process() -> subprocess.Popen[bytes]:
    if not processes.can_start_python():
        raise CannotStartError("this Python cannot start another")
    try:
        process = subprocess.Popen(  # noqa: S603  # this Python, and words of ours
            [sys.executable, *processes.python_flags(), "-c", _START, *_PATHS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=_environment(),
            cwd=os.path.abspath(os.sep),  # noqa: PTH100  # no relative PYTHONPATH leads to strangers
            start_new_session=True,  # the terminal's Ctrl-C is the parent's to answer
            creationflags=processes.NO_CONSOLE,
        )
    except (OSError, ValueError) as error:
        raise CannotStartError(
            f"a process for decoding cannot be started: {error}",
            may_pass=getattr(error, "errno", None) in _MAY_PASS,
        ) from error
    _widen(process)
    return process


def _environment() -> dict[str, str]:
    """Return a decoder's environment: what a hostile image reads there shall be worth nothing."""
    plain = {name: value for name, value in os.environ.items() if not _SECRET.search(name)}
    return plain | _ONE_THREAD


def _widen(process: subprocess.Popen[bytes]) -> None:
    if sys.platform == "linux":
        import fcntl

        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):  # more than this user may have
                fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE)  # type: ignore[union-attr]


@contextmanager
def _deadline(process: subprocess.Popen[bytes]) -> Iterator[Event]:
    """Kill a process that is not ready in time; gives what tells whether it was so."""
    is_ready, is_late = Event(), Event()

    def watch() -> None:
        for _ in range(_START_SECONDS):  # second by second: a machine that sleeps takes one of them
            if is_ready.wait(1):
                return
        is_late.set()
        process.kill()

    with suppress(RuntimeError):  # no thread to be had: then without
        Thread(target=watch, name="siglip-start", daemon=True).start()
    try:
        yield is_late
    finally:
        is_ready.set()


def _end(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Kill a process that is not gone after so long, and take its status: no zombie stays."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    with suppress(OSError):
        process.kill()
    with suppress(subprocess.TimeoutExpired):  # the kernel waits for a dead disk
        process.wait(_PATIENCE)


def _release(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Do `_end`, and close the pipes."""
    _end(process, seconds)
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):  # what was not written cannot be
            pipe.close()  # type: ignore[union-attr]


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
    how = processes.how_it_ended(status)
    return ImageError(
        "crashed",
        f"The decoder was ended{how} by this image;"
        " it may be hostile: look where it comes from, or convert it to PNG or JPEG.",
    )
