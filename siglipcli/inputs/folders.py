"""One folder → a lazy stream of what is in it and below, in the order of names.

Links to folders are followed, each target once an argument and never back into a folder that is
being read; so loops end. FIFOs, sockets and devices are passed over unopened.
"""

# Names stay the strings that were typed: Path would drop their `./`.
# ruff: noqa: PTH116, PTH118

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from siglipcli.results import Failure, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    from siglipcli.inputs.options import Chooser

    Identity: TypeAlias = tuple[int, int]

__all__ = ["SEPARATORS", "unreachable", "walk"]

SEPARATORS = os.sep + (os.altsep or "")


@dataclass(frozen=True, slots=True)
class _Subfolder:
    path: str
    linked: bool = False


def walk(root: str, chooser: Chooser) -> Iterator[Source | Failure]:
    """Yield the images below one folder. A stack, not recursion: depth is the disk's choice."""
    followed: set[Identity] = set()
    stack = [_entries(root, root, chooser)]
    while stack:
        item = next(stack[-1], None)
        if item is None:
            stack.pop()
        elif not isinstance(item, _Subfolder):
            yield item
        elif chooser.skips_folder(item.path):
            continue
        elif not item.linked or _is_new(item.path, root, followed):
            stack.append(_entries(item.path, root, chooser))


def unreachable(path: str, error: OSError | ValueError) -> Failure:
    """Translate what the file system said about a file or folder."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError, ValueError)):
        return Failure(path, "missing", "No such file or folder.")
    if isinstance(error, PermissionError):
        return Failure(path, "permission", "No permission to read it.")
    return Failure(path, "unreadable", f"It cannot be read: {error.strerror}.")


def _is_new(link: str, root: str, followed: set[Identity]) -> bool:
    """Say whether a link leads neither back up nor where another link has led."""
    target, folder, top = _identity(link), Path(link).parent, Path(root).resolve()
    depth = len(folder.parts) - len(Path(root).parts)
    above = [*[folder, *folder.parents][:depth], top, *top.parents]
    if target in followed or any(_identity(parent) == target for parent in above):
        return False
    followed.add(target)
    return True


def _identity(path: str | Path) -> Identity:
    try:
        info = os.stat(path)
    except OSError:
        return (-1, -1)  # gone meanwhile; entering it would say so
    return (info.st_dev, info.st_ino)


def _entries(folder: str, root: str, chooser: Chooser) -> Iterator[Source | Failure | _Subfolder]:
    """Read one folder's names, close it, and yield what they stand for, sorted."""
    special: dict[str, Callable[[str], Source | Failure | _Subfolder]] = {}
    names: list[str] = []
    prefix = os.path.join(folder, "")
    below_root = prefix[len(root) :].lstrip(SEPARATORS)
    try:
        with os.scandir(folder or os.curdir) as entries:
            for entry in entries:
                make = _what(entry, chooser)
                if make is None or chooser.excludes(prefix + entry.name, below_root + entry.name):
                    continue
                names.append(entry.name)
                if make is not Source:  # most are: a million names need no million pairs
                    special[entry.name] = make
    except OSError as error:
        yield unreachable(folder, error)
        return
    names.sort()
    for name in names:
        if not chooser.skips_in_folder(prefix + name):
            yield special.get(name, Source)(prefix + name)


def _what(
    entry: os.DirEntry[str], chooser: Chooser
) -> Callable[[str], Source | Failure | _Subfolder] | None:
    """Choose what an entry becomes; None where it is passed over. Opens nothing."""
    if entry.name.startswith(".") and not chooser.options.hidden:
        return None
    if entry.is_file(follow_symlinks=False):
        return Source if chooser.wants(entry.name) else None
    linked = entry.is_symlink()
    mode = _followed_mode(entry) if linked else 0
    if entry.is_dir(follow_symlinks=False) or stat.S_ISDIR(mode):
        return partial(_Subfolder, linked=linked) if chooser.options.recursive else None
    if not linked or not chooser.wants(entry.name):
        return None
    if not mode:
        return _dangling
    return Source if stat.S_ISREG(mode) else None


def _followed_mode(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_mode
    except OSError:  # nothing there, or a link to itself
        return 0


def _dangling(path: str) -> Failure:
    return Failure(path, "missing", "A link that leads to no file.")
