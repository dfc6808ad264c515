"""Colours: an image in any colour space is scored in the colours that a browser shows."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from colours import (
    PRIMARIES,
    from_linear,
    grey_profile,
    in_space,
    ink_profile,
    png_chunk,
    png_with,
    profile,
    to_linear,
)
from PIL import Image, ImageCms, features
from zoo import alpha_ramp, as_grey, drawn, encoded, oriented, photograph, with_broken_profile

from siglipcli.images import Limits, decode
from siglipcli.images.colour import to_srgb

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZE = 96
PHOTO = photograph("coffee.png").resize((150, 100))


def pixels(data: bytes, *, color_management: bool = True, exact: bool = True) -> NDArray[np.int64]:
    return decode(data, SIZE, exact=exact, color_management=color_management).astype(np.int64)


PLAIN = pixels(encoded(PHOTO))


def assert_like_srgb(data: bytes, mean: float = 1.0) -> None:
    """Check that converted pixels are the sRGB image's, and that unconverted ones are far from it."""
    assert np.abs(pixels(data) - PLAIN).mean() < mean
    assert np.abs(pixels(data, color_management=False) - PLAIN).mean() > 4 * mean


LOSSLESS = [
    ("PNG", {}),
    ("TIFF", {}),
    ("WEBP", {"lossless": True}),
    ("JPEG", {"quality": 100, "subsampling": 0}),
]


@pytest.mark.parametrize(("file_format", "options"), LOSSLESS)
@pytest.mark.parametrize(
    ("space", "gamma"), [("Display P3", None), ("Adobe RGB", 563 / 256), ("BT.2020", 2.4)]
)
def test_colours_of_another_profile_are_the_srgb_images(
    space: str, gamma: float | None, file_format: str, options: dict[str, object]
) -> None:
    """A telephone's or camera's wide colours come out as the same image in sRGB."""
    curve = (lambda light: light ** (1 / gamma)) if gamma else from_linear
    data = encoded(
        in_space(PHOTO, space, curve),
        file_format,
        icc_profile=profile(space, gamma),
        **options,
    )

    assert_like_srgb(data, mean=1.2)


@pytest.mark.skipif("avif" not in features.get_supported(), reason="Pillow without AVIF")
def test_avif_with_a_profile() -> None:
    """AVIF's profile counts as any other."""
    data = encoded(
        in_space(PHOTO, "BT.2020"),
        "AVIF",
        quality=100,
        subsampling="4:4:4",
        icc_profile=profile("BT.2020"),
    )

    assert_like_srgb(data, mean=1.5)


def test_reduced_decoding_converts_too() -> None:
    """A large photo's colours are converted whatever scale it is decoded at."""
    large = in_space(PHOTO.resize((1200, 800)), "Display P3")
    data = encoded(large, "JPEG", quality=95, icc_profile=profile("Display P3"))

    assert np.abs(pixels(data, exact=False) - pixels(data)).mean() < 2
    assert np.abs(pixels(data, exact=False) - pixels(data, color_management=False)).mean() > 4


def test_without_color_management_profiles_change_nothing() -> None:
    """The parity mode gives the stored samples, as open_clip's transform does."""
    plain, tagged = encoded(PHOTO), encoded(PHOTO, icc_profile=profile("Adobe RGB", 2.2))

    assert np.array_equal(pixels(tagged, color_management=False), pixels(plain))
    assert not np.array_equal(pixels(tagged), pixels(plain))


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_an_srgb_profile_changes_nothing(file_format: str) -> None:
    """LittleCMS's own sRGB, and one with a table as long as HP's, leave every bit as it is."""
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for icc in (own, profile("sRGB")):
        data = encoded(PHOTO, file_format, icc_profile=icc)
        assert np.array_equal(pixels(data), pixels(data, color_management=False))


def test_images_in_srgb_never_load_littlecms() -> None:
    """A run over plain images starts as quickly as before."""
    script = (
        "import sys\nfrom siglipcli import images\n"
        "images.decode(sys.stdin.buffer.read(), 32)\nassert 'PIL.ImageCms' not in sys.modules"
    )
    for icc in (None, profile("sRGB")):
        data = encoded(PHOTO, icc_profile=icc)
        subprocess.run([sys.executable, "-c", script], input=data, check=True, timeout=60)


# ------------------------------------------------------------------- grey, inks, transparency


def test_grey_with_a_profile() -> None:
    """A grey scan is as bright as its profile says."""
    grey = Image.fromarray(as_grey(PHOTO))
    scan = np.rint(to_linear(np.asarray(grey) / 255) ** (1 / 1.5) * 255).astype(np.uint8)

    data = encoded(Image.fromarray(scan), icc_profile=grey_profile(1.5))

    assert np.abs(pixels(data) - pixels(encoded(grey))).mean() < 2
    assert np.abs(pixels(data, color_management=False) - pixels(encoded(grey))).mean() > 10


