"""The store as its users see it: opened, shared by threads, never the reason that a run fails."""

from __future__ import annotations

import logging
import math
import sqlite3
import time
import weakref
from contextlib import suppress
from dataclasses import dataclass
from threading import RLock
from typing import TYPE_CHECKING, TypeVar

from siglipcli.files import make_folder
from siglipcli.store import database, pruning
from siglipcli.store.space import Entry, Space

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from siglipcli.store.states import FileState

__all__ = ["FILE", "Store", "Usage"]

FILE = "embeddings.sqlite"
_PATIENCE = 10.0  # seconds to wait for another process
_IMPATIENCE = 0.25  # seconds, once that was in vain
_PENDING = 4_096  # entries that wait for a locked store, at most
_RESTARTS = 3  # times that a damaged store is begun anew in one run
_TOUCHES = 20_000  # rows whose use waits to be written, at most
_IN_PASSING = (
    0.05  # seconds that a batch may take for it: far more is dropped in it than is written
)
_AT_THE_END = 2.0  # seconds that a run may take to bring a store down to its limit
_USAGE = """
SELECT m.name, count(v.id), CAST(sum(length(v.vector)) AS INTEGER), CAST(max(v.used) AS INTEGER)
FROM models m JOIN vectors v ON v.model = m.id GROUP BY m.name ORDER BY 3 DESC
"""

T = TypeVar("T")
logger = logging.getLogger("siglipcli")


@dataclass(frozen=True, slots=True)
class Usage:
    """What the store holds of one model: vectors of images and prompts, and their bytes.

    `used` is when one of them was last used, in seconds since 1970, to a day.
    """

    model: str
    vectors: int
    bytes: int
    used: float


