"""Where results go: standard output, or a file that appears only when it is complete.

Errors of the stream are translated here: whatever keeps a result from being written is an
OutputError, except BrokenPipeError, which says that the reader has had enough.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import stat
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO, cast

from siglipcli.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

__all__ = ["check", "is_same", "open_binary", "open_bytes", "open_output", "translated"]

# Results are flushed one by one, so a buffer that holds the largest of them is empty whenever one
# is written: an interrupt can then delay the rest of it until `close`, but never cut it off.
# (50,000 labels are 6 MiB of JSON. Memory is taken only where it is touched.)
_BUFFER = 8 << 20

_WRITABLE = (
    stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
)  # root may write what nobody may: it is asked too
_STDOUT_NAMES = frozenset({"-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"})
_STDOUT = "standard output"


def open_output(
    path: Path | None, encoding: str | None = "utf-8"
) -> AbstractContextManager[TextIO]:
    """Open where results go, as a text stream with newline="".

    `path` None (or `-`, `/dev/stdout`) is standard output; `encoding` None keeps the terminal's
    own there, and is UTF-8 in a file. A regular file is written beside its place and renamed into
    it when the block ends well; when the block raises, interrupts included, the old file stays as
    it was. Where it cannot be renamed (a file that is a mount point) it is copied into its place. A
    symbolic link keeps pointing where it did. A pipe or device is written directly.

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
        raise OutputError(
            f"write error: {path} is no regular file, which this format needs.",
            code="not_a_file",
            path=str(path),
        )
    with _part_of(path) as descriptor, os.fdopen(descriptor, "w+b") as file:
        yield file
        with translated(str(path)):
            file.flush()
            os.fsync(descriptor)


@contextmanager
def open_bytes(path: Path | None) -> Iterator[BinaryIO]:
    """Open where results go as `open_output` does, as a stream of bytes that is written in order.

    Its `tell` counts from where it was opened, in a pipe too. Raises OutputError; not from the
    stream's methods (see `translated`).
    """
    if path is None or str(path) in _STDOUT_NAMES:
        path = None
    shown = _STDOUT if path is None else str(path)
    with open_output(path, "latin-1") as stream:
        with translated(shown):
            stream.flush()
        yield cast("BinaryIO", _Bytes(stream, shown))


class _Bytes(io.RawIOBase):
    """The bytes of a text stream, counted; errors say where they were to go."""

    def __init__(self, stream: TextIO, name: str) -> None:
        super().__init__()
        self._stream = stream
        self._name = name
        self._count = 0

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._stream.isatty()

    def tell(self) -> int:
        return self._count

    def write(self, data: Any, /) -> int:
        raw = memoryview(data).tobytes()
        target = getattr(self._stream, "buffer", None)
        with translated(self._name):
            if target is None:  # a stand-in for standard output that takes text alone
                self._stream.write(raw.decode("utf-8", "surrogateescape"))
            else:
                target.write(raw)
        self._count += len(raw)
        return len(raw)

    def flush(self) -> None:
        # an owner may have closed or detached the stream before this object goes
        with suppress(ValueError):
            if not self._stream.closed:
                self._stream.flush()


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
        raise _failed(name, error) from error


def _failed(name: str, error: OSError) -> OutputError:
    return OutputError(f"write error: {name}: {error.strerror or error}")


class _Stream(io.TextIOWrapper):
    """A text stream that says where it goes when it fails.

    Translated here and not in the raw file: there, an interrupt that arrives during a write would
    be raised before the count of written bytes is back, and `close` would repeat them.
    """

    def __init__(self, buffer: BinaryIO, encoding: str, name: str) -> None:
        super().__init__(buffer, encoding, errors="backslashreplace", newline="")
        self._name = name

    # Both are called for each row: by `translated` they would take twice as long, 7 µs.

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _failed(self._name, error) from error

    def flush(self) -> None:
        try:
            super().flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _failed(self._name, error) from error

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
        raise OutputError(f"write error: {_STDOUT} is closed.", code="stdout_closed")
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
        raise OutputError(
            f"write error: {path} is a folder.", code="output_is_folder", path=str(path)
        )
    if stat.S_ISREG(mode) and not (mode & _WRITABLE and os.access(path, os.W_OK)):
        raise OutputError(
            f"write error: {path} is read-only. Make it writable, or choose another name."
        )
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
    try:
        with translated(str(path)):
            descriptor = _create(part, like=target, shown=path)
        yield descriptor
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    _put_in_place(part, target, path)


def _put_in_place(part: Path, target: Path, shown: Path) -> None:
    """Rename a complete file into its place, or copy it there; what is complete is never deleted.

    Raises OutputError, which says under which name it was kept.
    """
    try:
        part.replace(target)
    except OSError as error:
        if _copied(part, target, error):
            return
        kept = _kept(part, target)
        raise OutputError(
            f"write error: {shown}: {error.strerror or error}. The complete output is in {kept}."
        ) from error


def _copied(part: Path, target: Path, error: OSError) -> bool:
    """Copy a file into a place that takes no rename, as a mount point; say whether that went well."""
    if error.errno not in {errno.EBUSY, errno.EXDEV}:
        return False
    try:
        with part.open("rb") as source, target.open("r+b") as copy:
            copy.truncate()
            shutil.copyfileobj(source, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())
    except OSError:
        return False
    with suppress(OSError):
        part.unlink()
    return True


def _kept(part: Path, target: Path) -> Path:
    """Give a complete file a name that a person finds; its own where that cannot be."""
    kept = target.with_name(f"{target.stem}{part.stem.removeprefix('.siglip')}{target.suffix}")
    try:
        part.rename(kept)
    except OSError:
        return part
    return kept


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
