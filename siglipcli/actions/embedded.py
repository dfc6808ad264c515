"""Keywords within image files: where XMP and IPTC stand in each format, read without a decoder.

JPEG, PNG, WebP and TIFF (with the RAW formats made like it) are read by their structure: some KB of the file.
In others the XMP packet is looked for, as its specification has it (part 3, 1.1: packet scanning).

`image_parts` is what must stay when metadata are written: it tells two files with the same image.
"""

from __future__ import annotations

import hashlib
import mmap
import re
import struct
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from siglipcli.actions.xmp import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Iptc", "Metadata", "image_parts", "iptc_keywords", "metadata"]

_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_MORE = b"http://ns.adobe.com/xmp/extension/\0"
_PHOTOSHOP = b"Photoshop 3.0\0"
_PNG = b"\x89PNG\r\n\x1a\n"
_PACKET = re.compile(
    rb"<(?:x:)?(?:xmpmeta|xapmeta)[\s>].*?</(?:x:)?(?:xmpmeta|xapmeta)\s*>", re.DOTALL
)
_TIFF_XMP, _TIFF_IPTC = 700, 33723
_INLINE = 4  # bytes of a value that stand in the directory itself
_HEAD = 8  # bytes before a chunk: its kind and size
_TIFF_SIZES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4)
_MARK, _APP1, _APP2, _APP13, _COMMENT = 0xFF, 0xE1, 0xE2, 0xED, 0xFE
_IMAGE_FOLLOWS, _WITHOUT_CONTENT = {0xDA, 0xD9}, {0x01, *range(0xD0, 0xD9)}
_IPTC_BLOCK = 0x0404  # among Photoshop's image resources
_TEXTS = {_APP1, _APP13, _COMMENT}  # JPEG's APP1 (XMP; Exif too), APP13 (IPTC) and comments


class Iptc(NamedTuple):
    """A file's IPTC: its keywords, and how its text is encoded."""

    keywords: tuple[str, ...]
    encoding: str


class Metadata(NamedTuple):
    """XMP packets, the main one first, and IPTC; none where there is none."""

    packets: tuple[bytes, ...]
    iptc: Iptc | None = None


def metadata(path: Path) -> Metadata:
    """Return a file's XMP and IPTC. Raises OSError; what is damaged is as if it were not there."""
    with path.open("rb") as file:
        start = file.read(12)
        file.seek(0)
        with suppress(struct.error, zlib.error, IndexError):
            if start.startswith(b"\xff\xd8"):
                return _jpeg(file)
            if start.startswith(_PNG):
                return Metadata(tuple(_png_packets(file)))
            if start[:4] == b"RIFF":
                return Metadata(
                    tuple(data for name, data in _riff(file, b"XMP ") if name == b"XMP ")
                )
            if start[:4] in {b"II*\0", b"MM\0*"}:
                return _tiff(file)
        return Metadata(_scanned(file))


# --- JPEG ---------------------------------------------------------------------------------------


