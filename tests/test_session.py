"""A session: what is shared between calls and threads, and that nothing is left of it."""

from __future__ import annotations

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from what_runs import DEADLINE, children, linux_only, threads, wait_until

from siglipcli.encoders import ModelSpec
from siglipcli.errors import UsageError
from siglipcli.pipeline import LoadOptions
from siglipcli.results import Failure, Source
from siglipcli.session import Session
from siglipcli.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fake_encoder import FakeEncoder
    from numpy.typing import NDArray


def image(kind: str, grey: int = 90) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (9, 9), (grey, 200, 10)).save(out, kind)
    return out.getvalue()


def sources(count: int, kind: str = "GIF") -> list[Source]:
    return [Source(str(n), image(kind, n)) for n in range(count)]


def vectors(session: Session, inputs: list[Source], **options: int) -> NDArray[np.float32]:
    batches = list(session.batches(inputs, LoadOptions(**options) if options else None))
    assert not any(batch.failures for batch in batches)
    return np.concatenate([batch.vectors for batch in batches])


@pytest.fixture
def session(encoder: FakeEncoder) -> Iterator[Session]:
    with Session(encoder) as made:
        yield made


@linux_only
def test_close_ends_every_process_and_thread(encoder: FakeEncoder) -> None:
    """After `close` the process looks as it did before, whether runs were finished or not."""
    before = threads(), children()
    session = Session(encoder)
    vectors(session, sources(5))
    unfinished = session.batches(sources(50))
    next(unfinished)
    assert children() - before[1]
    session.close()
    assert wait_until(lambda: threads() <= before[0] and children() <= before[1])
    with pytest.raises(UsageError, match="closed") as error:
        list(unfinished)
    assert error.value.code == "closed"
    session.close()


@linux_only
def test_a_session_that_nobody_closes_leaves_nothing(encoder: FakeEncoder) -> None:
    """When the last reference goes, its processes and threads go too."""
    before = threads(), children()
    vectors(Session(encoder), sources(2))
    assert wait_until(lambda: threads() <= before[0] and children() <= before[1])


@linux_only
def test_a_worker_process_serves_call_after_call(session: Session) -> None:
    """Calls of one image each do not start a process each."""
    vectors(session, sources(1), workers=1)
    first = children()
    for n in range(8):
        vectors(session, sources(n + 1)[n:], workers=1)
    assert children() == first


@linux_only
def test_a_worker_outlives_the_thread_that_used_it_first(session: Session) -> None:
    """Linux ends a process with the thread that started it, so that must be no thread of a caller."""
    before = children()
    with ThreadPoolExecutor(1) as caller:
        caller.submit(vectors, session, sources(1)).result()
    first = children()
    assert len(first - before) == 1
    time.sleep(0.05)
    vectors(session, sources(1))
    assert children() == first


def test_many_threads_share_a_session(session: Session) -> None:
    """Calls side by side give what each would give alone."""
    inputs = [source for kind in ("GIF", "PNG", "JPEG") for source in sources(7, kind)]
    expected = vectors(session, inputs)
    with ThreadPoolExecutor(8) as callers:
        for result in callers.map(lambda _: vectors(session, inputs), range(16)):
            np.testing.assert_array_equal(result, expected)


@pytest.mark.usefixtures("without_pauses")
def test_one_calls_options_are_no_others(session: Session, encoder: FakeEncoder) -> None:
    """A batch size that one call asks for changes neither the encoder nor the next call."""
    vectors(session, sources(9, "PNG"), batch_size=8)
    assert encoder.batches == [1, 8]
    encoder.batches.clear()
    vectors(session, sources(9, "PNG"))
    assert encoder.batches == [1, 4, 4]


def test_close_ends_a_call_in_another_thread(encoder: FakeEncoder) -> None:
    """Who waits for a result when the session is closed gets an error, not half a list."""
    goes_on = threading.Event()

    def endless() -> Iterator[Source]:
        yield from sources(3, "PNG")
        goes_on.wait(DEADLINE)

    session = Session(encoder)
    with ThreadPoolExecutor(1) as caller:
        call = caller.submit(lambda: list(session.batches(endless())))
        assert wait_until(lambda: bool(encoder.batches))
        session.close()
        with pytest.raises(UsageError, match="closed"):
            call.result(DEADLINE)
        goes_on.set()
    with pytest.raises(UsageError, match="closed"):
        session.encode_texts(["a"])


def test_an_early_end_of_one_call_leaves_the_others(session: Session) -> None:
    """A caller that takes one row and stops costs the session nothing."""
    other = session.batches(sources(30))
    first = next(other)
    for _ in range(3):
        stream = session.batches(sources(30))
        next(stream)
        stream.close()
    rest = np.concatenate([first.vectors, *(batch.vectors for batch in other)])
    np.testing.assert_array_equal(rest, vectors(session, sources(30)))


def test_failures_stay_rows(session: Session) -> None:
    """An image that cannot be read is that call's row, and no more."""
    (batch,) = session.batches([Source("a", b"text")])
    assert [(type(item), item.kind) for item in batch.failures] == [(Failure, "unidentified")]
    assert len(vectors(session, sources(2))) == 2


def test_the_store_is_the_sessions(encoder: FakeEncoder, tmp_path: Path) -> None:
    """What one call encoded, images or texts, another has from the store; `close` closes it."""
    store = Store(tmp_path)
    session = Session(encoder, store=store)
    for is_stored in (False, True):
        (batch,) = session.batches(sources(1, "PNG"))
        rows, stored = session.encode_texts(["cat"])
        assert [*batch.stored, *stored] == [is_stored, is_stored]
        np.testing.assert_array_equal(rows, encoder.encode_texts(["cat"]))
    session.close()
    assert not store.usable


@pytest.mark.parametrize("keep_towers", [None, True, False])
def test_open_makes_a_session_of_a_description(keep_towers: bool | None) -> None:
    """A `ModelSpec` is all that it takes; texts and images may alternate whatever is kept loaded."""
    spec = ModelSpec("demo", device="cpu", runtime="torch", precision="fp32", offline=True)
    with Session.open(spec, keep_towers=keep_towers) as session:
        first = session.encode_texts(["a cat"])[0]
        image_rows = vectors(session, sources(1, "PNG"))
        assert (session.encoder._text is None) == (keep_towers is False)
        np.testing.assert_array_equal(session.encode_texts(["a cat"])[0], first)
        np.testing.assert_array_equal(vectors(session, sources(1, "PNG")), image_rows)
