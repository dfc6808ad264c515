"""`tune`: from images to an installed int8 engine, or to the figures that say why none is installed."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from siglipcli import machine, pipeline
from siglipcli.arguments import as_images, as_label_sets
from siglipcli.encoders import timing, workshop
from siglipcli.errors import UsageError
from siglipcli.tuning import check
from siglipcli.tuning.draw import draw
from siglipcli.tuning.records import FEWEST, Tuning, TuningOptions
from siglipcli.tuning.search import Sample, search

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from siglipcli.api import Classifier
    from siglipcli.arguments import Labels
    from siglipcli.encoders import Encoder
    from siglipcli.encoders.workshop import Candidate, Workshop
    from siglipcli.pipeline import Batch
    from siglipcli.results import Source
    from siglipcli.scoring import LabelEmbeddings
    from siglipcli.tuning.records import Floors

__all__ = ["Progress", "needed", "tune"]

Progress: TypeAlias = Callable[[str, float], object]
"""Called with what is being done and the part of the budget that has passed, from 0 to 1."""

logger = logging.getLogger("siglipcli")

_KEPT = 3  # one image in so many is kept back, at least
_CHOOSING = 0.25  # of the others, to choose a recipe by
_MOST_CHOOSING, _MOST_CALIBRATING, _LEAST_CALIBRATING = 64, 128, 16
_MOST_OTHERS = _MOST_CHOOSING + _MOST_CALIBRATING
_PASSES = 4.0  # runs over the images that quantization takes, about
_PART = 0.2  # of the budget, for one quantization
_MEASURING = 4.0  # seconds for the rates, at least


def needed(floors: Floors) -> int:
    """Return how many images it takes to show the floor of the best label, where it never changes."""
    kept = math.ceil(math.log((1 - check.CONFIDENCE) / 2) / math.log(floors.best_label))
    return min(_KEPT * kept, kept + _MOST_OTHERS)


def tune(
    classifier: Classifier,
    images: Any,
    labels: Labels = "everyday",
    options: TuningOptions | None = None,
    progress: Progress | None = None,
    *,
    quantize: str = workshop.QUANTIZE,
) -> Tuning:
    """Make an int8 engine for a classifier's model from a user's images, and install it if it holds the floors.

    `images` and `labels` (one set or several) are as `Classifier.classify` takes them. Only images drawn from them
    are read. Where the floors are missed, nothing is installed unless `options.accept`. `quantize` names the
    function that does it, "module:name", in place of `siglipcli.encoders.quantize.quantize`.

    Raises MissingExtraError without NNCF, UsageError (code `few_images`) for fewer than 64 images that can be
    read, DeviceError for a classifier that does not run on OpenVINO or where quantization fails, OSError.
    """
    workshop.need_library()
    options = options or TuningOptions()
    sets = [classifier.encode_labels(each) for each in as_label_sets(labels)]
    return _Tuner(classifier, sets, options, progress or _silent, quantize).run(images)


def _silent(_words: str, _part: float) -> None:
    pass


@dataclass(frozen=True, slots=True)
class _Drawn:
    """Images drawn: `rest` to tune on, `kept` back with their exact embeddings, float32[n, d]."""

    rest: _Recorded
    kept: list[Source]
    exact: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.rest.pixels) + len(self.kept)


class _Tuner:
    """One run of `tune`."""

    def __init__(
        self,
        classifier: Classifier,
        sets: Sequence[LabelEmbeddings],
        options: TuningOptions,
        progress: Progress,
        quantize: str,
    ) -> None:
        self._classifier = classifier
        self._encoder = classifier.encoder
        self._sets = sets
        self._options = options
        self._progress = progress
        self._quantize = quantize
        self._budget = 60 * options.minutes
        self._start = perf_counter()

    def run(self, images: Any) -> Tuning:
        """Draw, tune, check, install."""
        self._say("drawing images")
        drawn = self._draw(images)
        choosing = min(max(round(_CHOOSING * len(drawn.rest.pixels)), 1), _MOST_CHOOSING)
        pixels, exact = drawn.rest.pixels, drawn.rest.vectors
        sample = Sample(pixels[:choosing], exact[:choosing], self._sets, self._encoder.head)
        with workshop.opened(self._encoder, pixels[choosing:], self._quantize) as bench:
            count = min(self._calibrating(drawn.rest.seconds), len(pixels) - choosing)
            ending = len(drawn.kept) * drawn.rest.seconds + 2 * _MEASURING
            chosen = search(
                lambda recipe: bench.candidate(recipe, count),
                sample,
                self._options.floors,
                self._start + self._budget - ending,
                self._say,
            )
            result = self._measured(chosen.candidate, drawn, sample.pixels)
            result = replace(result, tries=chosen.tries, calibrated_on=count)
            return self._installed(bench, chosen.candidate, result)

    def _draw(self, images: Any) -> _Drawn:
        """Draw images, and encode them with the engine of now. Raises UsageError where they are too few."""
        drawn, there = draw(as_images(images), self._options.images, self._options.seed)
        _require(len(drawn), there, 0)
        self._warn_of_few(len(drawn))
        count = max(len(drawn) // _KEPT, len(drawn) - _MOST_OTHERS)
        rest = _Recorded(self._encoder, drawn[count:])
        rest.run(self._classifier, self._say)
        words = "encoding images to check with"
        kept = list(self._counted(self._classifier.batches(drawn[:count]), words, count))
        sources = [source for batch in kept for source in batch.sources]
        unread = rest.failed + count - len(sources)
        _require(len(drawn) - unread, there, unread)
        return _Drawn(rest, sources, np.concatenate([each.vectors for each in kept if each.stored]))

    def _warn_of_few(self, count: int) -> None:
        """Say before the work that it cannot hold a floor."""
        floors = self._options.floors
        if count < needed(floors) and not self._options.accept:
            logger.warning(
                "%d images cannot show that the best label stays the same for %.0f %% of images, so nothing will be"
                " installed: that takes %d or more",
                count, 100 * floors.best_label, needed(floors),
            )  # fmt: skip

    def _calibrating(self, seconds: float) -> int:
        """Return how many images to quantize on, where encoding one takes so many seconds."""
        fitting = int(_PART * self._budget / (_PASSES * seconds))
        return min(max(fitting, _LEAST_CALIBRATING), _MOST_CALIBRATING)

    def _measured(self, candidate: Candidate, drawn: _Drawn, pixels: NDArray[np.uint8]) -> Tuning:
        """Compare on the images kept back, and measure the speed."""
        batches = pipeline.batches(drawn.kept, candidate.encoder, self._classifier.load_options)
        words = "comparing on images kept back"
        vectors = [each.vectors for each in self._counted(batches, words, len(drawn.kept))]
        result = check.agreement(
            drawn.exact, np.concatenate(vectors), self._sets, self._encoder.head
        )
        self._say("measuring images a second")
        before, after = timing.rates([self._encoder, candidate.encoder], pixels, _MEASURING)
        return Tuning(
            model=self._encoder.name,
            reference=self._encoder.precision,
            date=datetime.now(timezone.utc).date().isoformat(),
            processor=machine.processor(),
            seed=self._options.seed,
            drawn=len(drawn),
            calibrated_on=0,
            tries=0,
            alpha=candidate.recipe.alpha,
            left=candidate.recipe.left,
            layers=len(candidate.layers.every),
            agreement=result,
            rate_before=before,
            rate_after=after,
            missed=result.missed(self._options.floors),
            seconds=0.0,
        )

    def _installed(self, bench: Workshop, candidate: Candidate, result: Tuning) -> Tuning:
        """Install the candidate, unless it misses floors and that is not accepted."""
        wanted = not result.missed or self._options.accept
        result = replace(result, seconds=perf_counter() - self._start, is_installed=wanted)
        if wanted:
            bench.install(candidate, result.to_dict())
        return result

    def _counted(self, batches: Iterable[Batch], words: str, total: int) -> Iterator[Batch]:
        done = 0
        for batch in batches:
            yield batch
            done += len(batch.items)
            self._say(f"{words}: {done:,} of {total:,}")

    def _say(self, words: str) -> None:
        self._progress(words, min((perf_counter() - self._start) / self._budget, 1.0))


class _Recorded:
    """An encoder that keeps the pixels and vectors that pass it, in step with each other."""

    def __init__(self, encoder: Encoder, sources: Sequence[Source]) -> None:
        self._encoder = encoder
        self._sources = sources
        self._lock = Lock()
        self._rows: list[tuple[NDArray[np.uint8], NDArray[np.float32]]] = []
        self.seconds = 0.0
        """What one image takes."""
        self.failed = 0

    def run(self, classifier: Classifier, say: Callable[[str], None]) -> None:
        """Encode the sources."""
        start = perf_counter()
        done = 0
        for batch in pipeline.batches(self._sources, self, classifier.load_options):
            done += len(batch.items)
            self.failed += len(batch.failures)
            say(f"encoding images to tune on: {done:,} of {len(self._sources):,}")
        self.seconds = (perf_counter() - start) / max(done, 1)

    def encode_images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Do what the encoder does, and keep both."""
        vectors = self._encoder.encode_images(pixels)
        with self._lock:
            self._rows.append((pixels, vectors))
        return vectors

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """uint8[n, size, size, 3]."""
        return np.concatenate([pixels for pixels, _ in self._rows])

    @property
    def vectors(self) -> NDArray[np.float32]:
        """float32[n, d], unit rows."""
        return np.concatenate([vectors for _, vectors in self._rows])


def _require(readable: int, there: int, unread: int) -> None:
    if readable < FEWEST:
        cannot = f", {unread:,} of which cannot be read" if unread else ""
        raise UsageError(
            f"tuning needs at least {FEWEST} images, and there are {there:,}{cannot}",
            code="few_images",
            images=readable,
        )
