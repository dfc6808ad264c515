"""Labels on the spot: names typed where a label set would be."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["names"]

# Not before a blank, as in a sentence, nor between digits, as in 1,000.
_COMMA = re.compile(r",(?![\s\d])|(?<!\d),(?!\s)")


def names(values: Iterable[str]) -> list[str]:
    """Return the labels in the values: `cat,dog` is two, `a cat, asleep` is one."""
    return [name for value in values for name in _split(value)]


def _split(value: str) -> list[str]:
    parts = [part for part in _COMMA.split(value) if part.strip()]
    return parts or [value]
