"""Whether a JPEG is complete: every row counts, not the end marker, which says nothing of them.

libjpeg fills what is missing with grey and says so to nobody. So a file that looks cut short is
decoded once more with noise after its last byte: of a complete scan no pixel changes, and where one
does, the rows from there on were never in the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from siglipcli.images.formats import DECODER_ERRORS
from siglipcli.images.jpeg import END, end_of_scans, has_all_scans

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image

    from siglipcli.images.jpeg import Header

    Decode = Callable[[bytes, Header], Image.Image]

__all__ = ["is_cut_short"]

_FEW_ROWS, _FEW = 18, 50
"""Rows that may be missing: one of blocks with what smoothing takes from it, and no more than a fiftieth of the image."""
_NOISE = bytes((73 * i * i + 41 * i + 7) % 251 for i in range(400))  # no 255, which begins a marker
_RESTARTS = b"".join(bytes([0xFF, 0xD0 + i]) + _NOISE for i in range(8))
_FILLER = 16
"""Zero bytes in a row that a file may be filled up with; also plain areas come so."""
_GREY = (127, 129)


def is_cut_short(image: Image.Image, data: bytes, head: Header, decoded: Decode) -> bool:
    """Tell whether more than a few rows of `image` are not in its file `data`.

    `decoded` decodes a file as `image` was decoded. It is called where something speaks for a cut.
    """
    end = end_of_scans(data, head)
    if (head.is_progressive or len(head.components) > 1) and not has_all_scans(data, head, end):
        return True
    height = max(head.height, image.height)  # before a reduction
    few = min(_FEW_ROWS, height // _FEW) * image.height // height
    whole = data[:end]
    filler = len(whole) - len(whole.rstrip(b"\0"))
    if end < len(data) and filler < _FILLER and not _is_grey_below(image, few + 1):
        return False

    def missing(part: bytes) -> int:
        return _missing_rows(part.rstrip(b"\xff"), head, decoded)

    if missing(whole) > few:
        return True
    if filler < _FILLER or _is_plain(image) or missing(whole[:-2]):
        return False  # plain areas come as zeros too, and to the last of them
    return missing(whole[: _FILLER - filler or None]) > few


def _is_grey_below(image: Image.Image, rows: int) -> bool:
    """Whether the last rows end in the grey of blocks that are missing."""
    corner = (image.width * 15 // 16, image.height - rows, image.width, image.height)
    return all(_GREY[0] <= low and high <= _GREY[1] for low, high in _extrema(image.crop(corner)))


def _is_plain(image: Image.Image) -> bool:
    """Whether an image has one colour: its file may hold nothing but zeros, and noise says nothing."""
    return all(low == high for low, high in _extrema(image))


def _extrema(image: Image.Image) -> list[tuple[Any, Any]]:
    extrema = image.getextrema()
    return [*extrema] if isinstance(extrema[0], tuple) else [extrema]


def _missing_rows(part: bytes, head: Header, decoded: Decode) -> int:
    """Count the rows from the first that noise behind the file changes to the last."""
    noise = _NOISE + (_RESTARTS if head.has_restarts else b"")
    plain = np.asarray(decoded(part + END, head))
    try:
        changed = np.asarray(decoded(part + noise + END, head))
    except DECODER_ERRORS:
        return len(plain)
    differs = (plain != changed).reshape(len(plain), -1).any(axis=1)
    return len(plain) - int(differs.argmax()) if differs.any() else 0
