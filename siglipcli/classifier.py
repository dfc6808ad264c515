"""The library's front door: a model, a label set, and a stream of results."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from siglipcli import models, pipeline, scoring, sources
from siglipcli.labelsets import LabelSet
from siglipcli.pipeline import Embedded, Reading
from siglipcli.records import Failure, Prediction, Source
from siglipcli.scoring import LabelBank, Selection

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from siglipcli.models import Encoder
    from siglipcli.models.checkpoint import Progress
    from siglipcli.records import Result

__all__ = ["Classifier"]


@dataclass(slots=True)
class Classifier:
    """Zero-shot classification with one model.

    >>> clf = Classifier.load("demo")
    >>> for result in clf.classify(["photo.jpg"], LabelSet.load("animals")): ...
    """

    encoder: Encoder
    reading: Reading = field(default_factory=Reading)

    @classmethod
    def load(
        cls,
        model: str = "ViT-B-16-SigLIP-384",
        *,
        device: str = "auto",
        runtime: str = "auto",
        precision: str = "auto",
        offline: bool = False,
        cache_dir: Path | None = None,
        progress: Progress | None = None,
        reading: Reading | None = None,
    ) -> Classifier:
        """Find a model by catalogue name, folder, `hf-hub:ORG/NAME` or `demo`.

        Its files are fetched where needed unless `offline`. Raises ModelError or DeviceError.
        """
        encoder = models.load(
            model,
            device=device,
            runtime=runtime,
            precision=precision,
            offline=offline,
            cache_dir=cache_dir,
            progress=progress,
        )
        return cls(encoder, reading or Reading())

    def encode_labels(self, labels: LabelSet) -> LabelBank:
        """Encode a label set's prompts, each once."""
        return scoring.bank(labels, self.encoder.encode_texts)

    def classify(
        self,
        inputs: Iterable[str | os.PathLike[str] | Source | Failure],
        labels: LabelSet | LabelBank | Sequence[LabelSet | LabelBank],
        selection: Selection | None = None,
    ) -> Iterator[Result]:
        """Score inputs against one or more label sets: a lazy stream in input order.

        `inputs` are paths of files or folders (`sources.expand`'s rules), or records of
        `sources`. An input that cannot be read is a `Failure`; the stream goes on.
        """
        several = [labels] if isinstance(labels, (LabelSet, LabelBank)) else labels
        banks = [
            each if isinstance(each, LabelBank) else self.encode_labels(each) for each in several
        ]
        chosen = selection or Selection()
        for batch in pipeline.embed(_expanded(inputs), self.encoder, self.reading):
            yield from self._score(batch, banks, chosen)

    def _score(
        self, batch: list[Embedded | Failure], banks: Sequence[LabelBank], selection: Selection
    ) -> Iterator[Result]:
        vectors = [item.vector for item in batch if isinstance(item, Embedded)]
        if not vectors:
            yield from (item for item in batch if isinstance(item, Failure))
            return
        stacked = np.stack(vectors)
        ranked = zip(
            *(scoring.rank(stacked, bank, self.encoder.head, selection) for bank in banks),
            strict=True,
        )
        for item in batch:
            if isinstance(item, Failure):
                yield item
            else:
                yield Prediction(item.source, tuple(chain.from_iterable(next(ranked))))


def _expanded(
    inputs: Iterable[str | os.PathLike[str] | Source | Failure],
) -> Iterator[Source | Failure]:
    """Pass records on; turn paths into records, folders into their pictures."""
    for item in inputs:
        if isinstance(item, (Source, Failure)):
            yield item
        else:
            yield from sources.expand([str(item)], sources.Options())
