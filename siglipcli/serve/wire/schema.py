"""The JSON schema of a chat's `response_format` → label sets, and scores → JSON that fits it.

    {"label": {"enum": ["cat", "dog"]}}                              the best label
    {"tags": {"type": "array", "items": {"enum": ["cat", "dog"]}}}   the labels that are tags, the best first
    {"animal": {"enum": […]}, "weather": {"enum": […]}}              a label set for each
    {"label": {"type": "string"}}                                    the best of the request's own labels

A keyword that this reader does not know is refused, so that what is sent back always fits. A field that may
be null is null where its best label is no tag; `minItems` takes the best labels where the tags are fewer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from siglipcli.serve.errors import ApiError
from siglipcli.serve.wire.fields import Fields
from siglipcli.serve.wire.labels import plain_set

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siglipcli.labels import LabelSet
    from siglipcli.results import Score
    from siglipcli.serve.settings import ServeSettings

__all__ = ["DEFAULT", "Plan", "Slot", "plan"]

_NOTES = {"title", "description", "default", "examples", "deprecated", "type"}
_NOTES |= {"$schema", "$id", "$comment", "$defs", "definitions"}
_KEYWORDS = {
    "object": {*_NOTES, "properties", "required", "additionalProperties"},
    "array": {*_NOTES, "items", "minItems", "maxItems", "uniqueItems"},
    "string": {*_NOTES, "enum", "const"},
    "number": {*_NOTES, "minimum", "maximum"},
}
_NUMBERS = ("score", "confidence", "probability")
_MOST_SLOTS = 32
_MOST_STEPS = 8  # references and choices on the way to one value
_UNFIT = "unsupported_schema"


@dataclass(frozen=True, slots=True)
class Slot:
    """One value to fill in: the best label, or (`is_list`) the tags, from `least` to `most` of them.

    `labels` are those of the schema's enum, whose spelling is `enum`; None where the request has them
    elsewhere. An `optional` value may be null.
    """

    name: str
    labels: LabelSet | None = None
    enum: tuple[str, ...] = ()
    is_list: bool = False
    optional: bool = False
    least: int = 0
    most: int | None = None

    def value(self, scores: Sequence[Score]) -> str | list[str] | None:
        """Return what an image's scores, the best first, make of this. Raises ApiError for too few labels."""
        if len(scores) < max(self.least, not self.is_list):
            raise ApiError(
                400,
                f"response_format: {self.name} wants more labels than there are.",
                code=_UNFIT,
                param="response_format",
            )
        if not self.is_list:
            return None if self.optional and not scores[0].tag else self._spelt(scores[0].label)
        tags = [score for score in scores if score.tag]
        chosen = tags if len(tags) >= self.least else scores[: self.least]
        return list(dict.fromkeys(self._spelt(score.label) for score in chosen))[: self.most]

    def _spelt(self, label: str) -> str:
        """Return a label as the enum has it: label sets drop the blanks around a name."""
        names = [label.path for label in self.labels.labels] if self.labels else []
        return self.enum[names.index(label)] if label in names else label


@dataclass(frozen=True, slots=True)
class Plan:
    """How the content of a response is made: one value, or an object of them and of the best score."""

    slots: tuple[Slot, ...]
    is_object: bool = True
    numbers: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[LabelSet, ...]:
        """The label sets that the schema itself has; each is called as its value is."""
        return tuple(slot.labels for slot in self.slots if slot.labels)

    @property
    def needs_labels(self) -> bool:
        """Whether the request has to say the labels of some value elsewhere."""
        return any(not slot.labels for slot in self.slots)

    def content(self, scores: Sequence[Score]) -> str:
        """Return the JSON text for one image's scores. Raises ApiError where they are too few."""
        own = {label_set.name for label_set in self.labels}
        free = sorted((s for s in scores if s.set not in own), key=_by_logit, reverse=True)
        of = {
            s.name: [x for x in scores if x.set == s.name] if s.labels else free for s in self.slots
        }
        if self.numbers and not of[self.slots[0].name]:
            raise ApiError(
                400,
                f"response_format: {self.numbers[0]} is a label's score, and there is no label that is not negative.",
                code=_UNFIT,
                param="response_format",
            )
        values: dict[str, Any] = {slot.name: slot.value(of[slot.name]) for slot in self.slots}
        if not self.is_object:
            return _json(values[self.slots[0].name])
        return _json(values | dict.fromkeys(self.numbers, of[self.slots[0].name][0].score))


