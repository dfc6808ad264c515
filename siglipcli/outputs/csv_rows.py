"""CSV (RFC 4180): one row per image and label; of a search, one per image; else, one per image and text.

Every value reads back as it was, in a file and in a pipe. A cell is never altered to please a
spreadsheet: a file called `=cmd` stays `=cmd`. On a terminal, which would obey them, control characters
are spelt out. Two rules fill the gaps of a format that knows only text:

- A file name that is not UTF-8 is written as `file:` and its bytes percent-encoded, and so is, to
  keep the two apart, a name that itself starts with `file:`.
- An image without any label to show keeps one row, with only `file` and `model` filled in; an image
  that failed keeps one, with `kind: message` in `error`.
"""

from __future__ import annotations

import csv
import io
import math
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, TextIO
from urllib.parse import quote

from siglipcli.results import Failure, ImageTextScores, Match, Prediction
from siglipcli.text import raw_name, utf8, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from siglipcli.outputs import Header
    from siglipcli.results import Result, ScoredImage

__all__ = ["COLUMNS", "CsvSink"]

COLUMNS: dict[type[ScoredImage], tuple[str, ...]] = {
    Prediction: (
        "file", "set", "rank", "label", "score", "softmax", "logit", "tag", "error", "model",
    ),
    Match: ("file", "rank", "score", "similarity", "error", "model"),
    ImageTextScores: ("file", "text", "score", "logit", "similarity", "error", "model"),
}  # fmt: skip
_SCHEME = "file:"


class CsvSink:
    """Writes the column names at once, then all rows of a result together."""

    def __init__(self, stream: TextIO, header: Header) -> None:
        self._stream = stream
        self._model = utf8(header.model)
        self._columns = COLUMNS[header.kind]
        self._is_terminal = stream.isatty()
        self._stream.write(_lines([self._columns]))

    def write(self, result: Result) -> None:
        """Write the rows of one result in one piece."""
        name = _name(result.file)
        empty = ("",) * (len(self._columns) - 3)  # all but file, error and model
        if isinstance(result, Failure):
            error = f"{result.kind}: {utf8(result.message)}"
            rows: list[tuple[object, ...]] = [(name, *empty, error, self._model)]
        else:
            cells = list(_cells(result)) or [empty]
            rows = [(name, *row, "", self._model) for row in cells]
        if self._is_terminal:
            rows = [tuple(map(_shown, row)) for row in rows]
        self._stream.write(_lines(rows))
        self._stream.flush()

    def close(self) -> None:
        """Flush; there is nothing to end."""
        self._stream.flush()


def _lines(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue()


def _name(name: str) -> str:
    raw = raw_name(name)
    if raw is None and not name.startswith(_SCHEME):
        return name
    return _SCHEME + quote(name.encode() if raw is None else raw)


def _shown(cell: object) -> object:
    return visible(cell) if isinstance(cell, str) else cell


def _cells(result: ScoredImage) -> Iterator[tuple[object, ...]]:
    """Yield what stands between the name and the error, row by row."""
    if isinstance(result, Match):
        score = "" if result.score is None else _finite(result.score)
        yield result.rank, score, _finite(result.similarity)
    elif isinstance(result, ImageTextScores):
        for pair in result.pairs:
            yield (utf8(pair.text), *map(_finite, (pair.score, pair.logit, pair.similarity)))
    else:
        yield from _labels(result)


def _labels(result: Prediction) -> Iterator[tuple[object, ...]]:
    for name, scores in groupby(result.scores, attrgetter("set")):
        for rank, score in enumerate(scores, 1):
            numbers = map(_finite, (score.score, score.softmax, score.logit))
            yield utf8(name), rank, utf8(score.label), *numbers, "true" if score.tag else "false"


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{value} is no score: scoring lets only finite numbers through")
    return value
