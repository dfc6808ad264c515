"""Bare paths, for other programs: the bytes of each name, each ended by a newline or by NUL."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TextIO

from siglipcli.results import Failure

if TYPE_CHECKING:
    from siglipcli.results import Result

__all__ = ["ENCODING", "PathsWriter"]

ENCODING = "latin-1"  # of the stream: a character stands for a byte


class PathsWriter:
    """Writes the names of answered inputs; a failure has no place here."""

    def __init__(self, stream: TextIO, end: str = "\0") -> None:
        self._stream = stream
        self._end = end

    def write(self, result: Result) -> None:
        """Write one name."""
        if not isinstance(result, Failure):
            self._stream.write(os.fsencode(result.file).decode(ENCODING) + self._end)
            self._stream.flush()

    def close(self) -> None:
        """Flush; there is nothing to end."""
        self._stream.flush()
