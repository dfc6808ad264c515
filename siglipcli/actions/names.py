"""Safe names: what labels, dates and templates say → names that every file system takes.

Names are held to the rules of all of them at once, Linux, macOS and Windows: a folder that is sorted here may
be on a memory card, or be copied to another system. What a user's own file is called is left as it is.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["MOST_BYTES", "Folders", "key", "numbered", "safe"]

MOST_BYTES = 255
"""Of one name: the limit of ext4, XFS, Btrfs and ZFS; APFS and NTFS count characters, which are fewer."""
_BAD = re.compile(
    '[\x00-\x1f\x7f-\x9f<>:"/\\\\|?*\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f'
    "\ud800-\udfff\ufeff\ufff9-\ufffb]"
)
_RESERVED = re.compile(
    r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|CLOCK\$|COM[0-9¹²³]|LPT[0-9¹²³])\s*(\..*)?",
    re.IGNORECASE | re.DOTALL,
)
_EMPTY = "_"
_DIGEST = 8  # hexadecimal digits that keep names apart which were cut short, or became the same


def safe(text: str, most: int = MOST_BYTES) -> str:
    """Return one folder's or file's name for `text`: never empty, never a path, at most `most` bytes.

    Characters that some system forbids, and those that hide or reorder text, become `_`; so does a dot in
    front, which would hide the file, and dots and spaces at the end, which Windows drops. Names that
    Windows keeps for devices get a `_` behind them. In NFC. `safe(safe(x)) == safe(x)`.
    """
    name = _BAD.sub("_", unicodedata.normalize("NFC", text)).strip(" ")
    name = _framed(name) or _EMPTY
    if match := _RESERVED.fullmatch(name):
        name = f"{match[1]}_{name[match.end(1) :]}"
    return name if _size(name) <= most else _cut(name, text, most)


def _framed(name: str) -> str:
    """Replace dots in front, and dots and spaces at the end."""
    if name.startswith("."):
        name = "_" + name[1:]
    body = name.rstrip(". \t")
    return body + "_" * (len(name) > len(body))


def _cut(name: str, text: str, most: int) -> str:
    mark = f"~{_digest(text)}"
    return _shortened(name, most - _size(mark)).rstrip(". ") + mark


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]


def _size(name: str) -> int:
    return len(os.fsencode(name))


def _shortened(name: str, most: int) -> str:
    """Cut a name to so many bytes, not inside a character."""
    while _size(name) > most:
        name = name[: -max(1, (_size(name) - most) // 4)]
    return name


def key(name: str) -> str:
    """Return what two names share that a file system without case, or with another normal form, mixes up."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def numbered(stem: str, number: int, suffix_bytes: int) -> str:
    """Return `stem`, from 2 on with ` (number)`, cut so that `suffix_bytes` more fit behind it."""
    mark = f" ({number})" if number > 1 else ""
    return _shortened(stem, max(1, MOST_BYTES - suffix_bytes - len(mark))) + mark


class Folders:
    """Labels → folders, so that no two labels share one, not even on file systems without case.

    The first of `labels` whose names become the same keeps it, the others get a few digits more.
    """

    def __init__(self, labels: Iterable[str] = (), *, flat: bool = False) -> None:
        self._flat = flat
        self._parts: dict[str, tuple[str, ...]] = {}
        self._taken: dict[tuple[str, ...], str] = {}
        for label in labels:
            self.of(label)

    def of(self, label: str) -> tuple[str, ...]:
        """Return the folders of a label, the outermost first: `bird/owl` → bird, owl; flat: bird-owl."""
        if label not in self._parts:
            self._parts[label] = self._free(label)
        return self._parts[label]

    def _free(self, label: str) -> tuple[str, ...]:
        parts = label.split("/")
        names = (safe("-".join(parts)),) if self._flat else tuple(safe(part) for part in parts)
        if self._taken.setdefault(tuple(map(key, names)), label) == label:
            return names
        mark = f" {_digest(label)}"
        last = safe(names[-1], MOST_BYTES - len(mark)) + mark
        names = (*names[:-1], last)
        self._taken[tuple(map(key, names))] = label
        return names
