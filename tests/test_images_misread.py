"""What Pillow opens and reads wrongly: each is read rightly or refused for its reason."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image, features
from zoo import as_grey, drawn, encoded, photograph, turned_on_its_side

from siglipcli.errors import ImageError
from siglipcli.images import decode, header

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZE = 40
IMAGE = drawn(61, 43)
GREY = as_grey(IMAGE)


def refused(data: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        decode(data, SIZE)
    assert caught.value.kind == "unsupported"
    return str(caught.value)


def written(samples: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, np.ascontiguousarray(samples), metadata=None, **options)
    return out.getvalue()


SCALES = {"u1": 1.0, "u2": 257.0, "i2": 1.0, "i4": 257.0, "f4": 1 / 255}
KINDS = {"grey": 1, "grey and alpha": 2, "RGB": 3, "RGBA": 4}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", SCALES)
def test_no_layout_of_tiff_gives_wrong_pixels(
    dtype: str, kind: str, planar: str, compression: str | None, order: str
) -> None:
    """Whatever the samples' type, order and planes: the right image, or the reason why not."""
    bands, plain = KINDS[kind], Image.fromarray(GREY) if KINDS[kind] < 3 else IMAGE
    stack = np.dstack([np.asarray(plain), np.full(GREY.shape, 255)][: 2 - bands % 2])
    samples = (stack.squeeze() * SCALES[dtype]).astype(order + dtype)
    options: dict[str, Any] = {"photometric": "rgb" if bands > 2 else "minisblack"}
    if bands > 1:
        options["planarconfig"] = planar
        samples = np.moveaxis(samples, -1, 0) if planar == "separate" else samples
    if bands in {2, 4}:
        options["extrasamples"] = ["unassalpha"]
    data = written(samples, compression=compression, byteorder=order, **options)
    pixels = decoded_or_none(data)
    if pixels is None:
        assert (dtype, planar) != ("u1", "contig")
        assert dtype != "u1" or kind == "grey and alpha"
    else:
        assert np.abs(pixels - decode(encoded(plain), SIZE)).max() <= 3


def decoded_or_none(data: bytes) -> NDArray[np.int64] | None:
    try:
        return decode(data, SIZE).astype(np.int64)
    except ImageError:
        return None


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bit_planes_are_refused_with_what_to_do(order: str) -> None:
    """A red circle of a scanner's software was a black one."""
    planes = np.moveaxis(np.asarray(IMAGE).astype(order + "u2") * 257, -1, 0)
    data = written(planes, photometric="rgb", planarconfig="separate", byteorder=order)
    assert "save it as PNG" in refused(data)


@pytest.mark.skipif("jpg_2000" not in features.get_supported(), reason="Pillow without JPEG 2000")
@pytest.mark.parametrize("is_repeated", [False, True])
def test_a_palette_in_jpeg_2000(is_repeated: bool) -> None:
    """A palette gives its colours; one with a colour twice, which Pillow shifts, is refused."""
    indices = np.asarray(IMAGE.quantize(16, dither=Image.Dither.NONE))
    table = np.arange(48, dtype=np.uint8).reshape(16, 3) * 5
    if is_repeated:
        table[3] = table[2]
    palette = struct.pack(">HB3B", 16, 3, 7, 7, 7) + table.tobytes()
    boxes = struct.pack(">I4s", 8 + len(palette), b"pclr") + palette
    boxes += struct.pack(">I4s", 20, b"cmap") + b"\0\0\1\0\0\0\1\1\0\0\1\2"
    data = encoded(Image.fromarray(indices), "JPEG2000")
    head, colour = data.index(b"jp2h") - 4, data.index(b"colr") - 4
    coded = data[colour : colour + 15].replace(struct.pack(">I", 17), struct.pack(">I", 16))
    longer = struct.pack(">I", int.from_bytes(data[head : head + 4], "big") + len(boxes))
    data = data[:head] + longer + data[head + 4 : colour] + coded + boxes + data[colour + 15 :]

    if is_repeated:
        assert "palette" in refused(data)
    else:
        assert np.array_equal(
            decode(data, SIZE), decode(encoded(Image.fromarray(table[indices])), SIZE)
        )


# ------------------------------------------------------------------------------------ RAW


def directory(start: int, tags: dict[int, tuple[int, ...]], after: int = 0) -> bytes:
    """Return one TIFF directory that begins at `start`; longer values follow it."""
    entries, rest = b"", b""
    place = start + 2 + 12 * len(tags) + 4
    for tag, values in sorted(tags.items()):
        content = struct.pack(f"<{len(values)}I", *values)
        if len(content) > 4:
            content, rest = struct.pack("<I", place + len(rest)), rest + content
        entries += struct.pack("<HHI", tag, 4, len(values)) + content
    return struct.pack("<H", len(tags)) + entries + struct.pack("<I", after) + rest


