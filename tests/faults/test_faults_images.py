"""Images that are damaged, odd or hostile: a row for each, and the run goes on."""

from __future__ import annotations

import importlib.util
import io
import json
import signal
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zoo
from command import DIES, HANGS, HEART, STAR, Done, Siglip, assert_none_left, spoilt
from PIL import Image
from zoo import drawn, encoded

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="signals; reads /proc")

HEADER_ONLY = {
    "50000x50000.png": zoo.claiming(50_000, 50_000),
    "89mp.png": zoo.claiming(10_010, 10_000),  # Pillow warns from 89 megapixels on
    "179mp.png": zoo.claiming(17_900, 10_000),
}


def folder_of(folder: Path, files: Mapping[str, bytes]) -> Path:
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def run(siglip: Siglip, folder: Path, files: Mapping[str, bytes], **options: Any) -> Done:
    """Classify a folder of these files, all labels, without the store."""
    return siglip.classify(folder_of(folder, files), "--all", "--no-cache", **options)


def rows(siglip: Siglip, folder: Path, files: Mapping[str, bytes]) -> Done:
    """Do so in this process."""
    return siglip.rows(folder_of(folder, files), "--all", "--no-cache")


def logits(row: dict[str, Any]) -> dict[str, float]:
    assert row["status"] == "ok", row
    return {each["label"]: each["logit"] for each in row["labels"]}


def assert_same(rows: dict[str, dict[str, Any]], name: str, other: str) -> None:
    assert logits(rows[name]) == pytest.approx(logits(rows[other]), abs=1e-3), name


def assert_rows(done: Done, kinds: dict[str, str]) -> None:
    """Check that exactly these files failed, each with its kind; that exit status and stderr say so."""
    failed = {n: r["error"]["kind"] for n, r in done.by_name().items() if r["status"] == "error"}
    assert failed == kinds
    assert done.status == (1 if kinds else 0)
    assert f" {len(kinds):,} failed, " in done.stderr
    assert all(row["error"]["message"] for row in done.rows if row["status"] == "error")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("count", [40, pytest.param(10_000, marks=pytest.mark.stress)])