def test_transparency_with_a_profile() -> None:
    """White behind a wide-colour image stays white, and its colours come out as in sRGB."""
    rgba, plain = in_space(PHOTO, "Display P3"), PHOTO.copy()
    rgba.putalpha(alpha_ramp(PHOTO))
    plain.putalpha(alpha_ramp(PHOTO))
    data = encoded(rgba, icc_profile=profile("Display P3"))

    assert np.abs(pixels(data) - pixels(encoded(plain))).mean() < 1.5
    assert pixels(data)[:, 0].min() >= 252


def test_grey_and_alpha_with_a_grey_profile() -> None:
    """A profile of grey holds for grey with transparency too."""
    grey = Image.merge("LA", (Image.fromarray(as_grey(PHOTO)), alpha_ramp(PHOTO)))
    flat = Image.new("L", PHOTO.size, 255)
    flat.paste(grey.getchannel("L"), mask=grey.getchannel("A"))
    icc = grey_profile(1.0)

    difference = pixels(encoded(grey, icc_profile=icc)) - pixels(encoded(flat, icc_profile=icc))

    assert np.abs(difference).max() <= 3


INKS = {0: (20, 60, 200), 1: (200, 30, 40), 2: (250, 220, 30), 3: (25, 25, 25)}


@pytest.mark.parametrize(
    ("file_format", "options"), [("TIFF", {}), ("JPEG", {"quality": 100, "subsampling": 0})]
)
@pytest.mark.parametrize("ink", [0, 1, 2, 3])
def test_cmyk_through_its_profile(ink: int, file_format: str, options: dict[str, object]) -> None:
    """A print's inks have the colours that the profile gives them, not the pure ones of arithmetic."""
    amounts = [255 if i == ink else 0 for i in range(4)]
    image = Image.new("CMYK", (40, 30), tuple(amounts))
    data = encoded(image, file_format, icc_profile=ink_profile(INKS), **options)

    assert np.abs(pixels(data) - INKS[ink]).max() <= 16


@pytest.mark.parametrize(("ink", "sample"), [(255, 0), (0, 255)])
def test_a_prints_black_is_black_and_its_paper_white(ink: int, sample: int) -> None:
    """The darkest that a press can do is shown as black, as browsers show it."""
    image = Image.new("CMYK", (40, 30), (ink,) * 4)
    data = encoded(image, "TIFF", icc_profile=ink_profile(INKS, black=45))

    assert np.abs(pixels(data) - sample).max() <= 4


def test_orientation_and_profile_together() -> None:
    """A telephone's photo is turned and converted."""
    upright = in_space(PHOTO, "Display P3")
    data = oriented(upright, 6, icc_profile=profile("Display P3"))

    assert np.array_equal(pixels(data), pixels(encoded(upright, icc_profile=profile("Display P3"))))


# ----------------------------------------------------------------------------- broken profiles


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF"])
@pytest.mark.parametrize(
    "icc",
    [
        b"\0" * 128,
        b"nonsense" * 100,
        profile("Display P3")[:200],
        profile("Display P3").replace(b"acsp", b"xxxx"),
        profile("Display P3").replace(b"mntr", b"link"),
        profile("Display P3").replace(b"RGB ", b"Lab "),
        profile("Display P3").replace(b"curv", b"xxxx"),
        profile("Display P3").replace(b"gXYZ", b"xxxx"),
    ],
)
def test_a_broken_profile_is_passed_over(icc: bytes, file_format: str) -> None:
    """Whatever is wrong with a profile, the image is scored as if it had none."""
    assert np.array_equal(
        pixels(encoded(PHOTO, file_format, icc_profile=icc)), pixels(encoded(PHOTO, file_format))
    )
    assert np.array_equal(
        pixels(with_broken_profile(PHOTO, file_format)), pixels(encoded(PHOTO, file_format))
    )


def test_a_profile_of_another_kind_of_image_is_passed_over() -> None:
    """Grey with a printer's or screen's profile, colours with a profile of grey: as they are."""
    grey = Image.fromarray(as_grey(PHOTO))
    for image, icc in (
        (grey, profile("Display P3")),
        (grey, ink_profile(INKS)),
        (PHOTO, grey_profile(1.0)),
        (PHOTO, ink_profile(INKS)),
    ):
        assert np.array_equal(pixels(encoded(image, icc_profile=icc)), pixels(encoded(image)))


def test_conversion_never_raises() -> None:
    """A profile that only LittleCMS finds broken leaves the image as it is."""
    icc = profile("Display P3").replace(b"curv", b"xxxx")

    assert to_srgb(PHOTO, icc) is PHOTO


# ---------------------------------------------------------------- colours without a profile


def gamma_chunk(gamma: float) -> bytes:
    return png_chunk(b"gAMA", struct.pack(">I", round(gamma * 100_000)))


