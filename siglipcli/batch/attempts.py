"""How often a shard was begun and not ended: a shard that kills its worker again and again is set aside.

A worker writes a note before it begins a shard and deletes it at the shard's end, however it ends, unless
the worker ends its own process over it (a device that is lost). What a note counts are then the times that the
worker's process died.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from threading import Lock, Semaphore
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siglipcli.batch.storage import Folder

__all__ = ["FOLDER", "MOST", "Slots", "begin", "count", "end"]

FOLDER = "_attempts"
MOST = 3
"""Times that a shard may end its worker."""


def count(output: Folder, shard: str, run: str = "") -> int:
    """Return how often the shard was begun and not ended in this run. Raises StorageError.

    On a cluster, stopping a run ends workers whose shards did nothing wrong, so that other runs do not count.
    """
    text = output.read(_name(shard))
    if not text:
        return 0
    try:
        note = json.loads(text)
        return int(note["begun"]) if note.get("run", "") == run else 0
    except (ValueError, KeyError, TypeError, AttributeError):
        return 1


def begin(output: Folder, shard: str, before: int, run: str = "") -> None:
    """Note that the shard is begun once more. Raises StorageError."""
    note = {"begun": before + 1} | ({"run": run} if run else {})
    output.write(_name(shard), json.dumps(note).encode(), durable=False)


def end(output: Folder, shard: str) -> None:
    """Forget the shard's attempts. Raises StorageError."""
    output.delete(_name(shard))


def _name(shard: str) -> str:
    return f"{FOLDER}/{shard}.json"


class Slots:
    """Shards that a worker has in work at once; one that has ended a worker before is alone."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._free = Semaphore(count)
        self._entering = Lock()

    @contextmanager
    def one(self, *, alone: bool = False) -> Iterator[None]:
        """Wait for a slot, or for all of them."""
        slots = self._count if alone else 1
        with self._entering:
            for _ in range(slots):
                self._free.acquire()
        try:
            yield
        finally:
            self._free.release(slots)
