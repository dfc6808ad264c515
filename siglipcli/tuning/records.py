"""What tuning takes and gives: options, floors, and the figures that decide."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from siglipcli.errors import UsageError

__all__ = ["FEWEST", "Agreement", "Floors", "Proportion", "SetAgreement", "Tuning", "TuningOptions"]

FEWEST = 64
"""Images that tuning needs at least."""

_MOST_MINUTES = 24 * 60


@dataclass(frozen=True, slots=True)
class Floors:
    """What an int8 engine has to hold on the images kept back, against the engine that it was made from.

    `best_label` is of the lower bound of the interval. Raises UsageError for numbers out of bounds.
    """

    median_cosine: float = 0.999
    lowest_cosine: float = 0.99
    best_label: float = 0.97

    def __post_init__(self) -> None:
        for cosine in (self.median_cosine, self.lowest_cosine):
            if not -1 <= cosine <= 1:  # nor NaN
                raise UsageError(f"a floor of {cosine} for a cosine: give from -1 to 1")
        if not 0 < self.best_label < 1:  # no number of images shows 1
            raise UsageError(
                f"a floor of {self.best_label} for the best label: give between 0 and 1"
            )


@dataclass(frozen=True, slots=True)
class TuningOptions:
    """How to tune: `images` drawn at most, from `seed`; a time budget of `minutes`.

    `accept` installs an engine that misses the floors. Raises UsageError for numbers out of bounds.
    """

    images: int = 400
    seed: int = 0
    minutes: float = 10.0
    accept: bool = False
    floors: Floors = field(default_factory=Floors)

    def __post_init__(self) -> None:
        if self.images < FEWEST:
            raise UsageError(f"{self.images} images are too few to tune on: at least {FEWEST}")
        if not 0 < self.minutes <= _MOST_MINUTES:  # nor NaN
            raise UsageError(f"a budget of {self.minutes} minutes: give up to {_MOST_MINUTES:,}")


@dataclass(frozen=True, slots=True)
class Proportion:
    """How many `same` of how many, and the 95 % interval of their part: Clopper and Pearson's."""

    same: int
    of: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The part itself; 1 of nothing."""
        return self.same / self.of if self.of else 1.0


@dataclass(frozen=True, slots=True)
class SetAgreement:
    """What int8 changes with one label set.

    `logit_move` and `logit_move_99`: the median and the 99th percentile of how far logits move, over all pairs of
    image and label. `best_label` and `tags`: the images whose best label, and whose tags, stay the same.
    """

    set: str
    logit_move: float
    logit_move_99: float
    best_label: Proportion
    tags: Proportion


@dataclass(frozen=True, slots=True)
class Agreement:
    """What int8 changes on images: cosines of the embeddings to the exact ones, and the label sets' results.

    `images` were compared; `non_finite` others have no finite embedding at int8.
    """

    images: int
    median_cosine: float
    lowest_cosine: float
    sets: tuple[SetAgreement, ...]
    non_finite: int = 0

    def missed(self, floors: Floors) -> tuple[str, ...]:
        """Say which floors are not held."""
        words = []
        if self.non_finite:
            words.append(f"the embeddings of {self.non_finite:,} images are not finite")
        if not self.median_cosine >= floors.median_cosine:  # NaN misses every floor
            words.append(f"median cosine {self.median_cosine:.5f}, under {floors.median_cosine:g}")
        if not self.lowest_cosine >= floors.lowest_cosine:
            words.append(f"lowest cosine {self.lowest_cosine:.4f}, under {floors.lowest_cosine:g}")
        for result in self.sets:
            same = result.best_label
            if not same.low >= floors.best_label:
                words.append(
                    f"best label of {result.set} the same for {same.same:,} of {same.of:,} images, which"
                    f" shows {same.low:.1%} and not {floors.best_label:.0%}"
                )
        return tuple(words)


@dataclass(frozen=True, slots=True)
class Tuning:
    """An int8 engine: what it was made of, and what it changes on the images kept back.

    `alpha` is SmoothQuant's; `left` names the layers kept at higher precision, of `layers` in all. `form` says how
    layers are computed, as `products` of matrices or as `convolutions`: what is faster here. `rate_before` and
    `rate_after` are images a second, measured in turns on this machine. `missed` says which floors are not held:
    `is_installed` in spite of them only where that was accepted.
    """

    model: str
    reference: str
    date: str
    processor: str
    seed: int
    drawn: int
    calibrated_on: int
    tries: int
    alpha: float
    form: str
    left: tuple[str, ...]
    layers: int
    agreement: Agreement
    rate_before: float
    rate_after: float
    missed: tuple[str, ...]
    seconds: float
    is_installed: bool = False

    @property
    def speedup(self) -> float:
        """How many times as fast it is."""
        return self.rate_after / self.rate_before

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON, and for the engine's file."""
        return asdict(self)
