"""The library's front door: a model, a label set, and a stream of results."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from siglipcli import models, pipeline, scoring, sources
from siglipcli.errors import ModelError, UsageError
from siglipcli.labelsets import LabelSet
from siglipcli.pipeline import Embedded, Reading
from siglipcli.records import Failure, Prediction, Source
from siglipcli.scoring import LabelBank, Selection
from siglipcli.store import Entry, text_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from typing_extensions import Self

    from siglipcli.models import Encoder
    from siglipcli.models.checkpoint import Progress
    from siglipcli.records import Result
    from siglipcli.store import Space, Store

    Input = str | os.PathLike[str] | Source | Failure

__all__ = ["Classifier"]

_ONE = (str, os.PathLike, Source, Failure)


@dataclass(slots=True)
class Classifier:
    """Zero-shot classification with one model.

    >>> clf = Classifier.load("demo")
    >>> for result in clf.classify(["photo.jpg"], LabelSet.load("animals")): ...
    """

    encoder: Encoder
    reading: Reading = field(default_factory=Reading)
    store: Store | None = None

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
        store: Store | None = None,
    ) -> Classifier:
        """Find a model by catalogue name, folder, `hf-hub:ORG/NAME` or `demo`.

        Its files are fetched where needed unless `offline`. With a `store`, what was encoded before is
        not encoded again. Raises ModelError or DeviceError.
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
        return cls(encoder, reading or Reading(), store)

    def close(self) -> None:
        """Let the store go; it is pruned to its limit."""
        if self.store:
            self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def encode_labels(self, labels: LabelSet) -> LabelBank:
        """Encode a label set's prompts, each once; none that the store holds."""
        return scoring.bank(labels, self.encode_texts)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts → float32[len(texts), d], unit rows; none that the store holds."""
        space = self._space("text")
        digests = [text_digest(text) for text in texts]
        known = space.vectors(digests) if space else {}
        missing = {d: text for d, text in zip(digests, texts, strict=True) if d not in known}
        if missing:
            rows = self.encoder.encode_texts(list(missing.values()))
            if not np.isfinite(rows).all():
                raise ModelError("the model gives values that are not finite for these labels")
            known |= dict(zip(missing, rows, strict=True))
            if space:
                space.keep([Entry(digest, known[digest]) for digest in missing])
        return np.stack([known[digest] for digest in digests])

    def embed(self, inputs: Input | Iterable[Input]) -> Iterator[list[Embedded | Failure]]:
        """Yield batches of embeddings and failures, in input order; see `classify` for `inputs`."""
        space = self._space("exact" if self.reading.exact else "reduced")
        return pipeline.embed(_expanded(inputs), self.encoder, self.reading, space)

    def _space(self, kind: str) -> Space | None:
        """Return the store's part for this model's vectors of one kind: texts, or a decode mode."""
        if self.store is None:
            return None
        return self.store.space(f"{self.encoder.fingerprint}-{kind}", self.encoder.name)

    def classify(
        self,
        inputs: Input | Iterable[Input],
        labels: LabelSet | LabelBank | Sequence[LabelSet | LabelBank],
        selection: Selection | None = None,
    ) -> Iterator[Result]:
        """Score inputs against one or more label sets: a lazy stream in input order.

        `inputs` are paths of files or folders (`sources.expand`'s rules), or records of
        `sources`; or just one. An input that cannot be read is a `Failure`; the stream goes on.
        Raises UsageError where no label set is given, and what the model raises when it is loaded.
        """
        several = [labels] if isinstance(labels, (LabelSet, LabelBank)) else labels
        banks = [
            each if isinstance(each, LabelBank) else self.encode_labels(each) for each in several
        ]
        if not banks:
            raise UsageError("no label set is given")
        chosen = selection or Selection()
        for batch in self.embed(inputs):
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
                scores = tuple(chain.from_iterable(next(ranked)))
                yield Prediction(item.source, scores, stored=item.stored)


def _expanded(inputs: Input | Iterable[Input]) -> Iterator[Source | Failure]:
    """Pass records on; turn paths into records, folders into their pictures."""
    for item in [inputs] if isinstance(inputs, _ONE) else inputs:
        if isinstance(item, (Source, Failure)):
            yield item
        else:
            yield from sources.expand([os.fsdecode(item)])
