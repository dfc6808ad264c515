"""Camera RAW: scored by the preview that the camera made, upright; developed only where there is none."""

from __future__ import annotations

import io
import json
import random
import struct
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from raw_files import cfa, dng, jpeg
from settings import settle
from typer.testing import CliRunner

from siglipcli import demo
from siglipcli.cli import app
from siglipcli.errors import ImageError
from siglipcli.images import DEFAULT_LIMITS, Limits, decode, header, is_delicate
from siglipcli.images.dates import taken
from siglipcli.images.raw import is_raw
from siglipcli.images.worker import Worker

rawpy = pytest.importorskip("rawpy")

SIZE = 32
TURNS = {3: 180, 6: 270, 8: 90}  # EXIF's orientation → degrees to the left


def scene(width: int = 320, height: int = 200) -> Image.Image:
    """Red, with a blue quarter at the top left."""
    image = Image.new("RGB", (width, height), (200, 40, 40))
    image.paste((20, 20, 220), (0, 0, width // 2, height // 2))
    return image


def shown(width: int = 160, height: int = 100) -> Image.Image:
    """What previews show: green, with a yellow quarter at the top left."""
    image = Image.new("RGB", (width, height), (10, 200, 10))
    image.paste((255, 255, 0), (0, 0, width // 2, height // 2))
    return image


def with_preview(orientation: int = 1, order: str = "<") -> bytes:
    return dng(scene(), (jpeg(shown()), (160, 100)), orientation=orientation, order=order)


def distance(data: bytes, image: Image.Image, *, exact: bool = True) -> float:
    """The mean difference of a file's pixels to an image's, of 255."""
    wanted = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BICUBIC)).astype(int)
    return float(np.abs(decode(data, SIZE, exact=exact) - wanted).mean())


def refused(data: bytes, limits: Limits = DEFAULT_LIMITS) -> ImageError:
    with pytest.raises(ImageError) as caught:
        decode(data, SIZE, limits)
    return caught.value


def patched(data: bytes, tag: int, value: int) -> bytes:
    """Write another number into a tag of the first directory of a little-endian TIFF."""
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    changed = bytearray(data)
    for place in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, place) == (tag,):
            struct.pack_into("<HI", changed, place + 2, 4, 1)
            struct.pack_into("<I", changed, place + 8, value)
    return bytes(changed)


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_preview_is_the_image(order: str) -> None:
    """Not the sensor's samples, nor what Pillow makes of the TIFF that a RAW file is."""
    data = with_preview(order=order)
    assert is_raw(data)
    with rawpy.imread(io.BytesIO(data)) as raw:  # a real RAW file, as LibRaw sees it
        assert (raw.sizes.raw_width, raw.sizes.raw_height) == (320, 200)
    assert distance(data, shown()) < 3


@pytest.mark.parametrize("orientation", TURNS)
def test_previews_are_turned_as_the_camera_was_held(orientation: int) -> None:
    """Half a turn, a quarter to the right, a quarter to the left."""
    upright = shown().rotate(TURNS[orientation], expand=True)
    assert distance(with_preview(orientation), upright) < 3


def test_a_preview_that_is_turned_already_is_not_turned_again() -> None:
    """Some programs store it upright: it stands where the sensor lies."""
    upright = shown().rotate(270, expand=True)
    data = dng(scene(), (jpeg(upright), upright.size), orientation=6)
    assert distance(data, upright) < 3


def test_the_largest_preview_is_taken() -> None:
    """Whichever comes first."""
    small, large = (
        (jpeg(Image.new("RGB", (80, 50), "white")), (80, 50)),
        (jpeg(shown()), (160, 100)),
    )
    for previews in ((small, large), (large, small)):
        assert distance(dng(scene(), *previews), shown()) < 3


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("orientation", [1, *TURNS])
def test_without_a_preview_the_samples_are_developed(orientation: int, exact: bool) -> None:
    """Upright too; the blue quarter is where it was, the rest is red: --exact-decode interpolates in full."""
    pixels = decode(dng(scene(), orientation=orientation), SIZE, exact=exact).astype(int)
    blue = pixels[..., 2] - pixels[..., 0]
    quarter = Image.new("L", (SIZE, SIZE))
    quarter.paste(255, (0, 0, SIZE // 2, SIZE // 2))
    mask = np.asarray(quarter.rotate(TURNS.get(orientation, 0))) > 0
    assert blue[mask].mean() > 100
    assert blue[~mask].mean() < -40


@pytest.mark.parametrize("damage", ["cut", "noise", "empty"])
def test_a_damaged_preview_makes_way_for_the_samples(damage: str) -> None:
    """The samples are whole: they are developed."""
    preview = jpeg(shown())
    size = len(preview)
    broken = {
        "cut": preview[: size // 2],
        "noise": preview[:20] + b"?" * (size - 20),
        "empty": b"\xff\xd8",
    }
    bare, data = dng(scene()), dng(scene(), (broken[damage].ljust(size, b"\0"), (160, 100)))
    assert np.array_equal(decode(data, SIZE), decode(bare, SIZE))


def test_a_header_tells_the_size() -> None:
    """The upright image's, as it would be developed."""
    found = header(with_preview(6))
    assert (found.format, found.width, found.height) == ("RAW", 200, 320)


def test_limits_hold_for_the_preview_and_for_the_sensor() -> None:
    """Too many megapixels are refused before they are decoded."""
    assert refused(with_preview(), Limits(max_megapixels=0.01)).kind == "too_large"
    assert refused(dng(scene()), Limits(max_megapixels=0.05)).kind == "too_large"
    huge = patched(patched(dng(scene()), 256, 60_000), 257, 60_000)
    assert refused(huge).kind == "too_large"


def test_a_file_that_was_cut_short_is_a_failure() -> None:
    """At each tenth, and where only samples are missing."""
    data = with_preview()
    for tenth in range(10):
        assert refused(data[: len(data) * tenth // 10]).kind in {
            "truncated",
            "unsupported",
            "unidentified",
            "decode",
        }
    assert refused(patched(dng(scene()), 273, 10**8)).kind == "truncated"


def test_damaged_raw_takes_nothing_with_it() -> None:
    """Random damage ends in pixels or in an ImageError, in a worker process as in every run."""
    rng = random.Random(5)
    data = with_preview()
    worker, kinds = Worker(), set()
    try:
        for _ in range(60):
            damaged = bytearray(data)
            for _ in range(rng.randrange(1, 30)):
                damaged[rng.randrange(len(data) - 1500, len(data))] = rng.randrange(256)
            try:
                kinds.add(worker.decode(bytes(damaged), SIZE, DEFAULT_LIMITS, exact=False).shape)
            except ImageError as error:
                kinds.add(error.kind)
    finally:
        worker.close()
    assert (SIZE, SIZE, 3) in kinds
    assert kinds <= {
        (SIZE, SIZE, 3),
        "unsupported",
        "truncated",
        "decode",
        "too_large",
        "unidentified",
    }


def test_raw_is_decoded_in_worker_processes() -> None:
    """As every format but JPEG and PNG; told by its content."""
    assert is_delicate(with_preview())
    assert is_delicate(b"FUJIFILMCCD-RAW 0201FF" + bytes(99))


def test_a_tiff_is_no_raw() -> None:
    """Whatever it is called: it is read as before."""
    stream = io.BytesIO()
    shown().save(stream, "TIFF")
    assert not is_raw(stream.getvalue())
    assert distance(stream.getvalue(), shown()) < 1


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """One row, which says what to install."""
    monkeypatch.setitem(sys.modules, "rawpy", None)
    error = refused(with_preview())
    assert (error.kind, error.facts["extra"]) == ("unsupported", "photo")
    assert "pip install 'siglipcli[photo]'" in str(error)


def test_a_run_finds_raw_in_folders_and_the_store_knows_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Scored by its preview; a second run encodes nothing; embeddings of it are the preview's."""
    settle(monkeypatch, tmp_path, tmp_path / "cache")
    monkeypatch.setattr("siglipcli.encoders.openvino_library.is_installed", lambda: False)
    heart = Image.open(demo.IMAGES / "blue-heart.jpg").convert("RGB")
    Path("photos").mkdir()
    Path("photos/a.DNG").write_bytes(dng(scene(), (jpeg(heart), heart.size)))
    arguments = ["classify", "photos", "--labels", str(demo.LABELS), "--format", "jsonl"]
    first = CliRunner().invoke(app, arguments)
    assert json.loads(first.stdout)["labels"][0]["label"] == "blue heart"
    again = CliRunner().invoke(app, [*arguments, str(demo.IMAGES / "blue-heart.jpg")])
    assert again.stdout.splitlines()[0] == first.stdout.strip()
    assert "1 encoded, 1 from the store" in again.stderr
    raw, image = (json.loads(line)["labels"][0]["score"] for line in again.stdout.splitlines())
    assert abs(raw - image) < 0.05
    embedded = CliRunner().invoke(app, ["embed", "photos"])
    assert json.loads(embedded.stdout)["status"] == "ok"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "DNG"])
def test_the_date_is_exifs(kind: str, tmp_path: Path) -> None:
    """DateTimeOriginal, of whatever the format; None where there is none or it is nonsense."""
    path = tmp_path / "a"
    for text, wanted in (
        ("2019:08:07 06:05:04", datetime(2019, 8, 7, 6, 5, 4)),  # noqa: DTZ001  # the camera's own
        ("0000:00:00 00:00:00", None),
    ):
        if kind == "DNG":
            path.write_bytes(dng(scene(16, 16), taken=text, samples=cfa(scene(16, 16))))
        else:
            exif = Image.Exif()
            exif.get_ifd(0x8769)[0x9003] = text
            exif[0x8769] = exif.get_ifd(0x8769)
            shown().save(path, kind, exif=exif.tobytes() if kind != "TIFF" else exif)
        assert taken(path) == wanted
    path.write_bytes(b"")
    assert taken(path) is None
