"""Nodes or plain names → `LabelSet`; every complaint names file, line and key.

What the schema means where its example is silent:

- A list in place of the whole mapping is its `labels`.
- Without `templates`, a name that begins with an article or is a sentence is its own prompt.
- A prompt is used as it is; one that holds `{}` is a template for this label alone.
- `{}` is filled with the label's own name: for `bird/owl` that is "owl".
- A parent is a label like any other and is scored beside its children. Children inherit `negative`
  unless they say otherwise; they do not inherit `threshold` and `prompts`.
- A name may hold `/`. Two labels with one full path are a duplicate, however they came to it.
- Blanks around a text are dropped; a name or prompt is one line without control characters.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from unicodedata import category, normalize

from siglipcli.errors import LabelError
from siglipcli.labels import DEFAULT_TEMPLATE, Calibration, Label, LabelSet
from siglipcli.labels.objects import list_of, node_of
from siglipcli.labels.tree import MAX_DEPTH, Kind, Node, quoted
from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["from_mapping", "is_whole_prompt", "read_names", "read_set"]

MAX_LABELS = 100_000
MAX_PROMPTS = 1_000_000
MAX_PROMPT_CHARACTERS = 100_000_000
MAX_PROMPTS_PER_LABEL = 1_000
MAX_NAME = 200
MAX_TEXT = 2_000
MAX_COMPLAINTS = 100
MAX_SHIFT = 1_000  # of a logit; as --bias-shift has it

_SET_KEYS = [
    "name",
    "description",
    "templates",
    "aggregate",
    "threshold",
    "bias_shift",
    "exclusive",
    "calibrated",
    "labels",
]
_LABEL_KEYS = ["name", "prompts", "threshold", "negative", "children"]
_CALIBRATED_KEYS = ["model", "fingerprint", "precision", "images", "date"]
_FLAGS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,3})?")
_NOT_ONE_LINE = ("Cc", "Cs", "Zl", "Zp")
_COUNT = re.compile("[0-9]{1,15}")
_ARTICLE = re.compile(r"(an?|the)\s", re.IGNORECASE)
_SENTENCE = re.compile(r"\S+(\s+\S+){2,}[.!?]")
_ABBREVIATION = re.compile(r".*(\b(Jr|Sr|Inc|Co|Corp|Ltd|etc)|\b\w)\.", re.IGNORECASE)


def read_set(
    root: Node | None, file: str, templates: Sequence[str] | None = None
) -> tuple[LabelSet, list[str]]:
    """Return the set below `root` and every complaint; with complaints the set is not whole.

    `templates` take the place of the set's own.
    """
    reader = _Reader(file, templates)
    labels = reader.read_set(root or Node(Kind.TEXT, 1))
    return labels, reader.in_order()


def read_names(
    names: Sequence[str], name: str, templates: Sequence[str] | None = None
) -> tuple[LabelSet, list[str]]:
    """Return the set called `name` with these labels and every complaint, as `read_set` does."""
    reader = _Reader(name, templates)
    reader.read_labels(list_of(names), "labels")
    return LabelSet(name, tuple(reader.labels)), reader.in_order()


def from_mapping(schema: Mapping[str, Any], name: str) -> tuple[LabelSet, list[str]]:
    """Return the set that Python objects describe, as `read_set` does. Raises TypeError."""
    if not isinstance(schema, Mapping):
        raise TypeError(f"a label set's schema is a dict, not {type(schema).__name__}")
    return read_set(node_of(schema, "", MAX_DEPTH), name)


def is_whole_prompt(name: str) -> bool:
    """Tell whether a label's name begins with an English article or is a sentence.

    Within "a photo of a {}." it would not be English.
    """
    is_sentence = _SENTENCE.fullmatch(name) and not _ABBREVIATION.fullmatch(name)
    return bool(_ARTICLE.match(name) or is_sentence)


def _described(node: Node) -> str:
    if node.kind is Kind.TEXT:
        return quoted(node.text) if node.text.strip() else "nothing"
    return str(node.kind.value)


class _Reader:
    """Reads nodes, and collects labels and complaints on the way.

    A value that draws a complaint is replaced by its default, so that reading goes on, to the last
    complaint that is kept; the limits on the whole set end it with a `LabelError`.
    """

    def __init__(self, file: str, templates: Sequence[str] | None = None) -> None:
        self.complaints: list[tuple[int, str]] = []  # line and message
        self.labels: list[Label] = []
        self._file = file
        self._templates: list[str] | None = None  # the default
        self._override = templates is not None
        self._lines: dict[str, int] = {}  # path after NFC → line
        self._prompts = self._characters = 0
        if templates is not None:
            self._read_templates(list_of(templates))

    def read_set(self, root: Node) -> LabelSet:
        """Return the whole set."""
        if root.kind is Kind.LIST:
            self.read_labels(root, "labels")
            return LabelSet(Path(self._file).stem[:MAX_NAME], tuple(self.labels))
        if root.kind is not Kind.MAPPING:
            self._expect(root, "labels", "the keys of a label set, at least 'labels:', or a list")
            return LabelSet("", ())
        keys = self._keys(root, "", _SET_KEYS)
        if "templates" in keys and not self._override:
            self._read_templates(keys["templates"])
        self.read_labels(keys.get("labels", Node(Kind.TEXT, root.line)), "labels")
        return LabelSet(
            name=self._name(keys, "", "the set's name") or Path(self._file).stem[:MAX_NAME],
            labels=tuple(self.labels),
            description=self._description(keys),
            aggregate=self._aggregate(keys),
            threshold=self._threshold(keys, ""),
            bias_shift=self._number(keys, "bias_shift", (-MAX_SHIFT, MAX_SHIFT)) or 0.0,
            exclusive=self._flag(keys, "", "exclusive", default=False),
            calibrated=self._calibrated(keys),
        )

    def read_labels(self, node: Node, key: str, parent: Label | None = None) -> None:
        """Take a list of labels, each with its children after it."""
        items = self._items(node, key)
        if len(items) > (left := MAX_LABELS - len(self.labels)):  # before the work of reading them
            self._refuse(items[left], f"{MAX_LABELS:,} labels")
        for index, entry in enumerate(items):
            if self._has_enough():
                break
            place = f"{key}[{index}]"
            if entry.kind is Kind.MAPPING:
                self._long_form(entry, place, parent)
            elif name := self._text(entry, place, "a label's name", MAX_NAME):
                self._add(entry, place, self._label(entry, name, parent, None))

    def in_order(self) -> list[str]:
        """Return the complaints as they follow in the file."""
        return [message for _, message in sorted(self.complaints, key=itemgetter(0))]

    def _read_templates(self, node: Node) -> None:
        """Take the set's templates; labels read from here on use them."""
        self._templates = self._strings(node, "templates", "a text with {} for the name")
        for at, text in enumerate(self._templates):
            if text and text.count("{}") != 1:
                key = f"templates[{at}]"
                self._expect(node.items[at], key, "a text with {} for the name, once")

    def _long_form(self, entry: Node, key: str, parent: Label | None) -> None:
        keys = self._keys(entry, f"{key}.", _LABEL_KEYS)
        # A mapping of unknown keys alone is a text that wanted quotes: one complaint is enough.
        if "name" not in keys and (keys or not entry.items):
            self._expect(Node(Kind.TEXT, entry.line), f"{key}.name", "the label's name")
        name = self._name(keys, f"{key}.", "the label's name")
        label = self._label(entry, name, parent, self._own_prompts(keys, f"{key}."))
        label = replace(
            label,
            threshold=self._threshold(keys, f"{key}."),
            negative=self._flag(keys, f"{key}.", "negative", default=label.negative),
        )
        if name:
            self._add(entry, key, label)
        if "children" in keys:
            self.read_labels(keys["children"], f"{key}.children", label)

    def _label(self, entry: Node, name: str, parent: Label | None, own: list[str] | None) -> Label:
        prompts = own if own is not None else self._templates
        if prompts is None:
            prompts = ["{}"] if is_whole_prompt(name) else [DEFAULT_TEMPLATE]
        self._prompts += len(prompts)
        self._characters += sum(map(len, prompts)) + len(name) * len(prompts)
        if self._prompts > MAX_PROMPTS or self._characters > MAX_PROMPT_CHARACTERS:
            self._refuse(entry, f"{MAX_PROMPTS:,} prompts, or 100 million characters of them")
        return Label(
            path=f"{parent.path}/{name}" if parent else name,
            prompts=tuple(prompt.replace("{}", name) for prompt in prompts),
            negative=bool(parent and parent.negative),
        )

    def _add(self, entry: Node, key: str, label: Label) -> None:
        if len(self.labels) == MAX_LABELS:
            self._refuse(entry, f"{MAX_LABELS:,} labels")
        path = normalize("NFC", label.path)
        if path in self._lines:
            first = self._lines[path]
            where = f"already on line {first}" if first else "there twice"
            self._complain(entry, key, f"the label {quoted(label.path)} is {where}.")
        else:
            self._lines[path] = entry.line
            self.labels.append(label)

    def _own_prompts(self, keys: dict[str, Node], prefix: str) -> list[str] | None:
        if "prompts" not in keys:
            return None
        node, key = keys["prompts"], f"{prefix}prompts"
        prompts = self._strings(node, key, "a prompt")
        for at, text in enumerate(prompts):
            if text.count("{}") > 1:
                self._expect(node.items[at], f"{key}[{at}]", "{} for the name at most once")
        return prompts

    def _keys(self, node: Node, prefix: str, known: Sequence[str]) -> dict[str, Node]:
        keys: dict[str, Node] = {}
        lines: dict[str, int] = {}
        for key, value in zip(node.items[::2], node.items[1::2], strict=True):
            if self._has_enough():
                break
            name = prefix + visible(key.text[:60])
            if key.kind is not Kind.TEXT:
                self._expect(key, prefix.rstrip(".") or "keys", "a plain text as key")
            elif key.text in lines:
                self._complain(key, name, f"the key is already on line {lines[key.text]}.")
            elif key.text in known:
                keys[key.text] = value
            else:
                self._complain(key, name, f"unknown key; {_advice(key.text, known)}.")
            lines.setdefault(key.text, key.line)
        return keys

    def _name(self, keys: dict[str, Node], prefix: str, what: str) -> str:
        if "name" not in keys:
            return ""
        return self._text(keys["name"], f"{prefix}name", what, MAX_NAME)

    def _description(self, keys: dict[str, Node]) -> str:
        if "description" not in keys:
            return ""
        node = keys["description"]
        # A description may be written over several lines, and is shown on one.
        line = Node(node.kind, node.line, " ".join(node.text.split()))
        return self._text(line, "description", "a text", MAX_TEXT)

    def _calibrated(self, keys: dict[str, Node]) -> Calibration | None:
        node, prefix = keys.get("calibrated"), "calibrated."
        if node is None:
            return None
        if node.kind is not Kind.MAPPING:
            self._expect(node, "calibrated", f"the keys {', '.join(_CALIBRATED_KEYS)}")
            return None
        fields = self._keys(node, prefix, _CALIBRATED_KEYS)
        model = fields.get("model", Node(Kind.TEXT, node.line))
        texts = {
            key: self._text(fields[key], prefix + key, "a text", MAX_NAME)
            for key in ("fingerprint", "precision")
            if key in fields
        }
        return Calibration(
            model=self._text(model, f"{prefix}model", "the model's name", MAX_NAME),
            images=self._count(fields, prefix),
            date=self._date(fields, prefix),
            **texts,
        )

    def _count(self, fields: dict[str, Node], prefix: str) -> int:
        if (node := fields.get("images")) is None:
            return 0
        if not _COUNT.fullmatch(node.text):
            self._expect(node, f"{prefix}images", "a whole number")
            return 0
        return int(node.text)

    def _date(self, fields: dict[str, Node], prefix: str) -> str:
        if (node := fields.get("date")) is None:
            return ""
        try:
            return date.fromisoformat(node.text).isoformat()
        except ValueError:
            self._expect(node, f"{prefix}date", "a date such as 2026-01-31")
            return ""

    def _aggregate(self, keys: dict[str, Node]) -> str:
        node = keys.get("aggregate")
        if node and node.text not in {"mean", "max"}:
            self._expect(node, "aggregate", "mean or max")
        return node.text if node else "mean"

    def _threshold(self, keys: dict[str, Node], prefix: str) -> float | None:
        return self._number(keys, "threshold", (0, 1), prefix)

    def _number(
        self, keys: dict[str, Node], key: str, limits: tuple[int, int], prefix: str = ""
    ) -> float | None:
        if (node := keys.get(key)) is None:
            return None
        least, most = limits
        number = float(node.text) if _NUMBER.fullmatch(node.text) else math.nan
        if not least <= number <= most:
            self._expect(node, prefix + key, f"a number from {least} to {most}")
        return number

    def _flag(self, keys: dict[str, Node], prefix: str, key: str, *, default: bool) -> bool:
        node = keys.get(key)
        if node and node.text not in _FLAGS:
            self._expect(node, prefix + key, "true or false")
        return _FLAGS.get(node.text, default) if node else default

    def _items(self, node: Node, key: str) -> list[Node]:
        if node.kind is not Kind.LIST:
            self._expect(node, key, "a list")
        elif not node.items:
            self._complain(node, key, "expected a list of at least one, found an empty list.")
        return node.items if node.kind is Kind.LIST else []

    def _strings(self, node: Node, key: str, what: str) -> list[str]:
        items = self._items(node, key)
        if len(items) > MAX_PROMPTS_PER_LABEL:
            self._expect(node, key, f"at most {MAX_PROMPTS_PER_LABEL:,} texts")
            return []
        return [self._text(item, f"{key}[{at}]", what, MAX_TEXT) for at, item in enumerate(items)]

    def _text(self, node: Node, key: str, what: str, limit: int) -> str:
        """Return a text of one line without the blanks around it; "" after a complaint."""
        text = node.text.strip()
        if text and len(text) <= limit and text.isprintable():
            return text
        if node.kind is not Kind.TEXT:
            hint = "; quote a text that holds ': ' or starts with { or ["
            self._complain(node, key, f"expected {what}, found {node.kind.value}{hint}.")
        elif len(text) > limit:
            self._expect(node, key, f"{what} of at most {limit:,} characters")
        elif odd := next((char for char in text if category(char) in _NOT_ONE_LINE), None):
            problem = f"found character U+{ord(odd):04X} in it"
            self._complain(node, key, f"expected {what} on one line, {problem}.")
        elif not any(char.isprintable() and char != " " for char in text):
            self._expect(Node(Kind.TEXT, node.line), key, what)
        else:
            return text
        return ""

    def _expect(self, node: Node, key: str, what: str) -> None:
        self._complain(node, key, f"expected {what}, found {_described(node)}.")

    def _has_enough(self) -> bool:
        """Whether reading on would add nothing; a million more complaints would take seconds."""
        return len(self.complaints) >= MAX_COMPLAINTS

    def _complain(self, node: Node, key: str, what: str) -> None:
        if not self._has_enough():
            where = f"{self._file}:{node.line}: " if node.line else ""
            self.complaints.append((node.line, f"{where}{key}: {what}"))

    def _refuse(self, node: Node, most: str) -> NoReturn:
        where = f"{self._file}:{node.line}" if node.line else self._file
        raise LabelError(f"{where}: labels: more than {most}; split the label set.")


def _advice(key: str, known: Sequence[str]) -> str:
    if key == "<<":
        return "merge keys are not read, write out what they stand for"
    if near := difflib.get_close_matches(key[:60], known, n=1):
        return f"the nearest known is {near[0]!r}"
    return f"known here: {', '.join(known)}; quote a text that holds ': '"
