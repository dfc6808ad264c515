"""`tune`: from images to an installed int8 engine, or to the figures that say why none is installed."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from siglipcli import machine
from siglipcli.arguments import as_images
from siglipcli.encoders import timing, workshop
from siglipcli.errors import DeviceError, UsageError
from siglipcli.results import Failure
from siglipcli.tuning import check, reading
from siglipcli.tuning.draw import draw
from siglipcli.tuning.records import FEWEST, Tuning, TuningOptions
from siglipcli.tuning.search import Sample, search

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from siglipcli.api import Classifier
    from siglipcli.arguments import Labels
    from siglipcli.encoders import Encoder
    from siglipcli.encoders.workshop import Candidate, Workshop
    from siglipcli.scoring import LabelEmbeddings
    from siglipcli.tuning.reading import Parts
    from siglipcli.tuning.records import Agreement, Floors

__all__ = ["Progress", "needed", "tune"]

Progress: TypeAlias = Callable[[str, float], object]
"""Called with what is being done and the part of the budget that has passed, from 0 to 1."""

logger = logging.getLogger("siglipcli")

_LEAST_CALIBRATING = 16
_READABLE = 2 / 3  # of the images kept back, that have to be readable once more
_PASSES = 4.0  # runs over the images that quantization takes, about
_PART = 0.2  # of the budget, for one quantization
_MEASURING = 4.0  # seconds for the rates, at least


def needed(floors: Floors) -> int:
    """Return how many images it takes to show the floor of the best label, where it never changes."""
    kept = math.ceil(math.log((1 - check.CONFIDENCE) / 2) / math.log(floors.best_label))
    return min(reading.KEPT * (kept - 1) + 1, kept + reading.MOST_OTHERS)


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

    Raises MissingExtraError without NNCF, UsageError (code `few_images`) for fewer than 64 different images that
    can be read, or where a third of those kept back cannot be read again, DeviceError for a classifier that does
    not run on OpenVINO or where quantization fails, OSError.
    """
    workshop.need_library()
    options = options or TuningOptions()
    sets = classifier.encode_label_sets(labels)
    return _Tuner(classifier, sets, options, progress or _silent, quantize).run(images)


class _Both:
    """Encodes by two encoders: uint8[n, size, size, 3] → float32[n, 2 * d], the exact rows first."""

    def __init__(self, exact: Encoder, quantized: Encoder) -> None:
        self._encoders = exact, quantized

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.hstack([encoder.encode_images(pixels) for encoder in self._encoders])


def _silent(_words: str, _part: float) -> None:
    pass


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
        parts = self._parts(images)
        sample, seconds = self._sample(parts)
        with workshop.opened(self._encoder, parts.calibrating, self._quantize) as bench:
            count = min(self._calibrating(seconds), len(parts.calibrating))
            ending = 2 * len(parts.kept) * seconds + 2 * _MEASURING
            chosen = search(
                lambda recipe: bench.candidate(recipe, count),
                sample,
                self._options.floors,
                self._start + self._budget - ending,
                self._say,
            )
            result = self._measured(chosen.candidate, parts)
            result = replace(result, tries=chosen.tries, calibrated_on=count)
            return self._installed(bench, chosen.candidate, result)

    def _parts(self, images: Any) -> Parts:
        """Draw images, read and divide them. Raises UsageError where they are too few."""
        drawn, there = draw(as_images(images), self._options.images, self._options.seed)
        _require(len(drawn), there)
        self._warn_of_few(len(drawn))
        counting = self._counting("reading images", len(drawn))
        parts = reading.divided(drawn, self._encoder, self._classifier.load_options, counting)
        _require(len(parts), there, parts.failed, parts.copies)
        if len(parts) < len(drawn):
            self._warn_of_few(len(parts))
        return parts

    def _sample(self, parts: Parts) -> tuple[Sample, float]:
        """Encode the images to choose by, and return the seconds that one takes. Raises DeviceError for NaN."""
        counting = self._counting("encoding images", len(parts.choosing))
        rows, start = [], perf_counter()
        for i, image in enumerate(parts.choosing, 1):
            rows.append(self._encoder.encode_images(image[None]))
            counting(i)
        exact = np.concatenate(rows)
        if not np.isfinite(exact).all():
            raise DeviceError(
                f"{self._encoder.description} gives embeddings that are not finite", code="tuning"
            )
        seconds = (perf_counter() - start) / len(rows)
        return Sample(parts.choosing, exact, self._sets, self._encoder.head), seconds

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
        """Return how many images to quantize on at most, where encoding one takes so many seconds."""
        return max(int(_PART * self._budget / (_PASSES * seconds)), _LEAST_CALIBRATING)

    def _compared(self, candidate: Candidate, parts: Parts) -> Agreement:
        """Compare embeddings of the images kept back that are as they were when they were read first.

        Raises UsageError where too few are, DeviceError where the candidate's embeddings are not finite.
        """
        digests = {image.source.name: image.digest for image in parts.kept}
        sources = [image.source for image in parts.kept]
        pairs, non_finite = [], 0
        counting = self._counting("comparing on images kept back", len(sources))
        options = self._classifier.load_options
        both = _Both(self._encoder, candidate.encoder)
        for item in reading.encoded(sources, self._encoder, options, counting, both):
            if isinstance(item, Failure):
                non_finite += item.kind == "non_finite"
            elif item.digest == digests[item.source.name]:
                pairs.append(item.vector)
        _require_kept(len(pairs) + non_finite, len(sources))
        if not pairs:
            raise DeviceError("quantization failed: no embedding is finite", code="tuning")
        exact, quantized = np.split(np.stack(pairs), 2, axis=1)
        return check.agreement(
            exact, quantized, self._sets, self._encoder.head, non_finite=non_finite
        )

    def _measured(self, candidate: Candidate, parts: Parts) -> Tuning:
        """Compare on the images kept back, and measure the speed."""
        result = self._compared(candidate, parts)
        self._say("measuring images a second")
        encoders = [self._encoder, candidate.encoder]
        before, after = timing.rates(encoders, parts.choosing, _MEASURING)
        return Tuning(
            model=self._encoder.name,
            reference=self._encoder.precision,
            date=datetime.now(timezone.utc).date().isoformat(),
            processor=machine.processor(),
            seed=self._options.seed,
            drawn=len(parts),
            calibrated_on=0,
            tries=0,
            alpha=candidate.recipe.alpha,
            form=candidate.form,
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

    def _counting(self, words: str, total: int) -> Callable[[int], None]:
        return lambda done: self._say(f"{words}: {done:,} of {total:,}")

    def _say(self, words: str) -> None:
        self._progress(words, min((perf_counter() - self._start) / self._budget, 1.0))


def _require(usable: int, there: int, unread: int = 0, copies: int = 0) -> None:
    if usable < FEWEST:
        words = [f", {unread:,} of which cannot be read"] if unread else []
        words += [f", {copies:,} of which are copies of others"] if copies else []
        raise UsageError(
            f"tuning needs at least {FEWEST} images, and there are {there:,}{''.join(words)}",
            code="few_images",
            images=usable,
        )


def _require_kept(readable: int, kept: int) -> None:
    if readable < _READABLE * kept:
        raise UsageError(
            f"only {readable:,} of the {kept:,} images kept back for the check could be read again unchanged;"
            " tune again when they stay in place",
            code="few_images",
            images=readable,
        )
