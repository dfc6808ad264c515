"""The loop: order, bounded read-ahead, early first rows, and a clean end however it ends."""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from siglipcli import images
from siglipcli.errors import ImageError, UsageError
from siglipcli.pipeline import LoadOptions, embed
from siglipcli.results import Failure, Source
from siglipcli.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fake_encoder import FakeEncoder
    from numpy.typing import NDArray

    from siglipcli.embeddings import Embedded
    from siglipcli.store import Space

DEADLINE = 60.0  # seconds a test waits for what must happen


def sources(count: int) -> list[Source]:
    return [Source(str(i), b"") for i in range(count)]


def names(items: list[Embedded | Failure]) -> list[str]:
    return [item.file for item in items]


def flat(batches: Iterator[list[Embedded | Failure]]) -> list[Embedded | Failure]:
    return [item for batch in batches for item in batch]


def colour_of(name: str) -> NDArray[np.uint8]:
    """An image whose colour tells which source it is."""
    n = int(name)
    return np.full((8, 8, 3), (n % 256, n // 256, 100), np.uint8)


@pytest.fixture
def reading_by(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], None]], None]:
    """Replace reading: images are coloured after their names, once `act(name)` has returned."""

    def install(act: Callable[[str], None]) -> None:
        def load_bytes(source: Source, limits: object) -> bytes:
            act(source.name)
            return source.name.encode()

        def decode(
            data: bytes, size: int, limits: object, *, exact: bool, **_: object
        ) -> NDArray[np.uint8]:
            return colour_of(data.decode())

        monkeypatch.setattr(images, "load_bytes", load_bytes)
        monkeypatch.setattr(images, "decode", decode)

    install(lambda name: None)
    return install


def wait_until(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + DEADLINE
    while not true() and time.monotonic() < end:
        time.sleep(0.005)
    return true()


ELSEWHERE: set[threading.Thread] = set()
"""Threads of sessions that other tests of the same process have left open."""


def working() -> list[str]:
    alive = set(threading.enumerate()) - ELSEWHERE
    return [thread.name for thread in alive if thread.name.startswith("siglip")]


@pytest.fixture(autouse=True)
def _nothing_left_working() -> Iterator[None]:
    """However a run ends, its threads end."""
    ELSEWHERE.clear()
    ELSEWHERE.update(threading.enumerate())
    yield
    assert wait_until(lambda: not working()), working()


# --- order and content ----------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_results_keep_the_order_of_inputs(
    encoder: FakeEncoder, reading_by: Callable, batch_size: int
) -> None:
    """Whatever each image takes to read, answers come in the order of the inputs."""
    times = random.Random(7)
    delays = {str(i): times.random() / 200 for i in range(60)}
    reading_by(lambda name: time.sleep(delays[name]))
    answers = flat(embed(sources(60), encoder, LoadOptions(workers=8, batch_size=batch_size)))
    assert names(answers) == [str(i) for i in range(60)]
    expected = encoder.encode_images(np.stack([colour_of(str(i)) for i in range(60)]))
    np.testing.assert_array_equal([a.vector for a in answers], expected)


