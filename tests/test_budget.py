"""Memory for decoding is one budget: what needs more waits, and what an image takes is known before."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from PIL import Image

from siglipcli import images
from siglipcli.images import DEFAULT_LIMITS, Limits
from siglipcli.images.budget import Budget, DecodingMemory, decoding_bytes

ROOT = Path(images.__file__).parents[2]


def test_what_fits_is_given_at_once_and_the_rest_waits_its_turn() -> None:
    """Two of four fit in ten; the third waits for one of them, and nobody overtakes it."""
    budget = Budget(10)
    first, second = budget.claim(4), budget.claim(4)
    order: list[int] = []

    def claim(count: int) -> None:
        claimed = budget.claim(count)
        order.append(count)
        claimed.release()

    third = threading.Thread(target=claim, args=(6,))
    third.start()
    while not budget._queue:
        pass
    fourth = threading.Thread(target=claim, args=(1,))  # would fit, were it not for the third
    fourth.start()
    fourth.join(0.05)
    assert order == []
    first.release()
    first.release()  # again: gives back no more than it had
    for thread in (third, fourth):
        thread.join(60)
    assert order == [6, 1]
    second.release()
    assert budget.claim(10).count == 10


def test_what_is_larger_than_all_gets_all() -> None:
    """An image that is larger than the budget is decoded alone, not never."""
    budget = Budget(10)
    alone = budget.claim(99)
    assert alone.count == 10
    alone.release()
    assert budget.claim(1).count == 1


def test_the_default_is_a_part_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """An eighth of what the machine or cgroup has, from 256 MiB to 1 GiB."""
    for memory, total in ((1 << 30, 256 << 20), (4 << 30, 512 << 20), (1 << 40, 1 << 30)):
        monkeypatch.setattr("siglipcli.machine.memory", lambda memory=memory: memory)
        made = DecodingMemory()
        assert made.files.total + made.pixels.total == total


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "WEBP", "lossless WEBP", "alpha WEBP"])
def test_sizes_are_read_from_the_first_bytes(kind: str) -> None:
    """Ten bytes a pixel of the size that Pillow sees."""
    out = io.BytesIO()
    mode = "RGBA" if kind == "alpha WEBP" else "RGB"
    made = Image.new(mode, (300, 70), (9, 8, 7, 100)[: len(mode)])
    made.save(
        out,
        kind.removeprefix("lossless ").removeprefix("alpha "),
        **({"lossless": True} if kind == "lossless WEBP" else {}),
    )
    assert decoding_bytes(out.getvalue()[:99], 32, DEFAULT_LIMITS, exact=True) == 300 * 70 * 10


@pytest.mark.parametrize(
    ("exact", "progressive", "expected"),
    [
        (True, False, 800 * 400 * 10),
        (False, False, 200 * 100 * 10),  # at a quarter: at a half of it, twice 32 would not fit
        (False, True, 200 * 100 * 10 + 800 * 400 * 6),
    ],
)
def test_a_jpeg_takes_what_its_scale_takes(exact: bool, progressive: bool, expected: int) -> None:
    """Decoded at a reduced scale it takes less; a progressive one keeps its coefficients."""
    out = io.BytesIO()
    Image.new("RGB", (800, 400)).save(out, "JPEG", progressive=progressive)
    assert decoding_bytes(out.getvalue(), 50, DEFAULT_LIMITS, exact=exact) == expected


def test_no_more_is_claimed_than_may_be_decoded() -> None:
    """A bomb is refused by its header and holds nobody up; a rare format counts as a photo."""
    bomb = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + b"\x7f" * 8
    assert decoding_bytes(bomb, 32, Limits(max_megapixels=1), exact=True) == 10_000_000
    assert decoding_bytes(b"II*\0", 32, DEFAULT_LIMITS, exact=True) == 250_000_000
    assert decoding_bytes(b"", 32, DEFAULT_LIMITS, exact=True) == 250_000_000


PEAK = """
import sys
sys.path[:0] = [{tests!r}, {root!r}]
from fake_encoder import FakeEncoder
from siglipcli.pipeline import LoadOptions
from siglipcli.results import Source
from siglipcli.session import Session
def peak():
    # not ru_maxrss, which a child takes over from the process that started it
    status = open("/proc/self/status").read()
    return int(status.partition("VmHWM:")[2].split()[0]) >> 10
with Session(FakeEncoder(), LoadOptions(workers=6), decoding_memory={memory}) as session:
    list(session.batches([Source({small!r})]))
    before = peak()
    (*_, last) = session.batches([Source({path!r}) for _ in range(6)])
    assert not last.failures
    print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts as Linux does")
def test_images_that_are_large_together_do_not_fill_the_memory(tmp_path: Path) -> None:
    """Six transparent PNGs of 36 MB each in 6 threads: one at a time where the budget is for one."""
    Image.new("RGBA", (3000, 3000), (1, 2, 3, 4)).save(tmp_path / "a.png", compress_level=1)
    Image.new("RGBA", (9, 9)).save(tmp_path / "b.png")
    peaks = {}
    for memory in (64 << 20, 4 << 30):
        code = PEAK.format(
            tests=str(Path(__file__).parent), root=str(ROOT), memory=memory,
            small=str(tmp_path / "b.png"), path=str(tmp_path / "a.png"),
        )  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        peaks[memory] = int(done.stdout)
    assert peaks[64 << 20] < 200 < peaks[4 << 30], peaks


def test_an_image_that_is_given_up_gives_its_memory_back() -> None:
    """A decoder that hangs keeps no other image from being decoded."""
    from siglipcli.images.decoders import Decoder, DecoderPool
    from siglipcli.images.readers import Readers

    pool, hangs, goes_on = DecoderPool(1, memory=4000), threading.Event(), threading.Event()

    def work(n: int, decoder: Decoder) -> int:
        decoder._claim(pool.memory.pixels, 3000)
        if n == 0:
            hangs.set()
            goes_on.wait(60)
        return n

    readers = Readers(2, work, lambda n: -1, seconds=0.1, isolate=False, pool=pool)
    try:
        first = readers.submit(0)
        assert hangs.wait(60)
        second = readers.submit(1)
        assert [first.result(), second.result()] == [-1, 1]
    finally:
        goes_on.set()
        readers.close()
        pool.close()
