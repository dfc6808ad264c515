"""Bytes to pixels: the reference's numbers, the limits, and what is said of files that fail."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from zoo import (
    EPS,
    HTML,
    PHOTOGRAPHS,
    TEXT,
    animated,
    claiming,
    drawn,
    encoded,
    heic_stub,
    oriented,
    photograph,
    tiff,
    with_broken_exif,
)

from siglipcli.errors import ImageError
from siglipcli.images import FORMATS, Limits, decode, load_bytes, read
from siglipcli.results import Source

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Reference = Callable[[Image.Image, int], NDArray[np.float32]]

posix = pytest.mark.skipif(os.name != "posix", reason="the file system of POSIX")


def failure(data: bytes, limits: Limits | None = None) -> ImageError:
    """Return the error that decoding ends in."""
    with pytest.raises(ImageError) as caught:
        decode(data, 32, limits or Limits())
    return caught.value


def failure_of(path: Path, limits: Limits | None = None) -> ImageError:
    """Return the error that reading a file ends in."""
    with pytest.raises(ImageError) as caught:
        read(Source(str(path), path), 32, limits or Limits())
    return caught.value


# ---------------------------------------------------------------------------- the numbers


@pytest.fixture(scope="module")
def reference() -> Reference:
    """Return open_clip's own transform: image, size → float32[size, size, 3]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from open_clip.transform import PreprocessCfg, image_transform_v2

    def transform(image: Image.Image, size: int) -> NDArray[np.float32]:
        half = (0.5, 0.5, 0.5)
        cfg = PreprocessCfg(size=size, mean=half, std=half, resize_mode="squash")
        tensor = image_transform_v2(cfg, is_train=False)(image)  # (3, size, size)
        return np.asarray(tensor.permute(1, 2, 0), dtype=np.float32)

    return transform


def normalised(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Do in float32 what the runtimes do: 0..255 → -1..1."""
    scaled: NDArray[np.float32] = pixels.astype(np.float32) / np.float32(255)
    return np.asarray((scaled - np.float32(0.5)) / np.float32(0.5))


@pytest.mark.parametrize("size", [160, 224, 384])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photographs_come_out_as_open_clip_makes_them(
    reference: Reference, name: str, mode: str, size: int
) -> None:
    """RGB and grey images without EXIF are bit for bit the reference's."""
    image = photograph(name).convert(mode)

    data = encoded(image)  # one of them has a profile
    assert np.array_equal(
        normalised(decode(data, size, color_management=False)), reference(image, size)
    )


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    "extent", [(1, 1), (1, 3000), (3000, 1), (384, 384), (385, 383), (40, 700), (2000, 90)]
)
def test_every_shape_comes_out_as_open_clip_makes_it(
    reference: Reference, extent: tuple[int, int], mode: str
) -> None:
    """Tiny, long and exactly fitting images too are the reference's, enlarged or reduced."""
    image = drawn(*extent).convert(mode)

    assert np.array_equal(normalised(decode(encoded(image), 384)), reference(image, 384))


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpegs_come_out_as_open_clip_makes_them(reference: Reference, mode: str) -> None:
    """A JPEG, the usual image, is decoded and resized as the reference does."""
    data = encoded(photograph("coffee.png").convert(mode), "JPEG", quality=85)

    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(normalised(decode(data, 384)), reference(image, 384))


