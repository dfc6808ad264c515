"""The embedding store: what was encoded once is not encoded again.

SQLite in the cache folder, two tables beside the list of models:

    vectors   model, content digest             → float32 vector, when it was last used
    files     path, size, mtime in ns, inode    → content digest

so an unchanged file is not even opened, and a copied one is read but not encoded. Prompts live in
`vectors` too, under the digest of their text. A run never fails for its store: what is damaged,
newer, locked, read-only or full costs a warning, and the run goes on without.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
import time
from contextlib import suppress
from dataclasses import dataclass
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Vector = NDArray[np.float32]

__all__ = ["Entry", "FileState", "Space", "Store", "Usage"]
__all__ += ["content_digest", "file_state", "text_digest"]

_SCHEMA = 1  # PRAGMA user_version
_BUSY = 10.0  # seconds to wait for another process
_RECENT = 86_400  # seconds within which "last used" is not written again
_SETTLED = 50_000_000  # ns that a file must have rested before its mtime is trusted
_ROWS = 500  # values in one statement
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

_USAGE = """
SELECT m.name, count(v.id), sum(length(v.vector)), max(v.used)
FROM models m JOIN vectors v ON v.model = m.id GROUP BY m.name ORDER BY 3 DESC
"""

T = TypeVar("T")
logger = logging.getLogger("siglipcli")


@dataclass(frozen=True, slots=True)
class FileState:
    """What tells an unchanged file: its absolute path, size in bytes, mtime in ns, inode."""

    path: bytes
    size: int
    mtime: int
    inode: int


@dataclass(frozen=True, slots=True)
class Entry:
    """Something to keep: the digest of a content, its vector, and the file it was read from.

    `vector` is None where only the file is news: its content was here already.
    """

    digest: bytes
    vector: Vector | None
    file: FileState | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What the store holds of one model: vectors of pictures and prompts, and their bytes.

    `used` is when one of them was last asked for, in seconds since 1970, to a day.
    """

    model: str
    vectors: int
    bytes: int
    used: float


def content_digest(data: bytes) -> bytes:
    """Return the digest that names a picture's content."""
    return hashlib.sha256(data).digest()


def text_digest(prompt: str) -> bytes:
    """Return the digest that names a prompt; no picture has it."""
    return hashlib.sha256(b"prompt\0" + prompt.encode("utf-8", "surrogatepass")).digest()


def file_state(path: str | os.PathLike[str]) -> FileState | None:
    """Return a file's state; None where it has none to trust: gone, odd, or changed just now."""
    try:
        info = os.stat(path)  # noqa: PTH116  # once for every file of a run
    except (OSError, ValueError):
        return None
    if time.time_ns() - info.st_mtime_ns < _SETTLED:
        return None
    full = os.path.join(os.getcwd(), path)  # noqa: PTH109, PTH118
    return FileState(os.fsencode(full), info.st_size, info.st_mtime_ns, info.st_ino)


