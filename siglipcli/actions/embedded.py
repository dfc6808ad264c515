"""Keywords within image files: where XMP and IPTC stand in each format, read without a decoder.

JPEG, PNG, WebP and TIFF (with the RAW formats made like it) are read by their structure: some KB of the file.
In others the XMP packet is looked for, as its specification has it (part 3, 1.1: packet scanning).

`image_parts` is what must stay when metadata are written: it tells two files with the same image.
"""

from __future__ import annotations

import hashlib
import io
import mmap
import re
import struct
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from siglipcli.actions.xmp import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

__all__ = ["Iptc", "Metadata", "image_parts", "iptc_keywords", "metadata"]

_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_MORE = b"http://ns.adobe.com/xmp/extension/\0"
_EXIF = b"Exif\0\0"
_PHOTOSHOP = b"Photoshop 3.0\0"
_PNG = b"\x89PNG\r\n\x1a\n"
_TAG = re.compile(rb"<(/?)(?:(rdf:RDF)|(?:x:)?x[am]pmeta)(?=[\s>])")
"""The first bytes of what begins and ends XMP: x:xmpmeta, or an rdf:RDF without one around it."""
_PACKETS = 256  # that are read of one file
_TIFF_XMP, _TIFF_IPTC, _TIFF_PHOTOSHOP, _XP_KEYWORDS = 700, 33723, 34377, 0x9C9E
_INLINE = 4  # bytes of a value that stand in the directory itself
_HEAD = 8  # bytes before a chunk: its kind and size
_TIFF_SIZES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4)
_MARK, _APP1, _APP2, _APP13, _COMMENT = 0xFF, 0xE1, 0xE2, 0xED, 0xFE
_IMAGE_FOLLOWS, _WITHOUT_CONTENT = {0xDA, 0xD9}, {0x01, *range(0xD0, 0xD9)}
_IPTC_BLOCK, _IPTC_DIGEST = 0x0404, 0x0425  # among Photoshop's image resources
_TEXT_RECORD = 2  # of IPTC
_TEXTS = {_APP1, _APP13, _COMMENT}  # JPEG's APP1 (XMP; Exif too), APP13 (IPTC) and comments


class Iptc(NamedTuple):
    """A file's IPTC: its keywords, how its text is encoded, and how its digest in Photoshop's resources stands.

    `digest` is `match`, `none`, or `differs`: then programs such as Lightroom take IPTC before XMP.
    """

    keywords: tuple[str, ...]
    encoding: str
    digest: str = "none"


class Metadata(NamedTuple):
    """XMP packets, the main one first, IPTC, and the keywords that Windows has put into Exif."""

    packets: tuple[bytes, ...]
    iptc: Iptc | None = None
    exif: tuple[str, ...] = ()


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
    packets, photoshop, exif = list[bytes](), b"", tuple[str, ...]()
    extended: dict[bytes, dict[int, bytes]] = {}
    for marker, data in _segments(file):
        if marker == _APP1 and data.startswith(_XMP):
            packets.append(data[len(_XMP) :])
        elif marker == _APP1 and data.startswith(_XMP_MORE):
            digest, rest = data[len(_XMP_MORE) :][:32], data[len(_XMP_MORE) + 32 :]
            extended.setdefault(digest, {})[struct.unpack(">I", rest[4:8])[0]] = rest[8:]
        elif marker == _APP1 and data.startswith(_EXIF) and not exif:
            with suppress(struct.error, IndexError):
                exif = _exif_keywords(_directory(io.BytesIO(data[len(_EXIF) :])))
        elif marker == _APP13 and data.startswith(_PHOTOSHOP):
            photoshop += data[len(_PHOTOSHOP) :]
    for digest, more in extended.items():  # another than the main packet's is read by no program
        is_named = any(digest in packet for packet in packets)
        if is_named and sum(map(len, more.values())) <= MAX_BYTES:
            packets.append(b"".join(data for _, data in sorted(more.items())))
    return Metadata(tuple(packets), _photoshop_iptc(photoshop), exif)


def _photoshop_iptc(data: bytes) -> Iptc | None:
    """Return the IPTC among Photoshop's image resources, the block 0x0404, with its digest's state."""
    resources = _resources(data)
    block = resources.get(_IPTC_BLOCK)
    if block is None:
        return None
    return iptc_keywords(block)._replace(digest=_digest_state(block, resources))


def _resources(data: bytes) -> dict[int, bytes]:
    """Return Photoshop's image resources by number, the first of each."""
    resources: dict[int, bytes] = {}
    at = 0
    with suppress(struct.error, IndexError):  # cut short
        while data[at : at + 4] == b"8BIM":
            (kind,) = struct.unpack_from(">H", data, at + 4)
            name = data[at + 6] + 1
            at += 6 + name + name % 2
            (size,) = struct.unpack_from(">I", data, at)
            resources.setdefault(kind, data[at + 4 : at + 4 + size])
            at += 4 + size + size % 2
    return resources