THUMBNAIL = {
    256: (8,),
    257: (8,),
    258: (8,),
    259: (1,),
    262: (1,),
    273: (4096,),
    278: (8,),
    279: (64,),
}


def raw(first: dict[int, tuple[int, ...]], *below: dict[int, tuple[int, ...]]) -> bytes:
    """Return a TIFF of an 8x8 thumbnail, with directories below it."""
    starts = tuple(1024 * (i + 1) for i in range(len(below)))
    tags = THUMBNAIL | first | ({330: starts} if below else {})
    data = bytearray(8192)
    data[:8] = b"II*\0\x08\0\0\0"
    for start, content in ((8, directory(8, tags)), *((s, directory(s, t)) for s, t in zip(starts, below, strict=True))):  # fmt: skip
        data[start : start + len(content)] = content
    return bytes(data)


CR2 = raw({})
CR2 = CR2[:4] + struct.pack("<I", 16) + b"CR\2\0" + b"\0" * 4 + directory(16, THUMBNAIL) + CR2[600:]


@pytest.mark.parametrize(
    "data",
    [
        raw({254: (1,)}, {254: (0,), 262: (32803,), 259: (34713,)}),  # Nikon's NEF
        raw({254: (1,)}, {254: (1,)}, {254: (0,), 256: (6000,), 257: (4000,)}),  # Sony's ARW
        raw({254: (1,), 50706: (0x01040000,)}, {254: (0,), 262: (34892,)}),  # DNG
        raw({262: (32803,)}),  # Pentax's PEF, Leica's old DNG
        raw({259: (65535,)}),
        CR2,
    ],
)
def test_camera_raw_is_not_scored_by_its_thumbnail(data: bytes) -> None:
    """NEF, CR2, ARW, PEF, DNG begin with a TIFF of a thumbnail: each is refused as what it is."""
    assert "camera RAW" in refused(data)


def test_a_pyramid_is_scored_by_its_full_size() -> None:
    """A TIFF with smaller versions below it, or before it, is no camera RAW."""
    assert decode(raw({254: (0,)}, {254: (1,)}, {254: (1,)}), SIZE).max() == 0
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        writer.write(
            np.asarray(IMAGE.resize((20, 14))), photometric="rgb", subfiletype=1, metadata=None
        )
        writer.write(np.asarray(IMAGE), photometric="rgb", metadata=None)
    assert np.array_equal(decode(out.getvalue(), SIZE), decode(encoded(IMAGE), SIZE))


# ---------------------------------------------------------------------------------- frames


def test_what_a_gifs_first_frame_leaves_free_is_white() -> None:
    """Not the background colour, as no viewer shows it."""
    whole = Image.new("RGB", (60, 40), "white")
    whole.paste((200, 0, 0), (10, 5, 40, 30))
    frame = Image.new("P", (30, 25), 1)
    frame.putpalette([0, 0, 255, 200, 0, 0] + [0] * 762)
    data = bytearray(encoded(frame, "GIF"))
    data[6:10] = struct.pack("<HH", 60, 40)
    place = data.index(b",\0\0\0\0")
    data[place + 1 : place + 5] = struct.pack("<HH", 10, 5)

    assert np.array_equal(decode(bytes(data), SIZE), decode(encoded(whole), SIZE))


@pytest.mark.skipif("webp" not in features.get_supported(), reason="Pillow without WebP")
def test_what_a_webps_first_frame_leaves_free_is_white() -> None:
    """An animation without alpha has no black around a first frame that is small."""
    whole = Image.new("RGB", (60, 40), "white")
    whole.paste((200, 0, 0), (10, 6, 40, 30))
    bitstream = encoded(Image.new("RGB", (30, 24), (200, 0, 0)), "WEBP", lossless=True)[12:]
    three = [(n).to_bytes(3, "little") for n in (5, 3, 29, 23, 100)]
    frame = b"".join(three) + b"\0" + bitstream
    body = b"VP8X" + struct.pack("<IB3x", 10, 2) + (59).to_bytes(3, "little") + (39).to_bytes(3, "little")  # fmt: skip
    body += b"ANIM" + struct.pack("<I4sH", 6, b"\0\0\0\xff", 0)
    body += (b"ANMF" + struct.pack("<I", len(frame)) + frame) * 2
    data = b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body

    assert np.array_equal(decode(data, SIZE), decode(encoded(whole), SIZE))


