"""What an int8 tower changes: embeddings, scores and labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from siglipcli import scoring
from siglipcli.evaluation import certify
from siglipcli.scoring import ScoringOptions
from siglipcli.tuning.records import Agreement, Proportion, SetAgreement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from siglipcli.results import Head
    from siglipcli.scoring import LabelEmbeddings

__all__ = ["CONFIDENCE", "agreement", "proportion"]

CONFIDENCE = 0.95


def agreement(
    exact: NDArray[np.float32],
    quantized: NDArray[np.float32],
    sets: Sequence[LabelEmbeddings],
    head: Head,
    *,
    non_finite: int = 0,
) -> Agreement:
    """Compare embeddings of the same images, float32[n, d] each, unit rows; `non_finite` others have none."""
    cosines = np.einsum("nd,nd->n", exact.astype(np.float64), quantized.astype(np.float64))
    return Agreement(
        images=len(exact),
        median_cosine=float(np.median(cosines)),
        lowest_cosine=float(cosines.min()),
        sets=tuple(_of_set(exact, quantized, labels, head) for labels in sets),
        non_finite=non_finite,
    )


def _of_set(
    exact: NDArray[np.float32],
    quantized: NDArray[np.float32],
    labels: LabelEmbeddings,
    head: Head,
) -> SetAgreement:
    shift = np.float32(labels.labels.bias_shift)
    before, after = (scoring.logits(rows, labels, head) + shift for rows in (exact, quantized))
    moves = np.abs(after - before)
    return SetAgreement(
        set=labels.labels.name,
        logit_move=float(np.median(moves)),
        logit_move_99=float(np.percentile(moves, 99)),
        best_label=proportion(before.argmax(axis=1) == after.argmax(axis=1)),
        tags=proportion((_tags(before, labels) == _tags(after, labels)).all(axis=1)),
    )


def _tags(logits: NDArray[np.float32], labels: LabelEmbeddings) -> NDArray[np.bool_]:
    return scoring.tags(logits, scoring.sigmoid(logits), labels.labels, ScoringOptions())


def proportion(same: NDArray[np.bool_]) -> Proportion:
    """Count what is the same, with its interval."""
    count, of = int(same.sum()), len(same)
    return Proportion(count, of, *certify.interval(count, of, CONFIDENCE))
