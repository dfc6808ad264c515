"""Images by name → inputs: local files are left to the pipeline, objects of a store are read ahead on threads."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from siglipcli.arguments import InMemory
from siglipcli.batch.errors import storage_error
from siglipcli.batch.rows import Row
from siglipcli.batch.storage import redacted, split
from siglipcli.errors import StorageError, UsageError
from siglipcli.results import Failure, Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from siglipcli.batch.storage import Storage

__all__ = ["fetched"]

_THREADS, _AHEAD = 32, 64
"""A store takes tens of milliseconds for an object: so many at a time keep an encoder busy."""
_WEB = ("http", "https")


def fetched(
    names: Iterable[tuple[str, str, tuple[object, ...]]], storage: Storage, limit: int
) -> Iterator[Row]:
    """Yield a row for each (name, where it is, kept columns), in order, with at most `limit` bytes an image.

    Kinds of failure: missing, permission, too_large, url. Raises StorageError where the store itself fails.
    """
    waiting: deque[Future[Row] | Row] = deque()
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="siglip-fetch")
    try:
        for name, uri, kept in names:
            if split(uri)[0] in {"", "file"}:
                waiting.append(Row(_local(name, uri), kept))
            else:
                waiting.append(pool.submit(_remote, redacted(name), uri, kept, storage, limit))
            while len(waiting) > _AHEAD or (waiting and isinstance(waiting[0], Row)):
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _result(row: Future[Row] | Row) -> Row:
    return row if isinstance(row, Row) else row.result()


def _local(name: str, uri: str) -> Source | Failure:
    path = redacted(uri) if split(uri)[0] else uri
    if not os.path.lexists(path):
        return Failure(name, "missing", "No such file or folder.")
    return Source(name) if name == path else Source(name, Path(path))


def _remote(shown: str, uri: str, kept: tuple[object, ...], storage: Storage, limit: int) -> Row:
    if split(uri)[0] in _WEB:
        message = "This is a URL of the web, and only files and object stores are read. Download it first."
        return Row(Failure(shown, "url", message), kept)
    try:
        with storage.open(uri) as file:
            data = file.read(limit + 1)
    except StorageError as error:
        return Row(_failure(shown, error), kept)
    except UsageError as error:  # a store that cannot be opened
        return Row(Failure(shown, "url", str(error)), kept)
    except OSError as error:
        return Row(_failure(shown, storage_error(shown, error)), kept)
    if len(data) > limit:
        return Row(
            Failure(shown, "too_large", f"The file is larger than {limit >> 20:,} MiB."), kept
        )
    return Row(InMemory(shown, data), kept)


def _failure(name: str, error: StorageError) -> Failure:
    if error.is_missing:
        return Failure(name, "missing", "No such file or folder.")
    if error.is_forbidden:
        return Failure(name, "permission", "No permission to read it.")
    raise error