# ------------------------------------------------------------------------------ orientation

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'


@pytest.mark.parametrize("exif", [b"", Image.Exif().tobytes()])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_xmp_turns_nothing(file_format: str, exif: bytes) -> None:
    """No viewer turns an image by its XMP, beside EXIF or without."""
    options: dict[str, Any] = {"xmp": XMP}
    if file_format == "PNG":
        from PIL.PngImagePlugin import PngInfo

        options = {"pnginfo": PngInfo()}
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP.decode())
    if exif and file_format != "TIFF":
        exif_with_time = Image.Exif()
        exif_with_time[0x0132] = "2026:01:01 00:00:00"
        options["exif"] = exif_with_time.tobytes()
    if file_format == "TIFF":
        options = {"tiffinfo": {700: XMP}}
    tagged = decode(encoded(IMAGE, file_format, **options), SIZE)

    assert np.array_equal(tagged, decode(encoded(IMAGE, file_format), SIZE))


@pytest.mark.skipif("avif" not in features.get_supported(), reason="Pillow without AVIF")
@pytest.mark.parametrize("orientation", range(1, 9))
def test_avif_is_turned_by_its_own_boxes(orientation: int) -> None:
    """The boxes irot and imir turn an AVIF; an EXIF orientation that contradicts them does not."""
    exif = Image.Exif()
    exif[0x0112], exif[0x0128] = orientation, 2
    stored = turned_on_its_side(photograph().resize((120, 80)), orientation)
    data = encoded(stored, "AVIF", quality=100, subsampling="4:4:4", exif=exif.tobytes())
    order = "<" if struct.pack("<HHIH", 0x0128, 3, 1, 2) in data else ">"
    unit = struct.pack(order + "HHIH", 0x0128, 3, 1, 2)
    assert data.count(unit) == 1
    lie = data.replace(unit, struct.pack(order + "HHIH", 0x0112, 3, 1, 1 + orientation % 8))
    upright = decode(encoded(photograph().resize((120, 80))), SIZE).astype(int)

    assert np.abs(decode(data, SIZE) - upright).mean() < 2
    assert np.array_equal(decode(lie, SIZE), decode(data, SIZE))


# ----------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(99), "camera RAW"),
        (b"FUJIFILMCCD-RAW 0201FF" + bytes(99), "camera RAW"),
        (b"IIU\0\x18\0\0\0" + bytes(99), "camera RAW"),
        (b"IIRO\x08\0\0\0" + bytes(99), "camera RAW"),
        (b"FOVb" + bytes(99), "camera RAW"),
        (b"\x76\x2f\x31\x01\2\0\0\0" + bytes(99), "OpenEXR"),
        (bytes(128) + b"DICM" + bytes(99), "DICOM"),
        (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n", "Radiance"),
        (b"SIMPLE  =                    T", "FITS"),
        (b"a.jpg".ljust(257, b"\0") + b"ustar\0" + bytes(99), "tar archive"),
        (b"PK\3\4" + bytes(99), "zip archive"),
        (b"8BPS\0\1" + bytes(99), "Photoshop"),
        (b"gimp xcf v011\0" + bytes(99), "GIMP"),
        (b"\x1a\x45\xdf\xa3" + bytes(99), "WebM"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"\0\0\0\x18ftypqt  \0\0\0\0qt  " + bytes(99), "video"),
    ],
)
def test_files_are_named_for_what_they_are(data: bytes, words: str) -> None:
    """The reason names the format, and what to do with it."""
    message = refused(data)
    assert words in message
    assert any(verb in message for verb in ("export", "unpack", "save", "get"))


# ---------------------------------------------------------------------------------- header


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"])
def test_a_header_tells_format_and_size(file_format: str) -> None:
    """What an image will cost is known before a pixel of it is decoded, of a file cut short too."""
    data = encoded(IMAGE, file_format)
    found = header(data[: len(data) * 9 // 10] if file_format != "WEBP" else data)

    assert (found.format, found.width, found.height, found.pixels) == (file_format, 61, 43, 2623)


def test_a_png_of_millions_of_chunks_is_refused() -> None:
    """Empty chunks without end cost no memory."""
    data = encoded(IMAGE)
    with pytest.raises(ImageError) as caught:
        header(data[:33] + b"\0\0\0\0prVt\0\0\0\0" * 1_000_001 + data[33:])
    assert caught.value.kind == "too_large"
    assert np.array_equal(
        decode(data[:33] + b"\0\0\0\0prVt\0\0\0\0" * 9 + data[33:], SIZE), decode(data, SIZE)
    )
