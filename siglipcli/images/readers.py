"""Threads that read images, each under a time limit.

A thread cannot be stopped. One whose image takes too long is left to itself, its worker process is
killed, and another thread takes its place; who waits for the image hears at once. The limit is judged
by the one who waits, in order, so that it costs next to nothing while all goes well.

What counts is time that was waited: a machine or a run that is stopped for a while adds a second at
most. And an image that is still being computed on when its time is up may go on until it had so much
processor time, as a busy machine has less of that to give than the clock says.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as NotYetError  # the built-in one from Python 3.11 on
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock, Thread, get_ident
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from siglipcli.errors import SiglipError
from siglipcli.images.decoders import Decoder, Policy

if TYPE_CHECKING:
    from collections.abc import Callable

    from siglipcli.images.decoders import DecoderPool

__all__ = ["MOST_LOST", "Clock", "Readers", "Task"]

In = TypeVar("In")
Out = TypeVar("Out")

MOST_LOST = 32
"""Threads that may be stuck at once, as each keeps its image's memory."""
_SLICE = 1.0
"""Seconds that are waited at once, and counted at most."""
_AT_WORK = 0.005
"""Seconds of processor time in a slice that show an image to be at work: Linux counts in 0.01."""


class Clock:
    """The time, and how it is waited; a test may put its own in the place."""

    def now(self) -> float:
        """Return seconds from some time on."""
        return time.monotonic()

    def wait(self, future: Future[Any], seconds: float | None) -> None:
        """Return when a future is done, or after so long."""
        with suppress(CancelledError, NotYetError):
            future.exception(seconds)

    def spent(self, thread: int | None, process: int | None) -> float:
        """Return the seconds of processor time of a thread (its clock) and of a process.

        What this system does not tell counts as none: then the time alone decides.
        """
        seconds = 0.0
        if thread is not None:
            with suppress(OSError):  # it has ended
                seconds += time.clock_gettime(thread)
        if process is not None:
            with suppress(OSError, ValueError, IndexError):
                fields = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
                seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return seconds


class Task(Generic[In, Out]):
    """An input on its way: `result` waits for what becomes of it, or until its time is up."""

    def __init__(self, item: In, readers: Readers[In, Out]) -> None:
        self.item = item
        self.future: Future[Out] = Future()
        self.reader: _Reader[In, Out] | None = None
        self.spent: float | None = None  # when it was last looked at, its time being up
        self._readers = readers

    def result(self) -> Out:
        """Return what reading gave, or raise what it raised; CancelledError after `close`.

        For one thread at a time, the one whose waiting counts.
        """
        try:
            while not self.future.done():
                if self._readers.is_over(self) and self._readers.give_up(self):
                    return self._readers.late(self.item)
                self._readers.wait(self)
            return self.future.result()
        finally:
            del self  # or an error that somebody keeps would keep the image

    def run(self, reader: _Reader[In, Out], work: Callable[[In, Decoder], Out]) -> None:
        """Do the work, on a reader's thread."""
        if not self.future.set_running_or_notify_cancel():
            return
        reader.watch(True)
        self.reader = reader
        try:
            done = work(self.item, reader.decoder)
        except BaseException as error:  # noqa: BLE001  # raised where the result is wanted
            reader.decoder.release()
            self.future.set_exception(error)
            del self, reader  # as in `result`
        else:
            reader.decoder.release()
            self.future.set_result(done)


class _Begun(NamedTuple):
    """When an image was begun: seconds that were waited till then, and of processor time."""

    waited: float
    spent: float


class _Reader(Thread, Generic[In, Out]):
    """A thread, and its decoder."""

    def __init__(self, readers: Readers[In, Out], policy: Policy, pool: DecoderPool | None) -> None:
        super().__init__(name="siglip-reader", daemon=True)  # no exit waits for one that is stuck
        self.decoder = Decoder(policy, readers.seconds, self.watch, pool)
        self.is_lost = False
        self.begun: _Begun | None = None
        self._readers = readers
        self._clock: int | None = None

    def run(self) -> None:
        # asked for by the thread itself: of one that has ended it may not be
        if get_clock := getattr(time, "pthread_getcpuclockid", None):
            self._clock = get_clock(get_ident())
        readers = self._readers
        while readers.keeps(self) and (task := readers.queue.get()) is not None:
            task.run(self, readers.work)
            del task  # and its image
        self.decoder.worker.close()

    def watch(self, is_at_it: bool) -> None:
        """Begin to count an image's time, or stop it while a worker is started."""
        limit = self._readers.seconds
        self.begun = _Begun(self._readers.waited, self.spent()) if limit and is_at_it else None

    def spent(self) -> float:
        """Return the seconds of processor time of the thread and its worker."""
        return self._readers.clock.spent(self._clock, self.decoder.worker.pid)


