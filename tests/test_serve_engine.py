"""The engine: images of many requests encoded together, each once, in turns, and no longer than anyone waits."""

from __future__ import annotations

import asyncio
import io
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fake_encoder import FakeEncoder
from PIL import Image

from siglipcli import Classifier, LabelSet, LoadOptions
from siglipcli.results import Failure, Prediction
from siglipcli.serve.engine import Engine
from siglipcli.serve.errors import ApiError
from siglipcli.serve.settings import ServeSettings
from siglipcli.serve.wire import label_sets

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from numpy.typing import NDArray

LABELS = LabelSet.of(["cat", "dog"])


class Slow(FakeEncoder):
    """Encodes images only while `gate` is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.texts: list[str] = []

    def encode_images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert self.gate.wait(60)
        return super().encode_images(pixels)

    def encode_texts(self, texts: Any) -> NDArray[np.float32]:
        self.texts += texts
        return super().encode_texts(texts)


def png(*colour: int) -> bytes:
    """A drawing of one colour."""
    written = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(written, "PNG")
    return written.getvalue()


def served(
    work: Callable[[Engine, Slow], Awaitable[None]], settings: ServeSettings | None = None
) -> None:
    """Run `work` with an engine over the fake encoder."""

    async def run() -> None:
        encoder = Slow()
        engine = Engine(settings or ServeSettings())
        with Classifier(encoder, LoadOptions(workers=1, isolate=False)) as classifier:
            await engine.start(classifier)
            await until(lambda: not engine._images._online._calls)
            encoder.batches.clear()
            try:
                await asyncio.wait_for(work(engine, encoder), 60)
            finally:
                encoder.gate.set()
                engine.close()

    asyncio.run(run())


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that other threads do."""
    while not condition():  # noqa: ASYNC110  # threads set no event
        await asyncio.sleep(0.005)


def test_results_are_the_library_s_and_in_order() -> None:
    """A request gets what `Classifier.classify` gives, with a failure in the place of a bad image."""

    async def work(engine: Engine, encoder: Slow) -> None:
        images = [
            png(255, 0, 0),
            b"no image",
            png(0, 0, 255),
            Failure("image 3", "url_refused", "No."),
        ]
        results = await engine.classify(images, [LABELS])
        assert [type(each) for each in results] == [Prediction, Failure, Prediction, Failure]
        assert [each.file for each in results] == [f"image {i}" for i in range(4)]
        expected = list(engine.classifier.classify([images[0], images[2]], LABELS))
        assert [results[0].scores, results[2].scores] == [each.scores for each in expected]
        vectors = await engine.embed_images(images[:1])
        assert np.array_equal(vectors[0], engine.classifier.encode_images([images[0]])[0])

    served(work)


def test_images_that_wait_are_encoded_together() -> None:
    """Requests that come while the encoder is busy share its next batch; the first waits for nobody."""

    async def work(engine: Engine, encoder: Slow) -> None:
        encoder.gate.clear()
        requests = [asyncio.ensure_future(engine.embed_images([png(i, 0, 9)])) for i in range(5)]
        await until(lambda: len(engine._images._online._ready) == 4)
        encoder.gate.set()
        await asyncio.gather(*requests)
        assert encoder.batches == [1, 4]

    served(work)


def test_one_image_of_many_requests_is_encoded_once() -> None:
    """Requests with the same image share its encoding, also when one of them is cancelled."""

    async def work(engine: Engine, encoder: Slow) -> None:
        encoder.gate.clear()
        requests = [asyncio.ensure_future(engine.embed_images([png(1, 2, 3)])) for _ in range(8)]
        await asyncio.sleep(0.05)
        requests[0].cancel()
        encoder.gate.set()
        rows = [vector for done in await asyncio.gather(*requests[1:]) for vector in done]
        assert encoder.batches == [1]
        assert all(np.array_equal(rows[0], row) for row in rows)
        assert b'siglip_store_hits_total{where="request"} 7.0' in engine.metrics.text()

    served(work)


def test_a_client_that_went_away_costs_nothing_more() -> None:
    """What a cancelled request still had in the queue is neither decoded nor encoded."""

    async def work(engine: Engine, encoder: Slow) -> None:
        encoder.gate.clear()
        first = asyncio.ensure_future(engine.embed_images([png(9, 9, 9)]))
        await until(lambda: bool(engine._images._online._encoding))
        gone = asyncio.ensure_future(engine.embed_images([png(i, 1, 1) for i in range(30)]))
        await asyncio.sleep(0.05)
        gone.cancel()
        await asyncio.sleep(0.05)
        encoder.gate.set()
        await first
        await engine.embed_images([png(7, 7, 7)])
        assert sum(encoder.batches) == 2

    served(work)


def test_requests_take_turns() -> None:
    """A request with one image does not wait for all of another's thirty."""

    async def work(engine: Engine, encoder: Slow) -> None:
        encoder.gate.clear()
        large = asyncio.ensure_future(engine.embed_images([png(i, 1, 1) for i in range(30)]))
        await asyncio.sleep(0.05)
        small = asyncio.ensure_future(engine.embed_images([png(200, 200, 200)]))
        await asyncio.sleep(0.05)
        encoder.gate.set()
        await small
        assert not large.done()
        await large

    served(work)