def primaries_chunk(space: str) -> bytes:
    *rgb, x, y = PRIMARIES[space]
    return png_chunk(b"cHRM", struct.pack(">8I", *(round(v * 100_000) for v in (x, y, *rgb))))


def coded_chunk(primaries: int, transfer: int) -> bytes:
    return png_chunk(b"cICP", bytes([primaries, transfer, 0, 1]))


SRGB_CHUNK = png_chunk(b"sRGB", b"\0")


def profile_chunk(icc: bytes) -> bytes:
    return png_chunk(b"iCCP", b"name\0\0" + zlib.compress(icc))


@pytest.mark.parametrize(
    ("space", "chunks"),
    [
        ("Display P3", [coded_chunk(12, 13)]),
        ("BT.2020", [coded_chunk(9, 1)]),
        ("BT.2020", [gamma_chunk(1 / 2.2), primaries_chunk("BT.2020")]),
        ("BT.2020", [primaries_chunk("BT.2020")]),
        ("BT.2020", [profile_chunk(profile("BT.2020")), gamma_chunk(0.2)]),
        ("Display P3", [coded_chunk(12, 13), profile_chunk(profile("Adobe RGB")), gamma_chunk(1)]),
    ],
)
def test_colour_chunks_of_png(space: str, chunks: list[bytes]) -> None:
    """cICP, iCCP, then gAMA and cHRM tell a PNG's colours, the first that is there."""
    assert_like_srgb(png_with(in_space(PHOTO, space), *chunks), mean=1.1)


@pytest.mark.parametrize(
    "chunks",
    [
        [SRGB_CHUNK],
        [SRGB_CHUNK, gamma_chunk(1.0), primaries_chunk("BT.2020")],
        [gamma_chunk(1 / 2.2)],
        [gamma_chunk(1 / 2.2), primaries_chunk("sRGB")],
        [coded_chunk(1, 13)],
        [coded_chunk(1, 1)],
        [coded_chunk(2, 2)],
        [coded_chunk(1, 13), profile_chunk(profile("BT.2020"))],
        [gamma_chunk(0)],
        [png_chunk(b"cHRM", b"\0" * 32)],
        [png_chunk(b"cICP", b"\x09")],
    ],
)
def test_png_chunks_that_mean_srgb_change_nothing(chunks: list[bytes]) -> None:
    """What says sRGB, or nonsense, leaves every bit as it is."""
    assert np.array_equal(pixels(png_with(PHOTO, *chunks)), PLAIN)


def test_gamma_of_a_png() -> None:
    """A PNG of another gamma than a screen's is shown in its brightness, grey or in colours."""
    for image in (PHOTO, Image.fromarray(as_grey(PHOTO))):
        darker = np.rint((np.asarray(image) / 255) ** (2.2 / 1.5) * 255).astype(np.uint8)
        data = png_with(Image.fromarray(darker), gamma_chunk(1 / 1.5))
        assert np.abs(pixels(data) - pixels(encoded(image))).mean() < 2
        assert np.abs(pixels(data, color_management=False) - pixels(encoded(image))).mean() > 10


@pytest.mark.parametrize("transfer", [16, 18])
def test_hdr_images_are_neither_dark_nor_burnt_out(transfer: int) -> None:
    """Samples of HDR curves rise from black to white, and a diffuse white is bright."""
    ramp = Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (256, 1))).convert("RGB")

    row = decode(png_with(ramp, coded_chunk(9, transfer)), 256)[128].astype(int)

    assert (np.diff(row.mean(axis=1)) >= 0).all()
    assert row[0].max() == 0
    assert row[-1].min() == 255
    white = 148 if transfer == 16 else 191  # 203 cd/m² (ITU-R BT.2408)
    assert 170 < row[white].mean() < 215


def nclx_stub(primaries: int, transfer: int) -> bytes:
    """Return AVIF's `colr` box with codes."""
    return struct.pack(">I4s4sHHHB", 19, b"colr", b"nclx", primaries, transfer, 6, 0x80)


@pytest.mark.skipif("avif" not in features.get_supported(), reason="Pillow without AVIF")
def test_codes_in_avif() -> None:
    """An AVIF that says BT.2020 by its codes is converted."""
    data = encoded(in_space(PHOTO, "BT.2020"), "AVIF", quality=100, subsampling="4:4:4")
    old = data.index(b"colrnclx") - 4
    assert data[old : old + 19] == nclx_stub(1, 13)

    assert np.array_equal(pixels(data), pixels(data, color_management=False))
    assert_like_srgb(data[:old] + nclx_stub(9, 13) + data[old + 19 :], mean=1.5)


