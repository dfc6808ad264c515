"""The library's front door: a model, label sets, and streams of results."""

from __future__ import annotations

import logging
import os
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from inspect import signature
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from siglipcli import scoring
from siglipcli.arguments import InMemory, as_image, as_images, as_label_sets, as_texts, is_of
from siglipcli.embeddings import Batch
from siglipcli.encoders import ModelSpec
from siglipcli.errors import ImageError, UsageError
from siglipcli.results import Failure, Prediction, Source
from siglipcli.scoring import LabelEmbeddings, ScoringOptions
from siglipcli.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path
    from typing import TypeAlias

    from numpy.typing import NDArray
    from typing_extensions import Self, TypeIs

    from siglipcli.arguments import ImageInput, Labels, Texts
    from siglipcli.embedding_files import SavedVectors
    from siglipcli.embeddings import Embedded
    from siglipcli.encoders import Encoder
    from siglipcli.encoders.checkpoint import Progress
    from siglipcli.pipeline import LoadOptions
    from siglipcli.results import ImageTextScores, Match
    from siglipcli.search import Query, Ranking
    from siglipcli.store import Store

    Images: TypeAlias = ImageInput | Iterable[ImageInput] | SavedVectors
    Counting: TypeAlias = Callable[[int, int], None]

__all__ = ["Classifier"]

T = TypeVar("T")
P = ParamSpec("P")

DEFAULT_MODEL = "ViT-B-16-SigLIP-384"
_TEXTS = 256  # in one batch of a lazy stream of texts

logger = logging.getLogger("siglipcli")


def _as_init(
    init: Callable[Concatenate[Any, P], None],
) -> Callable[[Callable[..., T]], Callable[Concatenate[Any, P], T]]:
    """Give a function the parameters of `init`, for type checkers and for `help`."""

    def typed(function: Callable[..., T]) -> Callable[Concatenate[Any, P], T]:
        returned = signature(function).return_annotation
        function.__signature__ = signature(init).replace(return_annotation=returned)  # type: ignore[attr-defined]
        return function

    return typed


