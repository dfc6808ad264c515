"""One model's vectors in the store: asked for by file or by content, and kept."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from siglipcli.store.checksums import DIGEST, checksums
from siglipcli.store.states import FileState

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from siglipcli.store.store import Store

    Vector = NDArray[np.float32]

__all__ = ["Entry", "Space"]

_RECENT = 86_400  # seconds within which "last used" is not written again
_PART = FileState._fields.index("part")  # the last one
_ROWS = 500  # keys in one statement
_STALE = "CASE WHEN v.used >= ? THEN NULL ELSE v.id END"  # the row's number, where its use is news
_INSERT_FILE = (
    "INSERT OR REPLACE INTO files (path, size, mtime, ctime, inode, part, digest)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)

T = TypeVar("T")
Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """Something to keep: the digest of a content, its vector, and the file it was read from.

    `vector` is None where only the file is news: its content was here already.
    """

    digest: bytes
    vector: Vector | None
    file: FileState | None = None


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
        stored = {
            part: {row[4:]: row for row in self._of_files(states, part)}
            for part in {state.part for state in states if state}
        }
        here = [stored[state.part].get(state[:_PART]) if state else None for state in states]
        positions = [i for i, row in enumerate(here) if row]
        sound, vectors = self._sound([row for row in here if row])
        return positions if len(sound) == len(positions) else [positions[i] for i in sound], vectors

    def files(self, states: Sequence[FileState]) -> dict[bytes, Vector]:
        """Return path → vector for every file that is as it was when it was encoded."""
        positions, vectors = self.known(states)
        return {states[i].path: vector for i, vector in zip(positions, vectors, strict=True)}

    def vectors(self, digests: Sequence[bytes]) -> dict[bytes, Vector]:
        """Return digest → vector for every content that is stored."""
        query = (
            f"SELECT {_STALE}, v.checksum, v.vector, v.digest FROM vectors v"  # noqa: S608  # our own
            " WHERE v.model = ? AND v.digest IN"
        )
        rows = self._rows(query, (), digests)
        sound, vectors = self._sound(rows)
        return {rows[i][3]: vector for i, vector in zip(sound, vectors, strict=True)}

    def keep(self, entries: Sequence[Entry]) -> None:
        """Write entries in one transaction; when this returns, a kill loses none of them.

        Where another process keeps the store locked for long, they are written with the next ones.
        """
        self._store.keep(self, entries)

    def write(self, db: sqlite3.Connection, entries: Sequence[Entry]) -> None:
        """Enter entries, as a part of the transaction that the store has begun."""
        fresh = [(entry.digest, entry.vector) for entry in entries if entry.vector is not None]
        if fresh:
            self._write_vectors(db, fresh)
        files = [(*entry.file, entry.digest) for entry in entries if entry.file]
        db.executemany(_INSERT_FILE, files)

    def _of_files(self, states: Sequence[FileState | None], part: str) -> list[Row]:
        """Return checksum and vector of what was kept of files, whatever state they were in."""
        query = (
            f"SELECT {_STALE}, v.checksum, v.vector, f.digest,"  # noqa: S608  # our own words
            " f.path, f.size, f.mtime, f.ctime, f.inode FROM files f"
            " CROSS JOIN vectors v ON v.model = ? AND v.digest = f.digest"  # CROSS: files first
            " WHERE f.part = ? AND f.path IN"
        )
        return self._rows(query, (part,), [s.path for s in states if s and s.part == part])

    def _rows(self, query: str, more: tuple[str, ...], keys: Sequence[bytes]) -> list[Row]:
        """Return what is stored: number if its use is news, checksum, vector, key, more."""

        def action(db: sqlite3.Connection) -> list[Row]:
            model = self._number(db)
            old, rows = time.time() - _RECENT, []
            for some in _parts(keys) if model is not None else ():
                marks = ",".join("?" * len(some))
                rows += db.execute(f"{query} ({marks})", (old, model, *more, *some)).fetchall()
            self._store.note_use([row[0] for row in rows if row[0] is not None])
            return rows

        return self._store.run(action, [])

    def _number(self, db: sqlite3.Connection) -> int | None:
        query = "SELECT id FROM models WHERE fingerprint = ?"
        return (db.execute(query, (self._fingerprint,)).fetchone() or (None,))[0]

    def _sound(self, rows: Sequence[Row]) -> tuple[Sequence[int], NDArray[np.float32]]:
        """Return the positions of rows that are as they were written, and their vectors: float32[n, d].

        The others are counted as damaged.
        """
        if not rows:
            return [], np.empty((0, 0), np.float32)
        _, sums, blobs, digests, *_ = zip(*rows, strict=True)
        try:
            vectors = np.frombuffer(b"".join(blobs), np.float32).reshape(len(rows), -1)
            right = checksums(self._fingerprint, digests, vectors) == np.array(sums, np.int64)
            if right.all() and len(set(map(len, blobs))) == 1:
                return range(len(rows)), vectors
        except (TypeError, ValueError, OverflowError):  # a value of another type or length
            pass
        return self._sound_ones(rows)

    def _sound_ones(self, rows: Sequence[Row]) -> tuple[list[int], NDArray[np.float32]]:
        """Do the same one by one, for rows some of which are damaged."""
        vectors = [_vector(self._fingerprint, row) for row in rows]
        right = [i for i, vector in enumerate(vectors) if vector is not None]
        self._store.note_damage(
            (self._fingerprint, rows[i][3]) for i, vector in enumerate(vectors) if vector is None
        )
        kept = [vector for vector in vectors if vector is not None]
        return right, np.stack(kept) if kept else np.empty((0, 0), np.float32)

    def _write_vectors(self, db: sqlite3.Connection, fresh: Sequence[tuple[bytes, Vector]]) -> None:
        digests = [digest for digest, _ in fresh]
        vectors = np.stack([np.asarray(vector, np.float32) for _, vector in fresh])
        model, now = self._enter(db, vectors.shape[1]), int(time.time())
        sums = checksums(self._fingerprint, digests, vectors).tolist()
        db.executemany(
            "INSERT OR REPLACE INTO vectors (model, digest, used, vector, checksum)"
            " VALUES (?, ?, ?, ?, ?)",
            [
                (model, digest, now, vector.tobytes(), checksum)
                for digest, vector, checksum in zip(digests, vectors, sums, strict=True)
            ],
        )

    def _enter(self, db: sqlite3.Connection, width: int) -> int | None:
        """Return the model's number, entering it with its first vector."""
        db.execute(
            "INSERT OR IGNORE INTO models (fingerprint, name, width) VALUES (?, ?, ?)",
            (self._fingerprint, self._name, width),
        )
        return self._number(db)


def _vector(fingerprint: str, row: Row) -> Vector | None:
    """Return a row's vector; None where it is not as it was written."""
    _, checksum, blob, digest, *_ = row
    if not (isinstance(blob, bytes) and isinstance(digest, bytes) and isinstance(checksum, int)):
        return None
    if not blob or len(blob) % 4 or len(digest) != DIGEST:
        return None
    vector = np.frombuffer(blob, np.float32)
    right = checksums(fingerprint, [digest], vector[None])[0] == checksum
    return vector if right else None


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[i : i + _ROWS] for i in range(0, len(items), _ROWS))
