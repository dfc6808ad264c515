"""Text from files and strangers, made fit for terminals and for UTF-8. Standard library only.

Names: a file name is bytes. Where they are not UTF-8, Python holds each odd byte as a lone
surrogate (`os.fsdecode`), which no UTF-8 output may contain.
"""

from __future__ import annotations

import os
import re

__all__ = ["and_more", "named", "raw_name", "sized", "utf8", "visible"]

_UNITS = {"T": 10**12, "G": 10**9, "M": 10**6, "K": 10**3}

# Control characters, and the format characters that reorder, hide or join text: soft hyphen,
# zero-width space, direction marks and overrides, line separators, invisible operators, BOM,
# annotations, shorthand and musical controls, tags. The two joiners stay: names are spelt with
# them. `re` compiles it, and keeps it, where the first text needs it: few runs have one.
_UNSAFE = (
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff"
    "\ufeff\ufff9-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    r"""Return `text` with every character that could act on a terminal spelt out.

    A newline becomes `\n`, ESC `\x1b`, a right-to-left override `\u202e`, a byte that is not UTF-8
    `\xff`.
    """
    return text if text.isascii() and text.isprintable() else re.sub(_UNSAFE, _spelt_out, text)


def _spelt_out(match: re.Match[str]) -> str:
    spelt = match.group().encode("unicode_escape").decode("ascii")
    return spelt.replace(r"\udc", r"\x")  # os.fsdecode's place for a byte


_SURROGATE = "[\ud800-\udfff]"


def utf8(text: str) -> str:
    """Return `text` with U+FFFD in place of whatever UTF-8 cannot hold."""
    return text if text.isascii() else re.sub(_SURROGATE, "\ufffd", text)


def raw_name(name: str) -> bytes | None:
    """Return the bytes of a file name that is not UTF-8; None for one that is."""
    if name.isascii() or not re.search(_SURROGATE, name):
        return None
    try:
        return os.fsencode(name)
    except UnicodeEncodeError:  # a surrogate that stands for no byte: no name this system made
        return name.encode("utf-8", "surrogatepass")


def named(name: str, key: str = "file") -> dict[str, str]:
    """Name a file in a JSON object; where its name is not UTF-8, also give the bytes it really has."""
    raw = raw_name(name)
    if raw is None:
        return {key: name}
    import base64

    return {key: utf8(name), f"{key}_bytes": base64.b64encode(raw).decode("ascii")}


def and_more(count: int) -> list[str]:
    """Return the line that ends a list of messages cut short; none where nothing was left out."""
    return [f"{count:,} more like these"] if count > 0 else []


def sized(count: int) -> str:
    """Return a number of bytes as people write it: `2.5 GB`."""
    unit = next((unit for unit, size in _UNITS.items() if count >= size), "")
    return f"{count / _UNITS.get(unit, 1):.3g} {unit}B"
