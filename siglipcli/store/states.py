"""What the store goes by: the states of files, and digests of contents."""

from __future__ import annotations

import hashlib
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from siglipcli.files import has_own_ctime, stamp

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["FileState", "content_digest", "file_state", "file_states", "text_digest"]

_SETTLED = 50_000_000  # ns that a file must have rested before its times are trusted


class FileState(NamedTuple):
    """What tells an unchanged file: its absolute path, size in bytes, mtime and ctime in ns, inode.

    `part` names what was taken from the file: "" is all of it.
    """

    path: bytes
    size: int
    mtime: int
    ctime: int
    inode: int
    part: str = ""


def content_digest(data: bytes) -> bytes:
    """Return the digest that names an image's content: 32 bytes."""
    return hashlib.sha256(data).digest()


def text_digest(prompt: str) -> bytes:
    """Return the digest that names a prompt, 32 bytes; no image has it."""
    return hashlib.sha256(b"prompt\0" + prompt.encode("utf-8", "surrogatepass")).digest()


def file_state(path: str | os.PathLike[str]) -> FileState | None:
    """Return a file's state; None where it has none to trust: gone, odd, or changed just now."""
    return file_states([path])[0]


def file_states(paths: Iterable[str | os.PathLike[str] | None]) -> list[FileState | None]:
    """Return the states of many files; None for None, and where a file has none to trust.

    On file systems without a ctime of their own none has: there the content decides.
    """
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
    if info.st_mtime_ns > latest or info.st_ctime_ns > latest or not has_own_ctime(info):
        return None
    name = os.fspath(path)
    if not name.startswith("/"):
        name = os.path.join(here, name)  # noqa: PTH118
        if not os.path.isabs(name):  # noqa: PTH117
            return None
    return FileState(os.fsencode(name), *stamp(info))
