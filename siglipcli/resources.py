"""What runs share, one after another or side by side: processes that decode, threads that encode."""

from __future__ import annotations

from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Protocol

from siglipcli.errors import UsageError
from siglipcli.images.decoders import DecoderPool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Resources"]


class Resources:
    """What runs share, one after another or side by side: worker processes and threads that encode.

    `memory`: bytes for all that is decoded at once, see `images.budget.DecodingMemory`.
    Any thread may use or close it. A run that is under way when it is closed raises UsageError.
    """

    def __init__(self, in_flight: int, workers: int, memory: int | None = None) -> None:
        self.decoders = DecoderPool(workers, memory)
        self.encoding = ThreadPoolExecutor(in_flight, thread_name_prefix="siglip-encode")
        self._runs: set[tuple[_Closable, ...]] = set()
        self._is_closed = False
        self._lock = Lock()

    @contextmanager
    def run(self, *parts: _Closable) -> Iterator[None]:
        """Close the parts of a run, the last one first, when it ends or when this is closed."""
        with self._lock:
            self._runs.add(parts)
        try:
            self.check()
            yield
            self.check()
        except (CancelledError, RuntimeError):  # what a run meets whose parts are closed
            self.check()
            raise
        finally:
            _close(parts)
            with self._lock:
                self._runs.discard(parts)

    def check(self) -> None:
        """Raise UsageError if this was closed."""
        if self._is_closed:
            raise UsageError("the session is closed; open another one", code="closed")

    def close(self, *, wait: bool = True) -> None:
        """End every run, thread and process, waiting for what is being encoded if `wait`."""
        with self._lock:
            self._is_closed = True
            runs = list(self._runs)
        for parts in runs:
            _close(parts)
        self.decoders.close()
        self.encoding.shutdown(wait=wait, cancel_futures=True)


def _close(parts: Sequence[_Closable]) -> None:
    for part in reversed(parts):
        part.close()


class _Closable(Protocol):
    def close(self) -> None: ...
