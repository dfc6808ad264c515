"""The store's file: opened, made, brought to the present schema, and put aside when it is damaged."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from siglipcli.store.checksums import DIGEST, checksums

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PAGE", "NewerError", "connect", "is_damage", "is_passing", "is_read_only", "set_aside"]
__all__ += ["patience"]

_SCHEMA = 2  # PRAGMA user_version
PAGE = 16_384  # bytes: several vectors of 3 KB share one, and none spills over
_CACHE = 4_096  # KiB of pages in memory; no slower here than mmap, and no more for a larger store
_WAL_PAGES = (16, 1_000)  # the write-ahead log at least and at most, before it is worked in
_BATCH = 1_000  # rows that are brought to the present schema at a time
_UNIT = 0.01  # how far from 1 a unit vector's length may be, computed in bf16
_DAMAGE = ("malformed", "not a database", "no such", "decode", "already exists", "duplicate column")
_FILES = """
CREATE TABLE files (
    path BLOB NOT NULL, part TEXT NOT NULL, size INTEGER NOT NULL, mtime INTEGER NOT NULL,
    ctime INTEGER NOT NULL, inode INTEGER NOT NULL, digest BLOB NOT NULL,
    PRIMARY KEY (path, part)) WITHOUT ROWID;
CREATE INDEX files_of ON files (digest);
"""
_TABLES = f"""
CREATE TABLE models (
    id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
    width INTEGER NOT NULL);
CREATE TABLE vectors (
    id INTEGER PRIMARY KEY, model INTEGER NOT NULL, digest BLOB NOT NULL, used INTEGER NOT NULL,
    vector BLOB NOT NULL, checksum INTEGER);
CREATE UNIQUE INDEX vectors_of ON vectors (model, digest);
CREATE INDEX vectors_used ON vectors (used);
{_FILES}"""
# The names of tables stay: "no such table" would make an older siglip, still running, put the file aside.
_FROM_1 = f"""
ALTER TABLE vectors ADD COLUMN checksum INTEGER;
DROP TABLE files;
{_FILES}
CREATE TABLE migration (next INTEGER NOT NULL);
INSERT INTO migration VALUES (0);
"""  # noqa: S608  # our own names

logger = logging.getLogger("siglipcli")


class NewerError(Exception):
    """The file was written by a newer version."""


def connect(path: Path, wait: float, limit: int | None) -> sqlite3.Connection:
    """Open the file, making or migrating its tables. Raises sqlite3.Error, OSError or NewerError.

    Another process is waited for `wait` seconds. `limit` is how many bytes the store is to take.
    """
    with suppress(
        FileExistsError
    ):  # one that exists is not opened: closing it would drop SQLite's locks
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with suppress(OSError):  # another user's
        path.chmod(0o600)
    connection = sqlite3.connect(path, timeout=wait, isolation_level=None, check_same_thread=False)
    # A bit may have flipped in a name, too.
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    try:
        _prepare(connection, limit)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, limit: int | None) -> None:
    version = _version(connection)
    if version > _SCHEMA:
        raise NewerError("it was written by a newer siglip")
    if version == 0:
        connection.execute(f"PRAGMA page_size = {PAGE}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    if version < _SCHEMA:
        _bring_up(connection)
    connection.execute("PRAGMA journal_mode = WAL")
    # A kill loses nothing that was committed; only a power cut may lose the last moments.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA cache_size = -{_CACHE}")
    fewest, most = _WAL_PAGES
    pages = most if limit is None else max(fewest, min(most, limit // PAGE // 16))
    connection.execute(f"PRAGMA wal_autocheckpoint = {pages}")
    connection.execute(f"PRAGMA journal_size_limit = {pages * PAGE}")
    _add_checksums(connection)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _bring_up(connection: sqlite3.Connection) -> None:
    """Make the tables, or change those of schema 1: all in one transaction, whoever comes first."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        version = _version(connection)
        if version < _SCHEMA:
            for statement in (_FROM_1 if version else _TABLES).split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {_SCHEMA}")


def _add_checksums(db: sqlite3.Connection) -> None:
    """Finish what `_FROM_1` began: in batches, each of which counts, whoever does it."""
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'migration'").fetchone():
        return
    logger.info("bringing the embedding store to a new format; this is done once …")
    while _add_batch(db):
        time.sleep(0.001)  # let others write


def _add_batch(db: sqlite3.Connection) -> bool:
    with db:
        db.execute("BEGIN IMMEDIATE")
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'migration'").fetchone():
            return False  # another process came to the end
        rows = db.execute(
            "SELECT v.id, m.fingerprint, v.digest, v.vector FROM vectors v"
            " LEFT JOIN models m ON m.id = v.model"
            " WHERE v.id > (SELECT next FROM migration) ORDER BY v.id LIMIT ?",
            (_BATCH,),
        ).fetchall()
        if not rows:
            db.execute("DROP TABLE migration")
            return False
        checksums = [(_first_checksum(*row[1:]), row[0]) for row in rows]
        db.executemany("UPDATE vectors SET checksum = ? WHERE id = ?", checksums)
        db.execute("UPDATE migration SET next = ?", (rows[-1][0],))
    return True


def _first_checksum(fingerprint: object, digest: object, vector: object) -> int | None:
    """Return a row's checksum where it passes schema 1's check, a unit length; None: it is damaged."""
    if not (
        isinstance(fingerprint, str) and isinstance(digest, bytes) and isinstance(vector, bytes)
    ):
        return None
    if len(digest) != DIGEST or not vector or len(vector) % 4:
        return None
    row = np.frombuffer(vector, np.float32)
    if not abs(float(np.sqrt(row @ row)) - 1) < _UNIT:  # nor NaN
        return None
    return int(checksums(fingerprint, [digest], row[None])[0])


def is_passing(error: Exception) -> bool:
    """Whether SQLite complains of the moment: another process writes, or the disk is full."""
    words = str(error)
    return isinstance(error, sqlite3.Error) and ("locked" in words or "is full" in words)


def is_read_only(error: Exception) -> bool:
    """Whether the file can be read, not written."""
    return isinstance(error, sqlite3.Error) and "readonly" in str(error)


def is_damage(error: Exception) -> bool:
    """Whether SQLite, or whoever reads its rows, complains of what is in the file."""
    if not isinstance(error, (sqlite3.Error, OSError, NewerError, MemoryError)):
        return True  # a value of another type, or out of all bounds
    return any(words in str(error) for words in _DAMAGE)


def patience(db: sqlite3.Connection, seconds: float) -> None:
    """Set how long another process is waited for from now on."""
    db.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")


def set_aside(path: Path) -> str:
    """Rename a damaged store, so that a new one can be begun and nothing is deleted. Raises OSError."""
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
    path.replace(aside)
    for suffix in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).replace(f"{aside}{suffix}")
    return str(aside)
