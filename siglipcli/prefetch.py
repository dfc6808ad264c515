"""A stream that is run ahead of whoever takes from it, on a thread of its own.

`queue.Queue` in its place takes 3.3 µs of processor time per item against 1.4 µs (300,000 integers): 0.19 s
of the 5.4 s that 100,000 stored files take, 3.5 %. Nor does it know pauses, heavy items or `close`.
"""

from __future__ import annotations

from collections import deque
from threading import Condition, Thread
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["Prefetcher"]

T = TypeVar("T")

_PAUSE = 0.25
"""Seconds without a new item after which that is said: a list may come from a watcher."""
_FEW = 16
"""Heavy items that are drawn ahead."""


class Prefetcher(Generic[T]):
    """A stream run on a thread of its own, at most `ahead` items before the one that is taken.

    Where it had to wait, it goes on when `refill` of them are left. Items that are heavy are drawn few
    at a time. One thread may take, one by one or in chunks. `close` may be called from any thread.
    """

    def __init__(
        self,
        items: Iterable[T],
        ahead: int,
        *,
        refill: int | None = None,
        is_heavy: Callable[[T], bool] | None = None,
    ) -> None:
        self._ready: deque[T] = deque()  # appends and pops are atomic
        self._ahead = ahead
        self._refill = ahead - 1 if refill is None else refill
        self._is_heavy = is_heavy
        self._enough = 0  # what the filler waits to be left
        self._changed = Condition()
        self._taker_waits = self._filler_waits = False  # so that locks are rarely taken
        self._ended = self._closed = False
        self._error: BaseException | None = None
        # A daemon: nothing can wake it while `items` itself waits, and no exit should wait too.
        Thread(target=self._fill, args=(items,), name="siglip-ahead", daemon=True).start()

    def __iter__(self) -> Iterator[T | None]:
        """Yield the items; None stands for a pause of the stream."""
        while (ready := self._take(1, _PAUSE)) is not None:
            yield ready[0] if ready else None

    def chunks(self, most: int) -> Iterator[list[T]]:
        """Yield what is ready as soon as something is, up to `most` at a time."""
        while (ready := self._take(most, None)) is not None:
            yield ready

    def close(self) -> None:
        """Let the thread end after its next item, and drop what is ready."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _take(self, most: int, patience: float | None) -> list[T] | None:
        """Return up to `most` items, none after `patience` seconds; None at the end."""
        if not self._ready:
            with self._changed:
                self._taker_waits = True
                if not (self._ready or self._ended or self._closed):
                    self._changed.wait(patience)
                self._taker_waits = False
        ended = self._ended  # asked first: nothing is added after the end
        if self._closed:
            return None
        if ended and not self._ready:
            if self._error:
                raise self._error
            return None
        taken = [self._ready.popleft() for _ in range(min(most, len(self._ready)))]
        if self._filler_waits and len(self._ready) <= self._enough:
            self._wake()
        return taken

    def _fill(self, items: Iterable[T]) -> None:
        try:
            for item in items:
                self._ready.append(item)
                if self._taker_waits:
                    self._wake()
                if len(self._ready) >= self._ahead:
                    self._wait_for(self._refill)
                elif self._is_heavy and self._is_heavy(item):
                    self._wait_for(_FEW)
                if self._closed:
                    return
        except BaseException as error:  # noqa: BLE001  # raised where the items are wanted
            self._error = error
        self._ended = True
        self._wake()

    def _wait_for(self, enough: int) -> None:
        """Wait until so many items are left."""
        with self._changed:
            self._enough = enough
            self._filler_waits = True
            while len(self._ready) > enough and not self._closed:
                self._changed.wait()
            self._filler_waits = False

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
