"""What was used last, up to so many bytes; for one thread, the event loop's."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ["Cache"]

V = TypeVar("V")

_OVERHEAD = 200  # bytes of an entry, beside its value


class Cache(Generic[V]):
    """Key → value, the least recently used dropped first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._entries: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable) -> V | None:
        """Return a value, which is then the last used; None if it is not here."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: Hashable, value: V, size: int) -> None:
        """Keep a value of so many bytes, unless it alone is too large."""
        size += _OVERHEAD
        if key in self._entries:
            self._size -= self._entries.pop(key)[1]
        if size > self._limit:
            return
        self._entries[key] = value, size
        self._size += size
        while self._size > self._limit:
            _, (_, dropped) = self._entries.popitem(last=False)
            self._size -= dropped