def _digest_state(block: bytes, resources: Mapping[int, bytes]) -> str:
    """Compare IPTC with the MD5 that was written of it: XMP specification, part 3, 2.2.2."""
    digest = resources.get(_IPTC_DIGEST)
    if digest is None:
        return "none"
    sums = (
        hashlib.md5(part, usedforsecurity=False).digest() for part in (block, block.rstrip(b"\0"))
    )
    return "match" if digest in sums else "differs"


def iptc_keywords(data: bytes) -> Iptc:
    """Return the keywords of IPTC datasets: record 2, dataset 25; 1:90 says where they are UTF-8.

    Where it does not, the encoding says what may be written: ascii beside text that is UTF-8 all the same.
    """
    raw, texts, is_marked, at = list[bytes](), list[bytes](), False, 0
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
        is_marked = is_marked or ((record, dataset) == (1, 90) and value == b"\x1b%G")
        if record == _TEXT_RECORD:
            texts.append(value)
        if (record, dataset) == (_TEXT_RECORD, 25):
            raw.append(value)
    read, written = ("utf-8", "utf-8") if is_marked else _unmarked(texts)
    keywords = (value.decode(read, "replace").strip("\0 \t\r\n") for value in raw)
    return Iptc(tuple(word for word in keywords if word), written)


def _unmarked(texts: Iterable[bytes]) -> tuple[str, str]:
    """Return how unmarked text is read, and how more may be written: exiftool takes it for Windows Latin."""
    whole = b"\n".join(texts)
    if whole.isascii():
        return "ascii", "cp1252"
    for read, written in (("utf-8", "ascii"), ("cp1252", "cp1252")):
        with suppress(UnicodeDecodeError):
            whole.decode(read)
            return read, written
    return "latin-1", "ascii"


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
    """Read XMP, IPTC and Exif's keywords from a TIFF's first directory."""
    values = _directory(file)
    packets = (values[_TIFF_XMP],) if _TIFF_XMP in values else ()
    exif = _exif_keywords(values)
    if (block := values.get(_TIFF_IPTC)) is None:
        return Metadata(packets, exif=exif)
    state = _digest_state(block, _resources(values.get(_TIFF_PHOTOSHOP, b"")))
    return Metadata(packets, iptc_keywords(block)._replace(digest=state), exif)


def _directory(file: BinaryIO) -> dict[int, bytes]:
    """Return the values of a TIFF's first directory that hold keywords."""
    wanted = {_TIFF_XMP, _TIFF_IPTC, _TIFF_PHOTOSHOP, _XP_KEYWORDS}
    order = "<" if file.read(4)[:1] == b"I" else ">"
    (at,) = struct.unpack(order + "I", file.read(4))
    file.seek(at)
    (count,) = struct.unpack(order + "H", file.read(2))
    entries = file.read(12 * count)
    values: dict[int, bytes] = {}
    for start in range(0, len(entries) - 11, 12):
        tag, kind, number, value = struct.unpack_from(order + "HHII", entries, start)
        size = number * (_TIFF_SIZES[kind] if kind < len(_TIFF_SIZES) else 1)
        if tag in wanted and size <= MAX_BYTES:
            if size <= _INLINE:
                values[tag] = entries[start + 8 : start + 8 + size]
                continue
            file.seek(value)
            values[tag] = file.read(size)
    return values


def _exif_keywords(values: Mapping[int, bytes]) -> tuple[str, ...]:
    """Return the keywords that Windows writes: XPKeywords, UTF-16 with semicolons."""
    text = values.get(_XP_KEYWORDS, b"").decode("utf-16-le", "ignore").partition("\0")[0]
    return tuple(filter(None, (word.strip() for word in text.split(";"))))


def _scanned(file: BinaryIO) -> tuple[bytes, ...]:
    """Look for XMP packets in a file of any format: HEIC has those of its gain maps, too."""
    try:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            spans = [(a, b) for a, b in _packets(view) if b - a <= MAX_BYTES][:_PACKETS]
            return tuple(view[a:b] for a, b in spans)
    except (ValueError, OSError):  # an empty file
        return ()


def _packets(view: mmap.mmap | bytes) -> Iterator[tuple[int, int]]:
    """Yield where packets begin and end, in one pass: from the last start tag before an end tag."""
    meta = rdf = -1
    bare = list[tuple[int, int]]()  # rdf:RDF, until one around it has ended
    for match in _TAG.finditer(view):
        is_end, is_rdf = bool(match[1]), bool(match[2])
        if not is_end and is_rdf:
            rdf = match.start()
        elif not is_end:
            meta = match.start()
        else:
            end = view.find(b">", match.end()) + 1 or match.end()
            start = rdf if is_rdf else meta
            if start >= 0 and is_rdf:
                bare.append((start, end))
                rdf = -1
            elif start >= 0:
                yield from (span for span in bare if span[0] < start)
                bare.clear()
                yield start, end
                meta = rdf = -1
    yield from bare


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
