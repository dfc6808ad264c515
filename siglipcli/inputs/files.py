"""Files, folders, patterns and lists of paths → a lazy stream of inputs, in the order given.

    expand(["a.jpg", "photos", "more/*.png", "-"]) → Source | Failure, one at a time

Named files are read whatever they are called; inside a folder the endings, `hidden` and `exclude`
choose. A folder's entries come in the order of their names (code points), files and subfolders
together, so that a run's order never depends on the disk. One folder's names are held at a time,
and its handle is closed before anything below it is opened.

Links to folders are followed, each target once an argument and never back into a folder that is
being read; so loops end. FIFOs, sockets and devices found in a folder are passed over unopened.
Nothing here reads an image, except the one that `-` names.
"""

# Names stay the strings that were typed: Path would drop their `./`.
# ruff: noqa: PTH112, PTH116, PTH118, PTH119, PTH121, PTH206, PTH207

from __future__ import annotations

import codecs
import glob
import os
import stat
import sys
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from siglipcli.results import Failure, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import BinaryIO, TypeAlias

    Identity: TypeAlias = tuple[int, int]

__all__ = ["IMAGE_ENDINGS", "Options", "expand", "listed"]

IMAGE_ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    *(".avif", ".jp2", ".j2k", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".ico", ".mpo"),
    *(".heic", ".heif", ".hif", ".jxl"),  # a row that names the plugin beats silence
)
"""What counts as an image inside a folder, unless other endings are asked for."""

STDIN = "-"
_CHUNK = 1 << 16
_SEPARATORS = os.sep + (os.altsep or "")


@dataclass(frozen=True, slots=True)
class Options:
    """What to take from folders, and what never to take.

    `extensions`: endings with or without the dot, in any case; None takes every file.
    `exclude`: globs against the base name and the path below the named folder; a folder that
    matches is not entered. They hold for named files too, as the shell expands `*.jpg` first.
    `skip`: a file never to read (this run's output).
    `stdin_limit`: the most bytes that are taken from stdin for `-`.
    """

    recursive: bool = True
    extensions: tuple[str, ...] | None = IMAGE_ENDINGS
    exclude: tuple[str, ...] = ()
    hidden: bool = False
    skip: Path | None = None
    stdin_limit: int = 1 << 30


DEFAULT_OPTIONS = Options()


def expand(
    paths: Iterable[str], options: Options = DEFAULT_OPTIONS, *, stdin: BinaryIO | None = None
) -> Iterator[Source | Failure]:
    """Yield one Source for each image that the paths name, and a Failure for each that is not.

    Repeated paths are repeated in the stream; `-` is read once and repeated likewise. `stdin`
    stands in for the process's own. Kinds of failure: missing, permission, unreadable, output.
    Lazy: a path is looked at when its turn comes. Raises nothing but what `paths` raises.
    """
    piped: Source | Failure | None = None
    for path in paths:
        if path == STDIN:
            piped = piped or _piped(stdin, options)
            yield piped
        else:
            yield from _named(path, options)


def listed(stream: BinaryIO, *, null: bool = False) -> Iterator[str]:
    r"""Yield the paths of a list: one a line (LF or CRLF), or NUL-separated with `null`.

    Empty entries are passed over and the last needs no terminator. Names that are not UTF-8 come
    as `os.fsdecode` makes them. A list names files: its `-` comes as `./-`, never as stdin.
    """
    for entry in _between_nuls(stream) if null else _lines(stream):
        if entry:
            name = os.fsdecode(entry)
            yield os.path.join(os.curdir, name) if name == STDIN else name


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    start = codecs.BOM_UTF8  # Windows tools put one before the first name
    for line in stream:
        yield line.removeprefix(start).removesuffix(b"\n").removesuffix(b"\r")
        start = b""


