"""Thresholds into a label set's YAML text, every other character kept.

ruamel.yaml says where in the text each value stands; numbers are put in there, and a label in short
form becomes a long one. (Dumping its tree would keep comments too, but not indentation, line breaks in
lists, or blanks that align.) Nothing leaves this room that `labelsets.parse` does not read as asked.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from siglipcli import labels as labelsets
from siglipcli.errors import LabelError, UsageError

try:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError
except ImportError as missing:
    raise UsageError('this needs ruamel.yaml: pip install "siglipcli[eval]"') from missing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siglipcli.labels import LabelSet

__all__ = ["plain", "rewrite"]

_LINE_END = re.compile(r"\r?\n|\r")
_PADDED = re.compile(r" {7,}#")
_SAFE = re.compile(r"[^\W\d_]\w*([ -]\w+)*")  # needs no quotes
_BEFORE = ("aggregate", "templates", "description", "name")  # keys that new ones of the set follow


def rewrite(text: str, file: str, wanted: LabelSet) -> str:
    """Return `text`, whose set differs from `wanted` in thresholds and shift alone, with `wanted`'s.

    An alias that can no longer stand for what it did is written out. `file` is the text's, for
    complaints. Raises LabelError where `text` is no label set, or none that can take the numbers.
    """
    if labelsets.parse(text, file) == wanted:
        return text
    body = text.removeprefix("\ufeff")
    try:
        writer = _Writer(body, wanted)
        writer.fill(_compose(body))
        result = text[: len(text) - len(body)] + writer.edited()
        if labelsets.parse(result, file) == wanted:
            return result
    except (LabelError, _OtherwiseError):
        pass
    raise LabelError(
        f"{file}: thresholds cannot be written into its form; write each label as a plain"
        " `- name: …` on its own line, without anchors, and calibrate again."
    )


def plain(labels: LabelSet) -> str:
    """Return YAML text for a set of plain names, in short form."""
    lines = [f"name: {_name(labels.name)}", "labels:"]
    return "\n".join([*lines, *(f"  - {_name(label.path)}" for label in labels.labels), ""])


class _OtherwiseError(Exception):
    """ruamel.yaml reads the text otherwise than `labelsets.parse`."""


@dataclass(slots=True, eq=False)
class _Place:
    """A value and where it stands: text[start:end], its first character in `column`.

    `items` are a list's, or a mapping's keys and values in turn; None for a text. An alias has the
    place that it repeats as `target`.
    """

    start: int
    end: int
    column: int
    text: str = ""
    items: list[_Place] | None = None
    is_mapping: bool = False
    flow: bool = False
    anchor: str = ""
    target: _Place | None = None

    @property
    def real(self) -> _Place:
        """What an alias stands for, or the place itself."""
        return self.target or self

    def pairs(self) -> list[tuple[str, _Place]]:
        """Return a mapping's keys and values."""
        items = self.real.items or []
        return [(k.real.text, v) for k, v in zip(items[::2], items[1::2], strict=True)]

    def get(self, key: str) -> _Place | None:
        """Return a mapping's value."""
        return dict(self.pairs()).get(key)

    def last(self) -> _Place:
        """Return what ends in the text where this does: of block lists and mappings the last item."""
        return self if self.flow or not self.items else self.items[-1].last()


def _compose(text: str) -> _Place:
    """Return the root of the document, as ruamel.yaml reads it."""
    roots: list[_Place] = []
    below = [roots]  # the items of every list and mapping that is open
    anchors: dict[str, _Place] = {}
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            _take(event, below, anchors)
    except (YAMLError, ValueError, KeyError) as error:
        raise _OtherwiseError from error
    if not roots:
        raise _OtherwiseError
    return roots[0]


def _take(event: Any, below: list[list[_Place]], anchors: dict[str, _Place]) -> None:
    kind = type(event).__name__
    start, end = event.start_mark, event.end_mark
    if kind in {"SequenceEndEvent", "MappingEndEvent"}:
        below.pop()
        below[-1][-1].end = end.index
    if kind not in {"ScalarEvent", "AliasEvent", "SequenceStartEvent", "MappingStartEvent"}:
        return
    place = _Place(start.index, end.index, start.column)
    below[-1].append(place)
    if kind == "AliasEvent":
        place.target = anchors[event.anchor]
        return
    if event.anchor:
        place.anchor = event.anchor
        anchors[event.anchor] = place
    if kind == "ScalarEvent":
        place.text = event.value
    else:
        place.items, place.flow = [], bool(event.flow_style)
        place.is_mapping = kind == "MappingStartEvent"
        below.append(place.items)


