"""Brace ranges in names, as in a shell: `{00000..00999}` and `{train,test}`, expanded lazily."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["expand"]

_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_GROUP = re.compile(r"\{(\d+\.\.\d+|[^{}]*,[^{}]*)\}")


def expand(text: str) -> Iterator[str]:
    """Yield the names that `text` stands for, in order; a text without braces is itself.

    Numbers are as wide as the wider end where one begins with 0: `{08..11}` is 08, 09, 10, 11.
    """
    match = _GROUP.search(text)
    if not match:
        yield text
        return
    before, after = text[: match.start()], text[match.end() :]
    for word in _words(match[1]):
        for rest in expand(after):
            yield f"{before}{word}{rest}"


def _words(content: str) -> Iterator[str]:
    ends = _RANGE.fullmatch(content)
    if not ends:
        yield from content.split(",")
        return
    first, last = ends.groups()
    padded = any(end.startswith("0") and end != "0" for end in ends.groups())
    width = max(len(first), len(last)) if padded else 0
    step = 1 if int(first) <= int(last) else -1
    for number in range(int(first), int(last) + step, step):
        yield f"{number:0{width}d}" if width else str(number)