def test_a_full_queue_refuses_and_a_slow_one_gives_up() -> None:
    """Over the limit of waiting requests the next one is a 429 at once; after so long in the queue, a 503."""

    async def work(engine: Engine, encoder: Slow) -> None:
        encoder.gate.clear()
        waiting = [asyncio.ensure_future(engine.embed_images([png(i, 1, 2)])) for i in range(8)]
        await asyncio.sleep(0.05)
        with pytest.raises(ApiError) as refused:
            await engine.embed_images([png(99, 1, 2)])
        assert (refused.value.status, "Retry-After" in refused.value.headers) == (429, True)
        done, _ = await asyncio.wait(waiting[5:])
        assert {each.exception().status for each in done} == {503}
        encoder.gate.set()
        await waiting[0]

    served(work, ServeSettings(max_waiting=8, queue_seconds=0.3))


def test_texts_are_encoded_once_and_a_set_is_kept() -> None:
    """Labels typed one after another cost only the new ones, and a known set costs none."""

    async def work(engine: Engine, encoder: Slow) -> None:
        for names in (["cat"], ["cat", "dog"], ["dog", "cat", "owl"], ["cat", "dog"]):
            await engine.classify([png(1, 1, 1)], [LabelSet.of(names)])
        assert len(encoder.texts) == 3
        assert len(await engine.embed_texts(["a", "b", "a"])) == 3
        assert encoder.texts[3:] == ["a", "b"]

    served(work)


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (ServeSettings(max_images=1), "too_many_images"),
        (ServeSettings(max_labels=1), "too_many_labels"),
        (ServeSettings(max_prompts=1), "too_many_prompts"),
    ],
)
def test_limits_of_one_request(limits: ServeSettings, code: str) -> None:
    """More images, labels or prompts than one request may have are a 413 that says how many may."""

    async def work(engine: Engine, encoder: Slow) -> None:
        with pytest.raises(ApiError, match="send at most 1") as refused:
            await engine.classify([png(1, 1, 1), png(2, 2, 2)], [LABELS])
        assert (refused.value.status, refused.value.code) == (413, code)
        assert not encoder.batches

    served(work, limits)


def test_a_text_may_not_be_endless() -> None:
    """One that is far longer than any model reads is a 413 before it is tokenized."""

    async def work(engine: Engine, encoder: Slow) -> None:
        with pytest.raises(ApiError) as refused:
            await engine.embed_texts(["a", "b" * 20_001])
        assert (refused.value.status, refused.value.code) == (413, "text_too_long")
        assert not encoder.texts

    served(work)


def test_health_encodes_an_image_and_knows_a_dead_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a minute of an encode health is ok; after that an image is encoded, and a failure is `stuck`."""

    async def work(engine: Engine, encoder: Slow) -> None:
        assert await engine.health() == "ok"
        assert not encoder.batches
        engine._images.last_encoded -= 100
        assert await engine.health() == "ok"
        assert encoder.batches == [1]
        engine._images.last_encoded -= 100
        monkeypatch.setattr(encoder, "encode_images", lambda _pixels: 1 / 0)
        assert await engine.health() == "stuck"
        engine.is_draining = True
        assert await engine.health() == "draining"

    served(work)
    assert asyncio.run(Engine(ServeSettings()).health()) == "loading"


def test_without_a_model_requests_are_told_to_wait() -> None:
    """While the model is loading every use of it is a 503 with Retry-After."""
    with pytest.raises(ApiError) as refused:
        asyncio.run(Engine(ServeSettings()).embed_texts(["a"]))
    assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "5"})


def test_what_the_server_knows_itself_counts_for_no_limit() -> None:
    """ImageNet's labels and prompts, and a large set of the server's own, may be asked for; a client's may not be so large."""

    async def work(engine: Engine, encoder: Slow) -> None:
        imagenet = engine.label_set("imagenet")
        [result] = await engine.classify([png(1, 1, 1)], [imagenet])
        assert isinstance(result, Prediction)
        engine.label_sets = (LABELS,)
        assert await engine.classify([png(1, 1, 1)], [LABELS, imagenet])
        with pytest.raises(ApiError) as refused:
            await engine.classify([png(1, 1, 1)], [LabelSet.of(["cat", "dog"])])
        assert refused.value.code == "too_many_labels"

    served(work, ServeSettings(max_labels=1))


def test_a_file_takes_no_built_in_set_s_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of that name in the working directory is not read, for requests nor in the list."""
    (tmp_path / "food").write_text("a file\n")
    monkeypatch.chdir(tmp_path)
    assert len(Engine(ServeSettings()).label_set("food").labels) > 1
    label_sets._builtin.cache_clear()
    assert all(each["labels"] > 1 for each in label_sets._builtin())


def test_a_model_that_hangs_ends_its_requests() -> None:
    """After the seconds of a request it is a 504, whatever the encoder does."""

    async def work(engine: Engine, encoder: Slow) -> None:
        encoder.gate.clear()
        with pytest.raises(ApiError) as ended:
            await engine.embed_images([png(5, 5, 5)])
        assert (ended.value.status, ended.value.code) == (504, "model_timeout")

    served(work, ServeSettings(request_seconds=0.3))