class Store:
    """The file that all models' vectors share. Threads may share the object.

    Nothing raises for what is wrong with the file. Where another process keeps it locked, what is to
    be written waits; where it is damaged, it is put aside and begun anew; where it is of no use, there
    is one warning, and from then on nothing is found and nothing kept.

    `limit` is how many bytes it may take: over it, the least recently used vectors are dropped as new
    ones are written. `evicted` and `damaged` count vectors that were dropped, and that were not as they
    were written; `close` says both. `patience` is how long another process is waited for, in seconds.
    """

    def __init__(self, folder: Path, limit: int | None = None, patience: float = _PATIENCE) -> None:
        self.path = folder / FILE
        self.limit = limit
        self.evicted = 0
        self._patience = patience
        self._lock = RLock()
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._is_over = False  # closed, or of no use
        self._is_writable = True
        self._restarts = 0
        self._said: set[str] = set()
        self._damaged: set[tuple[str, object]] = set()
        self._used: set[int] = set()
        self._pending: list[tuple[Space, Sequence[Entry]]] = []
        self._open()

    @property
    def usable(self) -> bool:
        """Whether the store can still be read."""
        return self._connection is not None

    @property
    def damaged(self) -> int:
        """How many vectors were asked for and not as they were written."""
        return len(self._damaged)

    def space(self, fingerprint: str, name: str) -> Space:
        """Return the part that holds one model's vectors; `name` is for people."""
        return Space(self, fingerprint, name)

    def run(self, action: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """Return what `action` makes of the connection; `otherwise` where the store is no use."""
        with self._lock:
            if self._connection is None and not self._is_over:
                self._open()
            if self._connection is None:
                return otherwise
            try:
                return action(self._connection)
            except Exception as error:  # noqa: BLE001  # whatever the file holds, no run fails for it
                self._complain(error)
                return otherwise

    def keep(self, space: Space, entries: Sequence[Entry]) -> None:
        """Write entries of one model; see `Space.keep`."""
        with self._lock:
            self._pending.append((space, entries))
            self._write()
            if self.limit is not None and not self._pending:
                self._evict(self.limit, time.monotonic() + _IN_PASSING)

    def copy(self, old: bytes, new: bytes) -> None:
        """Keep every model's vector of content `old` under `new` too: another file with the same pixels."""
        query = (
            "SELECT m.fingerprint, m.name FROM models m CROSS JOIN vectors v"
            " WHERE v.model = m.id AND v.digest = ?"
        )
        models: list[tuple[str, str]] = []
        models = self.run(lambda db: db.execute(query, (old,)).fetchall(), models)
        for fingerprint, name in models:
            space = self.space(fingerprint, name)
            if (vector := space.vectors([old]).get(old)) is not None:
                self.keep(space, [Entry(new, vector)])

    def keep_files(self, files: Sequence[tuple[bytes, FileState]]) -> None:
        """Remember which content files have now, whose vectors are here."""
        self.keep(self.space("", ""), [Entry(digest, None, state) for digest, state in files])

    def usage(self) -> list[Usage]:
        """Return what is stored, model by model, largest first."""
        return self.run(lambda db: [_usage(*row) for row in db.execute(_USAGE)], [])

    def size(self) -> int:
        """Return the bytes in use; pages that are free to be written again do not count."""
        return self.run(pruning.bytes_used, 0)

    def prune(self, limit: int) -> int:
        """Drop the least recently used vectors until `limit` bytes are kept; return how many."""
        with self._lock:
            before = self.evicted
            self._write()
            self._evict(limit, until=math.inf)
            self.run(pruning.shrink, None)
            dropped, self.evicted = self.evicted - before, before
            return dropped

    def clear(self) -> None:
        """Forget everything; the file shrinks."""
        self.run(pruning.clear, None)

    def close(self) -> None:
        """Write what waits, keep to the limit, and let the file go."""
        with self._lock:
            if self._is_over and self._connection is None:
                return
            if self._pending or self._used:
                self.run(lambda db: database.patience(db, self._patience), None)
                self._write()
            if self.limit is not None:
                self._finish(self.limit)
            self._let_go()
            self._is_over = True
            self._sum_up()

    def note_use(self, rows: Iterable[int]) -> None:
        """Remember that rows were used. It is written with the next vectors: reading writes nothing."""
        self._used.update(rows)
        if len(self._used) > _TOUCHES:
            self._write()

    def note_damage(self, keys: Iterable[tuple[str, object]]) -> None:
        """Remember rows, by fingerprint and digest, that are not as they were written."""
        self._damaged.update(keys)

    def _open(self) -> None:
        try:
            make_folder(self.path.parent)
            wait = _IMPATIENCE if "passing" in self._said else self._patience
            self._connection = database.connect(self.path, wait, self.limit)
            # of a store that nobody closes; at the end of the process the file closes by itself
            weakref.finalize(self, self._connection.close).atexit = False
            self._inode = self.path.stat().st_ino
        except Exception as error:  # noqa: BLE001  # whatever the file holds, no run fails for it
            self._complain(error)

    def _write(self) -> None:
        """Write what waits in one transaction; where that cannot be now, it waits for the next one."""
        if not (self._pending or self._used):
            return
        if self._is_writable and self.run(self._transaction, otherwise=False):
            if "passing" in self._said:
                self._said.remove("passing")
                self.run(lambda db: database.patience(db, self._patience), None)
            self._pending, self._used = [], set()
        elif not self._is_writable or self._is_over:
            self._pending, self._used = [], set()
        while sum(len(entries) for _, entries in self._pending) > _PENDING:
            del self._pending[0]

    def _transaction(self, db: sqlite3.Connection) -> bool:
        now = int(time.time())
        with db:
            db.execute("BEGIN IMMEDIATE")
            touched = [(now, number) for number in self._used]
            db.executemany("UPDATE vectors SET used = ? WHERE id = ?", touched)
            for space, entries in self._pending:
                space.write(db, entries)
        return True

    def _evict(self, limit: int, until: float) -> None:
        def counted(dropped: int) -> None:
            self.evicted += dropped

        self.run(lambda db: pruning.evict(db, limit, counted, until), None)

    def _finish(self, limit: int) -> None:
        """Bring the store down to its limit, as far as that goes in a moment."""
        until = time.monotonic() + _AT_THE_END
        if self._is_writable and self.size() > limit:
            self._evict(limit, until)
        if self.evicted:
            self.run(lambda db: pruning.shrink(db, until), None)
        if self._is_writable and self.size() > limit and self.usage():
            logger.warning("the embedding store is still larger than its limit: prune it")

    def _sum_up(self) -> None:
        if self._damaged:
            logger.warning("%s damaged and encoded again", _stored(self.damaged))
        if self.evicted:
            logger.warning(
                "%s dropped, the least recently used: the store is at its limit",
                _stored(self.evicted),
            )

    def _complain(self, error: Exception) -> None:
        """Warn of what is wrong with the store, once; choose how to go on."""
        if database.is_passing(error):
            self._warn("passing", "the embedding store is busy (%s): trying again later", error)
            if self._connection:
                database.patience(self._connection, _IMPATIENCE)
        elif database.is_read_only(error) and self._connection:
            self._is_writable = False
            self._warn("read-only", "nothing new is kept in the embedding store (%s)", error)
        elif database.is_damage(error) and self._restarts < _RESTARTS:
            self._start_anew(error)
        else:
            self._give_up(error)

    def _start_anew(self, error: Exception) -> None:
        self._restarts += 1
        self._let_go()
        try:
            if self._inode in (0, self.path.stat().st_ino):  # else another process did it already
                aside = database.set_aside(self.path)
                logger.warning(
                    "the embedding store is damaged (%s): it was set aside as %s, and a new one begun",
                    error,
                    aside,
                )
        except OSError as failure:
            self._give_up(failure)
            return
        self._open()

    def _give_up(self, error: Exception) -> None:
        self._let_go()
        self._is_over = True
        logger.warning("going on without the embedding store (%s)", error)

    def _let_go(self) -> None:
        with suppress(sqlite3.Error):
            if self._connection:
                self._connection.close()
        self._connection = None
        self._used = set()  # numbers of this file's rows

    def _warn(self, kind: str, message: str, error: Exception) -> None:
        if kind not in self._said:
            self._said.add(kind)
            logger.warning(message, error)


def _usage(name: object, vectors: int, size: int | None, used: int | None) -> Usage:
    return Usage(str(name), vectors, size or 0, used or 0)


def _stored(count: int) -> str:
    return f"{count:,} stored embedding{' was' if count == 1 else 's were'}"