def _between_nuls(stream: BinaryIO) -> Iterator[bytes]:
    read = getattr(stream, "read1", stream.read)  # read1: what is there, without waiting for more
    rest = b""
    while chunk := read(_CHUNK):
        *entries, rest = (rest + chunk).split(b"\0")
        yield from entries
    yield rest


# ------------------------------------------------------------------------ what was named


def _named(path: str, options: Options) -> Iterator[Source | Failure]:
    """Yield what one argument stands for: a file, a folder's images, a pattern's matches."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:  # ValueError: a NUL in a list's line
        if isinstance(error, OSError) and glob.has_magic(path) and not os.path.lexists(path):
            yield from _matching(path, options)
        else:
            yield _unreachable(path, error)
        return
    if stat.S_ISDIR(mode):
        yield from _walk(path, options)
    elif _is_skipped(path, options):
        yield Failure(path, "output", "This is the run's own output; it is not read.")
    elif not _excluded(path, os.path.basename(path), options):
        yield _source(path)


def _matching(pattern: str, options: Options) -> Iterator[Source | Failure]:
    """Expand a pattern that no shell expanded, as a shell would."""
    nothing = True
    for item in _below(pattern, options):
        nothing = False
        yield item
    if nothing:
        yield Failure(pattern, "missing", "No file matches this pattern.")


def _below(pattern: str, options: Options) -> Iterator[Source | Failure]:
    base, rest = _fixed_part(pattern)
    if "**" not in rest:
        for path in sorted(glob.glob(pattern)):
            yield from _named(path, options)
        return
    # not by `glob`: it runs round in loops of links, and recurses into deep trees
    every = replace(options, recursive=True, extensions=None)
    for item in _walk(base, every) if os.path.isdir(base or os.curdir) else ():
        name = item.name if isinstance(item, Source) else item.file
        if _fits(_parts(name[len(base) :]), rest) or (
            isinstance(item, Failure) and item.kind != "missing"
        ):
            yield item


def _fixed_part(pattern: str) -> tuple[str, tuple[str, ...]]:
    """Split `photos/2024/**/*.jpg` into `photos/2024` and (`**`, `*.jpg`)."""
    parts = _parts(pattern)
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    root = pattern[: len(pattern) - len(pattern.lstrip(_SEPARATORS))]
    return root + os.sep.join(parts[:first]), parts[first:]


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in path.replace(os.altsep or os.sep, os.sep).split(os.sep) if part)


def _fits(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Match a path to a pattern part by part; `**` stands for any number of parts."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_fits(parts[i:], pattern[1:]) for i in range(len(parts) + 1))
    return bool(parts) and fnmatch(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])


def _piped(stdin: BinaryIO | None, options: Options) -> Source | Failure:
    """Read stdin to its end: the bytes of one image."""
    stream = stdin or getattr(sys.stdin, "buffer", None)  # None under a closed stdin
    data = bytearray()
    try:
        while stream and len(data) <= options.stdin_limit and (chunk := stream.read(_CHUNK)):
            data += chunk
    except (OSError, ValueError) as error:
        return Failure(STDIN, "unreadable", f"Standard input cannot be read: {error}.")
    if len(data) > options.stdin_limit:
        limit = options.stdin_limit >> 20
        return Failure(STDIN, "too_large", f"Standard input brought more than {limit} MiB.")
    return Source(STDIN, bytes(data))


def _unreachable(path: str, error: OSError | ValueError) -> Failure:
    """Translate what the file system said about a file or folder."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError, ValueError)):
        return Failure(path, "missing", "No such file or folder.")
    if isinstance(error, PermissionError):
        return Failure(path, "permission", "No permission to read it.")
    return Failure(path, "unreadable", f"It cannot be read: {error.strerror}.")


def _source(path: str) -> Source:
    return Source(path)


# ------------------------------------------------------------------------ inside folders


@dataclass(frozen=True, slots=True)
class _Subfolder:
    path: str
    linked: bool = False


