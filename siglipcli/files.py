"""Files on disk: what tells an unchanged one, how one takes another's place, who may read it.

Whatever siglip keeps is private to the user: its folders have mode 0700, its files 0600.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "Stamp",
    "delete",
    "has_own_ctime",
    "make_folder",
    "read_note",
    "replacing",
    "stamp",
    "write_note",
]

Stamp = tuple[int, int, int, int]
"""A file's size in bytes, mtime in ns, ctime in ns, inode: another state of it has another stamp."""

_COARSE = 10_000_000
"""ns to which FAT and exFAT round times. They have no ctime of their own either: it is the mtime."""
_INT64 = 2**63 - 1  # inodes may take 64 bits; SQLite's integers have a sign


def stamp(info: os.stat_result) -> Stamp:
    """Return what tells this state of a file from others.

    A change that keeps size, mtime and inode (`exiftool -P -overwrite_original_in_place`) moves the ctime.
    """
    return info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino & _INT64


def has_own_ctime(info: os.stat_result) -> bool:
    """Whether the file's ctime moves with each change: not on Windows, FAT and exFAT."""
    if sys.platform == "win32":  # there it is the time of creation
        return False
    ctime = info.st_ctime_ns
    return ctime > 0 and (ctime != info.st_mtime_ns or ctime % _COARSE != 0)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it for this user alone; what exists is left as it is. Raises OSError."""
    for missing in reversed([parent for parent in folder.parents if not parent.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


@contextmanager
def replacing(path: Path, draft: Path | None = None) -> Iterator[Path]:
    """Lend a name beside `path`; what the block leaves there, a file or a folder, becomes `path`.

    That is one rename: `path` is never half written. When the block raises, the draft is deleted.
    """
    draft = draft or path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield draft
        draft.replace(path)
    except BaseException:
        delete(draft)
        raise


def delete(path: Path) -> None:
    """Delete a file, or a folder with all in it; what cannot be deleted stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        path.unlink()


def write_note(path: Path, content: object) -> None:
    """Keep JSON to be used again, for this user alone. Raises OSError."""
    make_folder(path.parent)
    with replacing(path) as draft:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            json.dump(content, file)


def read_note(path: Path) -> Any:
    """Return what `write_note` kept; None where there is nothing to be read."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
