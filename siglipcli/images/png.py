"""PNG chunks: what the pixels need goes to Pillow, colours are read here, text is not read at all.

Pillow decompresses text, and refuses more than 1 MB of it, or of a profile, in valid files.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

from siglipcli.errors import ImageError
from siglipcli.images.icc import MOST_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SIGNATURE", "chunks", "stripped"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEPT = {b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"eXIf", b"acTL", b"fcTL", b"fdAT"}
"""Ancillary chunks that are left to Pillow; the last three are an animation's."""
_MOST_CHUNKS = 1_000_000  # a large image has 100,000
_CODES = 4  # bytes of cICP
_AROUND = 12  # bytes of a chunk beside its content: length, kind, checksum


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and stop of every chunk's content, until IEND or the file's end."""
    position = len(SIGNATURE)
    while position + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        yield kind, position + 8, min(position + 8 + size, len(data))
        if kind == b"IEND":
            return
        position += size + _AROUND


def stripped(data: bytes) -> tuple[bytes, dict[str, Any]]:
    """Return the file with what its pixels need, and what it says of colours: `icc_profile`, `cicp`.

    The file itself where it holds nothing else. Raises ImageError (too_large) for more chunks than an
    image has. A profile that does not decompress is None, as in Pillow.
    """
    colours: dict[str, Any] = {}
    kept, start = [], 0
    view = memoryview(data)
    for count, (kind, begin, end) in enumerate(chunks(data)):
        if count > _MOST_CHUNKS:
            raise ImageError(
                "too_large",
                f"The file has more than {_MOST_CHUNKS:,} chunks; it may be hostile, so look where it"
                " comes from.",
            )
        if kind[:1].islower() and kind not in _KEPT:
            kept.append(view[start : begin - 8])
            start = end + 4
            if kind == b"iCCP":
                colours["icc_profile"] = _profile(data[begin:end])
            elif kind == b"cICP" and end - begin == _CODES:
                colours["cicp"] = tuple(data[begin:end])
    return (b"".join([*kept, view[start:]]) if kept else data), colours


def _profile(content: bytes) -> bytes | None:
    """Decompress a profile, which follows its name, a NUL and the method's number, 0."""
    _, _, rest = content.partition(b"\0")
    try:
        profile = zlib.decompressobj().decompress(rest[1:], MOST_BYTES + 1)
    except zlib.error:
        return None
    return profile if len(profile) <= MOST_BYTES else None
