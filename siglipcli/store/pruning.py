"""The store kept to a size: dropped in small batches, so that no other process waits for long."""

from __future__ import annotations

import math
import sqlite3
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["bytes_used", "clear", "evict", "shrink"]

_BATCH = 500  # rows that are dropped at a time: 10 ms or so
_FEWEST = 4  # about a page: fewer free none
_PAGES = 500  # that the file shrinks by at a time
_PAUSE = 0.005  # seconds between batches; who waits for the lock looks every few


def bytes_used(db: sqlite3.Connection) -> int:
    """Return the bytes of the pages that hold something."""
    pages, free, size = (
        db.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def evict(
    db: sqlite3.Connection, limit: int, counted: Callable[[int], None], until: float = math.inf
) -> None:
    """Drop the least recently used vectors until `limit` bytes are kept, no more than that takes.

    `counted` is called with how many after each batch. Stops at the monotonic time `until`.
    """
    while (over := bytes_used(db) - limit) > 0:
        sizes = (
            "SELECT avg(length(vector)) FROM (SELECT vector FROM vectors ORDER BY used LIMIT 20)"
        )
        mean = db.execute(sizes).fetchone()[0] or 0
        dropped = _drop(db, max(_FEWEST, min(_BATCH, int(over / (mean + 300)))))
        counted(dropped)
        if not dropped or time.monotonic() >= until:
            return
        if dropped == _BATCH:
            time.sleep(_PAUSE)


def _drop(db: sqlite3.Connection, count: int) -> int:
    """Drop vectors, and files that lead to none any more; return how many vectors."""
    oldest = "SELECT id, digest FROM vectors ORDER BY used, id LIMIT ?"
    gone = (
        "DELETE FROM files WHERE digest = ? AND NOT EXISTS (SELECT 1 FROM models m CROSS JOIN"
        " vectors v WHERE v.model = m.id AND v.digest = files.digest)"
    )
    with db:
        db.execute("BEGIN IMMEDIATE")
        rows = db.execute(oldest, (count,)).fetchall()
        db.executemany("DELETE FROM vectors WHERE id = ?", [row[:1] for row in rows])
        db.executemany(gone, [row[1:] for row in rows])
    return len(rows)


def shrink(db: sqlite3.Connection, until: float = math.inf) -> None:
    """Give free pages back to the disk, until the monotonic time `until`."""
    before, free = -1, _free_pages(db)
    while free not in (0, before) and time.monotonic() < until:
        # Each step of this one frees a page: a script takes all of them.
        db.executescript(f"PRAGMA incremental_vacuum({_PAGES})")
        before, free = free, _free_pages(db)
        time.sleep(_PAUSE / 5)
    db.execute("PRAGMA wal_checkpoint").fetchall()


def _free_pages(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA freelist_count").fetchone()[0])


def clear(db: sqlite3.Connection) -> None:
    """Forget everything, and give the disk space back."""
    with db:
        db.execute("BEGIN IMMEDIATE")
        for table in ("files", "vectors", "models"):
            db.execute(f"DELETE FROM {table}")  # noqa: S608  # our own names
    with suppress(sqlite3.OperationalError):  # another process reads: pages go one by one
        db.execute("VACUUM")
    shrink(db)
