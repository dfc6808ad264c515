"""The image zoo: every kind of image is scored as the image that a person sees."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
from PIL import Image, features
from zoo import (
    alpha_ramp,
    animated,
    as_grey,
    drawn,
    encoded,
    grey_png_with_clear_value,
    oriented,
    palette_with_transparency,
    photograph,
    png,
    sixteen_bit_rgb_png,
    tenths,
    tiff,
    turned_on_its_side,
    with_broken_exif,
    with_broken_profile,
    with_profile,
    ycck,
)

from siglipcli.errors import ImageError
from siglipcli.images import decode

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZE = 40
IMAGE = drawn(61, 43)
GREY = as_grey(IMAGE)  # uint8[43, 61], from 0 to 255


def same(data: bytes, expected: Image.Image, tolerance: int = 0) -> bool:
    """Say whether the file's pixels are those of the plain RGB or grey image."""
    mine = decode(data, SIZE).astype(int)
    theirs = decode(encoded(expected), SIZE).astype(int)
    return bool(np.abs(mine - theirs).max() <= tolerance)


def on_white(rgb: Image.Image, alpha: Image.Image) -> Image.Image:
    """Compose the expected image, in the arithmetic of textbooks."""
    cover = np.asarray(alpha).astype(float)[..., None] / 255
    flat = np.asarray(rgb) * cover + 255 * (1 - cover)
    return Image.fromarray(np.rint(flat).astype(np.uint8))


def needs(feature: str) -> pytest.MarkDecorator:
    """Skip where this Pillow was built without a codec."""
    return pytest.mark.skipif(
        feature not in features.get_supported(), reason=f"Pillow without {feature}"
    )


# --------------------------------------------------------------------------------- EXIF


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP"])
def test_exif_orientation_gives_the_upright_images_pixels(
    file_format: str, orientation: int
) -> None:
    """However the camera was held, the scores are the upright image's, to the last bit."""
    lossless = {"lossless": True} if file_format == "WEBP" else {}

    assert same(oriented(IMAGE, orientation, file_format, **lossless), IMAGE)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_of_a_jpeg(orientation: int) -> None:
    """A telephone's JPEG gives the pixels of the same JPEG turned upright by hand."""
    data = oriented(IMAGE, orientation, "JPEG")
    with Image.open(io.BytesIO(data)) as stored:
        # the inverse of an inverse: turning 6 as 8 and the like
        upright = turned_on_its_side(stored.copy(), {6: 8, 8: 6}.get(orientation, orientation))

    assert upright.size == IMAGE.size
    assert same(data, upright)


@pytest.mark.parametrize("mode", ["L", "RGBA", "LA", "P", "1", "I;16", "F", "CMYK"])
def test_exif_orientation_in_every_mode(mode: str) -> None:
    """Turning works before the samples are made 8-bit, opaque and RGB, and after."""
    file_format = "TIFF" if mode in {"F", "CMYK"} else "PNG"
    image = Image.fromarray(GREY.astype(np.uint16) * 257) if mode == "I;16" else IMAGE
    image = image if mode == "I;16" else image.convert(mode)

    turned = decode(oriented(image, 6, file_format), SIZE)

    assert np.array_equal(turned, decode(encoded(image, file_format), SIZE))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_orientations_that_do_not_exist_turn_nothing(orientation: int) -> None:
    """An orientation outside 1 to 8 is no reason to fail."""
    exif = Image.Exif()
    exif[0x0112] = orientation

    assert same(encoded(IMAGE, exif=exif.tobytes()), IMAGE)


def test_orientation_as_text_turns_nothing() -> None:
    """An orientation of the wrong type is no reason to fail."""
    entry = struct.pack("<HHHI", 1, 0x0112, 2, 4) + b"six\0" + b"\0" * 4
    exif = b"Exif\0\0II*\0\x08\0\0\0" + entry

    assert same(encoded(IMAGE, exif=exif), IMAGE)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
def test_corrupt_exif_is_answered(file_format: str) -> None:
    """EXIF that is noise leaves the image as it is, and nothing on stderr."""
    plain = encoded(IMAGE, file_format)

    assert np.array_equal(decode(with_broken_exif(IMAGE, file_format), SIZE), decode(plain, SIZE))


@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
def test_profiles_of_srgb_or_of_noise_change_nothing(file_format: str) -> None:
    """A profile that is sRGB's, or that is corrupt, leaves every bit as it is."""
    plain = decode(encoded(IMAGE, file_format), SIZE)

    assert np.array_equal(decode(with_broken_profile(IMAGE, file_format), SIZE), plain)
    assert np.array_equal(decode(with_profile(IMAGE, file_format), SIZE), plain)


