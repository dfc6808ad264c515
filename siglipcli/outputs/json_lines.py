"""JSON Lines: one object per input, one input per line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TextIO

from siglipcli.outputs.documents import line
from siglipcli.results import Failure
from siglipcli.text import utf8

if TYPE_CHECKING:
    from siglipcli.outputs import Header
    from siglipcli.results import Result

__all__ = ["JsonLinesSink", "record"]


class JsonLinesSink:
    """Writes one line per result and flushes it: the first is out before the last image is read."""

    def __init__(self, stream: TextIO, header: Header) -> None:
        self._stream = stream
        self._header = header

    def write(self, result: Result) -> None:
        """Write one line."""
        self._stream.write(line(record(result, self._header)) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Flush; there is nothing to end."""
        self._stream.flush()


def record(result: Result, header: Header) -> dict[str, Any]:
    """Return one result as the object that JSON, JSON Lines and Parquet hold: its `to_dict`."""
    if isinstance(result, Failure):
        return result.to_dict(header.kind)
    return result.to_dict() | {"model": utf8(header.model)}
