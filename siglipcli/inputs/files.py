"""Files, folders, patterns and lists of paths → a lazy stream of inputs, in the order given.

    expand(["a.jpg", "photos", "more/*.png", "-"]) → Source | Failure, one at a time

Named files are read whatever they are called; inside a folder the endings, `hidden` and `exclude`
choose. A folder's entries come in the order of their names (code points), files and subfolders
together, so that a run's order never depends on the disk. One folder's names are in memory at a time,
and its handle is closed before anything below it is opened.

Nothing here reads an image, except the one that `-` names.
"""

# Names stay the strings that were typed: Path would drop their `./`.
# ruff: noqa: PTH112, PTH116, PTH118, PTH119, PTH206, PTH207

from __future__ import annotations

import codecs
import glob
import os
import re
import stat
import sys
from dataclasses import replace
from fnmatch import fnmatch
from typing import TYPE_CHECKING

from siglipcli.inputs.folders import SEPARATORS, unreachable, walk
from siglipcli.inputs.options import Chooser, Options, Overlooked
from siglipcli.results import Failure, Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

__all__ = ["expand", "listed"]

STDIN = "-"
_CHUNK = 1 << 16
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


def expand(
    paths: Iterable[str],
    options: Options | None = None,
    *,
    stdin: BinaryIO | None = None,
    overlooked: Overlooked | None = None,
) -> Iterator[Source | Failure]:
    """Yield one Source for each image that the paths name, and a Failure for each that is not.

    Repeated paths are repeated in the stream; `-` is read once and repeated likewise. `stdin`
    stands in for the process's own. Kinds of failure: missing, permission, unreadable, output, url.
    `overlooked` is filled while the stream is consumed.
    Lazy: a path is looked at when its turn comes. Raises nothing but what `paths` raises.
    """
    options = options or Options()
    chooser = Chooser(options, overlooked or Overlooked())
    items = _expanded(paths, chooser, stdin)
    if options.one_of_pairs:
        from siglipcli.inputs.pairs import one_of_pairs

        items = one_of_pairs(items, lambda path: chooser.excludes(path, os.path.basename(path)))
    yield from items


def _expanded(
    paths: Iterable[str], chooser: Chooser, stdin: BinaryIO | None
) -> Iterator[Source | Failure]:
    piped: Source | Failure | None = None
    for path in paths:
        if path == STDIN:
            piped = piped or _piped(stdin, chooser.options)
            yield piped
        else:
            yield from _named(path, chooser)


def listed(stream: BinaryIO, *, null: bool = False) -> Iterator[str]:
    r"""Yield the paths of a list: one per line (LF or CRLF), or NUL-separated with `null`.

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


def _named(path: str, chooser: Chooser) -> Iterator[Source | Failure]:
    """Yield what one argument stands for: a file, a folder's images, a pattern's matches."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:  # ValueError: a NUL in a list's line
        yield from _unnamed(path, chooser, error)
        return
    if stat.S_ISDIR(mode):
        yield from walk(path, chooser)
    elif chooser.skips(path):
        yield Failure(path, "output", "This is the run's own output; it is not read.")
    elif not chooser.excludes(path, os.path.basename(path)):
        yield Source(path)


def _unnamed(
    path: str, chooser: Chooser, error: OSError | ValueError
) -> Iterator[Source | Failure]:
    """Yield what an argument stands for that is no file: a pattern's matches, or what is wrong."""
    if isinstance(error, OSError) and (scheme := _SCHEME.match(path)):
        yield Failure(path, "url", _URL.get(scheme[1].lower(), _URL["https"]))
    elif isinstance(error, OSError) and glob.has_magic(path) and not os.path.lexists(path):
        yield from _matching(path, chooser)
    else:
        yield unreachable(path, error)


_STORE = "This is in an object store, and only files are read here. Copy it to this machine first."
_URL = {
    **dict.fromkeys(("s3", "gs", "gcs", "abfs", "abfss", "hdfs"), _STORE),
    "https": "This is a URL, and only files are read. Download it first, for example with: curl -LO URL",
    "file": "This is a URL, and only files are read. Leave out file:// and give the path.",
}


def _matching(pattern: str, chooser: Chooser) -> Iterator[Source | Failure]:
    """Expand a pattern that no shell expanded, as a shell would."""
    nothing = True
    for item in _below(pattern, chooser):
        nothing = False
        yield item
    if nothing:
        yield Failure(pattern, "missing", "No file matches this pattern.")


def _below(pattern: str, chooser: Chooser) -> Iterator[Source | Failure]:
    base, rest = _fixed_part(pattern)
    if "**" not in rest:
        for path in sorted(glob.glob(pattern)):
            yield from _named(path, chooser)
        return
    # not by `glob`: it runs round in loops of links, and recurses into deep trees
    every = Chooser(replace(chooser.options, recursive=True, extensions=None), chooser.overlooked)
    for item in walk(base, every) if os.path.isdir(base or os.curdir) else ():
        name = item.name if isinstance(item, Source) else item.file
        if _fits(_parts(name[len(base) :]), rest) or (
            isinstance(item, Failure) and item.kind != "missing"
        ):
            yield item


def _fixed_part(pattern: str) -> tuple[str, tuple[str, ...]]:
    """Split `photos/2024/**/*.jpg` into `photos/2024` and (`**`, `*.jpg`)."""
    parts = _parts(pattern)
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    root = pattern[: len(pattern) - len(pattern.lstrip(SEPARATORS))]
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
