"""Embeddings → cosines → logits → scores, in numpy.

The head is SigLIP's (arXiv 2303.15343): logit = scale · cosine + bias, score = sigmoid(logit). Label
vectors follow open_clip's `build_zero_shot_classifier`: the mean of unit embeddings, renormalised.

A score depends on its image and its prompts alone: not on the batch, the other labels, the threads or
the processor. `cosines` says how.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from siglipcli.digits import shortest
from siglipcli.results import Score

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    from siglipcli.labels import LabelSet
    from siglipcli.results import Head

    Encode: TypeAlias = Callable[[Sequence[str]], NDArray[np.float32]]
    """Texts → float32[n, d], unit rows."""

__all__ = [
    "DEFAULT_THRESHOLD",
    "LabelEmbeddings",
    "ScoringOptions",
    "cosines",
    "embed_labels",
    "logits",
    "logits_of",
    "once",
    "rank",
    "sigmoid",
    "softmax",
    "tags",
    "thresholds",
]

DEFAULT_THRESHOLD = 0.2
"""The score that makes a tag where neither label, options nor set say otherwise."""

_GRID = 1.5 * 2.0**26  # x + _GRID - _GRID rounds x to a multiple of 2^-26
_ROWS, _COLUMNS = 512, 512  # of one product: 3 MB each at d = 768, so that they stay in the cache


@dataclass(frozen=True, slots=True, eq=False)
class LabelEmbeddings:
    """A label set with its prompts encoded, for many calls of `Classifier.classify`.

    `vectors` is float32[n_vectors, d], unit rows, grouped by label; `starts` is int64[n_labels],
    the first row of each label (`aggregate: mean` leaves one row per label).
    """

    labels: LabelSet
    vectors: NDArray[np.float32]
    starts: NDArray[np.int64]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LabelEmbeddings):
            return NotImplemented
        return (
            self.labels == other.labels
            and np.array_equal(self.vectors, other.vectors)
            and np.array_equal(self.starts, other.starts)
        )

    def __hash__(self) -> int:
        return hash((self.labels.name, self.vectors.shape))

    def __repr__(self) -> str:
        rows, width = self.vectors.shape
        count = len(self.labels.labels)
        return f"<LabelEmbeddings {self.labels.name!r}: {count:,} labels, float32[{rows}, {width}]>"


@dataclass(frozen=True, slots=True)
class ScoringOptions:
    """Which labels a prediction has, and which of them are tags.

    The best `top` labels of a set (None: all), and every tag; with `tags_only` the tags alone. Negative
    labels are left out unless `negatives`. `threshold`, a score from 0 to 1, replaces the set's own, never a label's. `bias_shift` is
    added to every logit, beside the set's own. Raises ValueError for a number out of its range.
    """

    top: int | None = 5
    threshold: float | None = None
    negatives: bool = False
    bias_shift: float = 0.0
    tags_only: bool = False

    def __post_init__(self) -> None:
        if self.top is not None and self.top < 1:
            raise ValueError(
                f"top={self.top!r} is not a number of labels from 1 on, or None for all"
            )
        if self.threshold is not None and not 0 <= self.threshold <= 1:  # nor NaN
            raise ValueError(f"threshold={self.threshold!r} is not a score from 0 to 1")
        if not math.isfinite(self.bias_shift):
            raise ValueError(f"bias_shift={self.bias_shift!r} is not finite")


def sigmoid(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 1 / (1 + e⁻ˣ) without overflow, same shape and dtype."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e)).astype(np.float32)


def softmax(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Softmax over the last axis, same shape and dtype."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True), dtype=np.float32)


def once(sets: Iterable[LabelSet], encode: Encode) -> Encode:
    """Encode each prompt of the sets, once for all that share it; return what looks them up."""
    prompts = (prompt for labels in sets for label in labels.labels for prompt in label.prompts)
    texts = list(dict.fromkeys(prompts))
    rows = encode(texts) if texts else np.empty((0, 0), np.float32)
    row = {text: i for i, text in enumerate(texts)}
    return lambda wanted: rows[[row[text] for text in wanted]]


def embed_labels(labels: LabelSet, encode: Encode) -> LabelEmbeddings:
    """Encode a label set's prompts with `encode`."""
    counts = [len(label.prompts) for label in labels.labels]
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
    vectors = encode([prompt for label in labels.labels for prompt in label.prompts])
    if labels.aggregate == "mean" and len(vectors) != len(starts):
        sums = np.add.reduceat(vectors, starts)  # (n_labels, d): a mean's direction is its sum's
        vectors = (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)
        starts = np.arange(len(counts))
    return LabelEmbeddings(labels, np.ascontiguousarray(vectors, np.float32), starts)


