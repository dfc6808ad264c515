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
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from siglipcli.store import database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Vector = NDArray[np.float32]

__all__ = ["Entry", "FileState", "Space", "Store", "Usage"]
__all__ += ["content_digest", "file_state", "file_states", "text_digest"]

_RECENT = 86_400  # seconds within which "last used" is not written again
_SETTLED = 50_000_000  # ns that a file must have rested before its mtime is trusted
_UNIT = 0.01  # how far from 1 a unit vector's length may be, computed in bf16
_ROWS = 500  # values in one statement


T = TypeVar("T")
logger = logging.getLogger("siglipcli")


class FileState(NamedTuple):
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
    """What the store holds of one model: vectors of images and prompts, and their bytes.

    `used` is when one of them was last asked for, in seconds since 1970, to a day.
    """

    model: str
    vectors: int
    bytes: int
    used: float


def content_digest(data: bytes) -> bytes:
    """Return the digest that names an image's content."""
    return hashlib.sha256(data).digest()


def text_digest(prompt: str) -> bytes:
    """Return the digest that names a prompt; no image has it."""
    return hashlib.sha256(b"prompt\0" + prompt.encode("utf-8", "surrogatepass")).digest()


def file_state(path: str | os.PathLike[str]) -> FileState | None:
    """Return a file's state; None where it has none to trust: gone, odd, or changed just now."""
    return file_states([path])[0]


def file_states(paths: Iterable[str | os.PathLike[str] | None]) -> list[FileState | None]:
    """Return the states of many files; None for None, and where a file has none to trust."""
    try:
        here = os.getcwd()  # noqa: PTH109
    except OSError:  # the folder this process stands in was deleted
        here = ""
    latest = time.time_ns() - _SETTLED
    return [None if path is None else _state(path, here, latest) for path in paths]


def _state(path: str | os.PathLike[str], here: str, latest: int) -> FileState | None:
    try:
        info = os.stat(path)  # noqa: PTH116  # once for every file of a run
    except (OSError, ValueError):
        return None
    if info.st_mtime_ns > latest:
        return None
    name = os.fspath(path)
    if not name.startswith("/"):
        name = os.path.join(here, name)  # noqa: PTH118
        if not os.path.isabs(name):  # noqa: PTH117
            return None
    return FileState(os.fsencode(name), info.st_size, info.st_mtime_ns, info.st_ino)


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
            self._connection = database.connect(self.path)
        except (sqlite3.Error, OSError, database.NewerError) as error:
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
        return self.run(lambda db: [Usage(*row) for row in db.execute(database.USAGE)], [])

    def size(self) -> int:
        """Return the bytes in use; pages that are free to be written again do not count."""
        return self.run(database.bytes_used, 0)

    def prune(self, limit: int) -> int:
        """Drop the least recently used vectors until `limit` bytes are kept; return how many."""
        return self.run(lambda db: database.prune(db, limit), 0)

    def clear(self) -> None:
        """Forget everything; the file shrinks."""
        self.run(database.clear, None)

    def close(self) -> None:
        """Keep to the limit, and let the file go."""
        if self.limit is not None and self.size() > self.limit:
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
        note = database.set_aside(self.path) if database.is_damage(error) else ""
        logger.warning("going on without the embedding store (%s)%s", error, note)


class Space:
    """One model's vectors in a store: unit rows, float32[d]."""

    def __init__(self, store: Store, fingerprint: str, name: str) -> None:
        self._store = store
        self._fingerprint = fingerprint
        self._name = name

    def known(self, states: Sequence[FileState | None]) -> tuple[list[int], NDArray[np.float32]]:
        """Find the files that are as they were when they were encoded.

        Return their positions in `states`, ascending, and their vectors: float32[n, d].
        """
        query = (
            "SELECT v.id, v.used, v.vector, f.path, f.size, f.mtime, f.inode FROM files f"
            " JOIN vectors v ON v.model = ? AND v.digest = f.digest WHERE f.path IN"
        )
        rows = self._rows(query, [state.path for state in states if state])
        held: dict[tuple[Any, ...] | None, bytes]  # a FileState is such a tuple
        held = {row[3:]: row[2] for row in rows}
        found = [i for i, state in enumerate(states) if state in held]
        blobs = [held[states[i]] for i in found]
        width = len(blobs[0]) // 4 if blobs else 0
        vectors = np.frombuffer(b"".join(blobs), np.float32).reshape(len(blobs), width)
        sound = _are_unit(vectors)
        if sound.all():
            return found, vectors
        return [i for i, good in zip(found, sound, strict=True) if good], vectors[sound]

    def files(self, states: Sequence[FileState]) -> dict[bytes, Vector]:
        """Return path → vector for every file that is as it was when it was encoded."""
        found, vectors = self.known(states)
        return {states[i].path: vector for i, vector in zip(found, vectors, strict=True)}

    def vectors(self, digests: Sequence[bytes]) -> dict[bytes, Vector]:
        """Return digest → vector for every content that is held."""
        query = "SELECT id, used, vector, digest FROM vectors WHERE model = ? AND digest IN"
        rows = {row[3]: np.frombuffer(row[2], np.float32) for row in self._rows(query, digests)}
        return {digest: vector for digest, vector in rows.items() if _are_unit(vector)}

    def keep(self, entries: Sequence[Entry]) -> None:
        """Write entries in one transaction; when this returns, a kill loses none of them."""
        self._store.run(lambda db: self._write(db, entries), None)

    def _rows(self, query: str, keys: Sequence[bytes]) -> list[tuple[Any, ...]]:
        """Return what is asked for: id, when last used, vector, more. A wrong length is no vector."""

        def action(db: sqlite3.Connection) -> list[tuple[Any, ...]]:
            query_model = "SELECT id, 4 * width FROM models WHERE fingerprint = ?"
            model, length = db.execute(query_model, (self._fingerprint,)).fetchone() or (None, 0)
            old, found = time.time() - _RECENT, []
            for part in _parts(keys) if model else ():
                marks = ",".join("?" * len(part))
                rows = db.execute(f"{query} ({marks})", (model, *part)).fetchall()
                database.touch(db, [row[0] for row in rows if row[1] < old])
                found += [row for row in rows if len(row[2]) == length]
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
                [(model, e.digest, now, np.asarray(e.vector, np.float32).tobytes()) for e in fresh],
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


def _are_unit(vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which rows are unit vectors: one that was damaged on the disk hardly is. NaN is none."""
    norms = np.sqrt(np.einsum("...i,...i->...", vectors, vectors))
    return np.asarray(np.abs(norms - 1) < _UNIT)


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[i : i + _ROWS] for i in range(0, len(items), _ROWS))
