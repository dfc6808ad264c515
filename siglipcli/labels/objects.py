"""Python objects → nodes, so that a dict is read by the schema as a file is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from numbers import Real
from typing import TYPE_CHECKING

from siglipcli.errors import LabelError
from siglipcli.labels.tree import MAX_DEPTH, Kind, Node
from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["list_of", "node_of"]


def list_of(names: Sequence[str]) -> Node:
    """Return a list of texts as a node."""
    return Node(Kind.LIST, 0, items=[Node(Kind.TEXT, 0, name) for name in names])


def node_of(value: object, key: str, levels: int) -> Node:
    """Return a Python value as a node without a line; None within a mapping stands for a missing key.

    `key` names it in errors, `levels` is how deep it may be. Raises TypeError, LabelError where it is deeper.
    """
    if not levels:
        raise LabelError(f"{visible(key[:60])}…: nested more than {MAX_DEPTH} levels deep.")
    if isinstance(value, bool):
        return Node(Kind.TEXT, 0, str(value).lower())
    if isinstance(value, (str, Real, date)):
        return Node(Kind.TEXT, 0, str(value))
    if isinstance(value, Mapping):
        items = [
            part
            for name, entry in value.items()
            if entry is not None
            for part in (
                node_of(name, key or "keys", levels - 1),
                node_of(entry, f"{key}.{name}".lstrip("."), levels - 1),
            )
        ]
        return Node(Kind.MAPPING, 0, items=items)
    if isinstance(value, (list, tuple)):
        entries = [node_of(entry, f"{key}[{at}]", levels - 1) for at, entry in enumerate(value)]
        return Node(Kind.LIST, 0, items=entries)
    raise TypeError(
        f"{key} is a text, a number, a list or a dict of these, not {type(value).__name__}"
    )
