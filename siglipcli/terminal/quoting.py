"""File names in command lines that a person copies from the screen, and sentences with such commands."""

from __future__ import annotations

import os
import shlex
from string import Formatter
from typing import TYPE_CHECKING, Any

from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["filled", "shell_word"]


def filled(sentence: str, facts: Mapping[str, object]) -> str:
    """Return a sentence with its `{fact}` filled in, and `{path!q}` as a shell's word. Raises KeyError."""
    return _Filler().vformat(sentence, (), facts)


class _Filler(Formatter):
    def convert_field(self, value: Any, conversion: Any) -> Any:
        """Quote for a shell."""
        if conversion == "q":
            return shell_word(str(value))
        return super().convert_field(value, conversion)


def shell_word(name: str) -> str:
    r"""Return a file name as a shell takes it, with nothing in it that could act on the terminal.

    Odd names are spelt `$'two\nlines'`, byte for byte, as bash, zsh and POSIX of 2024 read them.
    """
    if visible(name) == name:
        return shlex.quote(name)
    return "$'" + "".join(map(_spelt, os.fsencode(name))) + "'"


def _spelt(byte: int) -> str:
    char = chr(byte)
    return char if char.isascii() and char.isprintable() and char not in "'\\" else f"\\{byte:03o}"