class Store:
    """The file that all models' vectors share. Threads may share the object.

    Nothing raises for what is wrong with the file: there is one warning, and from then on nothing
    is found and nothing kept.
    """

    def __init__(self, folder: Path, limit: int | None = None) -> None:
        self.path = folder / "embeddings.sqlite"
        self.limit = limit
        self._lock = RLock()
        self._connection: sqlite3.Connection | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._connection = _connect(self.path)
        except (sqlite3.Error, OSError, _NewerError) as error:
            self._give_up(error)

    @property
    def usable(self) -> bool:
        """Whether the store still answers."""
        return self._connection is not None

    def space(self, fingerprint: str, name: str) -> Space:
        """Return the part that holds one model's vectors; `name` is for people."""
        return Space(self, fingerprint, name)

    def run(self, action: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """Return what `action` makes of the connection; `otherwise` where the store is no use."""
        with self._lock:
            if self._connection is None:
                return otherwise
            try:
                return action(self._connection)
            except (sqlite3.Error, OSError) as error:
                self._give_up(error)
                return otherwise

    def usage(self) -> list[Usage]:
        """Return what is held, model by model, largest first."""
        return self.run(lambda db: [Usage(*row) for row in db.execute(_USAGE)], [])

    def size(self) -> int:
        """Return the bytes in use; pages that are free to be written again do not count."""
        return self.run(_bytes_used, 0)

    def prune(self, limit: int) -> int:
        """Drop the least recently used vectors until `limit` bytes are kept; return how many."""
        return self.run(lambda db: _prune(db, limit), 0)

    def clear(self) -> None:
        """Forget everything; the file shrinks."""
        self.run(_clear, None)

    def close(self) -> None:
        """Keep to the limit, and let the file go."""
        if self.limit and self.size() > self.limit:
            self.prune(self.limit * 9 // 10)
        with self._lock, suppress(sqlite3.Error):
            if self._connection:
                self._connection.close()
            self._connection = None

    def _give_up(self, error: Exception) -> None:
        with suppress(sqlite3.Error):
            if self._connection:
                self._connection.close()
        self._connection = None
        note = _set_aside(self.path) if _is_damage(error) else ""
        logger.warning("going on without the embedding store (%s)%s", error, note)


class Space:
    """One model's vectors in a store: unit rows, float32[d]."""

    def __init__(self, store: Store, fingerprint: str, name: str) -> None:
        self._store = store
        self._fingerprint = fingerprint
        self._name = name

    def files(self, states: Sequence[FileState]) -> dict[bytes, Vector]:
        """Return path → vector for every file that is as it was when it was encoded."""
        query = (
            "SELECT m.width, v.id, v.used, v.vector, f.path, f.size, f.mtime, f.inode FROM files f"
            " JOIN models m ON m.fingerprint = ?"
            " JOIN vectors v ON v.model = m.id AND v.digest = f.digest WHERE f.path IN"
        )
        rows = self._rows(query, [state.path for state in states])
        known = {FileState(*row[1:]): vector for row, vector in rows}
        return {s.path: known[s] for s in states if s in known}

    def vectors(self, digests: Sequence[bytes]) -> dict[bytes, Vector]:
        """Return digest → vector for every content that is held."""
        query = (
            "SELECT m.width, v.id, v.used, v.vector, v.digest FROM models m"
            " JOIN vectors v ON v.model = m.id WHERE m.fingerprint = ? AND v.digest IN"
        )
        return {row[1]: vector for row, vector in self._rows(query, digests)}

    def keep(self, entries: Sequence[Entry]) -> None:
        """Write entries in one transaction; when this returns, a kill loses none of them."""
        self._store.run(lambda db: self._write(db, entries), None)

    def _rows(self, query: str, keys: Sequence[bytes]) -> list[tuple[tuple[Any, ...], Vector]]:
        """Return what is asked for (id first), each with its vector; one of a wrong length is none."""

        def action(db: sqlite3.Connection) -> list[tuple[tuple[Any, ...], Vector]]:
            found = []
            for part in _parts(keys):
                marks = ",".join("?" * len(part))
                rows = db.execute(f"{query} ({marks})", (self._fingerprint, *part)).fetchall()
                _touch(db, [row[1] for row in rows if row[2] < time.time() - _RECENT])
                found += [
                    ((row[1], *row[4:]), np.frombuffer(row[3], np.float32))
                    for row in rows
                    if len(row[3]) == 4 * row[0]
                ]
            return found

        return self._store.run(action, [])

    def _write(self, db: sqlite3.Connection, entries: Sequence[Entry]) -> None:
        fresh = [entry for entry in entries if entry.vector is not None]
        now = int(time.time())
        with db:
            db.execute("BEGIN IMMEDIATE")
            model = self._model(db, fresh)
            db.executemany(
                "INSERT OR REPLACE INTO vectors (model, digest, used, vector) VALUES (?, ?, ?, ?)",
                [(model, e.digest, now, _packed(e.vector)) for e in fresh if e.vector is not None],
            )
            db.executemany(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)",
                [
                    (e.file.path, e.file.size, e.file.mtime, e.file.inode, e.digest)
                    for e in entries
                    if e.file
                ],
            )

    def _model(self, db: sqlite3.Connection, fresh: Sequence[Entry]) -> int | None:
        """Return the model's number, entering it with its first vector."""
        width = next((len(e.vector) for e in fresh if e.vector is not None), None)
        if width is None:
            return None
        db.execute(
            "INSERT OR IGNORE INTO models (fingerprint, name, width) VALUES (?, ?, ?)",
            (self._fingerprint, self._name, width),
        )
        query = "SELECT id FROM models WHERE fingerprint = ?"
        return int(db.execute(query, (self._fingerprint,)).fetchone()[0])


class _NewerError(Exception):
    """The file was written by a newer version."""


def _connect(path: Path) -> sqlite3.Connection:
    """Open the file, making its tables if it is new. Raises sqlite3.Error or _NewerError."""
    connection = sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
    try:
        _prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > _SCHEMA:
        raise _NewerError("it was written by a newer siglip")
    if version < _SCHEMA:
        _create(connection)
    connection.execute("PRAGMA journal_mode = WAL")
    # A kill loses nothing that was committed; only a power cut may lose the last moments.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA mmap_size = 1073741824")


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


def _is_damage(error: Exception) -> bool:
    words = str(error)
    return "malformed" in words or "not a database" in words or "no such" in words


def _set_aside(path: Path) -> str:
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


def _packed(vector: Vector) -> bytes:
    return np.ascontiguousarray(vector, np.float32).tobytes()


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[i : i + _ROWS] for i in range(0, len(items), _ROWS))


def _touch(db: sqlite3.Connection, numbers: Sequence[int]) -> None:
    """Note that vectors were used; at most once a day each, so that reading hardly writes."""
    if numbers:
        marks = ",".join("?" * len(numbers))
        db.execute(
            f"UPDATE vectors SET used = ? WHERE id IN ({marks})",  # noqa: S608  # only marks
            (int(time.time()), *numbers),
        )


def _bytes_used(db: sqlite3.Connection) -> int:
    pages, free, size = (
        db.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _prune(db: sqlite3.Connection, limit: int) -> int:
    dropped = 0
    while (over := _bytes_used(db) - limit) > 0:
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
    db.execute("PRAGMA incremental_vacuum")
    return dropped


def _clear(db: sqlite3.Connection) -> None:
    with db:
        db.execute("BEGIN IMMEDIATE")
        for table in ("files", "vectors", "models"):
            db.execute(f"DELETE FROM {table}")  # noqa: S608  # our own names
    db.execute("VACUUM")
