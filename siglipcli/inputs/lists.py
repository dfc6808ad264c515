"""Lists of paths, read from a file or from stdin: checked at once, read when their turn comes."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from siglipcli.errors import UsageError
from siglipcli.inputs.files import listed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

__all__ = ["check_list", "read_list"]


def check_list(name: str) -> None:
    """Raise UsageError for a list that cannot be read; a pipe is left alone. `-` is stdin."""
    if name == "-":
        _stdin()
    elif not Path(name).is_fifo():
        _opened(Path(name)).close()


def read_list(name: str, *, null: bool) -> Iterator[str]:
    """Yield the paths of a list, as `listed` does. Raises UsageError where it cannot be read."""
    with _stream(name) as stream:
        yield from listed(stream, null=null)


@contextmanager
def _stream(name: str) -> Iterator[BinaryIO]:
    if name == "-":
        yield _stdin()
        return
    with _opened(Path(name)) as stream:
        yield stream


def _stdin() -> BinaryIO:
    if sys.stdin is None:
        raise UsageError("cannot read the list on stdin: it is closed")
    return sys.stdin.buffer


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise UsageError(f"cannot read the list {path}: {error.strerror}") from error
