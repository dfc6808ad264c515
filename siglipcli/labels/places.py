"""Label set text → a tree of values with their places in the text, from PyYAML's event marks.

The same parser reads here and in `nodes`, so that what one reads the other reads too. `nodes` checks the
limits and keeps no places; here the text has passed these checks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from siglipcli.labels.nodes import LOADER

__all__ = ["LINE_END", "Place", "locate"]

LINE_END = re.compile("\r\n|[\r\n\x85\u2028\u2029]")  # YAML 1.1's line breaks
_QUESTION_MARK = re.compile(r"\?[ \t]*$")


@dataclass(slots=True, eq=False)
class Place:
    """A value and where it stands: text[start:end], its first character in `column`.

    `items` are a list's, or a mapping's keys and values in turn; None for a text. `column` of a block
    mapping is that of its keys. An alias has the place that it repeats as `target`.
    """

    start: int
    end: int
    column: int
    text: str = ""
    items: list[Place] | None = None
    is_mapping: bool = False
    flow: bool = False
    anchor: str = ""
    target: Place | None = None

    @property
    def real(self) -> Place:
        """What an alias stands for, or the place itself."""
        return self.target or self

    def pairs(self) -> list[tuple[str, Place]]:
        """Return a mapping's keys and values."""
        items = self.real.items or []
        return [(k.real.text, v) for k, v in zip(items[::2], items[1::2], strict=True)]

    def get(self, key: str) -> Place | None:
        """Return a mapping's value."""
        return dict(self.pairs()).get(key)

    def last(self) -> Place:
        """Return what ends in the text where this does: of block lists and mappings the last item."""
        return self if self.flow or not self.items else self.items[-1].last()


def locate(text: str) -> Place:
    """Return the root of the one document in `text`, which `nodes.compose` has accepted."""
    roots: list[Place] = []
    open_items = [roots]  # the items of every list and mapping that is open
    anchors: dict[str, Place] = {}
    for event in yaml.parse(text, Loader=LOADER):
        if isinstance(event, yaml.CollectionEndEvent):
            open_items.pop()
            _close(open_items[-1][-1], event, text)
        elif isinstance(event, yaml.NodeEvent):
            place = _place(event, anchors)
            open_items[-1].append(place)
            if place.items is not None:
                open_items.append(place.items)
    return roots[0]


def _place(event: Any, anchors: dict[str, Place]) -> Place:
    place = Place(event.start_mark.index, event.end_mark.index, event.start_mark.column)
    if isinstance(event, yaml.AliasEvent):
        place.target = anchors[event.anchor or ""]
        return place
    if event.anchor:
        place.anchor = event.anchor
        anchors[event.anchor] = place
    if isinstance(event, yaml.ScalarEvent):
        place.text = event.value
    else:
        place.items, place.flow = [], bool(event.flow_style)
        place.is_mapping = isinstance(event, yaml.MappingStartEvent)
    return place


def _close(place: Place, event: Any, text: str) -> None:
    place.end = event.end_mark.index
    if place.is_mapping and not place.flow and place.items:
        key = place.items[0]
        before = LINE_END.split(text[: key.start])[-1] if place.anchor else ""
        if not place.anchor:  # the mapping starts with its first key, or the `?` before it
            pass
        elif mark := _QUESTION_MARK.search(before):
            place.column = mark.start()
        else:
            place.column = key.column
