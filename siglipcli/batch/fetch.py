"""Images by name → inputs: local files are left to the pipeline, objects of a store are read ahead on threads."""

from __future__ import annotations

import os
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from siglipcli.arguments import InMemory
from siglipcli.batch.rows import Row
from siglipcli.batch.storage import translated
from siglipcli.batch.uris import ARROW, LOCAL, redacted, split
from siglipcli.errors import StorageError, UsageError
from siglipcli.results import Failure, Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from siglipcli.batch.storage import Storage

__all__ = ["fetched"]

_THREADS, _AHEAD = 32, 64
"""A store takes tens of milliseconds for an object: so many at a time keep an encoder busy."""
_WEB = ("http", "https")
_TRIES, _PAUSE = (
    2,
    0.5,
)  # for one object, and seconds between; the store's own client has tried already
_IN_A_ROW = 4  # objects that cannot be read: the store fails, not an object

_Fetched: TypeAlias = "Row | StorageError"


def fetched(
    names: Iterable[tuple[str, str, tuple[object, ...]]], storage: Storage, limit: int
) -> Iterator[Row]:
    """Yield a row for each (name, where it is, kept columns), in order, with at most `limit` bytes an image.

    Kinds of failure: missing, permission, too_large, unreadable, url. Raises StorageError where the store itself
    fails: several objects in a row, or all that there are.
    """
    waiting: deque[tuple[str, tuple[object, ...], Future[_Fetched] | Row]] = deque()
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="siglip-fetch")
    health = _Health()

    def result() -> Row:
        name, kept, row = waiting.popleft()
        return row if isinstance(row, Row) else health.checked(name, kept, row.result())

    try:
        for name, uri, kept in names:
            if split(uri)[0] in LOCAL:
                waiting.append((name, kept, Row(_local(name, uri), kept)))
            else:
                shown = redacted(name)
                future = pool.submit(_remote, shown, redacted(uri), kept, storage, limit)
                waiting.append((shown, kept, future))
            while len(waiting) > _AHEAD or (waiting and isinstance(waiting[0][2], Row)):
                yield result()
        while waiting:
            yield result()
        health.end()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


class _Health:
    """Tells an object that cannot be read, which is a failed row, from a store that fails."""

    def __init__(self) -> None:
        self._good = self._in_a_row = 0
        self._error: StorageError | None = None

    def checked(self, name: str, kept: tuple[object, ...], fetched: _Fetched) -> Row:
        """Return the row of one object. Raises StorageError where several in a row could not be read."""
        if isinstance(fetched, Row):
            self._good, self._in_a_row = self._good + 1, 0
            return fetched
        self._error, self._in_a_row = fetched, self._in_a_row + 1
        if self._in_a_row >= _IN_A_ROW:
            raise fetched
        return Row(Failure(name, "unreadable", f"The store does not give it: {fetched}"), kept)

    def end(self) -> None:
        """Raise StorageError where no object at all could be read."""
        if self._error is not None and not self._good:
            raise self._error


def _local(name: str, uri: str) -> Source | Failure:
    path = redacted(uri) if split(uri)[0] else uri
    if not os.path.lexists(path):
        return Failure(name, "missing", "No such file or folder.")
    return Source(name) if name == path else Source(name, Path(path))


def _remote(
    shown: str, uri: str, kept: tuple[object, ...], storage: Storage, limit: int
) -> _Fetched:
    """Read an object; an error that may be the store's, not the object's, comes back as it is."""
    if (reason := _refused(split(uri)[0], storage)) is not None:
        return Row(Failure(shown, "url", reason), kept)
    for left in reversed(range(_TRIES)):
        try:
            with storage.open(uri) as file, translated(uri):
                data = file.read(limit + 1)
            break
        except UsageError as error:  # a store that cannot be opened
            return Row(Failure(shown, "url", str(error)), kept)
        except StorageError as error:
            if error.is_final:
                return Row(_failure(shown, error), kept)
            if not left:
                return error
        time.sleep(_PAUSE)
    if len(data) > limit:
        return Row(
            Failure(shown, "too_large", f"The file is larger than {limit >> 20:,} MiB."), kept
        )
    return Row(InMemory(shown, data), kept)


def _refused(scheme: str, storage: Storage) -> str | None:
    """Return why a cell's scheme is not opened: strangers write cells, and fsspec knows many ways to elsewhere."""
    if scheme in _WEB:
        return "This is a URL of the web, and only files and object stores are read. Download it first."
    if scheme in ARROW or scheme in {split(root)[0] for root in storage.roots}:
        return None
    return f"{scheme}:// is neither an object store nor a store of this run's inputs."


def _failure(name: str, error: StorageError) -> Failure:
    if error.is_missing:
        return Failure(name, "missing", "No such file or folder.")
    if error.is_forbidden:
        return Failure(name, "permission", "No permission to read it.")
    return Failure(name, "unreadable", f"The store does not give it: {error}")
