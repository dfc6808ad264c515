"""Patterns of names in stores, matched part by part as those of local files are: only `**` crosses a `/`."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["fits", "fixed_part", "has_pattern", "reaches"]

_MAGIC = "*?["


def has_pattern(text: str) -> bool:
    """Whether a name is a pattern."""
    return any(sign in text for sign in _MAGIC)


def fixed_part(path: str) -> str:
    """Return the folder before the first part that is a pattern, with its `/`; all of a path that is none."""
    at = min((path.find(sign) for sign in _MAGIC if sign in path), default=len(path))
    return path if at == len(path) else path[: path.rfind("/", 0, at) + 1]


def fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a pattern matches a file, or a folder above it, whose files are then all read."""
    if not pattern:
        return True
    if pattern[0] == "**":
        return any(fits(parts[i:], pattern[1:]) for i in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and fits(parts[1:], pattern[1:])


def reaches(pattern: Sequence[str], folder: Sequence[str]) -> bool:
    """Whether a pattern may match a file directly in a folder, whatever that file is called."""
    for index, part in enumerate(pattern):
        if part == "**":
            return True
        if index == len(folder):
            return index == len(pattern) - 1
        if not fnmatchcase(folder[index], part):
            return False
    return True
