"""Where answers go: standard output, or a file that appears only when it is complete.

Errors of the stream are translated here: whatever keeps an answer from being written is an
OutputError, except BrokenPipeError, which says that the reader has had enough.
"""

from __future__ import annotations

import io
import os
import stat
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO

from siglipcli.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

__all__ = ["check", "is_same", "open_binary", "open_output", "translated"]

# Answers are flushed one by one, so a buffer that holds the largest of them is empty whenever one
# is written: an interrupt can then delay the rest of it until `close`, but never cut it off.
# (50,000 labels are 6 MiB of JSON. Memory is taken only where it is touched.)
_BUFFER = 8 << 20

_STDOUT_NAMES = frozenset({"-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"})
_STDOUT = "standard output"


def open_output(
    path: Path | None, encoding: str | None = "utf-8"
) -> AbstractContextManager[TextIO]:
    """Open where answers go, as a text stream with newline="".

    `path` None (or `-`, `/dev/stdout`) is standard output; `encoding` None keeps the terminal's
    own there, and is UTF-8 in a file. A regular file is written beside its place and renamed into
    it when the block ends well; when the block raises, interrupts included, the old file stays as
    it was. A symbolic link keeps pointing where it did. A pipe or device is written directly.

    Raises OutputError, also from the stream's own methods, when it cannot be written;
    BrokenPipeError passes.
    """
    if path is None or str(path) in _STDOUT_NAMES:
        return _standard_output(encoding)
    if _takes_a_rename(path):
        return _replaced_file(path, encoding or "utf-8")
    return _direct(path, encoding or "utf-8")


def check(path: Path | None) -> None:
    """Raise the OutputError of `open_output` for a place where no file can be; nothing is made."""
    if path is not None and str(path) not in _STDOUT_NAMES and _takes_a_rename(path):
        _check_folder(Path(os.path.realpath(path)), path)


@contextmanager
def open_binary(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file to be written in any order, as `open_output` does: renamed when whole.

    Raises OutputError where `path` is none; not from the file's methods (see `translated`).
    """
    if not _takes_a_rename(path):
        raise OutputError(f"write error: {path} is no regular file. Name a file for --output.")
    with _part_of(path) as descriptor, os.fdopen(descriptor, "w+b") as file:
        yield file
        with translated(str(path)):
            file.flush()
            os.fsync(descriptor)


def is_same(first: str | os.PathLike[str], second: str | os.PathLike[str]) -> bool:
    """Tell whether two paths mean one file, through links, whether or not it is there yet."""
    try:
        return Path(first).samefile(second)
    except OSError:
        return os.path.realpath(first) == os.path.realpath(second)


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Turn an OSError of the block into an OutputError that says where; BrokenPipeError passes."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"write error: {name}: {error.strerror or error}") from error


class _Stream(io.TextIOWrapper):
    """A text stream that says where it goes when it fails.

    Translated here and not in the raw file: there, an interrupt that arrives during a write would
    be raised before the count of written bytes is back, and `close` would repeat them.
    """

    def __init__(self, buffer: BinaryIO, encoding: str, name: str) -> None:
        super().__init__(buffer, encoding, errors="backslashreplace", newline="")
        self._name = name

    def write(self, text: str, /) -> int:
        with translated(self._name):
            return super().write(text)

    def flush(self) -> None:
        with translated(self._name):
            super().flush()

    def close(self) -> None:
        with translated(self._name):
            super().close()


@contextmanager
def _opened(descriptor: int, encoding: str, name: str) -> Iterator[TextIO]:
    """Lend a stream that owns `descriptor`; what ended the block badly outranks a failing close."""
    buffer = io.BufferedWriter(io.FileIO(descriptor, "w"), _BUFFER)
    stream = _Stream(buffer, encoding, name)
    try:
        yield stream
    except BaseException:
        with suppress(OSError, OutputError):
            stream.close()
        raise
    stream.close()


# --- standard output ------------------------------------------------------------------------------


@contextmanager
def _standard_output(encoding: str | None) -> Iterator[TextIO]:
    stdout = sys.stdout
    if stdout is None or stdout.closed:
        raise OutputError(f"write error: {_STDOUT} is closed. Use --output to name a file.")
    encoding = encoding or stdout.encoding or "utf-8"
    with translated(_STDOUT):
        stdout.flush()
        descriptor = _duplicate(stdout)
    lent = (
        _borrowed(stdout, encoding)
        if descriptor is None
        else _opened(descriptor, encoding, _STDOUT)
    )
    with lent as stream:
        yield stream


def _duplicate(stdout: TextIO) -> int | None:
    """Return a second descriptor of standard output; None where a stand-in for it has none.

    With a stream of our own on it, nothing is left in `sys.stdout` that could fail once more while
    the interpreter shuts down. (A Windows console needs its own kind of stream.)
    """
    if os.name == "nt" and stdout.isatty():
        return None
    try:
        return os.dup(stdout.fileno())
    except io.UnsupportedOperation:
        return None


@contextmanager
def _borrowed(stdout: TextIO, encoding: str) -> Iterator[TextIO]:
    """Lend `sys.stdout` itself, by its bytes where it has some."""
    if not hasattr(stdout, "buffer"):
        yield stdout
        return
    stream = _Stream(stdout.buffer, encoding, _STDOUT)
    try:
        yield stream
    finally:
        stream.detach()


# --- files ----------------------------------------------------------------------------------------


def _takes_a_rename(path: Path) -> bool:
    """Tell a regular file, there or yet to be, from a pipe or device. Raises OutputError."""
    if str(path).startswith(("/dev/fd/", "/dev/stderr", "/proc/")):
        return False  # a descriptor of some process: what is behind it is not ours to replace
    with translated(str(path)):
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            return True
    if stat.S_ISDIR(mode):
        raise OutputError(f"write error: {path} is a folder. Name a file for --output.")
    return stat.S_ISREG(mode)


@contextmanager
def _direct(path: Path, encoding: str) -> Iterator[TextIO]:
    with translated(str(path)):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    with _opened(descriptor, encoding, str(path)) as stream:
        yield stream


@contextmanager
def _replaced_file(path: Path, encoding: str) -> Iterator[TextIO]:
    with _part_of(path) as descriptor, _opened(descriptor, encoding, str(path)) as stream:
        yield stream
        stream.flush()
        with translated(str(path)):
            os.fsync(descriptor)


@contextmanager
def _part_of(path: Path) -> Iterator[int]:
    """Give a descriptor of a file that takes the place of `path` when the block ends well."""
    target = Path(os.path.realpath(path))
    # A leading dot keeps it out of a scan of this folder; no part of the name can be too long.
    part = target.with_name(f".siglip-{os.urandom(8).hex()}.part")
    with translated(str(path)):
        descriptor = _create(part, like=target, shown=path)
    try:
        yield descriptor
        with translated(str(path)):
            part.replace(target)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def _check_folder(file: Path, shown: Path) -> None:
    if not file.parent.is_dir():
        raise OutputError(f"write error: {shown}: its folder does not exist. Make it first.")


def _create(part: Path, *, like: Path, shown: Path) -> int:
    """Create a file as the umask has it, or with the mode of the one that it will replace."""
    _check_folder(part, shown)
    descriptor = os.open(
        part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666
    )
    with suppress(OSError):
        part.chmod(stat.S_IMODE(like.stat().st_mode))
    return descriptor
