"""Threads that read pictures, each under a time limit; and where each picture is decoded.

A thread cannot be stopped. One whose picture takes too long is left to itself, its worker process is
killed, and another thread takes its place; who waits for the picture hears at once. The limit is judged
by the one who waits, in order, so that it costs nothing while all goes well.
"""

from __future__ import annotations

import logging
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYetError  # the built-in one from Python 3.11 on
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING, Generic, TypeVar

from siglipcli import images
from siglipcli.errors import SiglipError
from siglipcli.isolation.worker import CannotStartError, Worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    import numpy as np
    from numpy.typing import NDArray

    Pixels: TypeAlias = NDArray[np.uint8]

__all__ = ["Decoder", "Readers", "Task"]

In = TypeVar("In")
Out = TypeVar("Out")

_MOST_LOST = 32
"""Threads that may be stuck at once, as each keeps its picture's memory."""
_GRACE = 0.5
"""Seconds more for a picture whose time is up: all of it may have passed while the machine slept."""

logger = logging.getLogger("siglipcli")


class _Policy:
    """Which pictures go to a worker: all (True), none (False), or those of delicate formats (None).

    Only a demand is kept to whatever happens; by itself it follows what this machine can do.
    """

    def __init__(self, isolate: bool | None) -> None:
        self.is_demanded = isolate is not None
        self._isolate = isolate
        self._lock = Lock()

    def wants_worker(self, data: bytes) -> bool:
        return images.is_delicate(data) if self._isolate is None else self._isolate

    def change(self, isolate: bool, why: str) -> None:
        """Decide otherwise from now on, and say why, once."""
        with self._lock:
            if self._isolate is isolate or self.is_demanded:
                return
            self._isolate = isolate
        logger.warning(why)


class Decoder:
    """One thread's way from bytes to pixels: here, or in a worker process that it keeps."""

    def __init__(self, policy: _Policy, seconds: float) -> None:
        self.is_inside = False  # a decoder of this process
        self._policy = policy
        self._seconds = seconds
        self._worker = Worker()

    def decode(self, data: bytes, size: int, limits: images.Limits, *, exact: bool) -> Pixels:
        """Do what `images.decode` does. Raises ImageError, also of kind `crashed`."""
        if self._policy.wants_worker(data):
            try:
                return self._worker.decode(data, size, limits, exact=exact, seconds=self._seconds)
            except CannotStartError as error:
                if self._policy.is_demanded:
                    raise
                self._policy.change(False, f"{error}; all pictures are decoded in this one")
        self.is_inside = True
        try:
            return images.decode(data, size, limits, exact=exact)
        finally:
            self.is_inside = False

    def kill(self) -> None:
        """End the worker process, whatever it does; any thread may."""
        self._worker.kill()

    def close(self) -> None:
        """End the worker process; for the thread whose decoder this is."""
        self._worker.close()


class Task(Generic[In, Out]):
    """An input on its way: `result` waits for what becomes of it, or until its time is up."""

    def __init__(self, item: In, readers: Readers[In, Out]) -> None:
        self.item = item
        self.future: Future[Out] = Future()
        self.begun: float | None = None
        self.reader: _Reader[In, Out] | None = None
        self._readers = readers

    def result(self) -> Out:
        """Return what reading gave, or raise what it raised; CancelledError after `close`."""
        if not (limit := self._readers.seconds):
            return self.future.result()
        while True:
            begun = self.begun
            left = limit if begun is None else begun + limit - monotonic()
            try:
                return self.future.result(max(left, _GRACE))
            except NotYetError:
                if self.future.done():  # the work raised one itself, or has just ended
                    return self.future.result()
                if begun is not None and left <= _GRACE:
                    return self._readers.give_up(self)

    def run(self, reader: _Reader[In, Out], work: Callable[[In, Decoder], Out]) -> None:
        """Do the work, on a reader's thread."""
        if not self.future.set_running_or_notify_cancel():
            return
        self.reader, self.begun = reader, monotonic()
        try:
            done = work(self.item, reader.decoder)
        except BaseException as error:  # noqa: BLE001  # raised where the result is wanted
            self.future.set_exception(error)
        else:
            self.future.set_result(done)


class _Reader(Thread, Generic[In, Out]):
    """A thread, and its decoder."""

    def __init__(self, readers: Readers[In, Out], decoder: Decoder) -> None:
        super().__init__(name="siglip-reader", daemon=True)  # no exit waits for one that is stuck
        self.decoder = decoder
        self.is_lost = False
        self._readers = readers

    def run(self) -> None:
        readers = self._readers
        while readers.keeps(self) and (task := readers.queue.get()) is not None:
            task.run(self, readers.work)
            del task  # and its picture
        self.decoder.close()


class Readers(Generic[In, Out]):
    """So many threads that do `work` on inputs, each for `seconds` at most (0: for ever).

    `late` makes the result of an input whose time is up. `isolate`: which pictures are decoded in a
    worker process: all, none, or (None) those in other formats than JPEG and PNG.
    """

    def __init__(
        self,
        count: int,
        work: Callable[[In, Decoder], Out],
        late: Callable[[In], Out],
        *,
        seconds: float,
        isolate: bool | None,
    ) -> None:
        self.queue: SimpleQueue[Task[In, Out] | None] = SimpleQueue()
        self.work = work
        self.seconds = seconds
        self._late = late
        self._count = count
        self._policy = _Policy(isolate)
        self._threads: list[_Reader[In, Out]] = []
        self._lost: list[_Reader[In, Out]] = []
        self._is_closed = False
        self._lock = Lock()

    def submit(self, item: In) -> Task[In, Out]:
        """Hand in an input; threads are started as inputs come, until there are enough."""
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

    def give_up(self, task: Task[In, Out]) -> Out:
        """Leave a thread to itself, and return what is said of its input.

        Raises SiglipError where too many are stuck: then it is the disk, and no picture.
        """
        with self._lock:
            if task.future.done():
                return task.future.result()
            stuck = task.reader
            assert stuck
            if not self._is_closed:
                self._replace(stuck)
        stuck.decoder.kill()
        return self._late(task.item)

    def close(self) -> None:
        """Drop what waits, and let threads and processes end; waits for no thread."""
        with self._lock:
            self._is_closed = True
            threads = [*self._threads]
        while True:
            try:
                task = self.queue.get_nowait()
            except Empty:
                break
            if task:
                task.future.cancel()
        for thread in threads:
            self.queue.put(None)  # one each
            thread.decoder.kill()

    def _start_one(self) -> None:
        thread = _Reader(self, Decoder(self._policy, self.seconds))
        self._threads.append(thread)
        thread.start()

    def _replace(self, stuck: _Reader[In, Out]) -> None:
        stuck.is_lost = True
        self._threads.remove(stuck)
        self._lost = [thread for thread in [*self._lost, stuck] if thread.is_alive()]
        if len(self._lost) > _MOST_LOST:
            raise SiglipError(
                f"{len(self._lost)} files are not read after {self.seconds:g} s each, and block the run:"
                " look whether the disk or network folder that they are on answers, and run again"
            )
        # Once is enough: what is stuck in this process cannot be killed.
        if stuck.decoder.is_inside:
            self._policy.change(True, "a decoder hangs; the rest is decoded in other processes")
        self._start_one()