def _segments(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield marker and content of each segment up to the image's data."""
    file.seek(2)
    while head := file.read(2):
        if head[0] != _MARK:
            return
        marker = head[1]
        while marker == _MARK:
            marker = file.read(1)[0]
        if marker in _IMAGE_FOLLOWS:
            return
        if marker in _WITHOUT_CONTENT:
            continue
        (length,) = struct.unpack(">H", file.read(2))
        yield marker, file.read(length - 2)


def _jpeg(file: BinaryIO) -> Metadata:
    packets, more, photoshop = [], dict[int, bytes](), b""
    for marker, data in _segments(file):
        if marker == _APP1 and data.startswith(_XMP):
            packets.append(data[len(_XMP) :])
        elif marker == _APP1 and data.startswith(_XMP_MORE):
            rest = data[len(_XMP_MORE) + 32 :]  # after the digest that names the whole
            more[struct.unpack(">I", rest[4:8])[0]] = rest[8:]
        elif marker == _APP13 and data.startswith(_PHOTOSHOP):
            photoshop += data[len(_PHOTOSHOP) :]
    if more and sum(map(len, more.values())) <= MAX_BYTES:
        packets.append(b"".join(data for _, data in sorted(more.items())))
    return Metadata(tuple(packets), _photoshop_iptc(photoshop))


def _photoshop_iptc(data: bytes) -> Iptc | None:
    """Return the IPTC among Photoshop's image resources, the block 0x0404."""
    at = 0
    while data[at : at + 4] == b"8BIM":
        (kind,) = struct.unpack_from(">H", data, at + 4)
        name = data[at + 6] + 1
        at += 6 + name + name % 2
        (size,) = struct.unpack_from(">I", data, at)
        if kind == _IPTC_BLOCK:
            return iptc_keywords(data[at + 4 : at + 4 + size])
        at += 4 + size + size % 2
    return None


def iptc_keywords(data: bytes) -> Iptc:
    """Return the keywords of IPTC datasets: record 2, dataset 25; 1:90 says where they are UTF-8."""
    raw, encoding, at = [], "latin-1", 0
    while data[at : at + 1] == b"\x1c" and at + 5 <= len(data):
        record, dataset, size = (
            data[at + 1],
            data[at + 2],
            int.from_bytes(data[at + 3 : at + 5], "big"),
        )
        at += 5
        if size & 0x8000:  # an extended size, which is that many bytes long
            width = size & 0x7FFF
            size = int.from_bytes(data[at : at + width], "big")
            at += width
        value = data[at : at + size]
        at += size
        if (record, dataset) == (1, 90) and value == b"\x1b%G":
            encoding = "utf-8"
        if (record, dataset) == (2, 25):
            raw.append(value)
    keywords = (value.decode(encoding, "replace").strip("\0 \t\r\n") for value in raw)
    return Iptc(tuple(word for word in keywords if word), encoding)


# --- PNG, WebP, TIFF, others ----------------------------------------------------------------------


def _png_packets(file: BinaryIO) -> Iterator[bytes]:
    """Yield the XMP of PNG's chunks, which may stand after the image."""
    for kind, data in _png(file, b"iTXt"):
        name, _, rest = data.partition(b"\0")
        if kind != b"iTXt" or name != b"XML:com.adobe.xmp":
            continue
        compressed, text = rest[0], rest[2:].split(b"\0", 2)[2]
        if compressed:
            text = zlib.decompressobj().decompress(text, MAX_BYTES)
        yield text


def _png(file: BinaryIO, *wanted: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and content of chunks, the content only of those that are wanted (or of all)."""
    file.seek(8)
    while len(head := file.read(8)) == _HEAD:
        (length,) = struct.unpack(">I", head[:4])
        is_wanted = not wanted or (length <= MAX_BYTES and head[4:] in wanted)
        data = file.read(length) if is_wanted else b""
        file.seek(4 if is_wanted else length + 4, 1)
        yield head[4:], data


def _riff(file: BinaryIO, *wanted: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and content of a RIFF file's chunks, the content only of those that are wanted."""
    file.seek(12)
    while len(head := file.read(8)) == _HEAD:
        (length,) = struct.unpack("<I", head[4:])
        is_wanted = head[:4] in wanted
        data = file.read(length) if is_wanted else b""
        file.seek(length % 2 if is_wanted else length + length % 2, 1)
        yield head[:4], data


def _tiff(file: BinaryIO) -> Metadata:
    """Read XMP and IPTC from a TIFF's first directory."""
    order = "<" if file.read(4)[:1] == b"I" else ">"
    (at,) = struct.unpack(order + "I", file.read(4))
    file.seek(at)
    (count,) = struct.unpack(order + "H", file.read(2))
    entries = file.read(12 * count)
    found: dict[int, bytes] = {}
    for start in range(0, len(entries) - 11, 12):
        tag, kind, number, value = struct.unpack_from(order + "HHII", entries, start)
        size = number * (_TIFF_SIZES[kind] if kind < len(_TIFF_SIZES) else 1)
        if tag in {_TIFF_XMP, _TIFF_IPTC} and _INLINE < size <= MAX_BYTES:
            file.seek(value)
            found[tag] = file.read(size)
    packets = (found[_TIFF_XMP],) if _TIFF_XMP in found else ()
    return Metadata(packets, iptc_keywords(found[_TIFF_IPTC]) if _TIFF_IPTC in found else None)


def _scanned(file: BinaryIO) -> tuple[bytes, ...]:
    """Look for an XMP packet in a file of any format."""
    try:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            match = _PACKET.search(view)
            return (match[0],) if match and len(match[0]) <= MAX_BYTES else ()
    except (ValueError, OSError):  # an empty file
        return ()


# --- what must stay -------------------------------------------------------------------------------


def image_parts(path: Path) -> bytes | None:
    """Return a digest of a file's image, without its XMP, IPTC and comments; None where the format is another.

    It holds what decides the pixels: of a JPEG every other segment with all that follows, of PNG and WebP every
    chunk. Two files with the same digest decode to the same pixels. Raises OSError.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        start = file.read(12)
        if start.startswith(b"\xff\xd8"):
            _digest_jpeg(file, digest)
        elif start.startswith(_PNG):
            for kind, data in _png(file):
                if kind not in {b"iTXt", b"tEXt", b"zTXt", b"tIME"}:
                    digest.update(kind + data)
        elif start[:4] == b"RIFF":
            _digest_riff(file, digest)
        else:
            return None
    return digest.digest()


def _digest_jpeg(file: BinaryIO, digest: hashlib._Hash) -> None:
    for marker, data in _segments(file):
        is_text = marker in _TEXTS and not data.startswith(b"Exif\0")
        is_map = marker == _APP2 and data.startswith(b"MPF\0")  # where more images begin
        if not (is_text or is_map):
            digest.update(bytes([marker]) + data)
    while block := file.read(2**20):
        digest.update(block)


def _digest_riff(file: BinaryIO, digest: hashlib._Hash) -> None:
    images = (b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF")
    for kind, data in _riff(file, *images):
        if kind in images:
            digest.update(kind + data)
