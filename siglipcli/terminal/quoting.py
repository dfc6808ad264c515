"""File names in command lines that a person copies from the screen."""

from __future__ import annotations

import os
import shlex

from siglipcli.text import visible

__all__ = ["shell_word"]


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