class _Writer:
    """Collects the edits that give a text the numbers of `wanted`."""

    def __init__(self, text: str, wanted: LabelSet) -> None:
        found = _LINE_END.search(text)
        self.text, self.newline = text, found.group() if found else "\n"
        self.wanted = wanted
        self.thresholds = {label.path: label.threshold for label in wanted.labels}
        self._edits: list[tuple[int, int, str]] = []
        self._values: dict[_Place, float] = {}  # numbers as they will be
        self._above: dict[_Place, str] = {}  # what the labels in an anchored place are called by

    def edited(self) -> str:
        """Return the text with all edits made."""
        parts, at = [], 0
        for start, end, new in sorted(self._edits, key=lambda edit: edit[0]):
            if start < at:
                raise _OtherwiseError
            parts += [self.text[at:start], new]
            at = end
        return "".join([*parts, self.text[at:]])

    def fill(self, root: _Place) -> None:
        """Edit what stands below the document's root."""
        numbers = {"threshold": self.wanted.threshold, "bias_shift": self.wanted.bias_shift or None}
        for key, value in root.pairs():
            if key == "labels":
                self._labels(value, "")
            elif key in numbers:
                self._number(value, numbers.pop(key) or 0.0)
        for key, number in numbers.items():
            if number is not None:
                self._new_key(root, f"{key}: {_number(number)}")

    def _new_key(self, root: _Place, line: str) -> None:
        first = (root.items or [root])[0]
        after = next((value for key in ("threshold", *_BEFORE) if (value := root.get(key))), None)
        if root.flow:
            self._edit(first.start, first.start, f"{line}, ")
        elif after is None:
            self._edit(first.start, first.start, line + self.newline + " " * first.column)
        else:
            self._line_after(after, first.column, line)

    def _labels(self, node: _Place, above: str) -> None:
        if self._is_elsewhere(node, above):
            return
        for entry in node.items or []:
            if entry.real.items is None:
                self._short_form(entry, above + entry.real.text.strip(), flow=node.flow)
            elif not self._is_elsewhere(entry, above):
                self._long_form(entry, above)

    def _is_elsewhere(self, node: _Place, above: str) -> bool:
        """Tell whether `node` is an alias of labels; written out where the original's do not fit."""
        if node.target is None:
            self._above[node] = above
            return False
        here, there = (
            [self.thresholds.get(path) for path in _paths(node, way)]
            for way in (above, self._above.get(node.target, above))
        )
        if here != there:
            self._edit(node.start, node.end, self._written_out(node, above))
        return True

    def _short_form(self, entry: _Place, path: str, *, flow: bool) -> None:
        if (threshold := self.thresholds.get(path)) is None:
            return
        given, line = self.text[entry.start : entry.end], f"threshold: {_number(threshold)}"
        if flow:
            self._edit(entry.start, entry.end, f"{{name: {given}, {line}}}")
        elif not _LINE_END.search(given):
            self._edit(entry.start, entry.start, "name: ")
            if _PADDED.match(self.text, entry.end):  # its comment stays in its column
                self._edit(entry.end, entry.end + len("name: "), "")
            self._line_after(entry, entry.column, line)
        else:
            name = f"&{entry.anchor} " if entry.anchor else ""
            name += json.dumps(entry.text.strip(), ensure_ascii=False)
            ending = given[len(given.rstrip()) :]
            lines = f"name: {name}{self.newline}{' ' * entry.column}{line}{ending}"
            self._edit(entry.start, entry.end, lines)

    def _long_form(self, entry: _Place, above: str) -> None:
        pairs = dict(entry.pairs())
        path = above + pairs["name"].real.text.strip()
        threshold = self.thresholds.get(path)
        for key, value in pairs.items():
            if key == "threshold" and threshold is not None:
                self._number(value, threshold)
            elif key == "children":
                self._labels(value, f"{path}/")
        if threshold is None or "threshold" in pairs:
            return
        line, name = f"threshold: {_number(threshold)}", pairs["name"]
        if entry.flow:
            self._edit(name.end, name.end, f", {line}")
        else:
            self._line_after(name, (entry.items or [entry])[0].column, line)

    def _number(self, place: _Place, value: float) -> None:
        if self._values.get(place.real, float(place.real.text)) != value:
            given = self.text[place.start : place.end]
            anchor = f"&{place.anchor} " if place.anchor else ""
            ending = given[len(given.rstrip()) :]
            self._edit(place.start, place.end, anchor + _number(value) + ending)
        if place.target is None:
            self._values[place] = value

    def _line_after(self, place: _Place, column: int, line: str) -> None:
        """Put a line of its own after the one that `place` ends in, and its comment."""
        end, line = place.last().end, " " * column + line
        if _LINE_END.fullmatch(self.text[end - 1 : end]):
            self._edit(end, end, line + self.newline)
            return
        found = _LINE_END.search(self.text, end)
        at = found.start() if found else len(self.text)
        self._edit(at, at, self.newline + line)

    def _edit(self, start: int, end: int, new: str) -> None:
        self._edits.append((start, end, new))

    def _written_out(self, node: _Place, above: str) -> str:
        """Return labels, a list or one, as flow text with their thresholds."""
        real = node.real
        if real.is_mapping:
            pairs = dict(real.pairs())
            path = above + pairs["name"].real.text.strip()
            parts = {key: _flow(value) for key, value in pairs.items() if key != "threshold"}
            if "children" in parts:
                parts["children"] = self._written_out(pairs["children"], f"{path}/")
        elif real.items is not None:
            return f"[{', '.join(self._written_out(entry, above) for entry in real.items)}]"
        else:
            path = above + real.text.strip()
            parts = {"name": _flow(real)}
        if (threshold := self.thresholds.get(path)) is not None:
            parts["threshold"] = _number(threshold)
        elif real.items is None:
            return parts["name"]
        return f"{{{', '.join(f'{key}: {value}' for key, value in parts.items())}}}"


def _paths(node: _Place, above: str) -> Iterator[str]:
    """Yield the full names of labels, a list's or one's and those below."""
    real = node.real
    if real.items is None:
        yield above + real.text.strip()
    elif not real.is_mapping:
        for entry in real.items:
            yield from _paths(entry, above)
    elif name := real.get("name"):
        yield above + name.real.text.strip()
        if children := real.get("children"):
            yield from _paths(children, f"{above}{name.real.text.strip()}/")


def _flow(place: _Place) -> str:
    """Return a value without labels as flow text."""
    real = place.real
    if real.items is None:
        return json.dumps(real.text, ensure_ascii=False)
    return f"[{', '.join(map(_flow, real.items))}]"


def _number(value: float) -> str:
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def _name(text: str) -> str:
    return text if _SAFE.fullmatch(text) else json.dumps(text, ensure_ascii=False)