def test_a_truncated_jpeg_among_many(siglip: Siglip, tmp_path: Path, count: int) -> None:
    """A JPEG cut short costs its own row; all others are answered."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(count - 1):
        (folder / f"{number:05}.jpg").hardlink_to(HEART)
    (folder / f"{count // 2:05}-cut.jpg").write_bytes(HEART.read_bytes()[:900])
    done = siglip.classify(folder, "--no-cache", deadline=300)
    assert_rows(done, {f"{count // 2:05}-cut.jpg": "truncated"})
    assert len(done.rows) == count


def test_what_is_no_image(siglip: Siglip, tmp_path: Path) -> None:
    """Nothing, text and a web page, all named .jpg, are `unidentified`."""
    files = {
        "empty.jpg": b"",
        "text.jpg": zoo.TEXT,
        "page.jpg": zoo.HTML,
        "z.png": STAR.read_bytes(),
    }
    done = rows(siglip, tmp_path / "in", files)
    assert_rows(done, dict.fromkeys(["empty.jpg", "text.jpg", "page.jpg"], "unidentified"))


def test_a_png_named_jpg(siglip: Siglip, tmp_path: Path) -> None:
    """The content decides, not the ending."""
    files = {"a.jpg": STAR.read_bytes(), "b.png": STAR.read_bytes()}
    done = rows(siglip, tmp_path / "in", files)
    assert_rows(done, {})
    assert_same(done.by_name(), "a.jpg", "b.png")


WATCHED = """
import sys
def _watch(event, args):
    if event in {"subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "os.system"}:
        sys.stderr.write(f"STARTED {event} {args}\\n")
sys.addaudithook(_watch)
"""


def test_formats_outside_the_allow_list(siglip: Siglip, tmp_path: Path) -> None:
    """EPS, PDF, PSD, WMF, video and SVG are rows, and no program is started for any of them."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("gs", "gswin64c"):
        (folder / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
        (folder / name).chmod(0o755)
    files = {
        "a.jpg": zoo.EPS,
        "b.jpg": b"\xc5\xd0\xd3\xc6" + b"\0" * 60,
        "c.jpg": b"%PDF-1.7\n%%EOF\n",
        "d.jpg": b"8BPS\0\x01" + b"\0" * 60,
        "e.jpg": b"\xd7\xcd\xc6\x9a" + b"\0" * 60,
        "f.jpg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "g.jpg": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\0" * 60,
        "h.jpg": encoded(drawn(), "TGA"),
        "i.jpg": encoded(drawn(), "PCX"),
    }
    path = f"{folder}:{siglip.env['PATH']}"
    done = run(siglip, tmp_path / "in", files, code=WATCHED, env={"PATH": path})
    unknown = dict.fromkeys(["h.jpg", "i.jpg"], "unidentified")
    assert_rows(done, dict.fromkeys(files, "unsupported") | unknown)
    assert "STARTED" not in done.stderr
    assert not (tmp_path / "started").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_bombs(siglip: Siglip, tmp_path: Path) -> None:
    """Over 100 megapixels is `too_large`, by our own limit, and costs no memory."""
    rows = [b"\xff" * 1500] * 10_000
    files = {**HEADER_ONLY, "real-120mp.png": zoo.png(12_000, 10_000, 1, 0, rows)}
    (tmp_path / "in").mkdir()
    bombs = folder_of(tmp_path / "bombs", files)
    small = ("classify", "--model", "demo", "-L", "cat", "--no-cache", STAR)
    _, before = siglip.peak(tmp_path / "note", *small)
    done, after = siglip.peak(tmp_path / "note", *small, bombs)
    assert_rows(done, dict.fromkeys(files, "too_large"))
    assert all("max_megapixels" in r["error"]["message"] for r in done.rows[1:])
    assert after < before + 100
    done = siglip.classify(bombs / "real-120mp.png", "--no-cache", "--max-megapixels", "121")
    assert done.row["status"] == "ok"


def test_extreme_shapes(siglip: Siglip, tmp_path: Path) -> None:
    """A single pixel, a column and a line of pixels get finite scores."""
    sizes = [(1, 1), (1, 60_000), (60_000, 1)]
    files = {f"{w}x{h}.{e}": encoded(Image.new("RGB", (w, h), "red"), e) for w, h in sizes for e in ("png", "jpeg")}  # fmt: skip
    done = rows(siglip, tmp_path / "in", files)
    assert_rows(done, {})
    assert all(0 <= each["score"] <= 1 for row in done.rows for each in row["labels"])


def on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def equivalents() -> dict[str, tuple[bytes, Image.Image]]:
    """File of an uncommon mode → its bytes, and the RGB image that it shows."""
    image = drawn(160, 120)
    cmyk = image.convert("CMYK")
    ycck = zoo.ycck(cmyk)
    grey = zoo.as_grey(image)
    shown = Image.fromarray(grey).convert("RGB")
    palette = zoo.palette_with_transparency(image, 3)
    alpha = image.convert("LA")
    alpha.putalpha(zoo.alpha_ramp(image))
    deep = grey.astype(np.uint16) * 257
    return {
        "cmyk.jpg": (encoded(cmyk, "JPEG", quality=95), Image.open(io.BytesIO(encoded(cmyk, "JPEG", quality=95)))),
        "ycck.jpg": (ycck, Image.open(io.BytesIO(ycck))),
        "rgb16.png": (zoo.sixteen_bit_rgb_png(image), image),
        "i16.png": (encoded(Image.fromarray(deep)), shown),
        "i16.tif": (zoo.tiff(deep), shown),
        "palette.png": (palette, on_white(Image.open(io.BytesIO(palette)))),
        "la.png": (encoded(alpha), on_white(alpha)),
        "float.tif": (zoo.tiff(grey.astype(np.float32) / 255), shown),
    }  # fmt: skip


def test_uncommon_modes(siglip: Siglip, tmp_path: Path) -> None:
    """CMYK, YCCK, 16 bits, palette, alpha and float images score as the RGB that they show."""
    files = {}
    for name, (data, shown) in equivalents().items():
        files |= {name: data, f"{name}.rgb.png": encoded(shown.convert("RGB"))}
    done = rows(siglip, tmp_path / "in", files)
    assert_rows(done, {})
    for name in equivalents():
        assert_same(done.by_name(), name, f"{name}.rgb.png")


def test_exif_orientation(siglip: Siglip, tmp_path: Path) -> None:
    """Images that a camera stored on their side score as the upright one."""
    upright = Image.open(STAR).convert("RGB").crop((0, 0, 150, 110))
    files = {f"{turn}.png": zoo.oriented(upright, turn) for turn in range(1, 9)}
    done = rows(siglip, tmp_path / "in", {"upright.png": encoded(upright), **files})
    assert_rows(done, {})
    for name in files:
        assert_same(done.by_name(), name, "upright.png")


def test_corrupt_metadata(siglip: Siglip, tmp_path: Path) -> None:
    """Broken EXIF and colour profiles are ignored; stdout is answers only, stderr the counts only."""
    files = {
        "plain.png": encoded(drawn()),
        "exif.png": zoo.with_broken_exif(drawn(), "PNG"),
        "exif.jpg": zoo.with_broken_exif(drawn()),
        "icc.png": zoo.with_broken_profile(drawn(), "PNG"),
        "icc.jpg": zoo.with_broken_profile(drawn()),
        "large.png": zoo.png(9_500, 9_500, 1, 0, [b"\xff" * 1188] * 9_500),  # Pillow warns
        "strange.tif": zoo.tiff(np.zeros((4, 5), np.uint8), bands=100),
    }
    done = run(siglip, tmp_path / "in", files)
    assert done.by_name()["strange.tif"]["status"] == "error"
    assert_rows(done, {"strange.tif": done.by_name()["strange.tif"]["error"]["kind"]})
    assert_same(done.by_name(), "exif.png", "plain.png")
    assert_same(done.by_name(), "icc.png", "plain.png")
    assert len(done.stderr.splitlines()) == 1


def test_first_frame(siglip: Siglip, tmp_path: Path) -> None:
    """Of animations and multi-page files the first image is read."""
    first = Image.open(STAR).convert("RGB")
    files = {"plain.png": encoded(first)}
    files |= {f"a.{e}": zoo.animated(first, e.upper()) for e in ("png", "webp", "tiff")}
    flat = first.quantize(64)
    files |= {"flat.png": encoded(flat.convert("RGB")), "a.gif": zoo.animated(flat, "GIF")}
    done = rows(siglip, tmp_path / "in", files)
    assert_rows(done, {})
    for name in ("a.png", "a.webp", "a.tiff"):
        assert_same(done.by_name(), name, "plain.png")
    assert_same(done.by_name(), "a.gif", "flat.png")


WITHOUT_PLUGINS = "import sys; sys.modules.update(pillow_heif=None, pillow_jxl=None)\n"


def test_plugins_are_named(siglip: Siglip, tmp_path: Path) -> None:
    """HEIC and JPEG XL without their plugin are rows that say what to install."""
    files = {
        "a.heic": zoo.heic_stub(),
        "b.jxl": b"\xff\x0a" + b"\0" * 40,
        "c.png": encoded(drawn()),
    }
    done = run(spoilt(siglip, tmp_path, WITHOUT_PLUGINS), tmp_path / "in", files)
    assert_rows(done, {"a.heic": "unsupported", "b.jxl": "unsupported"})
    rows = done.by_name()
    assert 'pip install "siglipcli[heif]"' in rows["a.heic"]["error"]["message"]
    assert "pip install pillow-jxl-plugin" in rows["b.jxl"]["error"]["message"]


HEIF_STUB = """
import io, sys, types
from PIL import Image
plugin = types.ModuleType("pillow_heif")
def register():
    Image.OPEN["HEIF"] = (lambda *_: Image.open({path!r}), None)
plugin.register_heif_opener = register
sys.modules["pillow_heif"] = plugin
"""


def test_heic_with_a_stand_in_for_the_plugin(siglip: Siglip, tmp_path: Path) -> None:
    """Where the plugin is present it is registered when the first HEIC is met, and reads it."""
    code = HEIF_STUB.format(path=str(STAR))
    done = run(spoilt(siglip, tmp_path, code), tmp_path / "in", {"a.heic": zoo.heic_stub()})
    assert_rows_of_star(done)


@pytest.mark.skipif(not importlib.util.find_spec("pillow_heif"), reason="needs the extra heif")
def test_heic_with_the_plugin(siglip: Siglip, tmp_path: Path) -> None:
    """With the extra `[heif]` a real HEIC is answered, upright; one cut short is a row."""
    import pillow_heif

    out = io.BytesIO()
    pillow_heif.from_pillow(Image.open(STAR).convert("RGB")).save(out, quality=95)
    whole = out.getvalue()
    done = rows(siglip, tmp_path / "in", {"a.heic": whole, "b.heic": whole[: len(whole) // 2]})
    assert_rows(done, {"b.heic": done.by_name()["b.heic"].get("error", {}).get("kind", "none")})
    assert done.by_name()["a.heic"]["labels"][0]["label"] == "green star"
    assert done.by_name()["b.heic"]["error"]["kind"] in {"truncated", "decode"}


def assert_rows_of_star(done: Done) -> None:
    assert done.status == 0, done.stderr
    assert done.row["labels"][0]["label"] == "green star"


GIF, JPEG, WEBP = (encoded(drawn(90, 60), kind) for kind in ("GIF", "JPEG", "WEBP"))
LIMIT = ("--image-timeout", "3")  # seconds; enough for a worker to start on a busy machine


def among_good_ones(kinds: str) -> dict[str, bytes]:
    """A folder's files in their order: G a GIF, j a JPEG, w a WebP, p a PNG."""
    contents = {"G": GIF, "j": JPEG, "w": WEBP, "p": STAR.read_bytes()}
    endings = {"G": "gif", "j": "jpg", "w": "webp", "p": "png"}
    return {f"{n:03}.{endings[kind]}": contents[kind] for n, kind in enumerate(kinds)}


def assert_gifs_failed(done: Done, files: Mapping[str, bytes], kind: str) -> None:
    """Check that the GIFs are rows of this kind, the others answers, all in their places."""
    assert list(done.by_name()) == list(files)
    assert_rows(done, {name: kind for name in files if name.endswith("gif")})
    assert len(done.stderr.splitlines()) == 1


@linux_only
@pytest.mark.parametrize("kinds", ["pGp", "GGjGwGGjpwGGGjG", "G"])
def test_a_decoder_that_dies(siglip: Siglip, tmp_path: Path, kinds: str) -> None:
    """A decoder that kills its process takes one row with it, not the run, however often."""
    files = among_good_ones(kinds)
    done = run(spoilt(siglip, tmp_path, DIES), tmp_path / "in", files)
    assert_gifs_failed(done, files, "crashed")
    messages = {row["error"]["message"] for row in done.rows if row["status"] == "error"}
    (message,) = messages
    assert "SIGSEGV" in message
    assert "convert it" in message
    assert_none_left(tmp_path)


@pytest.mark.full
@linux_only
@pytest.mark.parametrize("kinds", ["pGp", "GwGjGwjGp"])
def test_a_decoder_that_hangs(siglip: Siglip, tmp_path: Path, kinds: str) -> None:
    """A decoder that never returns takes one row with it, not the run, once its time is up."""
    files = among_good_ones(kinds)
    spoilt_run = spoilt(siglip, tmp_path, HANGS)
    folder = folder_of(tmp_path / "in", files)
    done = spoilt_run.classify(folder, "--no-cache", *LIMIT, "--workers", "2")
    assert_gifs_failed(done, files, "timeout")
    assert "3 s" in next(row["error"]["message"] for row in done.rows if row["status"] == "error")
    assert_none_left(tmp_path)


@linux_only
@pytest.mark.parametrize(("code", "kind"), [(DIES, "crashed"), (HANGS, "timeout")])
def test_a_hostile_image_on_stdin(siglip: Siglip, tmp_path: Path, code: str, kind: str) -> None:
    """What `-` brings is kept apart as a file is."""
    done = spoilt(siglip, tmp_path, code).classify("-", *LIMIT, data=GIF)
    assert_rows(done, {"-": kind})
    assert_none_left(tmp_path)


@linux_only
@pytest.mark.parametrize("options", [(), ("--no-isolate",)])
def test_a_decoder_that_hangs_in_the_process_itself(
    siglip: Siglip, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """JPEGs are decoded in the process itself: one that hangs is a row too, and the run ends."""
    code = HANGS.replace("Gif", "Jpeg") + "JpegImagePlugin.MpoImageFile = None\n"
    files = {"a.png": STAR.read_bytes(), "b.jpg": JPEG, "c.png": STAR.read_bytes()}
    folder = folder_of(tmp_path / "in", files)
    done = spoilt(siglip, tmp_path, code).classify(folder, "--no-cache", *LIMIT, *options)
    assert_rows(done, {"b.jpg": "timeout"})
    assert ("a decoder hangs" in done.stderr) is not bool(options)
    assert_none_left(tmp_path)


@linux_only
def test_which_decoders_are_kept_apart(siglip: Siglip, tmp_path: Path) -> None:
    """`--isolate` takes JPEG and PNG out of the process, `--no-isolate` leaves all others in."""
    code = DIES.replace("Gif", "Png").replace(".load", ".load_prepare")
    one = folder_of(tmp_path / "in", {"a.png": STAR.read_bytes()})
    gif = folder_of(tmp_path / "gif", {"a.gif": GIF})
    run_of_png = spoilt(siglip, tmp_path, code)
    assert_rows(run_of_png.classify(one, "--no-cache", "--isolate"), {"a.png": "crashed"})
    assert run_of_png.classify(one, "--no-cache").status == -signal.SIGSEGV
    (tmp_path / "spoilt" / "sitecustomize.py").write_text(DIES)
    assert run_of_png.classify(gif, "--no-cache", "--no-isolate").status == -signal.SIGSEGV


def test_isolation_changes_no_score(siglip: Siglip, tmp_path: Path) -> None:
    """Images and complaints are the same wherever they are decoded."""
    files = among_good_ones("jwpG") | {"x.gif": GIF[:400], "y.webp": WEBP[:90], "z.jpg": zoo.TEXT}
    folder = folder_of(tmp_path / "in", files)
    apart, here = (
        siglip.rows(folder, "--all", "--no-cache", option)
        for option in ("--isolate", "--no-isolate")
    )
    assert [row["status"] for row in here.rows] == ["ok"] * 4 + ["error"] * 3
    assert apart.rows == here.rows


def test_a_machine_that_starts_no_process(siglip: Siglip, tmp_path: Path) -> None:
    """Where no worker can be started images are decoded all the same; `--isolate` is status 3."""
    folder = folder_of(tmp_path / "in", among_good_ones("jGw"))
    code = "import sys; sys.executable = '/nowhere/python'\n"
    done = siglip.classify(folder, "--no-cache", code=code)
    assert_rows(done, {})
    assert done.stderr.count("all images are decoded in this one") == 1
    done = siglip.classify(folder, "--no-cache", "--isolate", code=code)
    assert (done.status, done.stdout) == (3, b"")
    assert "a process for decoding cannot be started" in done.stderr


@linux_only
def test_few_descriptors_for_workers(siglip: Siglip, tmp_path: Path) -> None:
    """`ulimit -n 64` is enough for eight workers, some of which die."""
    files = among_good_ones("wGjw" * 12)
    folder = folder_of(tmp_path / "in", files)
    run = ("classify", "--model", "demo", "-L", "cat", folder, "--workers", "8", "--no-cache")
    done = spoilt(siglip, tmp_path, DIES).shell('ulimit -n 64; exec "$@"', *run)
    assert_gifs_failed(done, files, "crashed")


ALLOWED = (
    *("OSError", "EOFError", "SyntaxError", "MemoryError", "ValueError", "NotImplementedError"),
    *("OverflowError", "Image.DecompressionBombError", "struct.error", "zlib.error", "IndexError"),
    *("KeyError", "ZeroDivisionError", "TypeError", "RuntimeError", "Image.UnidentifiedImageError"),
)
RAISING = """
import struct, zlib
from PIL import BmpImagePlugin, Image, PngImagePlugin
kinds = [{kinds}]
def after(step):
    def wrapped(self):
        done = step(self)
        if self.width >= 100:
            raise kinds[self.width - 100]("of the decoder")
        return done
    return wrapped
PngImagePlugin.PngImageFile._open = after(PngImagePlugin.PngImageFile._open)
BmpImagePlugin.BmpImageFile.load = after(BmpImagePlugin.BmpImageFile.load)
"""


def test_what_decoders_raise(siglip: Siglip, tmp_path: Path) -> None:
    """Whatever a decoder raises on damaged input, while opening or loading, is that file's row."""
    files = {"fine.png": encoded(drawn(50, 50)), "fine.bmp": encoded(drawn(50, 50), "BMP")}
    for number in range(len(ALLOWED)):
        for ending in ("png", "bmp"):
            files[f"{number}.{ending}"] = encoded(drawn(100 + number, 9), ending)
    code = RAISING.format(kinds=",".join(ALLOWED))
    done = run(spoilt(siglip, tmp_path, code), tmp_path / "in", files)
    failed = {n: r["error"]["kind"] for n, r in done.by_name().items() if r["status"] == "error"}
    assert_rows(done, failed)
    assert set(files) - set(failed) == {"fine.png", "fine.bmp"}
    assert set(failed.values()) == {"decode", "too_large", "unidentified", "truncated"} & set(
        failed.values()
    )
    large = {
        f"{ALLOWED.index(n)}.{e}"
        for n in ("MemoryError", "Image.DecompressionBombError")
        for e in ("png", "bmp")
    }
    assert {name for name, kind in failed.items() if kind == "too_large"} == large


@pytest.mark.parametrize("ending", ["png", "bmp"])
def test_a_bug_is_no_bad_image(siglip: Siglip, tmp_path: Path, ending: str) -> None:
    """What no decoder raises on damaged input is not blamed on the image."""
    files = {f"a.{ending}": encoded(drawn(100, 9), ending)}
    spoilt_run = spoilt(siglip, tmp_path, RAISING.format(kinds="AssertionError"))
    done = run(spoilt_run, tmp_path / "in", files)
    assert (done.status, done.stdout) == (3, b"")
    assert "this is a bug in siglip" in done.stderr


def test_rows_say_what_happened(siglip: Siglip, tmp_path: Path) -> None:
    """A failed input's row holds file, status, an error of kind and message, and no labels; nothing else."""
    done = rows(siglip, tmp_path / "in", {"a.jpg": b""})
    assert done.row == {
        "file": str(tmp_path / "in" / "a.jpg"),
        "status": "error",
        "error": {"kind": "unidentified", "message": "The file is empty (0 bytes)."},
        "labels": [],
    }
    assert json.loads(done.stdout) == done.row
