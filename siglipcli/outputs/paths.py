"""Bare paths, for other programs: the bytes of each name, each ended by a newline or by NUL."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, BinaryIO

from siglipcli.outputs.output import translated
from siglipcli.results import Failure
from siglipcli.text import visible

if TYPE_CHECKING:
    from siglipcli.outputs import Header
    from siglipcli.results import Result

__all__ = ["NulPathsSink", "PathsSink"]


class PathsSink:
    """Writes the names of inputs that have a result; a failure has no place here.

    A terminal would obey what a name may hold: there, control characters are spelt out.
    """

    END = b"\n"

    def __init__(self, stream: BinaryIO, header: Header) -> None:
        del header  # a path says nothing of the run
        self._stream = stream
        self._is_terminal = stream.isatty()

    def write(self, result: Result) -> None:
        """Write one name."""
        if isinstance(result, Failure):
            return
        name = result.file
        encoded = _shown(name) if self._is_terminal else os.fsencode(name)
        with translated("paths"):
            self._stream.write(encoded + self.END)
            self._stream.flush()

    def close(self) -> None:
        """Flush; there is nothing to end."""
        with translated("paths"):
            self._stream.flush()


class NulPathsSink(PathsSink):
    """The same, each ended by NUL, for `xargs -0`."""

    END = b"\0"


def _shown(name: str) -> bytes:
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return visible(name).encode(encoding, "backslashreplace")