DEFAULT = Plan((Slot("label"), Slot("tags", is_list=True)))
"""What a request without a schema gets: {"label": …, "tags": […]}."""


def _by_logit(score: Score) -> float:
    return score.logit


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def plan(schema: object, param: str, settings: ServeSettings) -> Plan:
    """Return the plan for a schema. Raises ApiError for one that scores cannot fill in."""
    reader = _Reader(schema, settings)
    node, _ = reader.followed(schema, param)
    if _kind(node)[0] == "object":
        return reader.plan(node)
    return Plan((reader.slot("content", schema, param),), is_object=False)


def _kind(node: Fields) -> tuple[str, bool]:
    """Return what a schema describes, and whether that may be null."""
    said = node.get("type")
    if said is None:
        keywords = (("properties", "object"), ("items", "array"))
        return next((kind for key, kind in keywords if node.get(key) is not None), "string"), False
    kinds = said if isinstance(said, list) else [said]
    rest = [kind for kind in kinds if kind != "null"]
    if len(rest) != 1 or not isinstance(rest[0], str) or rest[0] not in _KEYWORDS:
        raise _unfit(node.place("type"), "expected object, array, string or number")
    return rest[0], len(rest) < len(kinds)


def _unfit(param: str, why: str) -> ApiError:
    return ApiError(
        400, f"{param}: {why}. Labels fit a string with an enum, or an array of these.",
        code=_UNFIT, param=param,
    )  # fmt: skip


def _check_keywords(node: Fields, kind: str) -> None:
    if odd := next((key for key in node.names if key not in _KEYWORDS[kind]), None):
        raise _unfit(
            node.param, f"the keyword {odd[:40]!r} is not supported for a value of this type"
        )


