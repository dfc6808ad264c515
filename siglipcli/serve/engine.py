"""The model as requests see it: images, labels and texts in, results out, on the event loop."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import numpy as np

from siglipcli import demo
from siglipcli import labels as label_files
from siglipcli.embeddings import Batch, Embedded
from siglipcli.errors import SiglipError
from siglipcli.online import QueueTimeoutError
from siglipcli.results import Failure
from siglipcli.scoring import ScoringOptions
from siglipcli.serve import references
from siglipcli.serve.errors import ApiError, from_library
from siglipcli.serve.fetch import Fetcher
from siglipcli.serve.image_vectors import ImageVectors
from siglipcli.serve.label_vectors import LabelVectors
from siglipcli.serve.memory import RequestMemory
from siglipcli.serve.metrics import Metrics
from siglipcli.serve.threads import BYTES, VALUES, beside

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator, Sequence

    from numpy.typing import NDArray

    from siglipcli.api import Classifier
    from siglipcli.labels import LabelSet
    from siglipcli.results import Prediction
    from siglipcli.scoring import LabelEmbeddings
    from siglipcli.serve.settings import ServeSettings

    Vector: TypeAlias = NDArray[np.float32]
    Health: TypeAlias = Literal["ok", "loading", "draining", "stuck"]

__all__ = ["Engine"]

T = TypeVar("T")

logger = logging.getLogger("siglipcli")

_FRESH = 60.0  # seconds for which an encode shows that images are being encoded
_PROBE = 15.0  # seconds that one may take where this is asked for


class Engine:
    """One classifier for all requests; it may come later, by `start`.

    `label_sets` are those that the server was started with; `active` counts the requests under way, and
    `is_draining` says that no more are taken. Methods raise ApiError: 503 while the model is loading or where
    an image waited too long, 429 where too many requests wait, 413 for too many images, labels or texts, 504
    after too long whatever happened, and what `from_library` makes of library errors. A cancelled call drops
    what is not yet being encoded. All methods are the event loop's.
    """

    def __init__(self, settings: ServeSettings, label_sets: Sequence[LabelSet] = ()) -> None:
        self.settings = settings
        self.label_sets = tuple(label_sets)
        self.metrics = Metrics()
        self.memory = RequestMemory(settings.max_memory_bytes)
        self.active = 0
        self.is_draining = False
        self._is_ready = False
        self._waiting = 0
        self._fetcher = Fetcher(settings)
        self._classifier: Classifier | None = None
        self._images: ImageVectors | None = None
        self._labels: LabelVectors | None = None
        self._built_in: dict[str, LabelSet] = {}  # those that requests have named
        self._probe: asyncio.Future[bool] | None = None

    async def start(self, classifier: Classifier) -> None:
        """Take requests from now on; ready when an image and the server's own labels were encoded.

        Raises SiglipError where that cannot be done.
        """
        self._images = ImageVectors(classifier.session, self.settings, self.metrics)
        self._labels = LabelVectors(classifier.session, self.settings)
        self._classifier = classifier
        for label_set in self.label_sets:
            await self._labels.label_set(label_set)
        result = await self._images.fresh(_an_image())
        if isinstance(result, Failure):
            raise SiglipError(f"an image cannot be encoded: {result.message}")
        self._is_ready = True

    def close(self) -> None:
        """Drop what waits, and close the classifier."""
        if self._images:
            self._images.close()
        if self._classifier:
            self._classifier.close()

    @property
    def classifier(self) -> Classifier:
        """The library's object. Raises ApiError (503) while it is loading."""
        if self._classifier is None:
            raise ApiError(
                503,
                "The model is loading; try again.",
                code="loading",
                headers={"Retry-After": "5"},
            )
        return self._classifier

    @property
    def model(self) -> str:
        """What responses call the model. Raises ApiError (503) while it is loading."""
        return self.classifier.encoder.name

    def label_set(self, name: str) -> LabelSet:
        """Return the server's label set of that name, or the built-in one. Raises ApiError (400).

        A file of that name is never read.
        """
        for label_set in self.label_sets:
            if label_set.name == name:
                return label_set
        if name in self._built_in:
            return self._built_in[name]
        if name in label_files.builtin_names():
            self._built_in[name] = label_files.load_builtin(name)
            return self._built_in[name]
        raise ApiError(
            400,
            "There is no label set of that name here; GET /v1/label_sets lists those there are.",
            code="unknown_label_set",
            param="label_sets",
        )

    # --- health -----------------------------------------------------------------------------------

    async def health(self) -> Health:
        """Return `ok` only where an image was encoded within the last minute, or is now."""
        if self.is_draining:
            return "draining"
        if not self._is_ready or not self._images:
            return "loading"
        if time.monotonic() - self._images.last_encoded < _FRESH:
            return "ok"
        if self._probe is None or self._probe.done():
            self._probe = asyncio.ensure_future(self._encodes(self._images))
        return "ok" if await asyncio.shield(self._probe) else "stuck"

    @staticmethod
    async def _encodes(images: ImageVectors) -> bool:
        try:
            result = await asyncio.wait_for(images.fresh(_an_image()), _PROBE)
        except Exception:  # noqa: BLE001  # whatever it was, the encoder's thread has logged it
            return False
        return isinstance(result, Embedded)

    # --- work -------------------------------------------------------------------------------------

    async def read_images(self, images: Sequence[str]) -> list[bytes | Failure]:
        """Return the bytes of base64 texts, data: URIs and URLs; a Failure in the place of what is none.

        URLs are fetched side by side, where the server fetches any.
        """
        self._check_count(len(images), self.settings.max_images, "images")
        turns = self._fetcher.turns()
        reads = [self._read_image(text, f"image {i}", turns) for i, text in enumerate(images)]
        return list(await _all(reads))

    async def _read_image(
        self, reference: str, name: str, turns: asyncio.Semaphore
    ) -> bytes | Failure:
        if references.is_url(reference):
            image = await self._fetcher.fetch(reference, name, turns)
        else:
            decode = partial(references.decoded, reference, self.settings, name)
            image = await beside(decode, len(reference), BYTES)
        if isinstance(image, bytes):
            self.memory.add(len(image))
        return image

    async def embed_images(self, images: Sequence[bytes | Failure]) -> list[Vector | Failure]:
        """Encode images → unit rows, float32[d], in order; a Failure where there is none."""
        with self._admitted():
            results = await self._in_time(self._embedded(images))
        return [item if isinstance(item, Failure) else item.vector for item in results]

    async def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts, as typed → float32[len(texts), d], unit rows."""
        self._check_texts(texts)
        with self._admitted():
            return await self._in_time(self._label_vectors.texts(texts))

    async def classify(
        self,
        images: Sequence[bytes | Failure],
        label_sets: Sequence[LabelSet],
        options: ScoringOptions | None = None,
    ) -> list[Prediction | Failure]:
        """Score images against label sets, as `Classifier.classify` does, in order."""
        self._check_labels(label_sets)
        with self._admitted():
            return await self._in_time(
                self._predictions(images, label_sets, options or ScoringOptions())
            )

    async def _predictions(
        self,
        images: Sequence[bytes | Failure],
        label_sets: Sequence[LabelSet],
        options: ScoringOptions,
    ) -> list[Prediction | Failure]:
        labels = [await self._label_vectors.label_set(label_set) for label_set in label_sets]
        results = await self._embedded(images)
        count = len(results) * sum(len(bank.vectors) for bank in labels)
        return await beside(partial(self._ranked, results, labels, options), count, VALUES)

    def _ranked(
        self,
        results: Sequence[Embedded | Failure],
        labels: Sequence[LabelEmbeddings],
        options: ScoringOptions,
    ) -> list[Prediction | Failure]:
        done = [item for item in results if isinstance(item, Embedded)]
        items = [item if isinstance(item, Failure) else item.source for item in results]
        rows = np.stack([item.vector for item in done]) if done else np.empty((0, 0), np.float32)
        batch = Batch(items, rows, [item.stored for item in done])
        return list(self.classifier.predictions([batch], labels, options))

    async def _embedded(self, images: Sequence[bytes | Failure]) -> list[Embedded | Failure]:
        self._check_count(len(images), self.settings.max_images, "images")
        turn = object()  # requests take turns
        return list(await _all([self._one(item, i, turn) for i, item in enumerate(images)]))

    async def _one(self, image: bytes | Failure, index: int, turn: object) -> Embedded | Failure:
        if isinstance(image, Failure):
            self.metrics.failures.labels(image.kind).inc()
            return image
        name = f"image {index}"
        if len(image) > self.settings.max_image_bytes:
            return references.too_large(self.settings, name)
        assert self._images
        try:
            return await self._images.get(image, name, turn)
        except (ApiError, QueueTimeoutError):
            raise
        except Exception as error:
            if isinstance(error, SiglipError) and error.code == "closed":
                raise
            # the other images of the request are well
            logger.warning("%s failed: %s: %s", name, type(error).__name__, error)
            self.metrics.failures.labels("failed").inc()
            return Failure(name, "failed", "The image could not be processed.")

    @property
    def _label_vectors(self) -> LabelVectors:
        assert self._labels
        return self._labels

    # --- limits -----------------------------------------------------------------------------------

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        """Count a call that waits for the model. Raises ApiError: 429 where they are too many, 503."""
        _ = self.classifier
        if self._waiting >= self.settings.max_waiting:
            raise ApiError(
                429,
                f"{self._waiting:,} requests wait for the model already; try again.",
                code="too_many_waiting",
                headers={"Retry-After": "2"},
            )
        self._waiting += 1
        self.metrics.waiting.set(self._waiting)
        try:
            yield
        except SiglipError as error:
            raise self._translated(error) from error
        finally:
            self._waiting -= 1
            self.metrics.waiting.set(self._waiting)

    async def _in_time(self, work: Awaitable[T]) -> T:
        try:
            return await asyncio.wait_for(work, self.settings.request_seconds)
        except asyncio.TimeoutError:
            raise ApiError(504, "The model took too long.", code="model_timeout") from None

    def _translated(self, error: SiglipError) -> ApiError:
        if not isinstance(error, QueueTimeoutError):
            return from_library(error)
        words = f"The request waited {self.settings.queue_seconds:g} s for the model; try again."
        return ApiError(503, words, code="queue_timeout", headers={"Retry-After": "10"})

    def _check_labels(self, label_sets: Sequence[LabelSet]) -> None:
        limits = self.settings
        if not any(label_set.labels for label_set in label_sets):
            words = "There is no label; give at least one."
            raise ApiError(400, words, code="no_labels", param="labels")
        known = {id(label_set) for label_set in (*self.label_sets, *self._built_in.values())}
        labels = [
            label
            for label_set in label_sets
            if id(label_set) not in known
            for label in label_set.labels
        ]
        self._check_count(len(labels), limits.max_labels, "labels")
        self._check_count(
            sum(len(label.prompts) for label in labels), limits.max_prompts, "prompts"
        )

    def _check_texts(self, texts: Sequence[str]) -> None:
        limits = self.settings
        self._check_count(len(texts), limits.max_texts, "texts")
        if max(map(len, texts), default=0) > limits.max_text_characters:
            words = f"A text is longer than {limits.max_text_characters:,} characters."
            raise ApiError(413, words, code="text_too_long")

    @staticmethod
    def _check_count(count: int, most: int, what: str) -> None:
        if count > most:
            words = f"{count:,} {what} in one request; send at most {most:,}."
            raise ApiError(413, words, code=f"too_many_{what}")


async def _all(work: Sequence[Awaitable[T]]) -> list[T]:
    """Wait for all, or cancel the rest where one raises."""
    if len(work) == 1:
        return [await work[0]]
    tasks: list[asyncio.Future[T]] = [asyncio.ensure_future(item) for item in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _an_image() -> bytes:
    path: Any = min(demo.IMAGES.iterdir())
    data: bytes = path.read_bytes()
    return data
