"""JSON: the objects of JSON Lines, in one array."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from siglipcli.outputs.documents import line
from siglipcli.outputs.json_lines import record

if TYPE_CHECKING:
    from siglipcli.outputs import Header
    from siglipcli.results import Result

__all__ = ["JsonSink"]


class JsonSink:
    """Writes an array as it grows, one object per line.

    The bracket goes out first and each comma before its object, so that `close` makes a whole
    array of whatever was written, wherever an interrupt fell.
    """

    def __init__(self, stream: TextIO, header: Header) -> None:
        self._stream = stream
        self._header = header
        self._lead = "\n"
        self._end = "]\n"
        self._stream.write("[")

    def write(self, result: Result) -> None:
        """Write one object, with the comma before it."""
        self._stream.write(self._lead + line(record(result, self._header)))
        self._lead, self._end = ",\n", "\n]\n"
        self._stream.flush()

    def close(self) -> None:
        """End the array, once."""
        self._stream.write(self._end)
        self._end = ""
        self._stream.flush()
