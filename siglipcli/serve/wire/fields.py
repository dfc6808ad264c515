"""Strict reading of a request's JSON: a value of another type is an error that names its field.

A field whose value is `null` counts as left out, as clients send it for options that were not set.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NoReturn

from siglipcli.serve.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MAX_TEXT", "Fields", "is_larger", "kind", "refuse", "text_of"]

MAX_TEXT = 20_000
"""Characters of one text; a model reads some hundred of them, and the tokenizer has to go through all."""


def refuse(param: str, expected: str, value: object) -> NoReturn:
    """Raise the 400 for a value of the wrong kind."""
    raise ApiError(400, f"{param}: expected {expected}, found {kind(value)}.", param=param)


def kind(value: object) -> str:
    """Return what a message calls a JSON value; never the value itself, which may be an image."""
    if value is None:
        return "nothing"
    names = {bool: "true or false", dict: "an object", int: "a number", float: "a number"}
    if isinstance(value, (str, list)):
        what = "text" if isinstance(value, str) else "list"
        return f"a {what}" if value else f"an empty {what}"
    return names.get(type(value), type(value).__name__)


def text_of(value: object, param: str, *, most: int = MAX_TEXT) -> str:
    """Return a text that is not blank. Raises ApiError."""
    if not isinstance(value, str) or not value or value.isspace():
        refuse(param, "a text", value)
    if len(value) > most:
        raise ApiError(400, f"{param}: the text has more than {most:,} characters.", param=param)
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise ApiError(400, f"{param}: half of a surrogate pair is no character.", param=param)
    return value


def is_larger(value: object, most: int) -> bool:
    """Whether a JSON value has more than `most` values in it."""
    waiting, count = [value], 0
    while waiting and count <= most:
        item = waiting.pop()
        inner = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        waiting.extend(inner)
        count += len(inner)
    return count > most


class Fields:
    """A JSON object, read field by field. `param` is its own place in the request."""

    def __init__(self, value: object, param: str = "") -> None:
        if not isinstance(value, dict):
            refuse(param or "body", "an object", value)
        self._values: dict[str, Any] = value
        self.param = param

    def place(self, key: str) -> str:
        """Return a field's own place, such as `parameters.top_k`."""
        return f"{self.param}.{key}" if self.param else key

    @property
    def names(self) -> list[str]:
        """Return the names of the fields that are there."""
        return list(self._values)

    def get(self, key: str) -> Any:
        """Return a field as it is; None where it is left out."""
        return self._values.get(key)

    def need(self, key: str, expected: str) -> Any:
        """Return a field that has to be there. Raises ApiError."""
        value = self.get(key)
        if value is None:
            raise ApiError(400, f"{self.place(key)} is missing: {expected}.", param=self.place(key))
        return value

    def child(self, key: str) -> Fields | None:
        """Return an object within this one. Raises ApiError."""
        value = self.get(key)
        return None if value is None else Fields(value, self.place(key))

    def text(self, key: str, *, most: int = MAX_TEXT) -> str | None:
        """Return a text. Raises ApiError."""
        value = self.get(key)
        return None if value is None else text_of(value, self.place(key), most=most)

    def items(self, key: str, what: str) -> list[Any] | None:
        """Return a list of at least one. Raises ApiError."""
        value = self.get(key)
        if value is not None and (not isinstance(value, list) or not value):
            refuse(self.place(key), f"a list of {what}", value)
        return value

    def texts(self, key: str, what: str) -> list[str] | None:
        """Return one text or several as a list. Raises ApiError."""
        value = self.get(key)
        if value is None or isinstance(value, str):
            return None if value is None else [text_of(value, self.place(key))]
        items = self.items(key, what) or []
        return [text_of(item, f"{self.place(key)}[{at}]") for at, item in enumerate(items)]

    def choice(self, key: str, choices: Sequence[str], default: str) -> str:
        """Return one of a few words. Raises ApiError."""
        value = self.get(key)
        if value is None:
            return default
        if not isinstance(value, str) or value not in choices:
            raise ApiError(
                400, f"{self.place(key)}: expected {' or '.join(choices)}.", param=self.place(key)
            )
        return value

    def flag(self, key: str, *, default: bool = False) -> bool:
        """Return true or false. Raises ApiError."""
        value = self.get(key)
        if value is not None and not isinstance(value, bool):
            refuse(self.place(key), "true or false", value)
        return default if value is None else value

    def count(self, key: str) -> int | None:
        """Return a whole number from 1 on. Raises ApiError."""
        value = self.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            refuse(self.place(key), "a whole number from 1 on", value)
        return value

    def score(self, key: str) -> float | None:
        """Return a number from 0 to 1. Raises ApiError."""
        value = self.get(key)
        if value is None:
            return None
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not 0 <= value <= 1 or math.isnan(value):
            refuse(self.place(key), "a number from 0 to 1", value)
        return float(value)
