"""The one run that feeds evaluate, calibrate, compare and prompts: images encoded once, scored with label sets.

read(data)  ->  Known: images, and which labels of each set are right     no model yet
run(known)  ->  Run: embeddings, logits, and what they were made with
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from siglipcli import __version__, scoring
from siglipcli.errors import UsageError
from siglipcli.evaluation import data as datasets
from siglipcli.evaluation import scored as scores
from siglipcli.evaluation.names import truth
from siglipcli.inputs import Options
from siglipcli.labels import Calibration
from siglipcli.results import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from siglipcli.embeddings import Batch
    from siglipcli.evaluation.calibration import Calibration as Fitted
    from siglipcli.evaluation.data import Data
    from siglipcli.evaluation.scored import Collection, Scored
    from siglipcli.labels import LabelSet
    from siglipcli.results import Head
    from siglipcli.scoring import Encode, LabelEmbeddings

    Row = tuple[str | os.PathLike[str], str | Sequence[str]]
    Watch = Callable[[Iterable[Batch]], Iterable[Batch]]

__all__ = ["Known", "Provenance", "Run", "digest", "of_rows", "read", "run"]


class Encoder(Protocol):
    """What a run says of the model."""

    name: str
    fingerprint: str
    runtime: str
    precision: str
    head: Head


class Classifier(Protocol):
    """What a run needs of `siglipcli.Classifier`."""

    encoder: Any  # an Encoder; a protocol's attributes are invariant

    def batches(self, inputs: Any) -> Iterator[Batch]:
        """Encode images."""

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode prompts → float32[n, d]."""


@dataclass(frozen=True, slots=True)
class Known:
    """Images whose labels are known, and the label sets that score them.

    `truths` has for each set bool[n, n_labels]: the labels that the data names. `weights`, of a review, is
    float64[n, n_labels]: how many images a verdict stands for, 0 without one.
    """

    data: Data
    sets: tuple[LabelSet, ...]
    truths: tuple[NDArray[np.bool_], ...]
    weights: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True)
class Provenance:
    """What figures were made with, so that somebody else can make them again.

    `label_sets` are names and SHA-256 digests, of everything in a set that changes a score or a tag.
    """

    version: str
    model: str
    fingerprint: str
    runtime: str
    precision: str
    label_sets: tuple[tuple[str, str], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        sets = [{"set": name, "digest": value} for name, value in self.label_sets]
        return {
            "siglip": self.version,
            "fingerprint": self.fingerprint,
            "runtime": self.runtime,
            "precision": self.precision,
            "label_sets": sets,
        }


@dataclass(frozen=True, slots=True)
class Run:
    """The images, encoded once, and what each set makes of them.

    `encode` looks up the sets' prompts: texts → float32[n, d].
    """

    collection: Collection
    scored: tuple[Scored, ...]
    embeddings: tuple[LabelEmbeddings, ...]
    encode: Encode
    head: Head
    provenance: Provenance

    def signed(self, fitted: Fitted) -> Fitted:
        """Write into a calibrated set what it was fitted on; as it is where nothing was changed."""
        if fitted.is_unchanged():
            return fitted
        made = self.provenance
        today = datetime.now(timezone.utc).date().isoformat()
        images = len(self.collection.sources)
        record = Calibration(made.model, made.fingerprint, made.precision, images, today)
        return replace(fitted, calibrated=replace(fitted.calibrated, calibrated=record))


def read(
    path: Path | str,
    sets: Sequence[LabelSet],
    *,
    renames: Mapping[str, str] | None = None,
    ignored: Sequence[str] = (),
    options: Options | None = None,
) -> Known:
    """Read what a folder per class or a manifest lists, no image yet.

    `renames` maps a name in the data to a label; images of the names `ignored` are left out. Raises UsageError
    for data that cannot be read, and for names that no label matches.
    """
    known = datasets.without(datasets.read(Path(path), options or Options()), ignored)
    return _known(known, sets, renames)


def of_rows(
    rows: Iterable[Row],
    sets: Sequence[LabelSet],
    *,
    renames: Mapping[str, str] | None = None,
    ignored: Sequence[str] = (),
) -> Known:
    """Do `read` for rows of a path and its label, or its labels.

    As in a manifest, a path may stand twice if its labels are the same. Raises UsageError without a row,
    TypeError for what is no row.
    """
    examples: dict[str, datasets.Example] = {}
    for file, names in map(_row, rows):
        example = datasets.Example(Source(file), names)
        known = examples.setdefault(os.path.normpath(file), example)
        if set(known.names) != set(names):
            raise UsageError(f"{file} has two rows with different labels; keep one of the two")
    if not examples:
        raise UsageError("there are no images in the data", code="no_images")
    data = datasets.Data("rows", list(examples.values()))
    return _known(datasets.without(data, ignored), sets, renames)


def _row(row: Any) -> tuple[str, tuple[str, ...]]:
    try:
        path, names = row
        file = os.fspath(path)
        names = (names,) if isinstance(names, str) else tuple(names)
    except (TypeError, ValueError):
        file, names = "", (None,)
    if isinstance(row, str) or not all(isinstance(name, str) for name in (file, *names)):
        raise TypeError(f"a row is (path, label) or (path, [label, …]), not {row!r}")
    return file, names


def _known(known: Data, sets: Sequence[LabelSet], renames: Mapping[str, str] | None) -> Known:
    names = [example.names for example in known.examples]
    truths = tuple(truth(names, labels, renames or {}) for labels in sets)
    return Known(known, tuple(sets), truths)


def run(
    classifier: Classifier, known: Known, *, bias_shift: float = 0.0, watch: Watch | None = None
) -> Run:
    """Encode the images and the prompts, each once, and score every image with every label.

    `bias_shift` is added to every logit, beside a set's own; `watch` sees the batches pass. Images that cannot be
    read are `failures` of the collection. Raises what the model raises when it is loaded.
    """
    encoder: Encoder = classifier.encoder
    batches: Iterable[Batch] = classifier.batches(known.data.inputs())
    collection = scores.collect(known.data, watch(batches) if watch else batches)
    encode = scoring.once(known.sets, classifier.encode_texts)
    embeddings = tuple(scoring.embed_labels(label_set, encode) for label_set in known.sets)
    scored = tuple(
        scores.score(
            collection,
            label_set,
            encoder.head,
            truth,
            model=encoder.name,
            bias_shift=bias_shift,
            weights=known.weights,
        )
        for label_set, truth in zip(embeddings, known.truths, strict=True)
    )
    return Run(
        collection, scored, embeddings, encode, encoder.head, _provenance(encoder, known.sets)
    )


def digest(labels: LabelSet) -> str:
    """Return the SHA-256 of a label set, the same for sets that score and tag alike."""
    content = {k: v for k, v in asdict(labels).items() if k not in {"calibrated", "description"}}
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _provenance(encoder: Encoder, sets: Sequence[LabelSet]) -> Provenance:
    return Provenance(
        __version__,
        encoder.name,
        encoder.fingerprint,
        encoder.runtime,
        encoder.precision,
        tuple((label_set.name, digest(label_set)) for label_set in sets),
    )
