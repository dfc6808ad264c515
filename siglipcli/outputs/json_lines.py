"""JSON Lines: one object an input, one input a line."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any, TextIO

from siglipcli.outputs.fields import raw_name, round_logit, round_probability, utf8
from siglipcli.results import Failure, Match, Prediction

if TYPE_CHECKING:
    from siglipcli.outputs import Header
    from siglipcli.results import Pair, Result, Score, ScoredImage

__all__ = ["JsonLinesWriter", "encoded", "failed", "json_line", "named"]

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode

# Characters that JSON allows bare but that some readers take for the end of a line, and some
# terminals for a command or a change of direction. They occur only inside strings, where an
# escape means the same.
_BARE = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


class JsonLinesWriter:
    """Writes one line a result and flushes it: the first is out before the last image is read."""

    def __init__(self, stream: TextIO, header: Header) -> None:
        self._stream = stream
        self._model = utf8(header.model)

    def write(self, result: Result) -> None:
        """Write one line."""
        self._stream.write(json_line(result, self._model) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Flush; there is nothing to end."""
        self._stream.flush()


def json_line(result: Result, model: str) -> str:
    """Return one result as a JSON object without a line break in it."""
    if isinstance(result, Failure):
        return encoded(named(result.file) | failed(result))
    head = {"status": "ok", "model": model}
    return encoded(named(result.file) | head | _answer(result))


def encoded(answer: dict[str, Any]) -> str:
    """Return an object as strict JSON without a line break in it."""
    line = _encode(answer)
    return line if line.isascii() else _BARE.sub(_escaped, line)


def named(name: str, key: str = "file") -> dict[str, Any]:
    """Name the file; where its name is not UTF-8, also give the bytes it really has."""
    raw = raw_name(name)
    if raw is None:
        return {key: name}
    return {key: utf8(name), f"{key}_bytes": base64.b64encode(raw).decode("ascii")}


def failed(failure: Failure) -> dict[str, Any]:
    """Say why there is no answer."""
    return {
        "status": "error",
        "error": {"kind": failure.kind, "message": utf8(failure.message)},
    }


def _answer(answer: ScoredImage) -> dict[str, Any]:
    if isinstance(answer, Prediction):
        return {"labels": [_label(each) for each in answer.scores]}
    if isinstance(answer, Match):
        return {"rank": answer.rank} | _numbers(answer.similarity, answer.score)
    return {"texts": [_pair(each) for each in answer.pairs]}


def _numbers(similarity: float, score: float | None) -> dict[str, float]:
    """Give a score only where there is one: a cosine is none."""
    similar = {"similarity": round_logit(similarity)}
    return similar if score is None else {"score": round_probability(score)} | similar


def _pair(pair: Pair) -> dict[str, Any]:
    return {
        "text": utf8(pair.text),
        "score": round_probability(pair.score),
        "logit": round_logit(pair.logit),
        "similarity": round_logit(pair.similarity),
    }


def _label(score: Score) -> dict[str, str | float | bool]:
    return {
        "label": utf8(score.label),
        "score": round_probability(score.score),
        "softmax": round_probability(score.softmax),
        "logit": round_logit(score.logit),
        "set": utf8(score.set),
        "tag": score.tag,
    }


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match.group()):04x}"