class Readers(Generic[In, Out]):
    """So many threads that do `work` on inputs, each for `seconds` at most (0: for ever).

    `late` makes the result of an input whose time is up. `isolate`: which images are decoded in a
    worker process: all, none, or (None) those in other formats than JPEG and PNG. Worker processes
    come from `pool` and go back there; without one they end with these readers. `most_lost`: threads that
    may be stuck at once.
    """

    def __init__(
        self,
        count: int,
        work: Callable[[In, Decoder], Out],
        late: Callable[[In], Out],
        *,
        seconds: float,
        isolate: bool | None,
        clock: Clock | None = None,
        most_lost: int = MOST_LOST,
        pool: DecoderPool | None = None,
    ) -> None:
        self.queue: SimpleQueue[Task[In, Out] | None] = SimpleQueue()
        self.work = work
        self.late = late
        self.seconds = seconds
        self.clock = clock or Clock()
        self.waited = 0.0  # seconds, by who waits for results
        self._count = count
        self._most_lost = most_lost
        self._policy = pool.policy(isolate) if pool else Policy(isolate)
        self._pool = pool
        self._threads: list[_Reader[In, Out]] = []
        self._lost: list[_Reader[In, Out]] = []
        self._is_closed = False
        self._lock = Lock()

    def submit(self, item: In) -> Task[In, Out]:
        """Hand in an input; threads are started as inputs come, until there are enough.

        Raises SiglipError where not even one can be.
        """
        task = Task(item, self)
        with self._lock:
            if self._is_closed:
                task.future.cancel()
                return task
            self.queue.put(task)
            if len(self._threads) < self._count:
                self._start_one()
        return task

    def keeps(self, reader: _Reader[In, Out]) -> bool:
        """Whether a thread may take another input; under the lock, as it may just be given up."""
        with self._lock:
            return not reader.is_lost

    def wait(self, task: Task[In, Out]) -> None:
        """Wait for an input, for a slice at most."""
        seconds = _SLICE if self.seconds else None
        if begun := task.reader and task.reader.begun:
            left = begun.waited + self.seconds - self.waited
            seconds = min(_SLICE, left) if left > 0 else _SLICE
        start = self.clock.now()
        self.clock.wait(task.future, seconds)
        self.waited += min(max(self.clock.now() - start, 0), _SLICE)

    def is_over(self, task: Task[In, Out]) -> bool:
        """Whether an input's time is up, and it is not at work or had as much processor time."""
        reader = task.reader
        if not reader or not (begun := reader.begun) or self.waited < begun.waited + self.seconds:
            return False
        spent = reader.spent()
        before, task.spent = task.spent, spent
        if before is None:  # the next slice will show
            return False
        return spent - begun.spent >= self.seconds or abs(spent - before) < _AT_WORK

    def give_up(self, task: Task[In, Out]) -> bool:
        """Leave a thread to itself; False if its work was done just now.

        Raises SiglipError where too many are stuck: then it is the disk, and no image.
        """
        with self._lock:
            if task.future.done():
                return False
            stuck = task.reader
            assert stuck
            # first: whatever comes of it, no process is left, and a worker's thread comes back
            stuck.decoder.worker.kill()
            stuck.decoder.release()  # or what waits for memory would hang too
            if not self._is_closed and not stuck.is_lost:
                self._replace(stuck)
        return True

    def close(self) -> None:
        """Drop what waits, and let threads and processes end; waits for no thread."""
        with self._lock:
            self._is_closed = True
            threads = [*self._threads, *self._lost]
        while True:
            try:
                task = self.queue.get_nowait()
            except Empty:
                break
            if task:
                task.future.cancel()
        for thread in threads:
            self.queue.put(None)  # one each
            thread.decoder.worker.release()
        for thread in threads:
            thread.decoder.worker.wait()

    def _start_one(self) -> None:
        from siglipcli.images import decoding  # noqa: F401  # here, as it is no image's own time

        thread = _Reader(self, self._policy, self._pool)
        try:
            thread.start()
        except RuntimeError as error:
            if not self._threads:
                raise SiglipError(f"no thread can be started to read images: {error}") from error
            return  # those that there are do it all
        self._threads.append(thread)

    def _replace(self, stuck: _Reader[In, Out]) -> None:
        stuck.is_lost = True
        self._threads.remove(stuck)
        self._lost = [thread for thread in [*self._lost, stuck] if thread.is_alive()]
        if len(self._lost) > self._most_lost:
            raise SiglipError(
                f"{len(self._lost)} files are not read after {self.seconds:g} s each, and block the run:"
                " look whether the disk or network folder that they are on answers, and run again"
            )
        if stuck.decoder.is_inside:
            self._policy.hangs()
        self._start_one()