# ------------------------------------------------------------------------------- colours


def test_cmyk_is_the_same_as_its_rgb() -> None:
    """A printer's TIFF or JPEG is scored in its colours, not in their negative."""
    cmyk = IMAGE.convert("CMYK")

    assert same(encoded(cmyk, "TIFF"), IMAGE)
    assert same(encoded(cmyk, "JPEG", quality=100), IMAGE, tolerance=2)


def test_ycck_is_the_same_as_its_rgb() -> None:
    """Photoshop's CMYK JPEGs come out in their colours."""
    assert same(ycck(IMAGE.convert("CMYK")), IMAGE, tolerance=6)


def test_other_colour_spaces_are_the_same_as_their_rgb() -> None:
    """YCbCr and LAB are brought to RGB before the resize."""
    for mode in ("YCbCr", "LAB"):
        image = IMAGE.convert(mode)
        assert same(encoded(image, "TIFF", compression="tiff_lzw"), image.convert("RGB"), 3)


def test_palette_is_the_same_as_its_rgb() -> None:
    """A palette image is resized in its colours, not in its indices."""
    palette = IMAGE.quantize(32, dither=Image.Dither.NONE)

    assert same(encoded(palette), palette.convert("RGB"))
    assert same(encoded(palette, "GIF"), palette.convert("RGB"))
    assert same(encoded(palette, "BMP"), palette.convert("RGB"))


def test_black_and_white_is_the_same_as_its_rgb() -> None:
    """A fax is smoothed in the resize as a grey image is."""
    fax = IMAGE.convert("1")

    assert same(encoded(fax), fax.convert("RGB"))
    assert same(encoded(fax, "TIFF", compression="group4"), fax.convert("RGB"))


# -------------------------------------------------------------------------- transparency


def test_alpha_is_put_on_white() -> None:
    """What is transparent is white, as on a page, not the colour that lies hidden under it."""
    alpha = alpha_ramp(IMAGE)
    rgba = IMAGE.copy()
    rgba.putalpha(alpha)

    assert same(encoded(rgba), on_white(IMAGE, alpha), tolerance=1)
    assert same(encoded(rgba, "TIFF"), on_white(IMAGE, alpha), tolerance=1)
    assert same(encoded(rgba, "WEBP", lossless=True, exact=True), on_white(IMAGE, alpha), 1)


def test_grey_with_alpha_is_put_on_white() -> None:
    """LA is composed as RGBA is."""
    grey, alpha = Image.fromarray(GREY), alpha_ramp(IMAGE)

    data = encoded(Image.merge("LA", (grey, alpha)))

    assert same(data, on_white(grey.convert("RGB"), alpha), tolerance=1)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_opaque_alpha_changes_nothing(mode: str) -> None:
    """An alpha channel that hides nothing gives the plain image's pixels, to the last bit."""
    plain = IMAGE if mode == "RGBA" else Image.fromarray(GREY)

    assert same(encoded(plain.convert(mode)), plain)


def test_wholly_transparent_image_is_white() -> None:
    """Nothing on white is white."""
    assert decode(encoded(Image.new("RGBA", (30, 20))), SIZE).min() == 255


def test_palette_with_one_clear_entry() -> None:
    """A palette PNG or GIF with a transparent colour shows white there."""
    indices = np.asarray(IMAGE.quantize(32, dither=Image.Dither.NONE))
    rgb = IMAGE.quantize(32, dither=Image.Dither.NONE).convert("RGB")
    alpha = Image.fromarray(np.where(indices == 5, 0, 255).astype(np.uint8))
    gif = encoded(IMAGE.quantize(32, dither=Image.Dither.NONE), "GIF", transparency=5)

    assert (indices == 5).any()
    assert same(palette_with_transparency(IMAGE, 5), on_white(rgb, alpha))
    assert same(gif, on_white(rgb, alpha))


def test_palette_with_an_alpha_for_each_entry() -> None:
    """Half-clear palette entries are mixed with white."""
    table = np.linspace(0, 255, 32).astype(np.uint8)
    palette = IMAGE.quantize(32, dither=Image.Dither.NONE)
    alpha = Image.fromarray(table[np.asarray(palette)])
    expected = on_white(palette.convert("RGB"), alpha)

    assert same(palette_with_transparency(IMAGE, table.tobytes()), expected, tolerance=1)


