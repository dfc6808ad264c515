"""Writes thresholds, a shift and `calibrated` into a label set's text; every other character stays.

`places` says where in the text each value stands; numbers are put in there, and a label in short form
becomes a long one. JSON stays JSON. A list of names, which has no place for numbers, becomes a label set.
(Dumping a tree would lose indentation, line breaks in lists, or blanks that align.) The result is returned
only if `labels.parse` reads the wanted set in it.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from typing import TYPE_CHECKING

from siglipcli.errors import LabelError
from siglipcli.labels import parse
from siglipcli.labels.nodes import is_lines, joined_surrogates
from siglipcli.labels.places import LINE_END, Place, locate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from siglipcli.labels import Calibration, LabelSet

__all__ = ["plain", "rewrite"]

_PADDED = re.compile(r" {7,}#")
_SAFE = re.compile(r"[^\W\d_]\w*([ -]\w+)*")  # needs no quotes
_BEFORE = ("aggregate", "templates", "description", "name")  # keys that new ones of the set follow


def rewrite(text: str, file: str, labels: LabelSet) -> str:
    """Return `text` with the thresholds, `bias_shift` and `calibrated` of `labels`.

    The set in `text` differs from `labels` in these alone. An alias that can no longer stand for what it
    did is written out. `file` is the text's, for messages. Raises LabelError where `text` is no label set,
    or none that can take the numbers.
    """
    if parse(text, file) == labels:
        return text
    body = joined_surrogates(text.removeprefix("\ufeff"))
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    try:
        root = Place(0, 0, 0) if is_lines(body, file) else locate(body)
        if not root.is_mapping:
            body = _as_mapping(body, labels, root)
            root = locate(body)
        writer = _Writer(body, labels)
        writer.fill(root)
        result = mark + writer.edited()
        if parse(result, f"{labels.name}.yaml" if is_lines(text, file) else file) == labels:
            return result
    except (LabelError, _OverlapError):
        pass
    raise LabelError(
        f"{file}: thresholds cannot be written into its form. Write each label as a plain"
        " `- name: …` on its own line, without anchors, and calibrate again."
    )


def plain(labels: LabelSet, templates: Sequence[str] | None = None) -> str:
    """Return YAML text for a set of plain names that `templates` were filled with, in short form."""
    lines = [f"name: {_scalar(labels.name)}"]
    if templates:
        lines.append(f"templates: {json.dumps(list(templates), ensure_ascii=False)}")
    names = (f"  - {_scalar(label.path)}" for label in labels.labels)
    return "\n".join([*lines, "labels:", *names, ""])


class _OverlapError(Exception):
    """Two edits of one place."""


class _Writer:
    """Collects the edits that give a text the numbers of `labels`."""

    def __init__(self, text: str, labels: LabelSet) -> None:
        line_end = LINE_END.search(text)
        self.text, self.newline = text, line_end.group() if line_end else "\n"
        self.labels = labels
        self.thresholds = {label.path: label.threshold for label in labels.labels}
        self._is_json = _is_json(text)
        self._edits: list[tuple[int, int, str]] = []
        self._values: dict[Place, str] = {}  # scalars as they will be
        self._above: dict[Place, str] = {}  # what the labels in an anchored place are called by

    def edited(self) -> str:
        """Return the text with all edits made."""
        parts, at = [], 0
        for start, end, new in sorted(self._edits, key=lambda edit: edit[0]):
            if start < at:
                raise _OverlapError
            parts += [self.text[at:start], new]
            at = end
        return "".join([*parts, self.text[at:]])

    def fill(self, root: Place) -> None:
        """Edit what stands below the document's root."""
        labels, values = self.labels, dict[str, str]()
        if labels.threshold is not None:
            values["threshold"] = _number(labels.threshold)
        if labels.bias_shift or root.get("bias_shift"):
            values["bias_shift"] = _number(labels.bias_shift)
        if labels.calibrated:
            values["calibrated"] = self._calibrated(labels.calibrated)
        for key, value in root.pairs():
            if key == "labels":
                self._labels(value, "")
            elif key == "calibrated" and key in values:
                self._replace(value, values.pop(key))
            elif key in values:
                self._scalar(value, values.pop(key))
        for key, new in values.items():
            self._new_key(root, self._pair(key, new))

    def _calibrated(self, calibrated: Calibration) -> str:
        fields = {key: value for key, value in asdict(calibrated).items() if value}
        pairs = (
            self._pair(key, str(value) if isinstance(value, int) else self._text(value))
            for key, value in fields.items()
        )
        return f"{{{', '.join(pairs)}}}"

    def _pair(self, key: str, value: str) -> str:
        return f"{json.dumps(key) if self._is_json else key}: {value}"

    def _text(self, text: str) -> str:
        return json.dumps(text, ensure_ascii=False) if self._is_json else _scalar(text)

    def _new_key(self, root: Place, line: str) -> None:
        first = (root.items or [root])[0]
        after = next((value for key in ("threshold", *_BEFORE) if (value := root.get(key))), None)
        if root.flow:
            self._edit(first.start, first.start, f"{line},{self._gap(first)}")
        elif after is None:
            self._edit(first.start, first.start, line + self.newline + " " * first.column)
        else:
            self._line_after(after, root.column, line)

    def _labels(self, node: Place, above: str) -> None:
        if self._is_elsewhere(node, above):
            return
        for entry in node.items or []:
            if entry.real.items is None:
                self._short_form(entry, above + entry.real.text.strip(), flow=node.flow)
            elif not self._is_elsewhere(entry, above):
                self._long_form(entry, above)

    def _is_elsewhere(self, node: Place, above: str) -> bool:
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

    def _short_form(self, entry: Place, path: str, *, flow: bool) -> None:
        if (threshold := self.thresholds.get(path)) is None:
            return
        old, line = self.text[entry.start : entry.end], self._pair("threshold", _number(threshold))
        if flow:
            self._edit(entry.start, entry.end, f"{{{self._pair('name', old)}, {line}}}")
        elif not LINE_END.search(old):
            self._edit(entry.start, entry.start, "name: ")
            if _PADDED.match(self.text, entry.end):  # its comment stays in its column
                self._edit(entry.end, entry.end + len("name: "), "")
            self._line_after(entry, entry.column, line)
        else:
            name = f"&{entry.anchor} " if entry.anchor else ""
            name += json.dumps(entry.text.strip(), ensure_ascii=False)
            ending = old[len(old.rstrip()) :]
            lines = f"name: {name}{self.newline}{' ' * entry.column}{line}{ending}"
            self._edit(entry.start, entry.end, lines)

    def _long_form(self, entry: Place, above: str) -> None:
        pairs = dict(entry.pairs())
        path = above + pairs["name"].real.text.strip()
        threshold = self.thresholds.get(path)
        for key, value in pairs.items():
            if key == "threshold" and threshold is not None:
                self._scalar(value, _number(threshold))
            elif key == "children":
                self._labels(value, f"{path}/")
        if threshold is None or "threshold" in pairs:
            return
        line, name = self._pair("threshold", _number(threshold)), pairs["name"]
        if entry.flow:
            self._edit(name.end, name.end, f",{self._gap((entry.items or [entry])[0])}{line}")
        else:
            self._line_after(name, entry.column, line)

    def _gap(self, first: Place) -> str:
        """Return what parts the keys of a flow mapping: a new line where its first key is on one."""
        before = self.text[: first.start]
        gap = before[len(before.rstrip()) :]
        return gap if LINE_END.search(gap) else " "

    def _scalar(self, place: Place, new: str) -> None:
        """Replace a number by `new`, unless it says the same in other digits."""
        if float(self._values.get(place.real, place.real.text)) != float(new):
            self._replace(place, new)
        if place.target is None:
            self._values[place] = new

    def _replace(self, place: Place, new: str) -> None:
        end = place.last().end
        old = self.text[place.start : end]
        anchor = f"&{place.anchor} " if place.anchor else ""
        self._edit(place.start, end, anchor + new + old[len(old.rstrip()) :])

    def _line_after(self, place: Place, column: int, line: str) -> None:
        """Put a line of its own after the one that `place` ends in, and its comment."""
        end, line = place.last().end, " " * column + line
        if LINE_END.fullmatch(self.text[end - 1 : end]):
            self._edit(end, end, line + self.newline)
            return
        line_end = LINE_END.search(self.text, end)
        at = line_end.start() if line_end else len(self.text)
        self._edit(at, at, self.newline + line)

    def _edit(self, start: int, end: int, new: str) -> None:
        self._edits.append((start, end, new))

    def _written_out(self, node: Place, above: str) -> str:
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


def _as_mapping(text: str, labels: LabelSet, root: Place) -> str:
    """Return the text of a list of labels as that of a label set."""
    if root.items is None:
        return plain(labels)
    if text.lstrip().startswith("[") and _is_json(text):
        name = json.dumps(labels.name, ensure_ascii=False)
        return f'{{"name": {name}, "labels": {text.strip()}}}\n'
    return f"name: {_scalar(labels.name)}\nlabels:{' ' if root.flow else chr(10)}{text}"


def _is_json(text: str) -> bool:
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _paths(node: Place, above: str) -> Iterator[str]:
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


def _flow(place: Place) -> str:
    """Return a value without labels as flow text."""
    real = place.real
    if real.items is None:
        return json.dumps(real.text, ensure_ascii=False)
    return f"[{', '.join(map(_flow, real.items))}]"


def _number(value: float) -> str:
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def _scalar(text: str) -> str:
    return text if _SAFE.fullmatch(text) else json.dumps(text, ensure_ascii=False)
