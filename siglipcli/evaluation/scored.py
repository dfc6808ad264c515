"""Images whose labels are known: their embeddings, and their logits for a label set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from siglipcli import scoring
from siglipcli.results import Failure, Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from siglipcli.embeddings import Batch
    from siglipcli.evaluation.data import Data
    from siglipcli.labels import LabelSet
    from siglipcli.results import Head
    from siglipcli.scoring import LabelEmbeddings

__all__ = ["Collection", "Scored", "collect", "score"]


@dataclass(frozen=True, slots=True)
class Collection:
    """A data set's images with their embeddings.

    `vectors` is float32[n, d], unit rows; `places[i]` is image i's place among the data's examples.
    Images that could not be read are `failures`, and have no row.
    """

    dataset: str
    sources: Sequence[Source]
    places: Sequence[int]
    vectors: NDArray[np.float32]
    failures: Sequence[Failure] = ()


@dataclass(frozen=True, slots=True)
class Scored:
    """What every measure is taken from: the logits, and what is right.

    `logits` is float32[n, n_labels], any shift of the bias in it; `truth` is bool[n, n_labels], the
    labels that the data names for each image. `weights`, where a person judged single pairs of image and label,
    is float64[n, n_labels]: how many images each verdict stands for, 0 for pairs that were not judged.
    """

    dataset: str
    model: str
    labels: LabelSet
    sources: Sequence[Source]
    logits: NDArray[np.float32]
    truth: NDArray[np.bool_]
    failures: Sequence[Failure] = ()
    weights: NDArray[np.float64] | None = None


def collect(data: Data, batches: Iterable[Batch]) -> Collection:
    """Gather the embeddings of `data.inputs()`, which `batches` are of, in their order."""
    places = iter(range(len(data.examples)))
    sources: list[Source] = []
    kept: list[int] = []
    vectors: list[NDArray[np.float32]] = []
    failures: list[Failure] = []
    for batch in batches:
        if batch.stored:
            vectors.append(batch.vectors)
        for item, place in zip(batch.items, places, strict=False):  # the batch ends first
            if isinstance(item, Failure):
                failures.append(item)
            else:
                sources.append(item)
                kept.append(place)
    rows = np.concatenate(vectors) if vectors else np.empty((0, 0), np.float32)
    return Collection(data.name, sources, kept, rows, failures)


def score(
    collection: Collection,
    label_embeddings: LabelEmbeddings,
    head: Head,
    truth: NDArray[np.bool_],
    *,
    model: str = "",
    bias_shift: float = 0.0,
    weights: NDArray[np.float64] | None = None,
) -> Scored:
    """Score every image with every label; `truth` is bool[n_examples, n_labels], of `names.truth`.

    `bias_shift` is added to every logit, beside the set's own. `weights` are of the same shape as `truth`.
    """
    logits = np.empty((0, len(label_embeddings.labels.labels)), np.float32)
    if collection.sources:
        logits = scoring.logits(collection.vectors, label_embeddings, head)
        logits += np.float32(label_embeddings.labels.bias_shift + bias_shift)
    return Scored(
        collection.dataset,
        model,
        label_embeddings.labels,
        collection.sources,
        logits,
        truth[list(collection.places)],
        collection.failures,
        None if weights is None else weights[list(collection.places)],
    )