def test_codes_and_profile_in_heic() -> None:
    """A HEIC's profile or codes count: an iPhone's photos are Display P3."""
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs the extra heif")
    image = in_space(PHOTO, "BT.2020")
    for colours in (
        {"icc_profile": profile("BT.2020")},
        {"save_nclx_profile": True, "color_primaries": 9, "transfer_characteristics": 13},
    ):
        out = io.BytesIO()
        pillow_heif.from_pillow(image).save(out, quality=100, chroma=444, **colours)
        assert_like_srgb(out.getvalue(), mean=1.6)


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP"])
@pytest.mark.parametrize("tags", [{0xA005: {1: "R03"}}, {0x8769: {0xA001: 2}}])
def test_adobe_rgb_by_exif(tags: dict[int, dict[int, object]], file_format: str) -> None:
    """Cameras set to Adobe RGB say so in EXIF alone."""
    exif = Image.Exif()
    for directory, entries in tags.items():
        exif.get_ifd(0x8769).update(entries if directory == 0x8769 else {directory: entries})
    options = {"lossless": True} if file_format == "WEBP" else {"quality": 100, "subsampling": 0}
    image = in_space(PHOTO, "Adobe RGB", lambda light: light ** (256 / 563))

    assert_like_srgb(encoded(image, file_format, exif=exif.tobytes(), **options), mean=1.2)


@pytest.mark.parametrize("index", ["R98", "", "THM"])
def test_other_exif_changes_nothing(index: str) -> None:
    """EXIF that says sRGB, or nothing of colours, leaves every bit as it is."""
    exif = Image.Exif()
    exif.get_ifd(0x8769).update({0xA005: {1: index}, 0xA001: 1})

    assert np.array_equal(pixels(encoded(PHOTO, exif=exif.tobytes())), PLAIN)
    data = encoded(PHOTO, "JPEG", exif=exif.tobytes())
    assert np.array_equal(pixels(data), pixels(data, color_management=False))


def test_profile_in_a_bitmap() -> None:
    """A BMP of the newest kind carries its profile behind the pixels."""
    image = in_space(PHOTO, "BT.2020")
    plain = encoded(image, "BMP")
    body, icc = plain[54:], profile("BT.2020")
    head = bytearray(124)
    head[:40] = plain[14:54]
    head[0:4] = struct.pack("<I", 124)
    head[56:60] = b"DEBM"
    head[112:120] = struct.pack("<II", 124 + len(body), len(icc))
    start = b"BM" + struct.pack("<IHHI", 138 + len(body) + len(icc), 0, 0, 138)

    assert_like_srgb(start + bytes(head) + body + icc)


@pytest.mark.skipif("jpg_2000" not in features.get_supported(), reason="Pillow without JPEG 2000")
def test_profile_in_jpeg_2000() -> None:
    """JPEG 2000 keeps its profile in a box of its own."""
    data = encoded(in_space(PHOTO, "BT.2020"), "JPEG2000")
    icc = profile("BT.2020")
    old = data.index(b"colr") - 4
    size = int.from_bytes(data[old : old + 4], "big")
    box = struct.pack(">I4s3B", 11 + len(icc), b"colr", 2, 0, 0) + icc
    head = data.index(b"jp2h") - 4
    longer = int.from_bytes(data[head : head + 4], "big") + len(box) - size
    data = data[:head] + struct.pack(">I", longer) + data[head + 4 : old] + box + data[old + size :]

    assert_like_srgb(data)


# ----------------------------------------------------------------------------- PNG's text


def test_text_in_a_png_is_not_read() -> None:
    """Megabytes of text, which AI workflows and bombs carry, cost nothing and refuse nothing."""
    workflow = zlib.compress(b'{"node": 1}' * 2_000_000)
    bomb = zlib.compress(bytes(100_000_000))
    data = png_with(
        drawn(),
        png_chunk(b"zTXt", b"workflow\0\0" + workflow),
        png_chunk(b"iTXt", b"prompt\0\1\0\0\0" + bomb),
        png_chunk(b"tEXt", b"parameters\0" + b"x" * 3_000_000),
        b"\0\0\0\4tEXtbad\0\0\0\0\0",  # with a wrong checksum
    )

    assert np.array_equal(decode(data, 32, Limits()), decode(encoded(drawn()), 32))


def test_a_profile_of_more_than_a_megabyte_is_used() -> None:
    """Printers' profiles are larger than Pillow takes from a PNG."""
    icc = profile("BT.2020") + b"\0" * 2_000_000
    icc = struct.pack(">I", len(icc)) + icc[4:]

    assert_like_srgb(png_with(in_space(PHOTO, "BT.2020"), profile_chunk(icc)), mean=1.1)


def test_a_bomb_in_a_profiles_place_is_passed_over() -> None:
    """A profile that decompresses without end is not one."""
    bomb = png_chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(200_000_000)))

    assert np.array_equal(pixels(png_with(PHOTO, bomb)), PLAIN)
