"""The images that tuning draws: each in one part, whatever is read again, copied or encoded side by side."""

from __future__ import annotations

from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fake_encoder import FakeEncoder
from PIL import Image

from siglipcli.pipeline import LoadOptions
from siglipcli.results import Failure, Source
from siglipcli.tuning import reading
from siglipcli.tuning.reading import Encoded

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


def encoded(sources: list[Source], encoder: Any) -> list[Encoded | Failure]:
    options = LoadOptions(workers=1)
    return list(reading.encoded(sources, encoder, options, int, encoder.encode_images))


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
        Encoded(sources[0], pixels, pixels).digest
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


def test_the_order_is_that_of_the_sources(tmp_path: Path) -> None:
    """One seed makes one engine, also where several images are encoded at a time."""
    sources = noise(tmp_path, 12)
    alone, together = encoded(sources, FakeEncoder()), encoded(sources, SideBySide())
    assert [item.source for item in together] == sources
    for one, other in zip(alone, together, strict=True):
        assert isinstance(one, Encoded)
        assert isinstance(other, Encoded)
        assert np.array_equal(one.pixels, other.pixels)
        assert np.array_equal(one.vector, other.vector)


def test_dividing_encodes_nothing(tmp_path: Path) -> None:
    """Quantizing takes pixels alone, and those kept back are encoded when they are compared."""
    encoder = FakeEncoder()
    assert len(parts(noise(tmp_path, 12), encoder)) == 12
    assert encoder.batches == []


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
    items = encoded(sources, SeldomFinite())
    fine = [item for item in items if isinstance(item, Encoded)]
    kinds = {item.kind for item in items if isinstance(item, Failure)}
    assert kinds == {"non_finite", "unidentified"}
    for item in fine:
        with Image.open(item.source.name) as image:
            assert np.array_equal(item.pixels, np.asarray(image))
        assert np.allclose(FakeEncoder().encode_images(item.pixels[None]), item.vector)


def test_images_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    """And are in no part."""
    sources = noise(tmp_path, 24)
    (tmp_path / "5.png").write_bytes(b"no image")
    divided = parts(sources)
    assert divided.failed == 1
    assert len(divided) == 23