def _walk(root: str, options: Options) -> Iterator[Source | Failure]:
    """Yield the images below one folder. A stack, not recursion: depth is the disk's choice."""
    followed: set[Identity] = set()
    load_options = [_entries(root, root, options)]
    while load_options:
        item = next(load_options[-1], None)
        if item is None:
            load_options.pop()
        elif not isinstance(item, _Subfolder):
            yield item
        elif not item.linked or _is_new(item.path, root, followed):
            load_options.append(_entries(item.path, root, options))


def _is_new(link: str, root: str, followed: set[Identity]) -> bool:
    """Say whether a link leads neither back up nor where another link has led."""
    target, folder, top = _identity(link), Path(link).parent, Path(root).resolve()
    depth = len(folder.parts) - len(Path(root).parts)
    above = [*[folder, *folder.parents][:depth], top, *top.parents]
    if target in followed or any(_identity(each) == target for each in above):
        return False
    followed.add(target)
    return True


def _identity(path: str | Path) -> Identity:
    try:
        info = os.stat(path)
    except OSError:
        return (-1, -1)  # gone meanwhile; entering it would say so
    return (info.st_dev, info.st_ino)


def _entries(folder: str, root: str, options: Options) -> Iterator[Source | Failure | _Subfolder]:
    """Read one folder's names, close it, and yield what they stand for, sorted."""
    special: dict[str, Callable[[str], Source | Failure | _Subfolder]] = {}
    names: list[str] = []
    prefix = os.path.join(folder, "")
    below_root = prefix[len(root) :].lstrip(_SEPARATORS)
    try:
        with os.scandir(folder or os.curdir) as found:
            for entry in found:
                make = _what(entry, options)
                if make is None or _excluded(below_root + entry.name, entry.name, options):
                    continue
                names.append(entry.name)
                if make is not _source:  # most are: a million names need no million pairs
                    special[entry.name] = make
    except OSError as error:
        yield _unreachable(folder, error)
        return
    names.sort()
    for name in names:
        if not _is_skipped(prefix + name, options):
            yield special.get(name, _source)(prefix + name)


def _what(
    entry: os.DirEntry[str], options: Options
) -> Callable[[str], Source | Failure | _Subfolder] | None:
    """Choose what an entry becomes; None where it is passed over. Opens nothing."""
    if entry.name.startswith(".") and not options.hidden:
        return None
    if entry.is_file(follow_symlinks=False):
        return _source if _has_ending(entry.name, options.extensions) else None
    linked = entry.is_symlink()
    mode = _followed_mode(entry) if linked else 0
    if entry.is_dir(follow_symlinks=False) or stat.S_ISDIR(mode):
        return partial(_Subfolder, linked=linked) if options.recursive else None
    if not linked or not _has_ending(entry.name, options.extensions):
        return None
    if not mode:
        return _dangling
    return _source if stat.S_ISREG(mode) else None


def _followed_mode(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_mode
    except OSError:  # nothing there, or a link to itself
        return 0


def _dangling(path: str) -> Failure:
    return Failure(path, "missing", "A link that leads to no file.")


def _has_ending(name: str, extensions: tuple[str, ...] | None) -> bool:
    return extensions is None or name.lower().endswith(_endings(extensions))


@cache
def _endings(extensions: tuple[str, ...]) -> tuple[str, ...]:
    return tuple("." + each.lower().lstrip(".") for each in extensions)


def _excluded(path: str, name: str, options: Options) -> bool:
    if not options.exclude:
        return False
    globs = [each.rstrip("/") for each in options.exclude]
    globs += [each[3:] for each in globs if each.startswith("**/")]  # `**/raw`: the topmost too
    return any(fnmatch(form, each) for each in globs for form in (name, path))


def _is_skipped(path: str, options: Options) -> bool:
    if options.skip is None or options.skip.name.lower() != os.path.basename(path).lower():
        return False
    try:
        return os.path.samefile(path, options.skip)
    except OSError:
        return False
