"""The nodes that a label set is read from, whatever it was written in: text with a line, list or mapping."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from siglipcli.text import visible

__all__ = ["MAX_DEPTH", "Kind", "Node", "quoted"]

MAX_DEPTH = 24
MAX_QUOTED = 60


class Kind(Enum):
    """What a node is; the value is how a message calls it."""

    TEXT = "text"
    LIST = "a list"
    MAPPING = "a mapping"


@dataclass(slots=True)
class Node:
    """One YAML node. `line` counts from 1; 0 says that it came from no file.

    `items` are a list's items, or a mapping's keys and values in turn. `size` counts the node and
    all below it with aliases expanded, `height` the levels; both are final once the node is closed.
    """

    kind: Kind
    line: int
    text: str = ""
    items: list[Node] = field(default_factory=list)
    size: int = 1
    height: int = 1


def quoted(text: str) -> str:
    """Return `text` in quotes for a message: on one line, and cut where it is long."""
    return f"'{visible(text if len(text) <= MAX_QUOTED else text[: MAX_QUOTED - 3] + '...')}'"
