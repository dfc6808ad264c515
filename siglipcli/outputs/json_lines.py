"""JSON Lines: one object per input, one input per line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TextIO

from siglipcli.outputs.documents import failed, line, named
from siglipcli.results import Failure, ImageTextScores, Match, Prediction
from siglipcli.text import utf8

if TYPE_CHECKING:
    from siglipcli.outputs import Header
    from siglipcli.results import Pair, Result, Score, ScoredImage

__all__ = ["JsonLinesSink", "failed", "named", "record"]

_LISTS: dict[type[ScoredImage], tuple[str, ...]] = {
    Prediction: ("labels",),
    ImageTextScores: ("texts",),
}
"""The lists of a kind of results: empty where an input failed, so that a loop over them needs no check."""


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
    """Return one result as the object that JSON, JSON Lines and Parquet hold."""
    if isinstance(result, Failure):
        empty: dict[str, Any] = {key: [] for key in _LISTS.get(header.kind, ())}
        return named(result.file) | {"status": "error"} | empty | failed(result)
    head = {"status": "ok", "model": utf8(header.model)}
    return named(result.file) | head | _content(result)


def _content(result: ScoredImage) -> dict[str, Any]:
    if isinstance(result, Prediction):
        return {"labels": [_label(score) for score in result.scores]}
    if isinstance(result, Match):
        return {"rank": result.rank} | _numbers(result.similarity, result.score)
    return {"texts": [_pair(pair) for pair in result.pairs]}


def _numbers(similarity: float, score: float | None) -> dict[str, float]:
    """Give a score only where there is one: a cosine is none."""
    return ({} if score is None else {"score": score}) | {"similarity": similarity}


def _pair(pair: Pair) -> dict[str, Any]:
    return {
        "text": utf8(pair.text),
        "score": pair.score,
        "logit": pair.logit,
        "similarity": pair.similarity,
    }


def _label(score: Score) -> dict[str, str | float | bool]:
    return {
        "label": utf8(score.label),
        "score": score.score,
        "softmax": score.softmax,
        "logit": score.logit,
        "set": utf8(score.set),
        "tag": score.tag,
    }