def test_pixels_can_be_written_to_and_copied_to_a_device_at_once() -> None:
    """The array is the caller's own: uint8[size, size, 3], contiguous, writable."""
    pixels = decode(encoded(drawn()), 48)

    assert pixels.shape == (48, 48, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable


@pytest.mark.parametrize("extent", [(1, 1), (1, 60_000), (60_000, 1)])
@pytest.mark.parametrize("exact", [True, False])
def test_extreme_shapes_are_answered(extent: tuple[int, int], exact: bool) -> None:
    """One pixel, or a line of 60,000, is an image."""
    assert decode(encoded(drawn(*extent), "JPEG"), 64, exact=exact).shape == (64, 64, 3)


# ---------------------------------------------------------------------- reduced decoding


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_reduced_decoding_gives_nearly_the_same_pixels(mode: str, orientation: int) -> None:
    """Large JPEGs decoded in reduced size differ by little, whatever their mode and turn."""
    image = photograph().resize((1600, 1200)).convert(mode)
    data = oriented(image, orientation, "JPEG", quality=95)

    exact = decode(data, 96).astype(int)
    reduced = decode(data, 96, exact=False).astype(int)

    assert not np.array_equal(exact, reduced)
    assert np.abs(exact - reduced).mean() < 1
    assert np.abs(exact - reduced).max() <= 24


@pytest.mark.parametrize(
    ("extent", "decoded"),
    [
        ((1600, 1200), (400, 300)),
        ((1535, 1535), (384, 384)),
        ((192 * 8, 192 * 8), (192, 192)),
        ((4000, 383), (4000, 383)),
        ((383, 383), (383, 383)),
    ],
)
def test_reduced_decoding_never_goes_below_twice_the_size(
    extent: tuple[int, int], decoded: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However large the image, both sides keep at least twice what the model sees."""
    seen: list[tuple[int, int]] = []
    resize = Image.Image.resize

    def watched(image: Image.Image, size: tuple[int, int], *rest: Any) -> Image.Image:
        seen.append(image.size)
        return resize(image, size, *rest)

    data = encoded(drawn(*extent), "JPEG")
    monkeypatch.setattr(Image.Image, "resize", watched)
    decode(data, 96, exact=False)

    assert seen == [decoded]
    assert min(decoded) >= min(192, *extent)


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "JPEG"])
def test_images_that_cannot_be_reduced_are_decoded_exactly(file_format: str) -> None:
    """Small JPEGs, and other formats, are the same either way."""
    data = encoded(photograph().resize((300, 200)), file_format)

    assert np.array_equal(decode(data, 128), decode(data, 128, exact=False))


def test_reduced_decoding_reads_the_first_image_of_an_mpo() -> None:
    """A stereo camera's file is reduced like any JPEG."""
    first = photograph().resize((1200, 900))

    reduced = decode(animated(first, "MPO"), 64, exact=False).astype(int)

    assert np.abs(reduced - decode(encoded(first), 64)).mean() < 3


# --------------------------------------------------------------------------------- limits


def test_bombs_are_refused_by_their_header() -> None:
    """A tiny file that claims 50,000 x 50,000 pixels is one row, and no memory."""
    error = failure(claiming(50_000, 50_000))

    assert error.kind == "too_large"
    assert "100 megapixels" in str(error)
    assert "max_megapixels" in str(error)


@pytest.mark.parametrize("extent", [(12_000, 9_000), (13_000, 13_000), (15_000, 13_000)])
def test_sizes_that_pillow_only_warns_about_are_refused_too(extent: tuple[int, int]) -> None:
    """Between Pillow's warning and its error, our own limit answers, without a warning."""
    assert failure(claiming(*extent)).kind == "too_large"


@pytest.mark.parametrize("extent", [(1_000_001, 1), (1, 60_000_000), (99_000_000, 1)])
def test_a_side_that_no_image_has_is_refused(extent: tuple[int, int]) -> None:
    """A thin image within the megapixels would take gigabytes to be resized: it is told why it is refused."""
    error = failure(claiming(*extent))

    assert error.kind == "too_large"
    assert "1,000,000 pixels" in str(error)


def test_a_long_strip_is_read() -> None:
    """The longest side that is allowed is scored like any other."""
    assert decode(encoded(Image.new("L", (1_000_000, 1), 200)), 224).mean() == 200


@pytest.mark.parametrize("extent", [(1000, 1000), (1000, 1001)])
def test_limit_is_the_users_to_set(extent: tuple[int, int]) -> None:
    """--max-megapixels 1 takes a million pixels and not one more."""
    data, limits = encoded(Image.new("L", extent)), Limits(max_megapixels=1)

    if extent[0] * extent[1] > 1e6:
        assert failure(data, limits).kind == "too_large"
    else:
        assert decode(data, 32, limits).shape == (32, 32, 3)


def test_pillows_ceiling_rises_with_ours_and_never_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who allows more than Pillow does is obeyed; the default changes nothing."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 89_478_485)
    decode(encoded(drawn()), 32)
    assert Image.MAX_IMAGE_PIXELS == 89_478_485

    decode(encoded(drawn()), 32, Limits(max_megapixels=400))
    assert Image.MAX_IMAGE_PIXELS == 200_000_000

    decode(encoded(drawn()), 32, Limits(max_megapixels=1))
    assert Image.MAX_IMAGE_PIXELS == 200_000_000
    decode(encoded(drawn()), 32, Limits(max_megapixels=float("inf")))


def test_huge_image_inside_an_icon_is_refused() -> None:
    """An ICO that holds a bomb is as large as the bomb."""
    bomb = claiming(50_000, 50_000)
    entry = b"\0\0\0\0\1\0\x20\0" + len(bomb).to_bytes(4, "little") + (22).to_bytes(4, "little")

    assert failure(b"\0\0\1\0\1\0" + entry + bomb).kind == "too_large"


def test_large_files_are_refused_before_they_are_read(tmp_path: Path) -> None:
    """A sparse file of 2 GiB costs no memory."""
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.truncate(2 << 30)

    assert failure_of(path).kind == "too_large"
    assert failure_of(path, Limits(max_bytes=1 << 20)).args == ("The file has more than 1 MiB.",)


def test_too_many_bytes_on_stdin_are_refused() -> None:
    """The same limit holds for bytes that came without a file."""
    with pytest.raises(ImageError, match="more than 0 MiB") as caught:
        load_bytes(Source("-", b"x" * 11), Limits(max_bytes=10))

    assert caught.value.kind == "too_large"


@pytest.mark.parametrize("where", ["PIL.Image.Image.resize", "PIL.Image.open"])
def test_memory_that_runs_out_is_a_row(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image for which there is no memory fails alone."""

    def exhausted(*_: object, **__: object) -> None:
        raise MemoryError

    data = encoded(drawn())
    monkeypatch.setattr(where, exhausted)

    assert failure(data).kind == "too_large"


# ---------------------------------------------------------------------------------- files


def test_file_and_stdin_give_the_same_pixels(tmp_path: Path) -> None:
    """The bytes decide, not where they came from."""
    data = encoded(drawn(), "JPEG")
    path = tmp_path / "a.jpg"
    path.write_bytes(data)

    pixels = read(Source("a.jpg", path), 48)

    assert np.array_equal(pixels, read(Source("-", data), 48))
    assert load_bytes(Source("a.jpg", path)) == data


def test_file_that_is_gone_is_told(tmp_path: Path) -> None:
    """A file deleted between listing and reading is one row."""
    assert failure_of(tmp_path / "gone.png").kind == "vanished"
    (tmp_path / "file").touch()
    assert failure_of(tmp_path / "file" / "below.png").kind == "vanished"


def test_file_without_permission_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that may not be read is one row."""
    path = tmp_path / "private.png"
    path.write_bytes(encoded(drawn()))

    def refused(name: str, *_: object) -> int:
        raise PermissionError(13, "Permission denied", name)

    monkeypatch.setattr("os.open", refused)

    assert failure_of(path).kind == "permission"


def test_disk_that_fails_is_told_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An input/output error is one row, with the system's reason."""
    path = tmp_path / "bad-sector.png"
    path.touch()

    def broken(name: str, *_: object) -> int:
        raise OSError(5, "Input/output error", name)

    monkeypatch.setattr("os.open", broken)
    error = failure_of(path)

    assert error.kind == "unreadable"
    assert "Input/output error" in str(error)


def test_name_that_no_file_can_have_is_told() -> None:
    """A NUL in a name is one row."""
    assert failure_of(Path("a\0b.png")).kind == "unreadable"


def test_folder_in_a_files_place_is_told(tmp_path: Path) -> None:
    """A folder called photo.png is not an image."""
    assert failure_of(tmp_path).kind == "is_directory"


@posix
def test_pipes_and_devices_never_block(tmp_path: Path) -> None:
    """A FIFO that nobody writes to, and a device without end, are refused at once."""
    os.mkfifo(tmp_path / "pipe.png")

    assert failure_of(tmp_path / "pipe.png").kind == "not_a_file"
    assert failure_of(Path("/dev/zero")).kind == "not_a_file"


@posix
def test_pipe_that_takes_a_files_place_does_not_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if a file becomes a FIFO just before it is opened, the run goes on."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    really = os.open
    monkeypatch.setattr("os.open", lambda _, *rest: really(tmp_path / "pipe", *rest))

    assert failure_of(tmp_path / "file").kind == "unidentified"


# ------------------------------------------------------------------------ not an image


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (b"", "unidentified", "empty"),
        (TEXT, "unidentified", "text"),
        (TEXT * 100, "unidentified", "text"),
        ("é".encode() * 2000, "unidentified", "text"),
        (HTML, "unidentified", "HTML"),
        (b"\xef\xbb\xbf\n  <html>", "unidentified", "HTML"),
        (bytes(range(256)) * 4, "unidentified", "damaged"),
        (b"\0" * 5000, "unidentified", "damaged"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "unsupported", "SVG"),
        (EPS, "unsupported", "PostScript"),
        (b"%PDF-1.7\n...", "unsupported", "PDF"),
        (b"8BPS\0\1" + b"\0" * 40, "unsupported", "Photoshop"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\0" * 64, "unsupported", "video"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "unsupported", "audio"),
        (b"\xff\xd8\xff\xe0", "truncated", "cut short"),
        (b"II*\0\x08\0\0\0\0\0\0\0", "decode", "damaged"),
    ],
)
def test_what_is_no_image_is_called_by_its_name(data: bytes, kind: str, words: str) -> None:
    """The row says what the file is instead, so that the user need not guess."""
    error = failure(data)

    assert error.kind == kind
    assert words in str(error)
    assert "\n" not in str(error)


def test_ending_does_not_matter(tmp_path: Path) -> None:
    """A PNG named .jpg is answered, and text named .jpg is not."""
    (tmp_path / "png.jpg").write_bytes(encoded(drawn()))
    (tmp_path / "text.jpg").write_bytes(TEXT)

    assert read(Source("png.jpg", tmp_path / "png.jpg"), 32).any()
    assert failure_of(tmp_path / "text.jpg").kind == "unidentified"


def test_postscript_starts_no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file can make the program start Ghostscript."""
    Image.init()
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("a program was started"))

    assert failure(EPS).kind == "unsupported"
    assert failure(b"\n" + EPS).kind == "unidentified"
    assert not {"EPS", "WMF", "IM", "TGA", "PDF"} & set(FORMATS)


@pytest.mark.parametrize(
    ("data", "module", "remedy"),
    [
        (heic_stub(), "pillow_heif", 'pip install "siglipcli[heif]"'),
        (heic_stub(b"hevc"), "pillow_heif", 'pip install "siglipcli[heif]"'),
        (b"\xff\x0a" + b"\0" * 40, "pillow_jxl", "pip install pillow-jxl-plugin"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0" * 40, "pillow_jxl", "pip install pillow-jxl-plugin"),
    ],
)
def test_formats_without_their_plugin_name_it(
    data: bytes, module: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A HEIC or JPEG XL row tells what to install."""
    monkeypatch.setitem(sys.modules, module, None)
    error = failure(data)

    assert error.kind == "unsupported"
    assert remedy in str(error)


def test_heic_is_read_where_the_plugin_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra `[heif]` installed, HEIC is an image like any other."""
    image = encoded(drawn())
    plugin = ModuleType("pillow_heif")

    def register() -> None:
        opened: Callable[..., Image.Image] = lambda *_: Image.open(io.BytesIO(image))  # noqa: E731
        monkeypatch.setitem(Image.OPEN, "HEIF", (opened, None))

    monkeypatch.setattr(plugin, "register_heif_opener", register, raising=False)
    monkeypatch.setitem(sys.modules, "pillow_heif", plugin)

    assert np.array_equal(decode(heic_stub(), 48), decode(image, 48))


# ------------------------------------------------------------------- threads and quietness


def test_many_threads_give_the_same_pixels() -> None:
    """Images decoded beside one another come out as they do alone."""
    files = [oriented(drawn(300 + i, 200), i % 8 + 1, "JPEG") for i in range(16)]
    files += [encoded(drawn(200, 100 + i).convert("RGBA")) for i in range(16)]
    alone = [decode(data, 64) for data in files]

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda data: decode(data, 64), files * 4))

    assert all(np.array_equal(a, b) for a, b in zip(alone * 4, together, strict=True))


def test_damaged_images_leave_stdout_and_stderr_clean(tmp_path: Path) -> None:
    """Nothing that Pillow or its libraries have to say is printed, in any thread."""
    rng = np.random.default_rng(0)
    tiffs = [encoded(drawn(200, 150), "TIFF", compression="tiff_lzw")]
    tiffs.append(encoded(drawn(200, 150).convert("1"), "TIFF", compression="group4"))
    files = [with_broken_exif(drawn()), with_broken_exif(drawn(), "PNG"), claiming(12_000, 9_000)]
    files.append(tiff(np.zeros((4, 5), np.uint8), bands=100))
    for data in tiffs * 3:
        noise = rng.integers(0, 256, 40, dtype=np.uint8).tobytes()
        files.append(data[: len(data) // 2] + noise + data[len(data) // 2 + 40 :])
        files.append(data[: len(data) // 2])
    for i, data in enumerate(files):
        (tmp_path / str(i)).write_bytes(data)
    script = (
        "import sys, contextlib\n"
        "from pathlib import Path\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from siglipcli import errors, images\n"
        "def look(path):\n"
        "    with contextlib.suppress(errors.ImageError):\n"
        "        images.decode(path.read_bytes(), 32)\n"
        "with ThreadPoolExecutor(4) as pool:\n"
        "    list(pool.map(look, Path(sys.argv[1]).iterdir()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", script, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=True,
        timeout=60,
    )

    assert (done.stdout, done.stderr) == (b"", b"")


def test_warnings_of_other_modules_are_still_shown() -> None:
    """Only Pillow is hushed: a host program keeps its own warnings."""
    decode(encoded(drawn()), 32)

    with pytest.warns(UserWarning, match="of the host"):
        warnings.warn("of the host", UserWarning, stacklevel=1)


SEEDS = [
    *(encoded(drawn(24, 20), name) for name in FORMATS),
    encoded(drawn(24, 20), "TIFF", compression="tiff_lzw"),
    encoded(drawn(24, 20).quantize(8), transparency=3),
    oriented(drawn(24, 20), 6, "JPEG"),
]


@settings(max_examples=300, deadline=None)
@given(
    seed=st.sampled_from(SEEDS),
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=12),
    kept=st.floats(0, 1),
    exact=st.booleans(),
)
def test_damage_of_any_kind_is_an_answer_or_a_row(
    seed: bytes, edits: list[tuple[float, int]], kept: float, exact: bool
) -> None:
    """Whatever bytes are changed or missing, the file gives pixels or one of the known kinds."""
    data = bytearray(seed)
    for where, value in edits:
        data[int(where * len(data))] = value
    data = data[: round(kept * len(data))] if kept < 0.5 else data
    known = {"unidentified", "unsupported", "truncated", "too_large", "decode"}
    assert outcome(bytes(data), exact=exact) in {"answered", *known}


def outcome(data: bytes, *, exact: bool) -> str:
    """Return `answered`, or the kind of the failure."""
    try:
        return "answered" if decode(data, 16, Limits(4), exact=exact).size else "no pixels"
    except ImageError as error:
        return error.kind
