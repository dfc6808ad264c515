"""Steps of a run, and the state of files: whether a file is the one that a step was about, as it was then.

A file that is moved is known again by a digest of its content: of all of it up to 1 MiB, of larger ones of the
first and the last 256 KiB, where formats keep what tools edit in place. Reading a folder of RAW files in whole
would take as long as a copy, for a move that takes none.
"""

# Names stay the strings that were typed.
# ruff: noqa: PTH118, PTH206

from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING

from siglipcli.actions.journal import FOLDER, Entry
from siglipcli.files import has_own_ctime, stamp

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "State",
    "info",
    "is_like",
    "is_original",
    "is_unchanged",
    "new_folders",
    "state",
    "step",
]

State = tuple[int, int, int]
"""A file's size in bytes, mtime in ns, and inode."""

_WHOLE, _END = 1 << 20, 1 << 18  # bytes
_FINE, _COARSE = 100, 2_000_000_000  # ns: what NTFS and FAT round times to


def step(kind: str, source: str, below: str, group: int) -> Entry:
    """Return the step that puts a file at the place `below` the destination. Raises OSError."""
    state = os.stat(source)  # noqa: PTH116
    size, mtime, ctime, inode = stamp(state)
    digest = _digest(source, state) if kind == "move" else ""
    origin = os.path.abspath(source)  # noqa: PTH100  # the name, not where it leads
    mode = stat.S_IMODE(state.st_mode)
    return Entry(kind, below, origin, group, size, mtime, ctime, inode, mode, digest)


def new_folders(folder: str, into: Path, known: set[str]) -> list[Entry]:
    """Return the steps that make a folder and those above it, up to the destination."""
    below = os.path.relpath(folder, into)
    parts = [] if below == os.curdir else below.split(os.sep)
    entries: list[Entry] = []
    for depth in range(len(parts)):
        place = os.sep.join(parts[: depth + 1])
        if place not in known and not (into / place).is_dir():
            entries.append(Entry(FOLDER, place))
        known.add(place)
    return entries


def state(file: str | Path) -> State:
    """Return what another file, or other content, at this path would change. Raises OSError."""
    size, mtime, _, inode = stamp(os.stat(file))  # noqa: PTH116
    return size, mtime, inode  # ctime changes with each link to the file


def info(path: Path) -> os.stat_result | None:
    """Return what is at a path, itself if it is a link; None where nothing is."""
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def is_unchanged(entry: Entry, path: Path) -> bool:
    """Whether a file that was moved has the size, time and content that it had; the mode may be another."""
    state = info(path)
    if state is None or not stat.S_ISREG(state.st_mode) or not _has_time(entry, state):
        return False
    return state.st_size == entry.size and entry.digest in {"", _digest(path, state)}


def is_like(entry: Entry, state: os.stat_result) -> bool:
    """Whether a file has the time and mode that the step's had, as far as its file system keeps them."""
    keeps_modes = has_own_ctime(state)
    same_mode = not keeps_modes or stat.S_IMODE(state.st_mode) == entry.mode
    return _has_time(entry, state) and same_mode


def is_original(entry: Entry, state: os.stat_result) -> bool:
    """Whether this is the very file that the step was about, not touched since, and no copy of it."""
    return stamp(state) == (entry.size, entry.mtime_ns, entry.ctime_ns, entry.inode)


def _has_time(entry: Entry, state: os.stat_result) -> bool:
    rounding = _FINE if has_own_ctime(state) else _COARSE
    return abs(state.st_mtime_ns - entry.mtime_ns) < rounding


def _digest(path: str | Path, state: os.stat_result) -> str:
    """Return the digest of a file's content; "" where it is none, or cannot be read."""
    if not stat.S_ISREG(state.st_mode):
        return ""  # opening a pipe would wait
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            if state.st_size <= _WHOLE:
                data = file.read()
            else:
                data = file.read(_END)
                file.seek(-_END, os.SEEK_END)
                data += file.read()
    except OSError:
        return ""
    return hashlib.blake2b(data, digest_size=16).hexdigest()
