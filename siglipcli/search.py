"""Rank images against a query: cosines, and the best of a stream, in numpy.

A query is a sum of unit vectors, of texts and images, less those of what is not wanted; renormalised.
Only what may still be among the best stays in memory, so that it depends on the number of matches, not
of images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from siglipcli.digits import shortest
from siglipcli.errors import UsageError
from siglipcli.results import Match, Pair
from siglipcli.scoring import cosines, logits_of, sigmoid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from siglipcli.arguments import ImageInput
    from siglipcli.embeddings import Batch
    from siglipcli.results import Failure, Head, Source

__all__ = ["Best", "Query", "Ranking", "combine", "pairs", "rank"]

T = TypeVar("T")

WAITING = 20_000
"""Images that may wait for the query to be encoded."""
_EMPTY = "the query has nothing to look for, as `without` only subtracts. Give a text or an image."
_NOTHING = 1e-6  # the length of a sum that has no direction left


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for: a sum of `texts` and `images`, less the texts of `without`.

    Texts are taken as typed, without a template. An image is whatever `Classifier.classify` takes as one.
    A single text or image needs no list.
    """

    texts: Sequence[str] = ()
    images: Sequence[ImageInput] = ()
    without: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("texts", "without"):
            texts = getattr(self, name)
            object.__setattr__(self, name, (texts,) if isinstance(texts, str) else tuple(texts))
        several = isinstance(self.images, (list, tuple))
        object.__setattr__(self, "images", tuple(self.images) if several else (self.images,))

    def check(self) -> None:
        """Raise UsageError where there is nothing to look for."""
        if not self.texts and not self.images:
            raise UsageError(_EMPTY)

    @property
    def is_text(self) -> bool:
        """Whether it is a prompt, or several of one meaning: what the sigmoid head is trained for."""
        return not self.images and not self.without


@dataclass(frozen=True, slots=True)
class Ranking:
    """Which matches are wanted: the best `top` (None: all) that reach `threshold`.

    The threshold is a score (from 0 to 1) where the query is text, else a similarity (from -1 to 1).
    Raises ValueError for a number out of its range.
    """

    top: int | None = 10
    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.top is not None and self.top < 1:
            raise ValueError(
                f"top={self.top!r} is not a number of matches from 1 on, or None for all"
            )
        if self.threshold is not None and not -1 <= self.threshold <= 1:  # nor NaN
            raise ValueError(f"threshold={self.threshold!r} is not from -1 to 1")


def combine(
    wanted: Sequence[NDArray[np.float32]], unwanted: Sequence[NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Return the query's unit vector, float32[d]: Σ wanted - Σ unwanted, renormalised.

    Both are unit vectors, float32[d]. Raises UsageError where nothing is wanted, or nothing is left.
    """
    if not wanted:
        raise UsageError(_EMPTY)
    total = np.sum(wanted, axis=0)
    if unwanted:
        total = total - np.sum(unwanted, axis=0)
    length = np.linalg.norm(total)
    if not length > _NOTHING:
        raise UsageError("the query cancels itself out: what is wanted is what is not")
    return np.asarray(total / length, np.float32)


class Best(Generic[T]):
    """The best of a stream: `top` items (None: all), ties in order of arrival."""

    def __init__(self, top: int | None) -> None:
        self._top = top
        self._least = np.float32(-np.inf)
        self._values: list[NDArray[np.float32]] = [np.empty(0, np.float32)]
        self._items: list[T] = []

    def add(self, values: NDArray[np.float32], items: Sequence[T]) -> None:
        """Look at more: `values` is float32[n], one for each of `items`."""
        chosen = np.flatnonzero(values >= self._least)
        if not len(chosen):
            return
        self._values.append(values[chosen])
        self._items += [items[i] for i in chosen.tolist()]
        if self._top is not None and len(self._items) > self._top:
            self._least = self._sort()[-1]

    def ranked(self) -> tuple[NDArray[np.float32], list[T]]:
        """Return values and items, best first."""
        return self._sort(), self._items

    def _sort(self) -> NDArray[np.float32]:
        values = np.concatenate(self._values)
        order = np.argsort(-values, kind="stable")[: self._top]
        self._values = [values[order]]
        self._items = [self._items[i] for i in order.tolist()]
        return self._values[0]


def rank(
    batches: Iterable[Batch],
    query: Future[NDArray[np.float32]],
    head: Head,
    ranking: Ranking,
    *,
    is_text: bool,
    model: str = "",
    waiting: int = WAITING,
) -> Iterator[Match | Failure]:
    """Yield failures as they come, then the wanted matches, best first.

    `query` resolves to its vector, float32[d]; until then at most `waiting` images are read ahead. A
    query that is text has scores. Raises what `query` raises.
    """
    best: Best[Source] = Best(ranking.top)
    for batch in _once_known(batches, query, waiting):
        yield from batch.failures
        if len(batch.vectors):
            similar = cosines(batch.vectors, query.result()[None])[:, 0]
            best.add(
                *_reaching(similar, batch.sources, ranking.threshold, head if is_text else None)
            )
    similarities, sources = best.ranked()
    scores: list[float] | list[None] = [None] * len(sources)
    if is_text:
        scores = shortest(sigmoid(logits_of(similarities, head))).tolist()
    matches = zip(sources, shortest(similarities).tolist(), scores, strict=True)
    for place, (source, similarity, score) in enumerate(matches, 1):
        yield Match(source.name, place, similarity, score, model=model)


def _reaching(
    similar: NDArray[np.float32],
    sources: Sequence[Source],
    threshold: float | None,
    head: Head | None,
) -> tuple[NDArray[np.float32], Sequence[Source]]:
    """Leave out what is below the threshold: of the score, or without a head of the similarity.

    The very float32 that a match carries is compared, so a printed score keeps its image.
    """
    if threshold is None:
        return similar, sources
    values = similar if head is None else sigmoid(logits_of(similar, head))
    kept = np.flatnonzero(values >= np.float32(threshold))
    return similar[kept], [sources[i] for i in kept.tolist()]


def _once_known(
    batches: Iterable[Batch], query: Future[NDArray[np.float32]], limit: int
) -> Iterator[Batch]:
    """Pass batches on once the query is known; until then they wait, up to a number of images."""
    waiting: list[Batch] = []
    for batch in batches:
        waiting.append(batch)
        if query.done() or sum(len(batch.items) for batch in waiting) > limit:
            yield from waiting
            waiting.clear()
    yield from waiting


def pairs(
    images: NDArray[np.float32], texts: NDArray[np.float32], names: Sequence[str], head: Head
) -> list[tuple[Pair, ...]]:
    """Score float32[n, d] against float32[m, d], unit rows: n tuples of m pairs, in order."""
    similar = cosines(images, texts)
    logits = logits_of(similar, head)
    columns = shortest(np.stack([sigmoid(logits), logits, similar])).tolist()
    return [
        tuple(map(Pair, names, scores, raw, similarities))
        for scores, raw, similarities in zip(*columns, strict=True)
    ]
