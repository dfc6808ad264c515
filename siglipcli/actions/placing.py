"""One file to another place, never over a file that is there, and never half.

On one file system a move is a rename that refuses to replace (renameat2 on Linux, renamex_np on macOS, plain
rename on Windows, which never replaces). Where the file system has none, a hard link takes the new name and the
old one is removed. Where it has no links either (exFAT in user space), the name is looked up first, and only a
program that makes the very same name in that instant could lose its file.

To another file system a file is copied under a name that no walk reads, flushed, compared byte by byte, and
renamed; only then the original is removed. Times, mode and extended attributes go with it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siglipcli.actions.journal import sync_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from siglipcli.actions.journal import Entry

__all__ = [
    "PART",
    "RENAMES",
    "copy",
    "is_spare",
    "link",
    "move",
    "remove_parts",
    "replace",
    "same_content",
    "symlink",
]

PART = ".siglip-part"
"""What a copy is called until it is whole; one at a time in a folder."""
_CHUNK = 1 << 20
_HERE, _NO_REPLACE, _EXCLUSIVE = -100, 1, 4  # AT_FDCWD, RENAME_NOREPLACE, RENAME_EXCL
_COPYFILE_METADATA = 7  # ACL, STAT and XATTR of copyfile.h
_UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM}


def move(source: Path, target: Path, renames: Sequence[Callable[[Path, Path], None]] = ()) -> None:
    """Move a file. Raises FileExistsError where `target` is taken, OSError; then the file is where it was."""
    try:
        rename(source, target, renames)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy(source, target, renames)
        _remove_original(source, target)
        sync_folder(source.parent)


def copy(source: Path, target: Path, renames: Sequence[Callable[[Path, Path], None]] = ()) -> None:
    """Copy a file's content, times and mode. Raises FileExistsError, OSError; then nothing is left of it."""
    if os.path.lexists(target):
        raise _exists(target)
    part = target.with_name(PART)
    try:
        part.unlink(missing_ok=True)
        _copy_whole(source, part)
        rename(part, target, renames)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def link(source: Path, target: Path) -> None:
    """Give a file another name, on the same file system. Raises FileExistsError, OSError."""
    os.link(os.path.realpath(source), target)


def symlink(source: Path, target: Path) -> None:
    """Make a link to a file by its absolute path. Raises FileExistsError, OSError."""
    target.symlink_to(os.path.abspath(source))  # noqa: PTH100  # the name, not where it leads


def replace(source: Path, target: Path) -> None:
    """Move a file over another that holds the same content. Raises OSError; then both are where they were."""
    try:
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        part = target.with_name(PART)
        try:
            part.unlink(missing_ok=True)
            _copy_whole(source, part)
            part.replace(target)
        except BaseException:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise
        sync_folder(target.parent)
        source.unlink()


def remove_parts(entries: Iterable[Entry], into: Path) -> None:
    """Remove what a killed run or undo left of a copy."""
    for folder in {place.parent for e in entries for place in (into / e.target, Path(e.source))}:
        with suppress(OSError):
            (folder / PART).unlink(missing_ok=True)


def is_spare(path: Path, other: Path) -> bool:
    """Whether a file may be deleted as `other` holds the same: two files, or two names of one, not one name.

    A folder that was replaced by a link to another makes one name of two paths.
    """
    try:
        a, b = path.stat(), other.stat()
    except OSError:
        return False
    is_one = (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
    if is_one and (a.st_nlink < 2 or os.path.realpath(path) == os.path.realpath(other)):  # noqa: PLR2004
        return False
    return same_content(path, other)


def same_content(a: Path, b: Path) -> bool:
    """Whether two files hold the same bytes; links are followed. False where one is none, or cannot be read."""
    try:
        if not (stat.S_ISREG(a.stat().st_mode) and stat.S_ISREG(b.stat().st_mode)):
            return False  # opening a pipe would wait
        with a.open("rb") as first, b.open("rb") as second:
            if os.path.sameopenfile(first.fileno(), second.fileno()):
                return True
            if os.fstat(first.fileno()).st_size != os.fstat(second.fileno()).st_size:
                return False
            while True:
                chunk = first.read(_CHUNK)
                if chunk != second.read(_CHUNK):
                    return False
                if not chunk:
                    return True
    except OSError:
        return False


def rename(
    source: Path, target: Path, renames: Sequence[Callable[[Path, Path], None]] = ()
) -> None:
    """Rename without replacing, in the first of the ways that this file system knows. Raises OSError."""
    for way in renames or RENAMES:
        try:
            way(source, target)
        except OSError as error:
            if error.errno not in _UNSUPPORTED or not source.exists():
                raise
            unsupported = error
        else:
            return
    raise unsupported


def _rename_exclusively(source: Path, target: Path) -> None:
    if sys.platform == "win32":
        source.rename(target)  # raises FileExistsError by itself
        return
    library = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(source), os.fsencode(target)
    if function := getattr(library, "renameat2", None):
        failed = function(_HERE, names[0], _HERE, names[1], _NO_REPLACE)
    elif function := getattr(library, "renamex_np", None):
        failed = function(*names, _EXCLUSIVE)
    else:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))


def _rename_by_link(source: Path, target: Path) -> None:
    os.link(source, target, follow_symlinks=False)
    _remove_original(source, target)


def _remove_original(source: Path, target: Path) -> None:
    try:
        source.unlink()
    except OSError:
        target.unlink()
        raise


def _rename_after_look(source: Path, target: Path) -> None:
    if os.path.lexists(target):
        raise _exists(target)
    source.rename(target)


RENAMES = (_rename_exclusively, _rename_by_link, _rename_after_look)


def _exists(target: Path) -> FileExistsError:
    return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))


def _copy_whole(source: Path, part: Path) -> None:
    before = source.stat()
    with source.open("rb") as original, part.open("xb") as written:
        shutil.copyfileobj(original, written, _CHUNK)
        written.flush()
        os.fsync(written.fileno())
    _take_over(source, part, before)
    after = source.stat()
    changed = (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)
    if changed or not same_content(source, part):
        raise OSError(errno.EIO, "the copy is not the same as the original")


def copy_mac_metadata(source: Path, part: Path, library: Any = None) -> None:
    """Copy Finder's tags and comments and access lists, which Python's copystat leaves out on macOS."""
    library = library or ctypes.CDLL(None)
    library.copyfile(os.fsencode(source), os.fsencode(part), None, _COPYFILE_METADATA)


def _take_over(source: Path, part: Path, info: os.stat_result) -> None:
    with suppress(OSError):  # attributes that this file system lacks
        shutil.copystat(source, part)
    if sys.platform == "darwin":
        copy_mac_metadata(source, part)
    with suppress(
        OSError, AttributeError
    ):  # another's file, copied by a user who may not give it away
        os.chown(part, info.st_uid, info.st_gid)
        part.chmod(stat.S_IMODE(info.st_mode))  # chown takes set-id bits away
    os.utime(part, ns=(info.st_atime_ns, info.st_mtime_ns))
