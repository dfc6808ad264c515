"""Files that were cut short: what is whole is scored, what lacks rows is not, unless that is wanted."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from zoo import drawn, encoded, photograph

from siglipcli.errors import ImageError
from siglipcli.images import decode

SIZE = 64
PHOTO = photograph().resize((400, 320))
END = b"\xff\xd9"
KINDS: list[dict[str, Any]] = [
    {},
    {"optimize": True},
    {"progressive": True},
    {"restart_marker_rows": 1},
    {"restart_marker_blocks": 3},
    {"subsampling": 0, "quality": 95},
]


def jpeg(image: Image.Image = PHOTO, **options: object) -> bytes:
    return encoded(image, "JPEG", **options)


def outcome(data: bytes, **options: bool) -> str:
    try:
        decode(data, SIZE, **options)
    except ImageError as error:
        return error.kind
    return "ok"


CASES = [(options, "RGB") for options in KINDS]
CASES += [(options, mode) for options in KINDS[1:3] for mode in ("L", "CMYK")]


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(("options", "mode"), CASES)
def test_a_jpeg_that_lacks_only_its_end_marker_is_whole(
    options: dict[str, Any], mode: str, exact: bool
) -> None:
    """Every pixel is there, with the marker, without it, and with padding or a film behind it."""
    data = jpeg(PHOTO.convert(mode), **options)
    whole = decode(data, SIZE, exact=exact)
    for same in (
        data[:-2],
        data[:-1],
        data + bytes(4096),
        data[:-2] + bytes(64) + END,
        data + b"\0\0\0\x18ftypmp42" * 99,
    ):
        assert np.array_equal(decode(same, SIZE, exact=exact), whole)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("part", [0.6, 0.9])
@pytest.mark.parametrize(("options", "mode"), CASES)
def test_a_jpeg_without_a_part_of_its_rows_is_truncated(
    options: dict[str, Any], mode: str, part: float, exact: bool
) -> None:
    """A cut is seen whatever was put behind it: nothing, a marker, zeros, or both."""
    data = jpeg(PHOTO.convert(mode), **options)
    cut = data[: int(len(data) * part)]
    zeros = bytes(len(data) - len(cut))
    tails = [b"", zeros, zeros + END, bytes(100_000)]
    if part < 0.9 or not options.get("progressive"):  # its last scan only makes it finer
        tails.append(END)
    assert {outcome(cut + tail, exact=exact) for tail in tails} == {"truncated"}


def test_a_cut_between_restarts_is_seen() -> None:
    """Where a scan may begin anew, no byte after the cut would be read by itself."""
    data = jpeg(restart_marker_rows=1)
    cut = data[: data.index(b"\xff\xd3", 700)]
    assert outcome(cut) == outcome(cut + END) == "truncated"


@pytest.mark.parametrize("colour", [(128, 128, 128), (0, 0, 0), (255, 255, 255), (40, 90, 200)])
@pytest.mark.parametrize("options", KINDS)
def test_plain_areas_are_no_cut(options: dict[str, Any], colour: tuple[int, int, int]) -> None:
    """An image that is grey or black below, or all over, is whole: its file is."""
    half = PHOTO.copy()
    half.paste(colour, (0, 100, 400, 320))
    for image in (
        half,
        Image.new("RGB", (400, 320), colour),
        Image.new("RGB", (1500, 1000), colour),
    ):
        data = jpeg(image, **options)
        assert outcome(data) == outcome(data[:-2]) == "ok"


def test_a_few_rows_may_be_missing() -> None:
    """One row of blocks of a large image is no reason to refuse it."""
    image = photograph().resize((1200, 1600))
    data = jpeg(image, restart_marker_rows=1)
    last = max(data.rfind(bytes([0xFF, 0xD0 + i])) for i in range(8))
    assert outcome(data[:last]) == outcome(data[:last] + END) == "ok"


def test_a_scan_that_is_missing_is_a_cut() -> None:
    """A progressive JPEG that ends cleanly between two scans lacks detail."""
    data = jpeg(progressive=True)
    scans = [i for i in range(len(data)) if data[i : i + 2] == b"\xff\xda"]
    assert len(scans) > 5
    for start in scans[1:]:
        tables = data.rfind(b"\xff\xc4", 0, start)
        for cut in (start, start + 5, tables + 9):
            assert outcome(data[:cut] + END) == "truncated"
            assert outcome(data[:cut], allow_truncated=True) == "ok"


@pytest.mark.parametrize("part", [0.5, 0.8])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "BMP", "TIFF", "PPM", "GIF"])
def test_what_is_there_can_be_scored(file_format: str, part: float) -> None:
    """With allow_truncated the rows before the cut are the image's."""
    data = encoded(PHOTO, file_format, **({"interlace": 0} if file_format == "GIF" else {}))
    cut = data[: int(len(data) * part)]
    assert outcome(cut) == "truncated"
    whole, partial = decode(data, SIZE), decode(cut, SIZE, allow_truncated=True)
    if file_format == "BMP":  # it is stored from below
        whole, partial = np.flipud(whole), np.flipud(partial)

    assert np.abs(partial[: SIZE // 4].astype(int) - whole[: SIZE // 4]).max() <= 12
    assert np.abs(partial.astype(int) - whole).max() > 60


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_whole_files_are_the_same_with_allow_truncated(file_format: str) -> None:
    """The option changes nothing of what is complete."""
    data = encoded(drawn(), file_format)
    assert np.array_equal(decode(data, SIZE, allow_truncated=True), decode(data, SIZE))


def test_nothing_of_an_image_is_no_image() -> None:
    """Where no pixel is there, allow_truncated does not make one."""
    for file_format in ("JPEG", "PNG", "WEBP"):
        assert outcome(encoded(PHOTO, file_format)[:60], allow_truncated=True) != "ok"


def test_a_jpeg_of_empty_segments_is_refused_before_it_is_read() -> None:
    """Millions of markers, or megabytes before the pixels, cost no memory."""
    data = jpeg()
    for hostile in (
        data[:2] + b"\xff\xe1\x00\x02" * 20_000 + data[2:],
        data[:2] + (b"\xff\xe2\xff\xff" + bytes(65_533)) * 1_030 + data[2:],
    ):
        assert outcome(hostile) == "too_large"
    honest = data[:2] + (b"\xff\xe2\xff\xff" + bytes(65_533)) * 100 + data[2:]
    assert np.array_equal(decode(honest, SIZE), decode(data, SIZE))


def test_a_stereo_photo_is_whole_by_its_first_image() -> None:
    """An MPO's second image may be cut: the first is what is scored."""
    out = io.BytesIO()
    PHOTO.save(out, "MPO", save_all=True, append_images=[PHOTO])
    data = out.getvalue()
    whole = decode(data, SIZE)
    assert np.array_equal(decode(data[: len(data) * 3 // 4], SIZE), whole)
