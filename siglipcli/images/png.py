"""PNG chunks: what the pixels need goes to Pillow, colours are read here, text is not read at all.

Pillow decompresses text, and refuses more than 1 MB of it, or of a profile, in valid files.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

from siglipcli.images.icc import MOST_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SIGNATURE", "chunks", "without_text"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LEFT_OUT = {b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"cICP"}
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


def without_text(data: bytes) -> tuple[bytes, dict[str, Any]]:
    """Return the file without text and profile, and what the latter said: `icc_profile`, `cicp`.

    The file itself where it holds neither. A profile that does not decompress is None, as in Pillow.
    """
    colours: dict[str, Any] = {}
    kept, start = [], 0
    view = memoryview(data)
    for kind, begin, end in chunks(data):
        if kind in _LEFT_OUT:
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
