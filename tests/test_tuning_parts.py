"""The images that tuning draws: each in one part, whatever is read again, copied or encoded side by side."""

from __future__ import annotations

from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fake_encoder import FakeEncoder
from PIL import Image

from siglipcli.pipeline import LoadOptions
from siglipcli.results import Source
from siglipcli.tuning import reading

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from siglipcli.tuning.reading import Parts


def noise(folder: Path, count: int) -> list[Source]:
    """Draw as many different images, of the fake encoder's size."""
    rng = np.random.default_rng(0)
    sources = []
    for i in range(count):
        path = folder / f"{i}.png"
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(path)
        sources.append(Source(str(path)))
    return sources


def parts(sources: list[Source], encoder: Any = None) -> Parts:
    return reading.divided(sources, encoder or FakeEncoder(), LoadOptions(workers=1), int)


def rows(pixels: NDArray[np.uint8]) -> set[bytes]:
    return {row.tobytes() for row in pixels}


def test_no_image_is_in_two_parts(tmp_path: Path) -> None:
    """Copies under other names and in other formats count once: what is checked on was not quantized on."""
    sources = noise(tmp_path, 70)
    for i in range(20):
        with Image.open(sources[i].name) as image:
            image.save(tmp_path / f"copy-{i}.bmp")
        sources.insert(70 - 3 * i, Source(str(tmp_path / f"copy-{i}.bmp")))
    divided = parts(sources)
    kept = {image.digest for image in divided.kept}
    others = {
        reading.Encoded(sources[0], pixels, pixels).digest
        for pixels in (*divided.calibrating, *divided.choosing)
    }
    assert not kept & others
    assert not rows(divided.calibrating) & rows(divided.choosing)
    assert len(kept) + len(others) == len(divided) == 70
    assert divided.copies == 20


@pytest.mark.parametrize(("count", "kept"), [(6, 2), (64, 22), (65, 22), (300, 108)])
def test_at_least_a_third_is_kept_back(count: int, kept: int, tmp_path: Path) -> None:
    """Rounded up; and all that quantizing and choosing cannot use."""
    assert len(parts(noise(tmp_path, count)).kept) == kept


class SideBySide(FakeEncoder):
    """Ends the first call after the second."""

    in_flight = 2
    batch_size = 1

    def __init__(self) -> None:
        super().__init__()
        self._second = Event()
        self._calls = 0

    def encode_images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        self._calls += 1
        if self._calls == 1:
            assert self._second.wait(60)
        else:
            self._second.set()
        return super().encode_images(pixels)


def test_the_parts_do_not_depend_on_what_is_encoded_first(tmp_path: Path) -> None:
    """One seed makes one engine, also where several images are encoded at a time."""
    sources = noise(tmp_path, 12)
    alone, together = parts(sources), parts(sources, SideBySide())
    assert np.array_equal(alone.calibrating, together.calibrating)
    assert np.array_equal(alone.choosing, together.choosing)
    assert np.array_equal(alone.choosing_exact, together.choosing_exact)
    assert [image.source for image in alone.kept] == [image.source for image in together.kept]


class SeldomFinite(FakeEncoder):
    """Gives NaN for the first image of each batch."""

    def encode_images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        vectors = super().encode_images(pixels)
        vectors[0] = np.nan
        return vectors


def test_pixels_stay_with_their_embeddings(tmp_path: Path) -> None:
    """Images that cannot be read, or have no finite embedding, shift no other."""
    sources = noise(tmp_path, 24)
    (tmp_path / "5.png").write_bytes(b"no image")
    divided = parts(sources, SeldomFinite())
    assert divided.failed > 1
    assert len(divided) == 24 - divided.failed
    again = FakeEncoder().encode_images(divided.choosing)
    assert np.allclose(again, divided.choosing_exact)