class Classifier:
    """Zero-shot image classification with one model.

    >>> from siglipcli import Classifier, demo
    >>> clf = Classifier("demo")
    >>> clf.classify_one(demo.IMAGES / "blue-heart.jpg", ["red circle", "blue heart"]).best.label
    'blue heart'

    Images are one or many of: a path (of a file, a folder, a pattern such as `photos/*.jpg`), the bytes of
    an encoded image, a binary file object, a `PIL.Image`, a uint8[h, w, 3] array (RGB), or a `Source`. A file
    or an image that was opened by name is called by it in results, other in-memory images `image 0`,
    `image 1`, … by their place. `SavedVectors` (written by `siglip embed`) stand for their images.

    Labels are a built-in set's name, the path of a YAML file, a list of strings, a dict with the keys of the
    YAML form, or a `LabelSet`; or a list of such sets (a list of strings is one set). `encode_labels` makes
    `LabelEmbeddings`, which spare a repeated call the encoding.

    Streams are lazy and in input order. An input that cannot be read is a `Failure` in its place, and the
    stream goes on. A wrong argument raises TypeError or ValueError at the call; all other errors are
    `SiglipError`.

    `model` is a name from `siglip models list`, a folder, `hf-hub:ORG/NAME`, `demo`, or a `ModelSpec`, such as
    another classifier's `spec`: it pickles, and opens the same model elsewhere. `device` is auto, cpu, cuda,
    cuda:N or mps; `runtime` auto, torch or openvino; `precision` the arithmetic: auto, fp32, bf16, fp16 or int8.
    Missing files are downloaded unless `offline`; `cache_dir` holds engines and digests (None: the user's
    cache folder); `progress` is called with what is fetched. `load_options` say how images are read. With a
    `store`, nothing is encoded twice. `keep_towers`: whether the towers of images and of texts both stay
    loaded, or (None) where they take at most a quarter of the memory. Raises ModelError or DeviceError.

    A classifier may be used from several threads at once, and keeps its worker processes from call to call.
    `close`, or leaving `with Classifier(…) as clf:`, ends them. Given a `Session` for `model`, it shares that
    one, and leaves it open.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | ModelSpec | Session | Encoder = DEFAULT_MODEL,
        load_options: LoadOptions | None = None,
        store: Store | None = None,
        *,
        device: str = "auto",
        runtime: str = "auto",
        precision: str = "auto",
        text_cleaning: str | None = None,
        offline: bool = False,
        cache_dir: Path | None = None,
        progress: Progress | None = None,
        keep_towers: bool | None = None,
    ) -> None:
        spec = ModelSpec("", device, runtime, precision, cache_dir, offline, text_cleaning)
        if isinstance(model, (str, os.PathLike)):
            model = replace(spec, name=os.fspath(model))
        elif spec != ModelSpec(""):
            raise TypeError("a model's device, runtime and the like are its ModelSpec's")
        self._is_owner = not isinstance(model, Session)
        if isinstance(model, ModelSpec):
            model = Session.open(
                model, load_options, store=store, progress=progress, keep_towers=keep_towers
            )
        elif isinstance(model, Session):
            if store:
                raise TypeError("a session has its own store")
        elif hasattr(model, "encode_images"):
            model = Session(model, load_options, store)
        else:
            kind = type(model).__name__
            raise TypeError(f"a model is a name, a folder, a ModelSpec or a Session, not {kind}")
        self.session: Session = model
        self.spec = model.spec
        self.encoder = model.encoder
        self.load_options = load_options or model.load_options

    @classmethod
    @_as_init(__init__)
    def load(cls, *arguments: Any, **options: Any) -> Self:
        """Do what `Classifier(model, …)` does, with the same arguments."""
        return cls(*arguments, **options)

    def __repr__(self) -> str:
        return f"<Classifier {self.encoder.name!r}: {self.encoder.description}>"

    def close(self) -> None:
        """End every process and thread, and close the store, which is pruned to its limit.

        Calls after that, and streams that are not at their end, raise UsageError (code `closed`). A session
        that the classifier was given stays open.
        """
        if self._is_owner:
            self.session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- classify ---------------------------------------------------------------------------------

    def classify(
        self,
        images: Images,
        labels: Labels,
        options: ScoringOptions | None = None,
    ) -> Iterator[Prediction | Failure]:
        """Score images against one or more label sets: a lazy stream in input order.

        The labels are encoded at the call. Raises TypeError or ValueError for what is no image or no label
        set, LabelError for a set that cannot be used, ModelError.

        >>> for result in clf.classify([demo.IMAGES / "blue-heart.jpg", "gone.jpg"], ["heart"]):
        ...     print(result.to_dict()["status"])
        ok
        error
        """
        batches = self.batches(images)
        embedded = self.encode_label_sets(labels)
        return self.predictions(batches, embedded, options or ScoringOptions())

    def classify_one(
        self,
        image: ImageInput,
        labels: Labels,
        options: ScoringOptions | None = None,
    ) -> Prediction:
        """Score one image against one or more label sets.

        Raises what `classify` does, ImageError where the image cannot be read, and ValueError for a path
        that stands for several images.

        >>> clf.classify_one(demo.IMAGES / "blue-heart.jpg", ["red circle", "blue heart"]).tags
        ('blue heart',)
        """
        results = list(islice(self.classify(as_image(image), labels, options), 2))
        if len(results) != 1:
            raise ValueError(
                f"{image!r} stands for {'no' if not results else 'more than one'} image"
            )
        return _or_raise(results[0])

    def encode_labels(self, labels: Labels, progress: Counting | None = None) -> LabelEmbeddings:
        """Encode one label set's prompts, each once; none that the store holds.

        `progress` is called with how many of how many are done, where they are more than a few hundred.
        Raises TypeError or ValueError for what is not one label set, LabelError, ModelError.
        """
        sets = as_label_sets(labels)
        if len(sets) > 1:
            raise ValueError(f"{len(sets)} label sets: encode_label_sets takes several")
        return self.encode_label_sets(sets[0], progress)[0]

    def encode_label_sets(
        self, labels: Labels, progress: Counting | None = None
    ) -> list[LabelEmbeddings]:
        """Encode one label set or several as `encode_labels` does; a prompt that sets share, once.

        Raises TypeError or ValueError for what are no label sets, LabelError, ModelError.
        """
        sets = as_label_sets(labels)
        new = [item for item in sets if not isinstance(item, LabelEmbeddings)]
        encode = scoring.once(new, lambda texts: self.session.encode_texts(texts, progress)[0])
        return [
            item if isinstance(item, LabelEmbeddings) else scoring.embed_labels(item, encode)
            for item in sets
        ]

    def predictions(
        self,
        batches: Iterable[Batch],
        embedded: Sequence[LabelEmbeddings],
        options: ScoringOptions,
    ) -> Iterator[Prediction | Failure]:
        """Score what is embedded already against label sets whose prompts are: what `classify` does last."""
        head, model = self.encoder.head, self.encoder.name
        for batch in batches:
            rows = [
                scoring.rank(batch.vectors, label_set, head, options)
                for label_set in embedded
                if batch.stored
            ]
            ranked = zip(*rows, batch.stored, strict=True)
            for item in batch.items:
                if isinstance(item, Failure):
                    yield item
                    continue
                *scores, stored = next(ranked)
                yield Prediction(
                    item.name,
                    tuple(chain.from_iterable(scores)),
                    model=model,
                    stored=stored,
                    source=_elsewhere(item),
                )

    # --- score and search -------------------------------------------------------------------------

    def score(self, images: Images, texts: Texts) -> Iterator[ImageTextScores | Failure]:
        """Score images against texts, taken as typed: a lazy stream in input order, texts in theirs.

        Images as in `classify`; one text or several. Raises TypeError or ValueError for what is no image or
        no text, ModelError.
        """
        batches, names = self.batches(images), as_texts(texts)
        return self._text_scores(batches, names, self.encode_texts(names))

    def _text_scores(
        self, batches: Iterable[Batch], texts: Sequence[str], vectors: NDArray[np.float32]
    ) -> Iterator[ImageTextScores | Failure]:
        from siglipcli.results import ImageTextScores
        from siglipcli.search import pairs

        for batch in batches:
            scored = pairs(batch.vectors, vectors, texts, self.encoder.head) if batch.stored else ()
            rows = zip(scored, batch.stored, strict=True)
            for item in batch.items:
                if isinstance(item, Failure):
                    yield item
                    continue
                scores, stored = next(rows)
                yield ImageTextScores(item.name, scores, model=self.encoder.name, stored=stored)

    def search(
        self, images: Images, query: Query | Texts, ranking: Ranking | None = None
    ) -> Iterator[Match | Failure]:
        """Rank images against a query: failures as they come, then matches, the best first.

        Images as in `classify`. The query is one text or several, taken as typed, or a `Query` with images
        or with texts to avoid. Raises TypeError or ValueError for what is no image or no query; UsageError
        where the query's image cannot be used.
        """
        from siglipcli.search import Query, Ranking

        wanted = query if isinstance(query, Query) else Query(as_texts(query))
        wanted.check()
        return self._matches(self.batches(images), wanted, ranking or Ranking())

    def _matches(
        self, batches: Iterable[Batch], query: Query, ranking: Ranking
    ) -> Iterator[Match | Failure]:
        from siglipcli.search import rank

        with self.querying(query) as vector:
            yield from rank(
                batches,
                vector,
                self.encoder.head,
                ranking,
                is_text=query.is_text,
                model=self.encoder.name,
            )

    @contextmanager
    def querying(self, query: Query) -> Iterator[Future[NDArray[np.float32]]]:
        """Do `encode_query` on a thread of its own: inputs are listed and looked up meanwhile."""
        if query.images:  # they go through the pipeline, of which one runs at a time
            vector: Future[NDArray[np.float32]] = Future()
            vector.set_result(self.encode_query(query))
            yield vector
            return
        with ThreadPoolExecutor(1, thread_name_prefix="siglip-query") as pool:
            yield pool.submit(self.encode_query, query)

    def encode_query(self, query: Query) -> NDArray[np.float32]:
        """Return a query's unit vector, float32[d]. Raises UsageError where it cannot be used."""
        from siglipcli.search import combine

        texts = [*query.texts, *query.without]
        rows = list(self.encode_texts(texts)) if texts else []
        wanted = rows[: len(query.texts)] + [self._of_query(image) for image in query.images]
        return combine(wanted, rows[len(query.texts) :])

    def _of_query(self, image: ImageInput) -> NDArray[np.float32]:
        items = [item for batch in self.embed(as_image(image)) for item in batch]
        if len(items) != 1:
            name = os.fspath(image) if isinstance(image, (str, os.PathLike)) else ""
            raise UsageError(f"the query's image {name} cannot be used: it is not one image")
        name = items[0].file
        if isinstance(items[0], Failure):
            raise UsageError(f"the query's image {name} cannot be used: {items[0].message}")
        return items[0].vector

    # --- embeddings -------------------------------------------------------------------------------

    def encode_images(self, images: Images) -> NDArray[np.float32]:
        """Encode images → float32[n, d], unit rows, in input order.

        Images as in `classify`. Raises TypeError or ValueError for what is no image, ImageError for the
        first that cannot be read; `embed` yields a Failure for it and goes on.

        >>> clf.encode_images([demo.IMAGES / "blue-heart.jpg"]).shape
        (1, 64)
        """
        rows = [_or_raise(item).vector for items in self.embed(images) for item in items]
        if not rows:
            raise ValueError("there is no image")
        return np.stack(rows)

    def encode_texts(self, texts: Texts) -> NDArray[np.float32]:
        """Encode one text or several, as typed → float32[n, d], unit rows; none that the store holds.

        Raises TypeError or ValueError for what is no text, ModelError.

        >>> clf.encode_texts("a red circle").shape
        (1, 64)
        """
        return self.session.encode_texts(as_texts(texts))[0]

    def embed(self, images: Images) -> Iterator[list[Embedded | Failure]]:
        """Yield lists of embeddings and failures, in input order; images as in `classify`."""
        return (list(batch.embedded()) for batch in self.batches(images))

    def embed_texts(self, texts: Texts) -> Iterator[Batch]:
        """Yield batches of texts' vectors, in order; a text's name is itself. `texts` may be a lazy stream."""
        rest = iter([texts] if isinstance(texts, str) else texts)
        while chunk := list(islice(rest, _TEXTS)):
            vectors, stored = self.session.encode_texts(chunk)
            yield Batch([Source(text, b"") for text in chunk], vectors, stored)

    def batches(self, images: Images) -> Iterator[Batch]:
        """Yield what `embed` does in columns, with no object per image: for very many.

        Raises UsageError for saved vectors that another model made, or that are of texts.
        """
        if _is_saved(images):
            self._check(images)
            return images.batches()
        return self.session.batches(as_images(images), self.load_options)

    def _check(self, saved: SavedVectors) -> None:
        about, encoder = saved.about, self.encoder
        if about.kind != "file":
            raise UsageError(f"{saved.path} holds vectors of texts, not of images")
        if about.model != encoder.name:
            raise UsageError(
                f"{saved.path} holds vectors of another model, {about.model}. Open that one, or embed the"
                f" images again with {encoder.name}.",
                code="other_model",
                model=about.model,
            )
        if not about.is_comparable(encoder.fingerprint):
            raise UsageError(
                f"{saved.path} holds vectors of other weights than this {encoder.name}. Embed the images"
                " again."
            )
        if about.fingerprint != encoder.fingerprint:
            logger.info(
                "%s was made on another runtime or precision; scores may differ a little",
                saved.path,
            )


def _is_saved(images: Images) -> TypeIs[SavedVectors]:
    return is_of(images, "siglipcli.embedding_files.form", "SavedVectors")


def _or_raise(result: T | Failure) -> T:
    if isinstance(result, Failure):
        raise ImageError(result.kind, f"{result.file}: {result.message}", file=result.file)
    return result


def _elsewhere(source: Source) -> Source | None:
    """Return where an image can be read again, if not under its name; nothing that is only in memory."""
    return None if source.origin is None or isinstance(source, InMemory) else source
