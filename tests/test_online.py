"""Images from many callers, encoded as they come: whatever ends first, nobody waits for ever."""

from __future__ import annotations

import io
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fake_encoder import FakeEncoder
from PIL import Image

from siglipcli import LoadOptions, Session, pipeline
from siglipcli.embeddings import Embedded
from siglipcli.errors import SiglipError, UsageError
from siglipcli.online import Online, QueueTimeoutError
from siglipcli.results import Failure, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

DEADLINE = 60.0  # seconds for what must happen: nothing is waited for when all is well


class Gated(FakeEncoder):
    """Encodes images only while `gate` is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.is_finite = True

    def encode_images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert self.gate.wait(DEADLINE)
        rows = super().encode_images(pixels)
        return rows if self.is_finite else np.full_like(rows, np.nan)


@contextmanager
def opened(heard: Callable[[int], object] = int) -> Iterator[tuple[Online, Gated, Session]]:
    """Encode with one reader, in a session of its own."""
    encoder = Gated()
    with Session(encoder, LoadOptions(workers=1, isolate=False, timeout=60)) as session:
        online = session.online(heard)
        try:
            yield online, encoder, session
        finally:
            encoder.gate.set()
            online.close()


def png(shade: int) -> Source:
    """A drawing of one colour."""
    written = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(written, "PNG")
    return Source(f"{shade}.png", written.getvalue())


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Have every image named 0.png hang in its reader until this is set."""
    go_on, read = threading.Event(), pipeline.read

    def hang(item: Any, *arguments: Any) -> Any:
        if item.source.name == "0.png":
            go_on.wait(DEADLINE)
        return read(item, *arguments)

    monkeypatch.setattr(pipeline, "read", hang)
    yield go_on
    go_on.set()


def test_an_image_whose_time_ends_while_it_is_taken_hurts_no_other() -> None:
    """The encoder takes a batch as one of its images expires: that one is late, the others have results."""
    between, expired = threading.Event(), threading.Event()
    with opened() as (online, encoder, _):

        class Deadline(float):
            """Lets the encoder come by while it is compared."""

            def __lt__(self, now: float) -> bool:
                encoder.gate.set()
                between.wait(0.3)
                return True

        first = online.submit(png(1), seconds=DEADLINE)
        wait_until(lambda: bool(online._encoding))
        futures = [online.submit(png(shade), seconds=DEADLINE) for shade in (2, 3)]
        wait_until(lambda: len(online._ready) == 2)
        item = online._ready[1]
        take = item.future.set_running_or_notify_cancel

        def taken() -> bool:
            between.set()
            expired.wait(0.3)
            return take()

        item.future.set_running_or_notify_cancel = taken  # type: ignore[method-assign]
        item.future.add_done_callback(lambda _: expired.set())
        item.deadline = Deadline()
        online._expire()
        assert isinstance(futures[0].result(DEADLINE), Embedded)
        assert isinstance(first.result(DEADLINE), Embedded)
        with pytest.raises(QueueTimeoutError):
            futures[1].result(DEADLINE)
        assert isinstance(online.submit(png(4), seconds=DEADLINE).result(DEADLINE), Embedded)


def test_too_many_stuck_readers_fail_their_images_and_no_more(stuck: threading.Event) -> None:
    """An image that is one too many is an error of its own; what comes later is still encoded."""
    with opened() as (online, encoder, _):
        encoder.gate.set()
        online._readers._most_lost = 0
        late = online.submit(png(0), seconds=DEADLINE)
        wait_until(lambda: any(item.task and item.task.reader for item in list(online._decoding)))
        online._readers.waited += 1_000
        for _ in range(4):  # it is looked at twice, to see whether it is at work, then given up
            online._give_up_decoders()
        with pytest.raises(SiglipError, match="not read after 60 s"):
            late.result(DEADLINE)
        assert isinstance(online.submit(png(1), seconds=DEADLINE).result(DEADLINE), Embedded)


def test_a_look_that_fails_is_not_the_last(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever goes wrong while images are looked at is logged, and late ones are still ended."""
    with opened() as (online, encoder, _):
        online._give_up_decoders = lambda: 1 / 0  # type: ignore[method-assign,assignment,return-value]
        online.submit(png(1), seconds=DEADLINE)
        wait_until(lambda: bool(online._encoding))
        late = online.submit(png(2), seconds=0)
        with pytest.raises(QueueTimeoutError):
            late.result(DEADLINE)
        assert "ZeroDivisionError" in caplog.text
        del online._give_up_decoders
        encoder.gate.set()


def test_what_waits_for_a_reader_expires_too(stuck: threading.Event) -> None:
    """Behind an image that hangs, those that no reader has begun end after their time; it does not."""
    with opened() as (online, encoder, _):
        encoder.gate.set()
        first = online.submit(png(0), seconds=0)
        wait_until(lambda: any(item.task and item.task.reader for item in list(online._decoding)))
        late = [online.submit(png(shade), seconds=0) for shade in range(1, 9)]
        for _ in range(2):  # some were in the queue before the readers'
            online._expire()
        for future in late:
            assert isinstance(future.exception(0), QueueTimeoutError)
        assert not first.done()
        stuck.set()
        assert isinstance(first.result(DEADLINE), Embedded)
        assert encoder.batches == [1]


def test_closing_ends_all_that_waits(stuck: threading.Event) -> None:
    """What waits for a turn, a reader or the encoder is cancelled; what is being encoded has its result."""
    with opened() as (online, encoder, _):
        encoded = online.submit(png(1), seconds=DEADLINE)
        wait_until(lambda: bool(online._encoding))
        waiting = [online.submit(png(shade), seconds=DEADLINE) for shade in (2, 3, 0, 4, 5, 6, 7)]
        wait_until(lambda: len(online._ready) == 2)
        assert list(online._turns)
        online.close()
        assert all(future.cancelled() for future in waiting)
        assert online.submit(png(8), seconds=DEADLINE).cancelled()
        encoder.gate.set()
        assert isinstance(encoded.result(DEADLINE), Embedded)


def test_a_closed_session_fails_what_was_to_be_encoded() -> None:
    """An image that was taken for a batch that never begins hears of it; closing ends those that wait."""
    with opened() as (online, encoder, session):
        session._resources.encoding.submit(encoder.gate.wait, DEADLINE)  # another run's batch
        queued = online.submit(png(1), seconds=DEADLINE)
        wait_until(lambda: bool(online._encoding))
        ready = online.submit(png(2), seconds=DEADLINE)
        wait_until(lambda: bool(online._ready))
        session._resources.close(wait=False)
        with pytest.raises(UsageError) as error:
            queued.result(DEADLINE)
        assert error.value.code == "closed"
        online.close()
        assert ready.cancelled()


def test_images_without_an_embedding_are_not_heard_of() -> None:
    """A model that gives NaN has encoded nothing: who listens hears 0, and the image is a failure."""
    heard: list[int] = []
    with opened(heard.append) as (online, encoder, _):
        encoder.gate.set()
        assert isinstance(online.submit(png(1), seconds=DEADLINE).result(DEADLINE), Embedded)
        encoder.is_finite = False
        result = online.submit(png(2), seconds=DEADLINE).result(DEADLINE)
        assert isinstance(result, Failure)
        assert (result.kind, heard) == ("non_finite", [1, 0])