def logits(images: NDArray[np.float32], labels: LabelEmbeddings, head: Head) -> NDArray[np.float32]:
    """Return float32[n_images, n_labels]; `images` is float32[n_images, d], unit rows."""
    similar = cosines(images, labels.vectors)  # (n_images, n_vectors)
    if len(labels.starts) != len(labels.vectors):
        similar = np.maximum.reduceat(similar, labels.starts, axis=1)
    return logits_of(similar, head)


def logits_of(cosines: NDArray[np.float32], head: Head) -> NDArray[np.float32]:
    """Return logit_scale · cosine + logit_bias, same shape and dtype."""
    return np.asarray(
        np.float32(head.logit_scale) * cosines + np.float32(head.logit_bias), dtype=np.float32
    )


def cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the products of unit rows, float32[n, d] and float32[m, d], as float32[n, m].

    Each is a function of its two rows: bit-equal in any shape, on any BLAS and any number of threads.
    Components are rounded to multiples of 2^-26 (an error below float32's own in a sum of such length),
    so each product is a multiple of 2^-52, every partial sum of unit rows lies within ±1 (Cauchy-Schwarz),
    and float64 adds them without rounding, in whatever order.
    """
    products = np.empty((len(a), len(b)), np.float32)
    for row in range(0, len(a), _ROWS):
        rows = _on_grid(a[row : row + _ROWS])
        for column in range(0, len(b), _COLUMNS):
            columns = _on_grid(b[column : column + _COLUMNS])
            products[row : row + _ROWS, column : column + _COLUMNS] = rows @ columns.T
    return products


def _on_grid(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    rounded = vectors.astype(np.float64)
    rounded += _GRID
    rounded -= _GRID
    return rounded


def rank(
    images: NDArray[np.float32], labels: LabelEmbeddings, head: Head, options: ScoringOptions
) -> list[tuple[Score, ...]]:
    """Score a batch against one set: for each image the chosen labels, best first."""
    shift = labels.labels.bias_shift + options.bias_shift
    raw = logits(images, labels, head) + np.float32(shift)
    scores, shares = sigmoid(raw), softmax(raw)
    chosen = tags(raw, scores, labels.labels, options)
    order = _order(raw, chosen, labels.labels, options)
    images_of = np.repeat(np.arange(len(order)), [len(columns) for columns in order])
    at = images_of, np.concatenate([np.empty(0, np.int64), *order])
    names, name = [label.path for label in labels.labels.labels], labels.labels.name
    columns = (*shortest(np.stack([scores[at], shares[at], raw[at]])).tolist(), chosen[at].tolist())
    rows = iter(
        [Score(name, names[j], *row) for j, *row in zip(at[1].tolist(), *columns, strict=True)]
    )
    return [tuple(islice(rows, len(columns))) for columns in order]


def _order(
    raw: NDArray[np.float32], tags: NDArray[np.bool_], labels: LabelSet, options: ScoringOptions
) -> list[NDArray[np.int64]]:
    """For each image the indices of the labels to report, best first; ties keep the set's order.

    These are the best `top` and whatever else is a tag; or tags alone.
    """
    top = 0 if options.tags_only else options.top
    shown = np.array([options.negatives or not label.negative for label in labels.labels])
    columns = np.flatnonzero(shown)
    order = columns[np.argsort(-raw[:, columns], axis=1, kind="stable")]
    if top is None or top >= len(columns):
        return list(order)
    more = np.take_along_axis(tags, order, axis=1)
    more[:, :top] = True
    return [row[keep] for row, keep in zip(order, more, strict=True)]


def tags(
    raw: NDArray[np.float32],
    scores: NDArray[np.float32],
    labels: LabelSet,
    options: ScoringOptions,
) -> NDArray[np.bool_]:
    """Return which labels are tags: bool[n_images, n_labels], as `raw` (logits, shifted) and `scores` are.

    A label is one from its threshold on, if no negative label is above it; of an exclusive set only the best.
    """
    negative = np.array([label.negative for label in labels.labels])
    chosen = (scores >= thresholds(labels, options)) & ~negative
    if negative.any():
        chosen &= raw >= raw[:, negative].max(axis=1, keepdims=True)
    if labels.exclusive:
        best = np.where(negative, -np.inf, raw).argmax(axis=1)
        chosen &= np.arange(len(negative)) == best[:, None]
    return np.asarray(chosen)


def thresholds(labels: LabelSet, options: ScoringOptions) -> NDArray[np.float32]:
    """Return float32[n_labels]: a label's own threshold, else the caller's, the set's, the default."""
    fallback = next(
        t for t in (options.threshold, labels.threshold, DEFAULT_THRESHOLD) if t is not None
    )
    own = [fallback if label.threshold is None else label.threshold for label in labels.labels]
    return np.array(own, dtype=np.float32)
