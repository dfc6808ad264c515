"""What requests share with strangers: encodings, the thread for texts, the threads that fetch."""

from __future__ import annotations

import asyncio
import socket
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from test_serve_engine import LABELS, Slow, png, served, until

from siglipcli import pipeline
from siglipcli.embeddings import Embedded
from siglipcli.online import QueueTimeoutError
from siglipcli.results import Failure, Source
from siglipcli.serve import fetch
from siglipcli.serve.engine import Engine
from siglipcli.serve.fetch import Fetcher
from siglipcli.serve.image_vectors import ImageVectors
from siglipcli.serve.metrics import Metrics
from siglipcli.serve.settings import ServeSettings

if TYPE_CHECKING:
    from collections.abc import Callable


FETCHING = ServeSettings(fetch_urls=True)


class Queue:
    """In the place of `Online`: its images end when the test says so."""

    def __init__(self) -> None:
        self.submitted: list[tuple[Future[Any], float]] = []

    def submit(self, _source: Source, *, seconds: float, **_options: object) -> Future[Any]:
        future: Future[Any] = Future()
        self.submitted.append((future, seconds))
        return future

    def online(self, _heard: object) -> Queue:
        return self


def test_a_request_that_joins_another_waits_for_its_own_time() -> None:
    """Where the first request's time is up, one that came later with the same image goes on without it."""

    async def work() -> None:
        queue: Any = Queue()
        images = ImageVectors(queue, ServeSettings(), Metrics())
        first = asyncio.ensure_future(images.get(b"image", "first", 1))
        await until(lambda: len(queue.submitted) == 1)
        second = asyncio.ensure_future(images.get(b"image", "second", 2))
        await asyncio.sleep(0)
        queue.submitted[0][0].set_exception(QueueTimeoutError("late"))
        with pytest.raises(QueueTimeoutError):
            await first
        await until(lambda: len(queue.submitted) == 2)
        again, seconds = queue.submitted[1]
        assert 0 < seconds < ServeSettings().queue_seconds
        again.set_result(Embedded(Source("image", b""), np.ones(4, np.float32)))
        assert (await second).file == "second"

    asyncio.run(asyncio.wait_for(work(), 60))


def test_an_image_in_memory_keeps_no_batch_there() -> None:
    """Vectors that are remembered are rows of their own, as their size is counted."""

    async def work(engine: Engine, encoder: Slow) -> None:
        encoder.gate.clear()
        requests = [asyncio.ensure_future(engine.embed_images([png(i, 0, 9)])) for i in range(5)]
        await until(lambda: len(engine._images._online._ready) == 4)
        encoder.gate.set()
        await asyncio.gather(*requests)
        assert encoder.batches == [1, 4]
        known = [entry.vector for entry, _ in engine._images._known._entries.values()]
        assert len(known) == 5
        assert all(vector.base is None for vector in known)

    served(work)


def test_health_is_not_ok_while_every_image_is_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that gives NaN is `stuck`, however many requests it gets."""

    async def work(engine: Engine, encoder: Slow) -> None:
        monkeypatch.setattr(
            encoder, "encode_images", lambda pixels: np.full((len(pixels), 4), np.nan, np.float32)
        )
        engine._images.last_encoded -= 100
        [failure] = await engine.classify([png(1, 1, 1)], [LABELS])
        assert failure.kind == "non_finite"
        assert await engine.health() == "stuck"

    served(work)


def test_a_bug_in_one_image_is_that_image_s(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What nobody expected fails one image of the request, without its words; the log has them."""
    read = pipeline.read

    def fail(item: Any, *arguments: Any) -> Any:
        if item.source.origin == png(6, 6, 6):
            raise RuntimeError("/srv/secret")
        return read(item, *arguments)

    async def work(engine: Engine, encoder: Slow) -> None:
        monkeypatch.setattr(pipeline, "read", fail)
        good, bad = await engine.embed_images([png(5, 5, 5), png(6, 6, 6)])
        assert isinstance(good, np.ndarray)
        assert bad == Failure("image 1", "failed", "The image could not be processed.")
        assert "RuntimeError: /srv/secret" in caplog.text

    served(work)


