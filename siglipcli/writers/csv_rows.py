"""CSV (RFC 4180): one row an image and label.

Every value reads back as it was. A cell is never altered to please a spreadsheet: a file called
`=cmd` stays `=cmd`. Two rules fill the gaps of a format that knows only text:

- A file name that is not UTF-8 is written as `file:` and its bytes percent-encoded, and so is, to
  keep the two apart, a name that itself starts with `file:`.
- An image without any label to show keeps one row, with only `file` filled in; an image that
  failed keeps one, with `kind: message` in `error`.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, TextIO
from urllib.parse import quote

from siglipcli.records import Failure
from siglipcli.writers.fields import raw_name, round_logit, round_probability, utf8

if TYPE_CHECKING:
    from collections.abc import Iterable

    from siglipcli.records import Result, Score
    from siglipcli.writers import Header

__all__ = ["COLUMNS", "CsvWriter"]

COLUMNS = ("file", "set", "label", "score", "share", "logit", "tag", "error")
_SCHEME = "file:"


class CsvWriter:
    """Writes the column names at once, then all rows of a result together."""

    def __init__(self, stream: TextIO, header: Header) -> None:  # noqa: ARG002 - as all writers
        self._stream = stream
        self._stream.write(_lines([COLUMNS]))

    def write(self, result: Result) -> None:
        """Write the rows of one result in one piece."""
        self._stream.write(_lines(_rows(result)))
        self._stream.flush()

    def close(self) -> None:
        """Flush; there is nothing to end."""
        self._stream.flush()


def _lines(rows: Iterable[tuple[object, ...]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue()


def _rows(result: Result) -> list[tuple[object, ...]]:
    name = _name(result.source.name)
    empty = ("",) * (len(COLUMNS) - 2)
    if isinstance(result, Failure):
        return [(name, *empty, f"{result.kind}: {utf8(result.message)}")]
    return [(name, *_cells(score), "") for score in result.scores] or [(name, *empty, "")]


def _name(name: str) -> str:
    raw = raw_name(name)
    if raw is None and not name.startswith(_SCHEME):
        return name
    return _SCHEME + quote(name.encode() if raw is None else raw)


def _cells(score: Score) -> tuple[object, ...]:
    return (
        utf8(score.set),
        utf8(score.label),
        round_probability(score.score),
        round_probability(score.share),
        round_logit(score.logit),
        "true" if score.tag else "false",
    )
