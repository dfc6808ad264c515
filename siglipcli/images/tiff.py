"""TIFF tags: camera RAW, which Pillow would read by its thumbnail, and layouts that it reads wrongly.

Told by the directories themselves, before any pixel is decoded.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from siglipcli.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL.ImageFile import ImageFile

    Directory = dict[int, tuple[int, ...]]

__all__ = ["STARTS", "check", "is_raw", "seek_full_size"]

STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_SUBFILE, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 258, 259, 262
_SAMPLES, _PLANAR, _SUB_DIRECTORIES, _FORMAT, _DNG_VERSION = 277, 284, 330, 339, 50706
_READ = {_SUBFILE, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANAR, _FORMAT}
_READ |= {_SUB_DIRECTORIES, _DNG_VERSION}
_TYPES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}  # unsigned numbers of TIFF
_REDUCED = 1  # the bit of NewSubfileType
_SENSOR = {32803, 34892}  # photometric: a colour filter array, linear RAW
_CAMERAS = {34713, 32767, 65535, 32769, 32770}  # compressions: Nikon, Sony, Pentax, Epson, Samsung
_PLAIN, _SEPARATE, _WIDE = 1, 2, 16  # no compression; a plane for each band; bits
_UNSIGNED, _GREY_ALPHA = 1, 2
_MOST_DIRECTORIES, _MOST_ENTRIES, _MOST_PAGES = 16, 1000, 16


def check(data: bytes) -> None:
    """Raise ImageError (unsupported) for what Pillow reads wrongly.

    Uncompressed samples of 16 bits in separate planes, compressed grey with alpha in separate planes,
    and compressed float or signed samples in big-endian order: their pixels come out wrong, without
    an error.
    """
    first, *_ = _directories(data) or [{}]
    if _is_misread(data, first):
        raise ImageError(
            "unsupported",
            "This TIFF's layout of samples is not supported; save it as PNG, or as a TIFF with"
            " interleaved samples and no compression.",
        )


def seek_full_size(image: ImageFile) -> None:
    """Go to the first page that is no reduced version of another; to the first where all are."""
    tags = getattr(image, "tag_v2", None)
    if tags is None or not tags.get(_SUBFILE, 0) & _REDUCED:
        return
    for page in range(1, _MOST_PAGES):
        try:
            image.seek(page)
        except EOFError:
            break
        if not image.tag_v2.get(_SUBFILE, 0) & _REDUCED:  # type: ignore[attr-defined]
            return
    image.seek(0)


def is_raw(data: bytes) -> bool:
    """Whether a TIFF is camera RAW, which Pillow would read by its thumbnail."""
    first, *others = _directories(data) or [{}]
    every = [first, *others]
    is_thumbnail = first.get(_SUBFILE, (0,))[0] & _REDUCED
    return (
        data[8:10] == b"CR"
        or _DNG_VERSION in first
        or any(directory.get(_PHOTOMETRIC, (0,))[0] in _SENSOR for directory in every)
        or any(directory.get(_COMPRESSION, (_PLAIN,))[0] in _CAMERAS for directory in every)
        or bool(
            is_thumbnail
            and any(not directory.get(_SUBFILE, (0,))[0] & _REDUCED for directory in others)
        )
    )


def _is_misread(data: bytes, first: Directory) -> bool:
    bits, bands = max(first.get(_BITS, (1,))), first.get(_SAMPLES, (1,))[0]
    is_compressed = first.get(_COMPRESSION, (_PLAIN,))[0] != _PLAIN
    is_separate = first.get(_PLANAR, (1,))[0] == _SEPARATE and bands > 1
    if is_separate and (bands == _GREY_ALPHA if is_compressed else bits >= _WIDE):
        return True
    is_signed = first.get(_FORMAT, (_UNSIGNED,))[0] != _UNSIGNED
    return is_compressed and data.startswith(b"MM") and is_signed and bits >= _WIDE


def _directories(data: bytes) -> list[Directory]:
    """Return the first directory and those below it."""
    order = "<" if data.startswith(b"II") else ">"
    is_big = data[2:4] in {b"+\0", b"\0+"}
    try:
        (start,) = struct.unpack_from(order + ("Q" if is_big else "I"), data, 8 if is_big else 4)
        first = dict(_entries(data, start, order, is_big=is_big))
        below = first.get(_SUB_DIRECTORIES, ())[:_MOST_DIRECTORIES]
        return [first, *(dict(_entries(data, offset, order, is_big=is_big)) for offset in below)]
    except struct.error:  # Pillow will say what is wrong
        return []


def _entries(
    data: bytes, start: int, order: str, *, is_big: bool
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield the tags of one directory that are read here, with their numbers."""
    head, entry, field = ("Q", "HHQ", "Q") if is_big else ("H", "HHI", "I")
    (count,) = struct.unpack_from(order + head, data, start)
    width = struct.calcsize("<" + field)
    position = start + struct.calcsize("<" + head)
    for _ in range(min(count, _MOST_ENTRIES)):
        tag, kind, number = struct.unpack_from(order + entry, data, position)
        where = position + struct.calcsize("<" + entry)
        position = where + width
        if tag in _READ and kind in _TYPES:
            number = min(number, _MOST_DIRECTORIES)
            if struct.calcsize("<" + _TYPES[kind]) * number > width:
                (where,) = struct.unpack_from(order + field, data, where)
            yield tag, struct.unpack_from(f"{order}{number}{_TYPES[kind]}", data, where)
