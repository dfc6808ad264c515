"""Texts and label sets → embeddings for all requests: each text once, and requests in turns."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from siglipcli import scoring
from siglipcli.online import QueueTimeoutError
from siglipcli.serve.cache import Cache
from siglipcli.serve.threads import VALUES, beside

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from siglipcli.labels import LabelSet
    from siglipcli.scoring import LabelEmbeddings
    from siglipcli.serve.settings import ServeSettings
    from siglipcli.session import Session

    Vector: TypeAlias = NDArray[np.float32]

__all__ = ["LabelVectors"]

_TURN = 64  # texts that are encoded before another request has its turn
_REMEMBERED = 64_000_000  # bytes of vectors: of texts, and of label sets


class LabelVectors:
    """The texts of one session. For one event loop.

    Texts are encoded by one thread, a few at a time: a request with thousands of prompts takes turns with
    others, and stops after its turn when it is cancelled. A turn ends with its work, whoever still waits for
    that: the thread cannot be stopped, and nothing else is handed to it before.
    """

    def __init__(self, session: Session, settings: ServeSettings) -> None:
        self._session = session
        self._seconds = settings.queue_seconds
        self._texts: Cache[Vector] = Cache(_REMEMBERED)
        self._sets: Cache[LabelEmbeddings] = Cache(_REMEMBERED)
        self._turn = asyncio.Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="siglip-texts")
        self._work: asyncio.Future[list[str]] | None = None  # of the turn

    async def label_set(self, labels: LabelSet) -> LabelEmbeddings:
        """Return a label set with its prompts encoded, as `Classifier.encode_labels` does."""
        if known := self._sets.get(labels):
            return known
        prompts = [text for label in labels.labels for text in label.prompts]
        vectors = await self._vectors(prompts)
        embed = partial(
            scoring.embed_labels, labels, lambda texts: np.stack([vectors[text] for text in texts])
        )
        embedded = await beside(embed, len(prompts), VALUES)
        self._sets.put(labels, embedded, embedded.vectors.nbytes)
        return embedded

    async def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts → float32[len(texts), d], unit rows. Raises QueueTimeoutError."""
        vectors = await self._vectors(texts)
        return np.stack([vectors[text] for text in texts])

    async def _vectors(self, texts: Sequence[str]) -> dict[str, Vector]:
        vectors: dict[str, Vector] = {}
        missing = self._missing(dict.fromkeys(texts), vectors)
        while missing:
            await self._wait_for_turn()
            self._work = asyncio.ensure_future(self._take_turn(missing, vectors))
            missing = await asyncio.shield(self._work)
        return vectors

    async def _take_turn(
        self, texts: Sequence[str] | dict[str, None], vectors: dict[str, Vector]
    ) -> list[str]:
        """Encode the first texts, and return those that are left."""
        try:
            missing = self._missing(texts, vectors)  # another request may have had them
            await self._encode(missing[:_TURN], vectors)
        finally:
            self._turn.release()
        return missing[_TURN:]

    def _missing(
        self, texts: Sequence[str] | dict[str, None], vectors: dict[str, Vector]
    ) -> list[str]:
        """Add the vectors that are known; return the texts that are not."""
        known = {text: vector for text in texts if (vector := self._texts.get(text)) is not None}
        vectors |= known
        return [text for text in texts if text not in known]

    async def _wait_for_turn(self) -> None:
        try:
            await asyncio.wait_for(self._turn.acquire(), self._seconds)
        except asyncio.TimeoutError:
            raise QueueTimeoutError("the labels waited too long for the model") from None

    async def _encode(self, texts: list[str], vectors: dict[str, Vector]) -> None:
        if not texts:
            return
        loop = asyncio.get_running_loop()
        rows, _ = await loop.run_in_executor(self._pool, self._session.encode_texts, texts)
        for text, row in zip(texts, rows, strict=True):
            vector = np.array(row)  # not a view, which would keep all rows
            vectors[text] = vector
            self._texts.put(text, vector, vector.nbytes + len(text))
