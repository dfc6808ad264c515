"""The store's file: opened, made, put aside when it is damaged, and kept to a size."""

from __future__ import annotations

import sqlite3
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["BUSY", "USAGE", "NewerError", "bytes_used", "clear", "connect", "is_damage", "prune"]
__all__ += ["set_aside", "touch"]

_SCHEMA = 1  # PRAGMA user_version
BUSY = 10.0  # seconds to wait for another process
_CACHE = 4_096  # KiB of pages in memory; no slower here than mmap, and no more for a larger store
_TABLES = """
CREATE TABLE models (
    id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
    width INTEGER NOT NULL);
CREATE TABLE vectors (
    id INTEGER PRIMARY KEY, model INTEGER NOT NULL, digest BLOB NOT NULL, used INTEGER NOT NULL,
    vector BLOB NOT NULL);
CREATE UNIQUE INDEX vectors_of ON vectors (model, digest);
CREATE INDEX vectors_used ON vectors (used);
CREATE TABLE files (
    path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime INTEGER NOT NULL, inode INTEGER NOT NULL,
    digest BLOB NOT NULL) WITHOUT ROWID;
"""

USAGE = """
SELECT m.name, count(v.id), sum(length(v.vector)), max(v.used)
FROM models m JOIN vectors v ON v.model = m.id GROUP BY m.name ORDER BY 3 DESC
"""


class NewerError(Exception):
    """The file was written by a newer version."""


def connect(path: Path) -> sqlite3.Connection:
    """Open the file, making its tables if it is new. Raises sqlite3.Error or NewerError."""
    connection = sqlite3.connect(path, timeout=BUSY, isolation_level=None, check_same_thread=False)
    try:
        _prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > _SCHEMA:
        raise NewerError("it was written by a newer siglip")
    if version < _SCHEMA:
        _create(connection)
    connection.execute("PRAGMA journal_mode = WAL")
    # A kill loses nothing that was committed; only a power cut may lose the last moments.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA cache_size = -{_CACHE}")


def _create(connection: sqlite3.Connection) -> None:
    # Large pages: several vectors of 3 KB share one, and none spills over.
    connection.execute("PRAGMA page_size = 16384")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    with connection:
        connection.execute("BEGIN IMMEDIATE")  # two first runs at once: one makes the tables
        if connection.execute("PRAGMA user_version").fetchone() == (0,):
            for statement in _TABLES.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {_SCHEMA}")


def is_damage(error: Exception) -> bool:
    """Whether SQLite complains of the file, not of the moment."""
    words = str(error)
    return "malformed" in words or "not a database" in words or "no such" in words


def set_aside(path: Path) -> str:
    """Rename a damaged store, so that the next run starts a new one and nothing is deleted."""
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    try:
        path.replace(aside)
        for suffix in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                path.with_name(path.name + suffix).replace(f"{aside}{suffix}")
    except OSError as error:
        return f"; it cannot be set aside: {error.strerror}"
    return f"; it was set aside as {aside}"


def touch(db: sqlite3.Connection, numbers: Sequence[int]) -> None:
    """Note that vectors were used; at most once a day each, so that reading hardly writes."""
    if numbers:
        marks = ",".join("?" * len(numbers))
        db.execute(
            f"UPDATE vectors SET used = ? WHERE id IN ({marks})",  # noqa: S608  # only marks
            (int(time.time()), *numbers),
        )


def bytes_used(db: sqlite3.Connection) -> int:
    """Return the bytes of the pages that hold something."""
    pages, free, size = (
        db.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def prune(db: sqlite3.Connection, limit: int) -> int:
    """Drop the least recently used vectors until `limit` bytes are kept; return how many."""
    dropped = 0
    while (over := bytes_used(db) - limit) > 0:
        (mean,) = db.execute("SELECT avg(length(vector)) + 200 FROM vectors").fetchone()
        if not mean:
            break
        with db:
            db.execute("BEGIN IMMEDIATE")
            dropped += db.execute(
                "DELETE FROM vectors WHERE id IN (SELECT id FROM vectors ORDER BY used LIMIT ?)",
                (max(1, int(over / mean)),),
            ).rowcount
            db.execute("DELETE FROM files WHERE digest NOT IN (SELECT digest FROM vectors)")
    # Each step of this one frees a page: a script takes all of them.
    db.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)")
    return dropped


def clear(db: sqlite3.Connection) -> None:
    """Forget everything, and give the room back."""
    with db:
        db.execute("BEGIN IMMEDIATE")
        for table in ("files", "vectors", "models"):
            db.execute(f"DELETE FROM {table}")  # noqa: S608  # our own names
    db.execute("VACUUM")
