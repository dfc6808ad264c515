"""The library's front door: a model, a label set, and a stream of results."""

from __future__ import annotations

import logging
import os
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING

import numpy as np

from siglipcli import pipeline, scoring, search
from siglipcli.embedding_files.form import SavedVectors
from siglipcli.encoders import ModelSpec, open_encoder
from siglipcli.errors import ModelError, UsageError
from siglipcli.inputs import expand
from siglipcli.labels import LabelSet
from siglipcli.pipeline import Batch, Embedded, LoadOptions
from siglipcli.results import Failure, ImageTextScores, Prediction, Source
from siglipcli.scoring import LabelEmbeddings, ScoringOptions
from siglipcli.search import Query, Ranking
from siglipcli.store import Entry, text_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from typing_extensions import Self

    from siglipcli.encoders import Encoder
    from siglipcli.encoders.checkpoint import Progress
    from siglipcli.results import Match, Result
    from siglipcli.store import Space, Store

    Input = str | os.PathLike[str] | Source | Failure
    Inputs = Input | Iterable[Input] | SavedVectors
    Counting = Callable[[int, int], None]

__all__ = ["Classifier"]

_ONE = (str, os.PathLike, Source, Failure)
_TEXTS = 256  # encoded between two looks at the store

logger = logging.getLogger("siglipcli")