def test_several_calls_in_flight_keep_the_order(encoder: FakeEncoder, reading_by: Callable) -> None:
    """An encoder that takes several batches at once gives its answers in order all the same."""
    encoder.in_flight = 4
    plain = encoder.encode_images

    def uneven(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        time.sleep(0.02 if int(pixels[0, 0, 0, 0]) % 8 == 1 else 0)
        return plain(pixels)

    encoder.encode_images = uneven
    answers = flat(embed(sources(40), encoder, LoadOptions(workers=2)))
    assert names(answers) == [str(i) for i in range(40)]
    np.testing.assert_array_equal(
        [a.vector for a in answers], plain(np.stack([colour_of(a.file) for a in answers]))
    )


def test_failures_stand_where_their_inputs_stood(
    encoder: FakeEncoder, reading_by: Callable
) -> None:
    """An image that cannot be read, or was never found, is a row in its place."""

    def act(name: str) -> None:
        if int(name) % 3 == 0:
            raise ImageError("truncated", "cut short")

    reading_by(act)
    inputs: list[Source | Failure] = list(sources(20))
    inputs[5] = Failure(inputs[5].name, "missing", "not there")
    answers = flat(embed(inputs, encoder, LoadOptions()))
    assert names(answers) == [str(i) for i in range(20)]
    failed = {a.file: (a.kind, a.message) for a in answers if isinstance(a, Failure)}
    assert failed["5"] == ("missing", "not there")
    assert {n: f for n, f in failed.items() if n != "5"} == {
        str(i): ("truncated", "cut short") for i in range(0, 20, 3)
    }


def test_a_stream_of_failures_alone_needs_no_model(
    encoder: FakeEncoder, reading_by: Callable
) -> None:
    """Where nothing can be read nothing is encoded, and every input still has its row."""
    inputs = [Failure(source.name, "missing", "not there") for source in sources(30)]
    assert flat(embed(inputs, encoder, LoadOptions())) == inputs
    assert encoder.batches == []


def test_no_inputs_give_no_results(encoder: FakeEncoder) -> None:
    """An empty folder is an empty stream."""
    assert list(embed([], encoder, LoadOptions())) == []


def test_a_vector_that_is_not_finite_is_a_row(encoder: FakeEncoder, reading_by: Callable) -> None:
    """Where the model gives NaN or infinity for one image, only that image fails."""
    plain = encoder.encode_images

    def damaged(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        vectors = plain(pixels)
        vectors[pixels[:, 0, 0, 0] == 3, 1] = np.nan
        vectors[pixels[:, 0, 0, 0] == 6, 0] = np.inf
        return vectors

    encoder.encode_images = damaged
    answers = flat(embed(sources(9), encoder, LoadOptions()))
    failed = [a for a in answers if isinstance(a, Failure)]
    assert [(a.file, a.kind) for a in failed] == [("3", "non_finite"), ("6", "non_finite")]
    assert len(answers) == 9


# --- batches --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("without_pauses")
@pytest.mark.parametrize("size", [1, 4, 7])
def test_batches_hold_one_image_and_then_as_many_as_asked(
    encoder: FakeEncoder, reading_by: Callable, size: int
) -> None:
    """The first batch is one image, for an early first row; then `--batch-size` is kept."""
    flat(embed(sources(20), encoder, LoadOptions(batch_size=size)))
    assert encoder.batches[0] == 1
    assert sum(encoder.batches) == 20
    assert set(encoder.batches[1:-1]) <= {size}
    assert encoder.batches[-1] <= size


@pytest.mark.usefixtures("without_pauses")
def test_the_encoders_own_batch_size_is_the_default(
    encoder: FakeEncoder, reading_by: Callable
) -> None:
    """Without `--batch-size` the device's own size is used."""
    flat(embed(sources(13), encoder, LoadOptions()))
    assert encoder.batches == [1, 4, 4, 4]


def test_a_batch_size_that_shrank_stays_small(encoder: FakeEncoder, reading_by: Callable) -> None:
    """Once memory ran out and the encoder takes less, later batches are small from the start."""
    plain = encoder.encode_images

    def tight(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        encoder.batch_limit = 2
        return plain(pixels)

    encoder.encode_images = tight
    flat(embed(sources(200), encoder, LoadOptions(batch_size=16)))
    assert encoder.batches[-20:-1] == [2] * 19


# --- laziness -------------------------------------------------------------------------------------


def test_the_first_row_waits_for_one_image_only(encoder: FakeEncoder, reading_by: Callable) -> None:
    """The first answer is out while the second image is still being read."""
    first_is_out = threading.Event()
    plain = encoder.encode_images

    def slow(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        time.sleep(0.05)
        return plain(pixels)

    encoder.encode_images = slow
    late: list[str] = []

    def act(name: str) -> None:
        if name != "0" and not first_is_out.wait(DEADLINE):
            late.append(name)

    reading_by(act)
    stream = embed(sources(5), encoder, LoadOptions(workers=2))
    assert names(next(stream)) == ["0"]
    first_is_out.set()
    assert names(flat(stream)) == ["1", "2", "3", "4"]
    assert late == []


def test_a_list_that_pauses_holds_no_answer_back(
    encoder: FakeEncoder, reading_by: Callable
) -> None:
    """Paths may come from a watcher: what was named is answered though nothing follows yet."""
    answered = threading.Semaphore(0)
    starved: list[int] = []

    def watcher() -> Iterator[Source]:
        for i, source in enumerate(sources(4)):
            if i >= 1 and not answered.acquire(timeout=DEADLINE):
                starved.append(i)
            yield source

    got = []
    for batch in embed(watcher(), encoder, LoadOptions()):
        got += names(batch)
        answered.release()
    assert got == ["0", "1", "2", "3"]
    assert starved == []


@pytest.mark.usefixtures("without_pauses")
@pytest.mark.parametrize(("given", "listed"), [(b"", 16), (None, 4_096)])
def test_reading_ahead_is_bounded(
    encoder: FakeEncoder, reading_by: Callable, given: bytes | None, listed: int
) -> None:
    """A million files cost no more memory than a hundred: inputs are drawn as answers are taken.

    Images that are in memory already are drawn a few at a time, as they may be large.
    """
    drawn = 0

    def endless() -> Iterator[Source]:
        nonlocal drawn
        while True:
            drawn += 1
            yield Source(str(drawn % 60_000), given)

    stream = embed(endless(), encoder, LoadOptions(workers=2, batch_size=8))
    taken, ahead = 0, []
    for _ in range(40):
        taken += len(next(stream))
        time.sleep(0.002)
        ahead.append(drawn - taken)
    stream.close()
    # what is listed, and a part of it that the store was asked for; 2 workers and 8 to read, a batch
    # being cut, and batches before, in and after the encoder
    assert max(ahead) <= listed + 256 + 2 + 8 + 6 * 8
    assert taken == 1 + 39 * 8


def test_results_come_before_the_inputs_end(encoder: FakeEncoder, reading_by: Callable) -> None:
    """The stream can be endless: answers do not wait for its end."""

    def endless() -> Iterator[Source]:
        while True:
            yield from sources(10)

    stream = embed(endless(), encoder, LoadOptions())
    assert names([item for _ in range(6) for item in next(stream)])[:12] == [
        *map(str, range(10)), "0", "1",
    ]  # fmt: skip
    stream.close()


# --- ends -----------------------------------------------------------------------------------------


def test_nothing_works_on_after_an_early_end(encoder: FakeEncoder, reading_by: Callable) -> None:
    """Whoever stops reading the answers stops the reading of images."""
    read: list[str] = []
    reading_by(read.append)
    stream = embed(sources(100_000), encoder, LoadOptions(workers=4))
    next(stream)
    stream.close()
    assert wait_until(lambda: not working())
    assert len(read) < 1_000


def test_an_end_does_not_wait_for_a_stuck_list(encoder: FakeEncoder, reading_by: Callable) -> None:
    """Closing the answers returns at once, though the list of inputs says nothing more."""
    release = threading.Event()

    def stuck() -> Iterator[Source]:
        yield Source("0", b"")
        release.wait(DEADLINE)

    stream = embed(stuck(), encoder, LoadOptions())
    next(stream)
    stream.close()
    assert not release.is_set()
    release.set()


def test_an_error_of_the_model_surfaces(encoder: FakeEncoder, reading_by: Callable) -> None:
    """What the encoder raises reaches the caller, after the answers before it."""
    plain = encoder.encode_images

    def failing(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        if int(pixels[0, 0, 0, 0]) > 4:
            raise RuntimeError("no kernel")
        return plain(pixels)

    encoder.encode_images = failing
    got: list[Embedded | Failure] = []
    stream = embed(sources(50), encoder, LoadOptions())
    with pytest.raises(RuntimeError, match="no kernel"):
        got.extend(item for batch in stream for item in batch)
    assert names(got) == ["0", "1", "2", "3", "4"]


def test_an_error_of_the_inputs_surfaces(encoder: FakeEncoder, reading_by: Callable) -> None:
    """What the list of inputs raises reaches the caller, with its own type."""

    def broken() -> Iterator[Source]:
        yield from sources(3)
        raise KeyError("a bad list")

    with pytest.raises(KeyError, match="a bad list"):
        flat(embed(broken(), encoder, LoadOptions()))


def test_a_bug_while_reading_surfaces(encoder: FakeEncoder, reading_by: Callable) -> None:
    """An error that is no ImageError is a bug, not a row."""

    def act(name: str) -> None:
        if name == "2":
            raise ZeroDivisionError

    reading_by(act)
    with pytest.raises(ZeroDivisionError):
        flat(embed(sources(5), encoder, LoadOptions()))


def test_reading_options_reach_the_reader(
    encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Limits, decode mode and the model's size arrive where images are read."""
    seen = []

    def decode(
        data: bytes, size: int, limits: object, *, exact: bool, **_: object
    ) -> NDArray[np.uint8]:
        seen.append((size, limits, exact))
        return colour_of("1")

    monkeypatch.setattr(images, "load_bytes", lambda source, limits: b"")
    monkeypatch.setattr(images, "decode", decode)
    load_options = LoadOptions(limits=images.Limits(max_megapixels=3))
    flat(embed(sources(1), encoder, load_options))
    flat(embed(sources(1), encoder, replace(load_options, exact=True)))
    assert seen == [(8, load_options.limits, False), (8, load_options.limits, True)]


# --- with a store ---------------------------------------------------------------------------------


@pytest.fixture
def space(tmp_path: Path) -> Iterator[Space]:
    """A store's part for one model."""
    store = Store(tmp_path / "cache")
    yield store.space("fake", "fake")
    store.close()


def drawn(path: Path, colour: str) -> Source:
    Image.new("RGB", (16, 16), colour).save(path)
    return at_rest(path)


def at_rest(path: Path) -> Source:
    """Let a file look old: one of this moment may yet change within the clock's resolution."""
    os.utime(path, (10**9, 10**9))
    time.sleep(0.06)
    return Source(str(path))


def vector_of(colour: str, encoder: FakeEncoder) -> NDArray[np.float32]:
    pixels = np.array(Image.new("RGB", (8, 8), colour))
    return encoder.encode_images(pixels[None])[0]


def unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, no image can be read."""

    def load_bytes(source: Source, limits: object) -> bytes:
        raise ImageError("missing", f"{source.name} was read")

    monkeypatch.setattr(images, "load_bytes", load_bytes)


def test_what_the_store_knows_is_neither_read_nor_encoded(
    encoder: FakeEncoder, space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second run gives the same vectors and opens no file; a failure is tried again."""
    inputs = [drawn(tmp_path / "a.png", "red"), drawn(tmp_path / "b.png", "blue")]
    (tmp_path / "c.png").write_bytes(b"no image")
    inputs.append(Source(str(tmp_path / "c.png")))
    first = flat(embed(inputs, encoder, LoadOptions(), space))
    assert [getattr(item, "stored", None) for item in first] == [False, False, None]
    encoder.batches.clear()
    unreadable(monkeypatch)
    second = flat(embed(inputs, encoder, LoadOptions(), space))
    assert not encoder.batches
    assert [item.stored for item in second[:2]] == [True, True]
    for item, colour in zip(second, ("red", "blue"), strict=False):
        assert item.vector == pytest.approx(vector_of(colour, encoder))
    assert (first[2].kind, second[2].kind) == ("unidentified", "missing")


def test_verifying_reads_what_the_store_knows(
    encoder: FakeEncoder, space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `verify` every file is opened, and none encoded that is as it was."""
    inputs = [drawn(tmp_path / "a.png", "red")]
    flat(embed(inputs, encoder, LoadOptions(), space))
    (again,) = flat(embed(inputs, encoder, LoadOptions(verify=True), space))
    assert again.stored
    assert encoder.batches == [1]
    unreadable(monkeypatch)
    (failed,) = flat(embed(inputs, encoder, LoadOptions(verify=True), space))
    assert isinstance(failed, Failure)


def test_a_copy_is_known_by_its_content_and_then_by_its_state(
    encoder: FakeEncoder, space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy is read once and never encoded; the original's vector stays."""
    original = drawn(tmp_path / "a.png", "red")
    flat(embed([original], encoder, LoadOptions(), space))
    encoder.batches.clear()
    shutil.copy(tmp_path / "a.png", tmp_path / "copy.png")
    inputs = [at_rest(tmp_path / "copy.png"), original]
    for _ in range(2):
        both = flat(embed(inputs, encoder, LoadOptions(), space))
        assert [item.stored for item in both] == [True, True]
        unreadable(monkeypatch)
    assert not encoder.batches
    for item in both:
        assert item.vector == pytest.approx(vector_of("red", encoder))


def test_bytes_are_known_by_their_content_alone(
    encoder: FakeEncoder, space: Space, tmp_path: Path
) -> None:
    """Bytes that are called as a file that the store knows are not taken for it."""
    red, blue = drawn(tmp_path / "a.png", "red"), drawn(tmp_path / "b.png", "blue")
    flat(embed([red], encoder, LoadOptions(), space))
    impostor = Source(red.name, (tmp_path / "b.png").read_bytes())
    (item,) = flat(embed([impostor], encoder, LoadOptions(), space))
    assert not item.stored
    assert item.vector == pytest.approx(vector_of("blue", encoder))
    (item,) = flat(embed([blue], encoder, LoadOptions(), space))
    assert item.stored


def test_a_source_with_a_path_is_known_by_that_path(
    encoder: FakeEncoder, space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an input is called does not decide which file it is."""
    path = Path(drawn(tmp_path / "a.png", "red").name)
    flat(embed([Source("photo", path)], encoder, LoadOptions(), space))
    unreadable(monkeypatch)
    (item,) = flat(embed([Source("other name", path)], encoder, LoadOptions(), space))
    assert (item.file, item.stored) == ("other name", True)


def test_a_vector_that_is_not_finite_is_not_stored(
    encoder: FakeEncoder, space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run encodes that image again."""
    inputs = [drawn(tmp_path / "a.png", "red")]
    with monkeypatch.context() as patched:
        patched.setattr(encoder, "encode_images", lambda pixels: np.full((1, 4), np.nan, "f4"))
        (failed,) = flat(embed(inputs, encoder, LoadOptions(), space))
    assert failed.kind == "non_finite"
    (item,) = flat(embed(inputs, encoder, LoadOptions(), space))
    assert not item.stored


def test_a_file_that_is_cut_short_fails_unless_allowed(
    encoder: FakeEncoder, tmp_path: Path
) -> None:
    """Half an image is no image, unless what is there is asked for."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.jpg")
    cut = (tmp_path / "whole.jpg").read_bytes()[:-500]
    (failed,) = flat(embed([Source("cut", cut)], encoder, LoadOptions()))
    assert failed.kind == "truncated"
    (item,) = flat(embed([Source("cut", cut)], encoder, LoadOptions(allow_truncated=True)))
    assert item.file == "cut"


@pytest.mark.parametrize("seconds", [-1.0, 86_400.5, float("nan"), float("inf")])
def test_a_time_limit_is_at_most_a_day(seconds: float) -> None:
    """What is no time limit is refused at once, in words."""
    with pytest.raises(UsageError, match="from 0"):
        LoadOptions(timeout=seconds)
    assert LoadOptions(timeout=86_400).timeout == 86_400


def test_many_runs_leave_nothing_behind(encoder: FakeEncoder, reading_by: Callable) -> None:
    """Runs that are stopped at any point end cleanly, one after another."""
    for stop_after in range(12):
        stream = embed(sources(30), encoder, LoadOptions(workers=2))
        with suppress(StopIteration):
            for _ in range(stop_after):
                next(stream)
        stream.close()
    assert wait_until(lambda: not working())
