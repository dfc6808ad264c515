"""Where each element of an XML document stands in its bytes, so that all others can be left as they are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.parsers import expat

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Span", "Splice", "spans", "spliced", "with_blanks"]

Splice = tuple[int, int, bytes]
"""From where to where bytes are replaced, and by what."""

_START_TAG = re.compile(rb"""<(?:[^>"']|"[^"]*"|'[^']*')*>""")
_BLANKS = b" \t\r\n"


@dataclass(slots=True)
class Span:
    """An element's bytes: from `start` to `end`, its content from `inside` to `closing`.

    An element without content, `<a/>`, is `is_empty`; `inside` and `closing` are its end.
    """

    start: int
    inside: int = 0
    closing: int = 0
    end: int = 0
    is_empty: bool = False


def spans(data: bytes) -> list[Span]:
    """Return the span of every element of a UTF-8 document, in the order of their start tags.

    Raises expat.ExpatError for a document that is not well-formed, ValueError for one with a DOCTYPE.
    """
    elements: list[Span] = []
    unclosed: list[Span] = []
    parser = expat.ParserCreate("utf-8")

    def start(_name: str, _attributes: object) -> None:
        at = parser.CurrentByteIndex
        match = _START_TAG.match(data, at)
        inside = match.end() if match else at
        span = Span(at, inside, is_empty=data[inside - 2 : inside] == b"/>")
        elements.append(span)
        unclosed.append(span)

    def end(_name: str) -> None:
        span = unclosed.pop()
        if span.is_empty:
            span.closing = span.end = span.inside
            return
        span.closing = parser.CurrentByteIndex
        span.end = data.index(b">", span.closing) + 1

    def refuse(*_: object) -> None:
        raise ValueError("it has a DOCTYPE")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(data, True)
    return elements


def spliced(data: bytes, splices: Iterable[Splice]) -> bytes:
    """Return `data` with its parts replaced; no two of them overlap."""
    parts, at = [], 0
    for start, end, new in sorted(splices, key=lambda splice: splice[:2]):
        parts += [data[at:start], new]
        at = end
    return b"".join([*parts, data[at:]])


def with_blanks(data: bytes, start: int) -> int:
    """Return where the white space before `start` begins."""
    while start and data[start - 1] in _BLANKS:
        start -= 1
    return start