class _Reader:
    """Reads one schema; `root` is where its references lead."""

    def __init__(self, root: object, settings: ServeSettings) -> None:
        self._root = root
        self._settings = settings

    def plan(self, node: Fields) -> Plan:
        """Return the plan for an object; what need not be there and cannot be filled in is left out."""
        _check_keywords(node, "object")
        properties = node.child("properties") or Fields({}, node.place("properties"))
        required = _strings(node, "required")
        names = [*properties.names, *(name for name in required if name not in properties.names)]
        if len(names) > _MOST_SLOTS:
            raise _unfit(properties.param, f"more than {_MOST_SLOTS} fields")
        slots: list[Slot] = []
        numbers: list[str] = []
        for name in names:
            inner, place = properties.get(name), properties.place(name)
            try:
                if self._is_score(name, inner, place):
                    numbers.append(name)
                else:
                    slots.append(self.slot(name, inner, place))
            except ApiError as error:
                if name in required or error.code != _UNFIT:
                    raise
        return self._checked(Plan(tuple(slots), numbers=tuple(numbers)), properties.param)

    def _checked(self, made: Plan, param: str) -> Plan:
        free = [slot.is_list for slot in made.slots if not slot.labels]
        if not made.slots:
            raise _unfit(param, "no field for a label")
        if len(free) != len(set(free)):
            raise _unfit(param, "two fields without an enum would say the same")
        if made.numbers and len(made.slots) > 1:
            raise _unfit(param, "a score beside several fields belongs to none of them")
        return made

    def _is_score(self, name: str, value: object, param: str) -> bool:
        if name not in _NUMBERS or not isinstance(value, dict):
            return False
        node, _ = self.followed(value, param)
        if _kind(node)[0] != "number":
            return False
        _check_keywords(node, "number")
        for key, end in (("minimum", 0), ("maximum", 1)):
            limit = node.get(key)
            if limit is not None and limit != end:
                raise _unfit(
                    node.place(key), f"a score goes from 0 to 1, not to {key} another number"
                )
        return True

    def slot(self, name: str, value: object, param: str) -> Slot:
        """Return the slot for one value."""
        node, optional = self.followed(value, param)
        kind, may_be_null = _kind(node)
        if kind == "array":
            return self._list(name, node)
        if kind != "string":
            raise _unfit(param, "scores cannot fill in a value of this type")
        labels, enum, has_null = self._enum(name, node)
        may_be_null = (
            has_null and (may_be_null or node.get("type") is None) if enum else may_be_null
        )
        return Slot(name, labels, enum, optional=optional or may_be_null)

    def _list(self, name: str, node: Fields) -> Slot:
        _check_keywords(node, "array")
        least, most = _length(node, "minItems"), _length(node, "maxItems")
        items, _ = self.followed(node.get("items"), node.place("items"))
        if _kind(items)[0] != "string":
            raise _unfit(items.param, "the items are not strings")
        labels, enum, _ = self._enum(name, items)
        ends = [end for end in (len(enum) if labels else None, most) if end is not None]
        if least and ends and least > min(ends):
            raise _unfit(node.place("minItems"), "more items than there can be")
        return Slot(name, labels, enum, is_list=True, least=least or 0, most=most)

    def _enum(self, name: str, node: Fields) -> tuple[LabelSet | None, tuple[str, ...], bool]:
        """Return the labels that a string may be, their spelling, and whether null is among them."""
        _check_keywords(node, "string")
        keys = [key for key in ("enum", "const") if key in node.names]
        if not keys:
            return None, (), False
        value = node.get(keys[0])
        values = [value] if keys == ["const"] else value
        if len(keys) > 1 or not isinstance(values, list) or all(item is None for item in values):
            raise _unfit(node.place(keys[0]), "expected a list of labels")
        names = [item for item in values if item is not None]
        labels = plain_set(names, node.place(keys[0]), self._settings, name=name)
        return labels, tuple(names), len(names) < len(values)

    def followed(self, value: object, param: str) -> tuple[Fields, bool]:
        """Return the schema that references and single choices lead to, and whether null is a choice too."""
        optional = False
        for _ in range(_MOST_STEPS):
            if not isinstance(value, dict):
                raise _unfit(param, "expected an object that describes a value")
            node = Fields(value, param)
            key = next((k for k in ("$ref", "allOf", "anyOf", "oneOf") if k in value), None)
            if key is None:
                return node, optional
            if beside := next((k for k in value if k not in {key, *_NOTES} - {"type"}), None):
                raise _unfit(param, f"the keyword {beside[:40]!r} beside {key} is not supported")
            if key == "$ref":
                value = self._referenced(node)
                continue
            choices = node.items(key, "schemas") or []
            rest = [choice for choice in choices if choice != {"type": "null"}]
            if len(rest) != 1:
                raise _unfit(node.place(key), "expected one choice, and null at most")
            optional, value = optional or len(rest) < len(choices), rest[0]
        raise _unfit(param, "too many references")

    def _referenced(self, node: Fields) -> object:
        path = node.get("$ref")
        steps = path.split("/") if isinstance(path, str) else []
        schema = self._root if steps[:1] == ["#"] else None
        for step in steps[1:]:
            schema = schema.get(step) if isinstance(schema, dict) else None
        if schema is None:
            raise _unfit(node.place("$ref"), "expected a reference to $defs of this schema")
        return schema


def _strings(node: Fields, key: str) -> list[str]:
    value = node.get(key)
    items = [] if value is None else value
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise _unfit(node.place(key), "expected a list of names")
    return items


def _length(node: Fields, key: str) -> int | None:
    value = node.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _unfit(node.place(key), "expected a whole number")
    return value
