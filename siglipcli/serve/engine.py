"""The model as requests see it: images, labels and texts in, results out, on the event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from siglipcli import labels as label_files
from siglipcli.errors import SiglipError
from siglipcli.results import Failure, Source
from siglipcli.serve import references
from siglipcli.serve.errors import ApiError, from_library
from siglipcli.serve.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from siglipcli.api import Classifier
    from siglipcli.labels import LabelSet
    from siglipcli.results import Prediction
    from siglipcli.scoring import ScoringOptions
    from siglipcli.serve.settings import ServeSettings

    Vector: TypeAlias = NDArray[np.float32]

__all__ = ["Engine"]

T = TypeVar("T")


class Engine:
    """One classifier for all requests; it may come later, by `start`.

    `label_sets` are those that the server was started with; `active` counts the requests under way, and
    `is_draining` says that no more are taken. Methods raise ApiError: 503 while the model is
    loading, 429 where too many wait, 413 for too many images, labels or texts, and what `from_library` makes
    of library errors. A cancelled call drops what is not yet being encoded.
    """

    def __init__(self, settings: ServeSettings, label_sets: Sequence[LabelSet] = ()) -> None:
        self.settings = settings
        self.label_sets = tuple(label_sets)
        self.metrics = Metrics()
        self.active = 0
        self.is_draining = False
        self._classifier: Classifier | None = None

    def start(self, classifier: Classifier) -> None:
        """Take requests from now on."""
        self._classifier = classifier

    @property
    def classifier(self) -> Classifier:
        """The library's object. Raises ApiError (503) while it is loading."""
        if self._classifier is None:
            raise ApiError(
                503,
                "The model is loading; try again.",
                code="loading",
                headers={"Retry-After": "5"},
            )
        return self._classifier

    @property
    def model(self) -> str:
        """What responses call the model. Raises ApiError (503) while it is loading."""
        return self.classifier.encoder.name

    async def health(self) -> str:
        """Return `ok`, or why images are not being encoded."""
        return "draining" if self.is_draining else "ok" if self._classifier else "loading"

    def label_set(self, name: str) -> LabelSet:
        """Return the server's label set of that name, or the built-in one. Raises ApiError (400)."""
        for label_set in self.label_sets:
            if label_set.name == name:
                return label_set
        if name in label_files.builtin_names():
            return label_files.load(name)
        raise ApiError(
            400,
            "There is no label set of that name here.",
            code="unknown_label_set",
            param="label_sets",
        )

    async def read_images(self, images: Sequence[str]) -> list[bytes | Failure]:
        """Return the bytes of base64 texts, data: URIs and URLs; a Failure in the place of what is none."""
        self._check_count(len(images), self.settings.max_images, "images")
        return [await self._read_image(text, f"image {i}") for i, text in enumerate(images)]

    async def _read_image(self, reference: str, name: str) -> bytes | Failure:
        if references.is_url(reference):
            return Failure(
                name, "url_refused", "This server fetches no URLs; send the image itself."
            )
        return await asyncio.to_thread(references.decoded, reference, self.settings, name)

    async def embed_images(self, images: Sequence[bytes | Failure]) -> list[Vector | Failure]:
        """Encode images → unit rows, float32[d], in order; a Failure where there is none."""
        self._check_count(len(images), self.settings.max_images, "images")
        classifier = self.classifier

        def run() -> list[Vector | Failure]:
            items = classifier.embed(_sources(images))
            return [
                item if isinstance(item, Failure) else item.vector
                for some in items
                for item in some
            ]

        return await self._called(run)

    async def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts, as typed → float32[len(texts), d], unit rows."""
        self._check_count(len(texts), self.settings.max_texts, "texts")
        return await self._called(self.classifier.encode_texts, list(texts))

    async def classify(
        self,
        images: Sequence[bytes | Failure],
        label_sets: Sequence[LabelSet],
        options: ScoringOptions | None = None,
    ) -> list[Prediction | Failure]:
        """Score images against label sets, as `Classifier.classify` does, in order."""
        self._check_count(len(images), self.settings.max_images, "images")
        self._check_labels(label_sets)
        classifier = self.classifier
        return await self._called(
            lambda: list(classifier.classify(_sources(images), list(label_sets), options))
        )

    async def _called(self, run: Callable[..., T], *arguments: Any) -> T:
        try:
            return await asyncio.to_thread(run, *arguments)
        except SiglipError as error:
            raise from_library(error) from error

    def _check_labels(self, label_sets: Sequence[LabelSet]) -> None:
        limits = self.settings
        labels = [label for each in label_sets for label in each.labels]
        if not labels:
            raise ApiError(
                400, "There is no label; give at least one.", code="no_labels", param="labels"
            )
        self._check_count(len(labels), limits.max_labels, "labels")
        self._check_count(
            sum(len(label.prompts) for label in labels), limits.max_prompts, "prompts"
        )

    @staticmethod
    def _check_count(count: int, most: int, what: str) -> None:
        if count > most:
            raise ApiError(
                413,
                f"{count:,} {what} in one request; send at most {most:,}.",
                code=f"too_many_{what}",
            )


def _sources(images: Sequence[bytes | Failure]) -> list[Source | Failure]:
    return [
        item if isinstance(item, Failure) else Source(f"image {i}", item)
        for i, item in enumerate(images)
    ]