def test_one_clear_colour_in_an_rgb_or_grey_png() -> None:
    """PNG's transparent colour without a palette is white too."""
    corner = np.asarray(IMAGE)[0, 0]
    alpha = Image.fromarray(
        np.where((np.asarray(IMAGE) == corner).all(axis=-1), 0, 255).astype(np.uint8)
    )
    data = encoded(IMAGE, transparency=tuple(int(v) for v in corner))
    assert same(data, on_white(IMAGE, alpha))

    clear = np.where(GREY == 100, 255, GREY)
    assert same(encoded(Image.fromarray(GREY), transparency=100), Image.fromarray(clear))
    sixteen = grey_png_with_clear_value(GREY.astype(np.uint16) * 257, 100 * 257)
    assert same(sixteen, Image.fromarray(clear))


# ------------------------------------------------------------------ more than eight bits


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "JPEG2000"])
def test_sixteen_bit_grey_is_the_same_as_its_eight_bit(file_format: str) -> None:
    """A 16-bit scan is scored by its image, not clipped to white."""
    image = Image.fromarray(GREY.astype(np.uint16) * 257)

    assert same(encoded(image, file_format), Image.fromarray(GREY))


def test_sixteen_bit_samples_are_rounded_to_the_nearest() -> None:
    """Full range goes to full range: 65535 is 255, and each step is one of 257."""
    values = np.arange(0, 65536, 13, dtype=np.uint16)[None, :]
    data = encoded(Image.fromarray(np.repeat(values, values.shape[1], axis=0)[:3]))
    rounded = np.rint(values / 257).astype(np.uint8).repeat(3, axis=0)

    assert same(data, Image.fromarray(rounded))


def test_sixteen_bit_colour_is_the_same_as_its_eight_bit() -> None:
    """A 16-bit RGB PNG, with and without alpha, is the 8-bit image."""
    assert same(sixteen_bit_rgb_png(IMAGE), IMAGE)
    opaque = np.dstack([np.asarray(IMAGE), np.full(GREY.shape, 255, np.uint8)])
    rows = [row.tobytes() for row in (opaque.astype(np.uint16) * 257).astype(">u2")]
    assert same(png(61, 43, 16, 6, rows), IMAGE)


def test_low_depths_are_the_same_as_their_eight_bit() -> None:
    """A 4-bit grey PNG spans black to white."""
    grey = np.asarray(drawn(60, 43, step=17).convert("L")) // 17
    rows = [bytes(row[0::2] << 4 | row[1::2]) for row in grey]

    assert same(png(60, 43, 4, 0, rows), Image.fromarray(grey * 17))


def test_sixteen_bit_pgm_is_the_same_as_its_eight_bit() -> None:
    """PGM's own maximum decides what is white, even where the image is dark."""
    dark = GREY // 4
    big_endian = (dark.astype(np.uint16) * 257).astype(">u2").tobytes()
    assert same(b"P5 61 43 65535\n" + big_endian, Image.fromarray(dark))
    ten_bits = np.rint(GREY * (1023 / 255)).astype(">u2").tobytes()
    assert same(b"P5 61 43 1023\n" + ten_bits, Image.fromarray(GREY), tolerance=1)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "samples",
    [
        GREY.astype(np.uint16) * 257,
        GREY.astype(np.int16),
        GREY.astype(np.int16) * 128 - 16384,
        GREY.astype(np.int32) * 257,
        GREY.astype(np.int32) * 70_000 - 9_000_000,
        GREY.astype(np.float32),
        (GREY / 255).astype(np.float32),
        GREY.astype(np.float32) * 257,
        GREY.astype(np.float32) * 3.5e5 - 1e6,
    ],
    ids=["u16", "i16", "i16 signed", "i32", "i32 signed", "f255", "f1", "f65535", "f any"],
)
def test_scientific_tiffs_are_the_same_as_their_eight_bit(
    samples: NDArray[Any], order: Literal["<", ">"]
) -> None:
    """16-bit, 32-bit and float TIFFs are brought to 8 bits by their range."""
    assert same(tiff(samples, order=order), Image.fromarray(GREY))


def test_unsigned_32_bit_tiff_is_not_wrapped() -> None:
    """Samples past 2**31 are bright, not negative."""
    assert same(tiff(GREY.astype(np.uint32) * 16_843_009), Image.fromarray(GREY))


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_tiffs_in_which_zero_is_white_are_not_negatives(dtype: type) -> None:
    """An X-ray stored with white as zero looks as its viewer shows it."""
    top = 65535 if dtype == np.uint16 else 1
    inverted: NDArray[Any] = (top - GREY.astype(float) * (top / 255)).astype(dtype)

    assert same(tiff(inverted, photometric=0), Image.fromarray(GREY), tolerance=1)


