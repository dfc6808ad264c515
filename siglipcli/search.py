"""Rank images against a query: cosines, and the best of a stream, in numpy.

A query is a sum of unit vectors, of texts and images, less those of what is not wanted; renormalised.
Only what may still be among the best is held, so memory depends on what is asked for, not on how
many images there are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from siglipcli.digits import shortest
from siglipcli.errors import UsageError
from siglipcli.results import Match, Pair
from siglipcli.scoring import sigmoid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from siglipcli.pipeline import Batch
    from siglipcli.results import Failure, Head, Source

__all__ = ["Best", "Query", "Ranking", "combine", "pairs", "rank"]

T = TypeVar("T")

_HELD = 20_000  # rows that may wait for the query to be encoded
_NOTHING = 1e-6  # the length of a sum that has no direction left


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for: a sum of `texts` and `images`, less the texts of `without`.

    Texts are taken as typed, without a template. An image is a path, or a record with its bytes.
    """

    texts: Sequence[str] = ()
    images: Sequence[str | Source] = ()
    without: Sequence[str] = ()

    @property
    def is_text(self) -> bool:
        """Whether it is a prompt, or several of one meaning: what the sigmoid head is trained for."""
        return not self.images and not self.without


@dataclass(frozen=True, slots=True)
class Ranking:
    """Which matches are wanted: the best `top` (None: all) that reach `threshold`.

    The threshold is one of the score where the query is text, else of the similarity.
    """

    top: int | None = 10
    threshold: float | None = None


def combine(
    wanted: Sequence[NDArray[np.float32]], unwanted: Sequence[NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Return the query's unit vector, float32[d]: Σ wanted - Σ unwanted, renormalised.

    Both are unit vectors, float32[d]. Raises UsageError where nothing is wanted, or nothing is left.
    """
    if not wanted:
        raise UsageError("nothing to look for: give a text or --image; --not only subtracts")
    total = np.sum(wanted, axis=0)
    if unwanted:
        total = total - np.sum(unwanted, axis=0)
    length = np.linalg.norm(total)
    if not length > _NOTHING:
        raise UsageError("the query cancels itself out: what is wanted is what is not")
    return np.asarray(total / length, np.float32)


_SLACK = 8  # float32 steps: what a score may be off where it is taken back to a similarity
_COSINE_SLACK = 1e-5


def _floor(ranking: Ranking, head: Head, *, is_text: bool) -> float:
    """Return the least similarity that may be wanted; for a text a little less than what is.

    A score's threshold is taken back through the head, which is not exact: `_reaching` decides.
    """
    threshold = ranking.threshold
    if threshold is None or (is_text and threshold <= 0):
        return -math.inf
    if not is_text:
        return threshold
    least = min(threshold, 1.0) - _SLACK * float(np.spacing(np.float32(threshold)))
    if least <= 0:
        return -math.inf
    logit = math.log(least / (1 - least))
    return (logit - head.logit_bias) / head.logit_scale - _COSINE_SLACK


class Best(Generic[T]):
    """The best of a stream: `top` items (None: all) of at least `least`, ties in order of arrival."""

    def __init__(self, top: int | None, least: float = -math.inf) -> None:
        self._top = top
        self._least = least
        self._values: list[NDArray[np.float32]] = [np.empty(0, np.float32)]
        self._items: list[T] = []

    def add(self, values: NDArray[np.float32], items: Sequence[T]) -> None:
        """Look at more: `values` is float32[n], one for each of `items`."""
        chosen = np.flatnonzero(values >= np.float32(self._least))
        if not len(chosen):
            return
        self._values.append(values[chosen])
        self._items += [items[i] for i in chosen.tolist()]
        if self._top is not None and len(self._items) > self._top:
            self._least = max(self._least, float(self._sort()[-1]))

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
) -> Iterator[Match | Failure]:
    """Yield failures as they come, then the wanted matches, best first.

    `query` is to be its vector, float32[d]. Scores are given for a query that is text. Raises what
    `query` raises.
    """
    best: Best[Source] = Best(ranking.top, _floor(ranking, head, is_text=is_text))
    for batch in _held(batches, query):
        yield from batch.failures
        if len(batch.vectors):
            vector = query.result()
            best.add(_cosines(batch.vectors, vector[None])[:, 0], batch.sources)
    similarities, sources = best.ranked()
    scores: list[float] | list[None] = [None] * len(sources)
    if is_text:
        exact = sigmoid(_logits(similarities, head))
        count = _reaching(exact, ranking.threshold)
        scores = shortest(exact[:count]).tolist()
    found = zip(sources, shortest(similarities).tolist(), scores, strict=False)
    for place, (source, similarity, score) in enumerate(found, 1):
        yield Match(source.name, place, similarity, score)


def _reaching(scores: NDArray[np.float32], threshold: float | None) -> int:
    """Count the scores, best first, that reach the threshold as float32, as they are printed."""
    if threshold is None:
        return len(scores)
    return int((scores >= np.float32(threshold)).sum())


def _held(batches: Iterable[Batch], query: Future[NDArray[np.float32]]) -> Iterator[Batch]:
    """Pass batches on once the query is known; until then they are held, up to a number of rows."""
    held: list[Batch] = []
    for batch in batches:
        held.append(batch)
        if query.done() or sum(len(each.items) for each in held) > _HELD:
            yield from held
            held.clear()
    yield from held


def pairs(
    images: NDArray[np.float32], texts: NDArray[np.float32], names: Sequence[str], head: Head
) -> list[tuple[Pair, ...]]:
    """Hold float32[n, d] against float32[m, d], unit rows: n tuples of m pairs, in order."""
    cosines = _cosines(images, texts)
    logits = _logits(cosines, head)
    columns = shortest(np.stack([sigmoid(logits), logits, cosines])).tolist()
    return [
        tuple(map(Pair, names, scores, raw, similarities))
        for scores, raw, similarities in zip(*columns, strict=True)
    ]


def _cosines(images: NDArray[np.float32], texts: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return float32[n, m]. A product of matrices would round by what else shares the batch."""
    return np.asarray(np.einsum("nd,md->nm", images, texts), np.float32)


def _logits(cosines: NDArray[np.float32], head: Head) -> NDArray[np.float32]:
    return np.asarray(
        np.float32(head.logit_scale) * cosines + np.float32(head.logit_bias), np.float32
    )