def test_texts_of_lost_clients_are_not_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """One text is encoded at a time: clients that go away while others' are leave nothing in the queue."""

    async def work(engine: Engine, encoder: Slow) -> None:
        gate, begun, encode = threading.Event(), [], encoder.encode_texts

        def slow(texts: Any) -> Any:
            begun.extend(texts)
            assert gate.wait(60)
            return encode(texts)

        monkeypatch.setattr(encoder, "encode_texts", slow)
        for i in range(20):
            request = asyncio.ensure_future(engine.embed_texts([f"text {i}"]))
            await until(lambda: bool(begun))
            await asyncio.sleep(0.01)
            request.cancel()
            await asyncio.wait([request])
        assert await asyncio.to_thread(lambda: "free") == "free"
        gate.set()
        assert len(await engine.embed_texts(["text 0", "last"])) == 2
        assert begun == ["text 0", "last"]  # and what was encoded for nobody is known

    served(work)


# --- URLs -----------------------------------------------------------------------------------------


def connected(monkeypatch: pytest.MonkeyPatch, before: Callable[[], None] = int) -> socket.socket:
    """Have the next connection lead here; `before` is called while it is being made."""
    mine, theirs = socket.socketpair()

    def connect(_address: object, seconds: float) -> socket.socket:
        before()
        theirs.settimeout(seconds)
        return theirs

    monkeypatch.setattr(fetch.socket, "create_connection", connect)
    return mine


def visit() -> fetch._Visit:
    settings = ServeSettings(fetch_urls=True, fetch_seconds=1.0)
    return fetch._Visit(settings, lambda _host, _port: ["8.8.8.8"])


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_fetch_that_ends_while_it_connects_sends_nothing(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """A connection that comes about when nobody waits any more is closed at once."""
    late = visit()
    with connected(monkeypatch, late.stop) as peer:
        with pytest.raises(OSError, match="too late"):
            late.get(f"{scheme}://example.org/a.png")
        assert peer.recv(100) == b""


def test_a_body_ends_where_its_length_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that leaves the connection open keeps no thread, and half an image is none."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
    with connected(monkeypatch) as peer:
        threading.Thread(target=peer.sendall, args=[head + bytes(100_000)], daemon=True).start()
        assert visit().get("http://example.org/a.png") == bytes(100_000)
    with connected(monkeypatch) as peer:
        peer.sendall(head + bytes(10))
        peer.shutdown(socket.SHUT_WR)
        with pytest.raises(OSError, match="cut short"):
            visit().get("http://example.org/a.png")


def test_one_request_leaves_threads_to_others() -> None:
    """A request with many URLs that hang fetches four at once; another's are fetched meanwhile."""
    begun: list[str] = []
    go_on = threading.Event()

    def resolve(host: str, _port: int) -> list[str]:
        begun.append(host)
        if host == "slow.example":
            go_on.wait(60)
        return ["127.0.0.1"]  # refused

    async def work() -> None:
        engine = Engine(ServeSettings(fetch_urls=True, fetch_seconds=60))
        engine._fetcher = Fetcher(engine.settings, resolve)
        slow = asyncio.ensure_future(engine.read_images(["http://slow.example/"] * 12))
        await until(lambda: len(begun) == 4)
        try:
            [failure] = await engine.read_images(["http://quick.example/"])
            assert begun == ["slow.example"] * 4 + ["quick.example"]
        finally:
            go_on.set()
        assert {each.kind for each in [failure, *await slow]} == {"url_refused"}

    asyncio.run(asyncio.wait_for(work(), 60))


def test_clients_do_not_learn_which_names_the_network_knows() -> None:
    """A name that leads to a private address and one that leads nowhere fail in the same words."""

    def resolve(host: str, _port: int) -> list[str]:
        if host == "nowhere.internal":
            raise socket.gaierror("unknown")
        return {"empty.internal": []}.get(host, ["10.0.0.5"])

    async def work() -> None:
        fetcher = Fetcher(FETCHING, resolve)
        failures = [
            await fetcher.fetch(f"http://{host}.internal/", "image 0", fetcher.turns())
            for host in ("known", "nowhere", "empty")
        ]
        assert failures == failures[:1] * 3
        assert failures[0].kind == "url_refused"

    asyncio.run(work())