def test_dark_float_image_stays_dark() -> None:
    """Floats within 0 to 1 are not stretched."""
    dark = GREY // 5

    assert same(tiff((dark / 255).astype(np.float32)), Image.fromarray(dark))


def test_numbers_that_are_not_finite_are_ends_of_the_range() -> None:
    """NaN is black, infinity white; the rest of a float image is as it was."""
    samples, expected = (GREY / 255).astype(np.float32), GREY.copy()
    samples[3], samples[5], samples[7] = np.nan, np.inf, -np.inf
    expected[3], expected[5], expected[7] = 0, 255, 0

    assert same(tiff(samples), Image.fromarray(expected))


def test_image_without_a_finite_number_is_a_row() -> None:
    """A float image that is all NaN has nothing to score."""
    with pytest.raises(ImageError, match="finite") as caught:
        decode(tiff(np.full((4, 5), np.nan, np.float32)), SIZE)

    assert caught.value.kind == "decode"


@pytest.mark.parametrize("value", [-3.0, 0.0, 1e30])
def test_flat_float_image_is_answered(value: float) -> None:
    """An image of one value has no range, and still an answer."""
    assert len(np.unique(decode(tiff(np.full((4, 5), value, np.float32)), SIZE))) == 1


# --------------------------------------------------------------- formats, frames, damage


@pytest.mark.parametrize(
    "file_format",
    [
        *("JPEG", "PNG", "GIF", "BMP", "TIFF", "PPM", "ICO"),
        pytest.param("WEBP", marks=needs("webp")),
        pytest.param("AVIF", marks=needs("avif")),
        pytest.param("JPEG2000", marks=needs("jpg_2000")),
    ],
)
def test_every_allowed_format_is_read(file_format: str) -> None:
    """A photograph is nearly the same in every format."""
    image = photograph("chelsea.png").resize((200, 150))
    expected = decode(encoded(image.resize((200, 150))), SIZE).astype(int)

    assert np.abs(decode(encoded(image, file_format), SIZE) - expected).mean() < 4


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiffs_are_the_plain_image(compression: str) -> None:
    """What scanners write is read."""
    assert same(encoded(IMAGE, "TIFF", compression=compression), IMAGE)


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_first_frame_or_page_is_the_image(file_format: str) -> None:
    """Of an animation or a multi-page scan the first frame is scored."""
    first = IMAGE.quantize(64, dither=Image.Dither.NONE).convert("RGB")

    assert same(animated(first, file_format), first)


def test_first_image_of_an_mpo() -> None:
    """Of a stereo pair the first is scored, whatever the second is."""
    alone = decode(encoded(IMAGE, "JPEG"), SIZE)

    assert np.array_equal(decode(animated(IMAGE, "MPO"), SIZE), alone)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "JPEG2000"])
def test_files_cut_short_are_told_at_every_tenth(file_format: str) -> None:
    """A broken download is a row that says so, never a half-grey image with a score."""
    data = encoded(photograph("chelsea.png").resize((240, 160)), file_format)

    for part in tenths(data):
        with pytest.raises(ImageError) as caught:
            decode(part, SIZE)
        assert caught.value.kind == "truncated"


@pytest.mark.parametrize("exact", [True, False])
def test_progressive_jpeg_cut_short_is_told(exact: bool) -> None:
    """A progressive JPEG whose first passes are there is cut short all the same."""
    data = encoded(photograph().resize((800, 600)), "JPEG", progressive=True)

    for part in tenths(data):
        with pytest.raises(ImageError) as caught:
            decode(part, SIZE, exact=exact)
        assert caught.value.kind == "truncated"


@needs("avif")
def test_avif_cut_short_is_told() -> None:
    """An AVIF that lacks its end is a row, of one kind or the other."""
    for part in tenths(encoded(IMAGE, "AVIF")):
        with pytest.raises(ImageError) as caught:
            decode(part, SIZE)
        assert caught.value.kind in {"truncated", "decode"}


def test_bytes_behind_the_end_do_no_harm() -> None:
    """Telephones append video and depth to their JPEGs; the image is read."""
    data = encoded(IMAGE, "JPEG")

    assert np.array_equal(decode(data + b"\0" * 5000, SIZE), decode(data, SIZE))
