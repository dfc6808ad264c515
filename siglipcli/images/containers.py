"""What ISO base media files (AVIF, HEIC) and JPEG 2000 files say of their colours: boxes `colr`, `pclr`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Nclx", "colour_box", "has_repeated_colours"]

_INNER = {b"meta": 4, b"iprp": 0, b"ipco": 0, b"jp2h": 0}
"""Boxes that hold boxes → bytes before the first of them."""
_PALETTE = 3  # bytes before a palette's depths: how many entries, how many bands
_MOST_BOXES = 10_000
"""Looked at in one file: colours are described near its beginning."""


class Nclx(NamedTuple):
    """Colours by two codes of ITU-T H.273."""

    primaries: int
    transfer: int


def colour_box(data: bytes) -> bytes | Nclx | None:
    """Return the first ICC profile, else the first codes, else None."""
    codes = None
    for body in _boxes(data, b"colr"):
        if body[:4] in {b"prof", b"rICC"}:
            return body[4:]
        if body[:1] in {b"\2", b"\3"} and body[39:43] == b"acsp":  # JPEG 2000: method, two bytes
            return body[3:]
        if body[:4] == b"nclx" and codes is None:
            codes = Nclx(int.from_bytes(body[4:6], "big"), int.from_bytes(body[6:8], "big"))
    return codes


def has_repeated_colours(data: bytes) -> bool:
    """Whether a JPEG 2000's palette has a colour twice: Pillow then reads all after it wrongly."""
    for body in _boxes(data, b"pclr"):
        bands = max(body[2], 1) if len(body) > _PALETTE else 1
        entries = body[_PALETTE + bands :]
        colours = [entries[i : i + bands] for i in range(0, len(entries), bands)]
        return len(set(colours)) < len(colours)
    return False


def _boxes(data: bytes, wanted: bytes) -> Iterator[bytes]:
    """Yield the bodies of boxes of one kind, in order. Boxes that hold others are entered, not passed."""
    start = 0
    for _ in range(_MOST_BOXES):
        size, kind = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8]
        body = start + 8
        if size == 1:  # the length follows, in eight bytes
            size, body = int.from_bytes(data[start + 8 : start + 16], "big"), start + 16
        stop = start + size if size else len(data)
        if kind in _INNER:
            start = body + _INNER[kind]
            continue
        if stop < body:
            return
        if kind == wanted:
            yield data[body:stop]
        start = stop
