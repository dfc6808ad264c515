"""CSV (RFC 4180): one row an image and label; of a search, one an image; else, one an image and text.

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

from siglipcli.outputs.fields import raw_name, round_logit, round_probability, utf8
from siglipcli.results import Failure, ImageTextScores, Match, Prediction

if TYPE_CHECKING:
    from collections.abc import Iterable

    from siglipcli.outputs import Header
    from siglipcli.results import Pair, Result, Score, ScoredImage

__all__ = ["COLUMNS", "CsvWriter"]

COLUMNS: dict[type[ScoredImage], tuple[str, ...]] = {
    Prediction: ("file", "set", "label", "score", "softmax", "logit", "tag", "error"),
    Match: ("file", "rank", "score", "similarity", "error"),
    ImageTextScores: ("file", "text", "score", "logit", "similarity", "error"),
}
_SCHEME = "file:"


class CsvWriter:
    """Writes the column names at once, then all rows of a result together."""

    def __init__(self, stream: TextIO, header: Header) -> None:
        self._stream = stream
        self._columns = COLUMNS[header.answers]
        self._stream.write(_lines([self._columns]))

    def write(self, result: Result) -> None:
        """Write the rows of one result in one piece."""
        name = _name(result.file)
        empty = ("",) * (len(self._columns) - 2)
        if isinstance(result, Failure):
            rows: list[tuple[object, ...]] = [
                (name, *empty, f"{result.kind}: {utf8(result.message)}")
            ]
        else:
            rows = [(name, *cells, "") for cells in _cells(result)] or [(name, *empty, "")]
        self._stream.write(_lines(rows))
        self._stream.flush()

    def close(self) -> None:
        """Flush; there is nothing to end."""
        self._stream.flush()


def _lines(rows: Iterable[tuple[object, ...]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue()


def _name(name: str) -> str:
    raw = raw_name(name)
    if raw is None and not name.startswith(_SCHEME):
        return name
    return _SCHEME + quote(name.encode() if raw is None else raw)


def _cells(answer: ScoredImage) -> list[tuple[object, ...]]:
    """Return what stands between the name and the error, row by row."""
    if isinstance(answer, Prediction):
        return [_label(score) for score in answer.scores]
    if isinstance(answer, Match):
        score = "" if answer.score is None else round_probability(answer.score)
        return [(answer.rank, score, round_logit(answer.similarity))]
    return [_pair(pair) for pair in answer.pairs]


def _label(score: Score) -> tuple[object, ...]:
    return (
        utf8(score.set),
        utf8(score.label),
        round_probability(score.score),
        round_probability(score.softmax),
        round_logit(score.logit),
        "true" if score.tag else "false",
    )


def _pair(pair: Pair) -> tuple[object, ...]:
    return (
        utf8(pair.text),
        round_probability(pair.score),
        round_logit(pair.logit),
        round_logit(pair.similarity),
    )