@dataclass(slots=True)
class Classifier:
    """Zero-shot classification with one model.

    >>> clf = Classifier.load("demo")
    >>> for result in clf.classify(["photo.jpg"], LabelSet.load("animals")): ...
    """

    encoder: Encoder
    load_options: LoadOptions = field(default_factory=LoadOptions)
    store: Store | None = None

    @classmethod
    def load(
        cls,
        model: str = "ViT-B-16-SigLIP-384",
        *,
        device: str = "auto",
        runtime: str = "auto",
        precision: str = "auto",
        text_cleaning: str | None = None,
        offline: bool = False,
        cache_dir: Path | None = None,
        progress: Progress | None = None,
        load_options: LoadOptions | None = None,
        store: Store | None = None,
    ) -> Classifier:
        """Find a model by catalogue name, folder, `hf-hub:ORG/NAME` or `demo`.

        Its files are fetched where needed unless `offline`. With a `store`, what was encoded before is
        not encoded again. Raises ModelError or DeviceError.
        """
        spec = ModelSpec(model, device, runtime, precision, cache_dir, offline, text_cleaning)
        encoder = open_encoder(spec, progress)
        return cls(encoder, load_options or LoadOptions(), store)

    def close(self) -> None:
        """Let the store go; it is pruned to its limit."""
        if self.store:
            self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def encode_labels(self, labels: LabelSet, progress: Counting | None = None) -> LabelEmbeddings:
        """Encode a label set's prompts, each once; none that the store holds.

        `progress` is told how many of how many are encoded, where they are more than a few hundred.
        """
        return scoring.embed_labels(labels, lambda texts: self._texts(texts, progress)[0])

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts → float32[len(texts), d], unit rows; none that the store holds."""
        return self._texts(texts)[0]

    def _texts(
        self, texts: Sequence[str], progress: Counting | None = None
    ) -> tuple[NDArray[np.float32], list[bool]]:
        """Return the texts' vectors, and which of them the store had."""
        space = self._space("text")
        digests = [text_digest(text) for text in texts]
        known = space.vectors(digests) if space else {}
        stored = [digest in known for digest in digests]
        missing = [
            each for each in dict(zip(digests, texts, strict=True)).items() if each[0] not in known
        ]
        for done in range(0, len(missing), _TEXTS):
            part = dict(missing[done : done + _TEXTS])
            if progress and done:
                progress(done, len(missing))
            rows = self.encoder.encode_texts(list(part.values()))
            if not np.isfinite(rows).all():
                raise ModelError("the model gives values that are not finite for these labels")
            known |= dict(zip(part, rows, strict=True))
            if space:
                space.keep([Entry(digest, known[digest]) for digest in part])
        return np.stack([known[digest] for digest in digests]), stored

    def embed(self, inputs: Inputs) -> Iterator[list[Embedded | Failure]]:
        """Yield lists of embeddings and failures, in input order; see `classify` for `inputs`."""
        for batch in self.batches(inputs):
            yield list(batch.embedded())

    def embed_texts(self, texts: Iterable[str]) -> Iterator[Batch]:
        """Yield batches of prompts' vectors, in order; a text's name is itself."""
        rest = iter(texts)
        while chunk := list(islice(rest, _TEXTS)):
            vectors, stored = self._texts(chunk)
            yield Batch([Source(text, b"") for text in chunk], vectors, stored)

    def batches(self, inputs: Inputs) -> Iterator[Batch]:
        """Yield what `embed` does in columns, with no object an image: for many.

        Raises UsageError for saved vectors that another model made, or that are of texts.
        """
        if isinstance(inputs, SavedVectors):
            self._check(inputs)
            return inputs.batches()
        space = self._space(_pixels_name(self.load_options))
        return pipeline.batches(_expanded(inputs), self.encoder, self.load_options, space)

    def _check(self, saved: SavedVectors) -> None:
        about, encoder = saved.about, self.encoder
        if about.kind != "file":
            raise UsageError(f"{saved.path} holds vectors of texts, not of images")
        if not about.is_comparable(encoder.fingerprint):
            raise UsageError(
                f"{saved.path} holds vectors of another model, {about.model}; use --model"
                f" {about.model}, or embed the images again with {encoder.name}"
                if about.model != encoder.name
                else f"{saved.path} holds vectors of other weights than this {encoder.name}; embed"
                " the images again"
            )
        if about.fingerprint != encoder.fingerprint:
            logger.info(
                "%s was made on another runtime or precision; scores may differ a little",
                saved.path,
            )

    def _space(self, kind: str) -> Space | None:
        """Return the store's part for this model's vectors of one kind: texts, or a decode mode."""
        if self.store is None:
            return None
        encoder = self.encoder
        made_by = encoder.text_fingerprint if kind == "text" else encoder.fingerprint
        return self.store.space(f"{made_by}-{kind}", encoder.name)

    def classify(
        self,
        inputs: Inputs,
        labels: LabelSet | LabelEmbeddings | Sequence[LabelSet | LabelEmbeddings],
        selection: ScoringOptions | None = None,
    ) -> Iterator[Result]:
        """Score inputs against one or more label sets: a lazy stream in input order.

        `inputs` are paths of files or folders (`sources.expand`'s rules), or records of
        `sources`; or just one; or vectors that were saved. An input that cannot be read is a
        `Failure`; the stream goes on. Raises UsageError where no label set is given, and what the
        model raises when it is loaded.
        """
        several = [labels] if isinstance(labels, (LabelSet, LabelEmbeddings)) else labels
        embedded_sets = [
            each if isinstance(each, LabelEmbeddings) else self.encode_labels(each)
            for each in several
        ]
        if not embedded_sets:
            raise UsageError("no label set is given")
        chosen = selection or ScoringOptions()
        for batch in self.batches(inputs):
            yield from self._classified(batch, embedded_sets, chosen)

    def _classified(
        self, batch: Batch, embedded_sets: Sequence[LabelEmbeddings], selection: ScoringOptions
    ) -> Iterator[Result]:
        ranked = zip(
            *(
                scoring.rank(batch.vectors, label_embeddings, self.encoder.head, selection)
                for label_embeddings in embedded_sets
            )
            if batch.stored
            else (),
            strict=True,
        )
        stored = iter(batch.stored)
        for item in batch.items:
            if isinstance(item, Failure):
                yield item
            else:
                scores = tuple(chain.from_iterable(next(ranked)))
                yield Prediction(
                    item.name,
                    scores,
                    model=self.encoder.name,
                    stored=next(stored),
                    source=item if item.given is not None else None,
                )

    def search(
        self, inputs: Inputs, query: Query | str, ranking: Ranking | None = None
    ) -> Iterator[Match | Failure]:
        """Rank inputs against a query: failures as they come, then matches, the best first.

        See `classify` for `inputs`. Raises UsageError where the query cannot be used.
        """
        asked = Query([query]) if isinstance(query, str) else query
        with self.querying(asked) as vector:
            batches = self.batches(inputs)
            yield from search.rank(
                batches, vector, self.encoder.head, ranking or Ranking(), is_text=asked.is_text
            )

    @contextmanager
    def querying(self, query: Query) -> Iterator[Future[NDArray[np.float32]]]:
        """Do `encode_query` on a thread of its own: inputs are listed and looked up meanwhile."""
        if query.images:  # they go through the pipeline, of which one runs at a time
            known: Future[NDArray[np.float32]] = Future()
            known.set_result(self.encode_query(query))
            yield known
            return
        with ThreadPoolExecutor(1, thread_name_prefix="siglip-query") as aside:
            yield aside.submit(self.encode_query, query)

    def encode_query(self, query: Query) -> NDArray[np.float32]:
        """Return a query's unit vector, float32[d]. Raises UsageError where it cannot be used."""
        texts = [*query.texts, *query.without]
        rows = list(self.encode_texts(texts)) if texts else []
        wanted = rows[: len(query.texts)] + [self._one(image) for image in query.images]
        return search.combine(wanted, rows[len(query.texts) :])

    def _one(self, image: str | os.PathLike[str] | Source) -> NDArray[np.float32]:
        found = [item for batch in self.embed(image) for item in batch]
        if len(found) == 1 and isinstance(found[0], Embedded):
            return found[0].vector
        name = image.name if isinstance(image, Source) else os.fspath(image)
        why = found[0].message if len(found) == 1 else "It is not one image."  # type: ignore[union-attr]
        raise UsageError(f"the query's image {name} cannot be used: {why}")

    def score(self, inputs: Inputs, texts: Sequence[str]) -> Iterator[ImageTextScores | Failure]:
        """Hold each input against each text, as typed: a lazy stream in input order.

        See `classify` for `inputs`. Raises UsageError where there is no text.
        """
        if not texts:
            raise UsageError("no text is given")
        vectors = self.encode_texts(texts)
        for batch in self.batches(inputs):
            if batch.stored:
                rows = iter(search.pairs(batch.vectors, vectors, texts, self.encoder.head))
            stored = iter(batch.stored)
            for item in batch.items:
                if isinstance(item, Failure):
                    yield item
                else:
                    yield ImageTextScores(
                        item.name, next(rows), model=self.encoder.name, stored=next(stored)
                    )


def _pixels_name(options: LoadOptions) -> str:
    """Name what decides an image's pixels; the number rises when they change for the same options."""
    scale = "exact" if options.exact else "reduced"
    return f"2-{scale}-{'srgb' if options.color_management else 'unmanaged'}"


def _expanded(inputs: Input | Iterable[Input]) -> Iterator[Source | Failure]:
    """Pass records on; turn paths into records, folders into their images."""
    for item in [inputs] if isinstance(inputs, _ONE) else inputs:
        if isinstance(item, (Source, Failure)):
            yield item
        else:
            yield from expand([os.fsdecode(item)])
