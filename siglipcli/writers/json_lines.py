"""JSON Lines: one object an input, one input a line."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any, TextIO

from siglipcli.records import Failure
from siglipcli.writers.fields import raw_name, round_logit, round_probability, utf8

if TYPE_CHECKING:
    from siglipcli.records import Result, Score
    from siglipcli.writers import Header

__all__ = ["JsonLinesWriter", "json_line"]

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
    line = _encode(_file(result.source.name) | _answer(result, model))
    return line if line.isascii() else _BARE.sub(_escaped, line)


def _file(name: str) -> dict[str, str]:
    """Name the file; where its name is not UTF-8, also give the bytes it really has."""
    raw = raw_name(name)
    if raw is None:
        return {"file": name}
    return {"file": utf8(name), "file_bytes": base64.b64encode(raw).decode("ascii")}


def _answer(result: Result, model: str) -> dict[str, Any]:
    if isinstance(result, Failure):
        error = {"kind": result.kind, "message": utf8(result.message)}
        return {"status": "error", "error": error}
    return {"status": "ok", "model": model, "labels": [_label(each) for each in result.scores]}


def _label(score: Score) -> dict[str, str | float | bool]:
    return {
        "label": utf8(score.label),
        "score": round_probability(score.score),
        "share": round_probability(score.share),
        "logit": round_logit(score.logit),
        "set": utf8(score.set),
        "tag": score.tag,
    }


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match.group()):04x}"
