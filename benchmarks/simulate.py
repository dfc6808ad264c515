"""What calibrate and compare promise, tried on data whose truth is known; `make simulate` runs all of it.

Scores are normal (or long-tailed) noise, those of right images `distance` standard deviations above; a tenth of
the images is right for each label. With that, what a threshold is worth on any number of fresh images is a
formula, and not a second sample.

    python benchmarks/simulate.py             all tables, some minutes
    python benchmarks/simulate.py --quick     a tenth of the data sets
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from siglipcli.evaluation import calibration, comparison
from siglipcli.evaluation.calibration import Aim, Calibration
from siglipcli.evaluation.scored import Scored
from siglipcli.labels import Label, LabelSet
from siglipcli.results import Source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

LABELS = 20  # in a set
COMMON = 0.1  # of the images is right for a label


def upper(x: float) -> float:
    """Return the share of a standard normal above x."""
    return 0.5 * math.erfc(x / math.sqrt(2))


def true_precision(cut: float, distance: float) -> float:
    """Return the precision of tags from `cut` on, over all images that there could be."""
    hits, false = COMMON * upper(cut - distance), (1 - COMMON) * upper(cut)
    return hits / (hits + false) if hits + false else 0.0


def true_f1(cut: float, distance: float) -> float:
    """Return the F1 of tags from `cut` on."""
    hits, false = COMMON * upper(cut - distance), (1 - COMMON) * upper(cut)
    return 2 * hits / (hits + false + COMMON)


@lru_cache
def best_cut(distance: float) -> float:
    """Return the cut of best F1."""
    return float(max(np.linspace(-2, 8, 2001), key=lambda cut: true_f1(cut, distance)))


def logit(score: float) -> float:
    """Return the logit of a score; infinite for 0 and 1."""
    return float(special.logit(score))


def known(
    rng: np.random.Generator, right: int, distance: float, cut: float, labels: int = LABELS
) -> Scored:
    """Return one set's images: so many right ones for each label, whose thresholds are all at `cut`."""
    n = round(right / COMMON)
    truth = np.stack([rng.permutation(n) < right for _ in range(labels)], axis=1)
    raw = (rng.normal(size=(n, labels)) + distance * truth).astype(np.float32)
    own = float(special.expit(cut))
    names = tuple(Label(f"l{i}", (f"l{i}",), threshold=own) for i in range(labels))
    sources = [Source(f"{i}.jpg") for i in range(n)]
    return Scored("data", "model", LabelSet("set", names), sources, raw, truth)


@dataclass
class Change:
    """Over all labels: how many are moved, and the mean change of F1, true and reported."""

    moved: float
    true: float
    reported: float
    plain: float  # the true change where every label gets the cut of best F1 on its images


def change(seed: int, sets: int, right: int, distance: float, cut: float) -> Change:
    """Calibrate so many sets by F1, whose thresholds are all at `cut`."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(sets):
        data = known(rng, right, distance, cut)
        found = calibration.fit(data, Aim(shift=False))
        before, after = found.macro_f1()
        was = true_f1(cut, distance)
        for j, fit in enumerate(found.labels):
            plain = true_f1(plain_cut(data.logits[:, j], data.truth[:, j]), distance) - was
            true = 0.0 if fit.reason else true_f1(logit(fit.new), distance) - was
            rows.append((not fit.reason, true, after - before, plain))
    return Change(*np.mean(rows, axis=0).tolist())


def plain_cut(raw: NDArray[np.float32], right: NDArray[np.bool_]) -> float:
    """Return the cut of best F1 on these very images: no cross-validation, no doubt."""
    order = np.argsort(-raw)
    hits = right[order].cumsum()
    i = int((2 * hits / (np.arange(len(raw)) + 1 + right.sum())).argmax())
    return float(raw[order[i : i + 2]].mean())


@dataclass
class Reached:
    """How many of all labels are said to reach a precision, how many of those do, and their mean recall.

    `spoilt` counts labels that had the precision, and lost it.
    """

    said: int
    true: int
    labels: int
    recall: float
    spoilt: int = 0


def reached(
    seed: int,
    sets: int,
    right: int,
    distances: tuple[float, ...],
    precision: float,
    cut: float = 2.0,
) -> Reached:
    """Calibrate so many sets to a precision; the labels have these distances, in turn."""
    rng = np.random.default_rng(seed)
    said = true = spoilt = 0
    recall = 0.0
    for _ in range(sets):
        data = known(rng, right, 0.0, cut)
        own = np.resize(distances, LABELS)
        raw = data.logits + (own * data.truth).astype(np.float32)
        data = Scored(data.dataset, data.model, data.labels, data.sources, raw, data.truth)
        found = calibration.fit(data, Aim(precision=precision, shift=False))
        for d, fit in zip(own.tolist(), found.labels, strict=True):
            after = true_precision(logit(fit.new), d)
            spoilt += true_precision(cut, d) >= precision > after
            if fit.reached:
                said += 1
                true += after >= precision
                recall += upper(logit(fit.new) - d)
    return Reached(said, true, sets * LABELS, recall / max(said, 1), spoilt)


def null(seed: int, sets: int, right: int, cut: float = 2.0) -> float:
    """Return the share of labels fitted where scores say nothing."""
    return change(seed, sets, right, 0.0, cut).moved


def shift_errors(
    seed: int, sets: int, right: int, *, tails: bool, true: float = 5.0
) -> list[float]:
    """Return how far the fitted shift is from the true one, set by set.

    Images are right with probability sigmoid(logit + 5); with `tails` the logits are Student's t, 2 degrees.
    """
    rng = np.random.default_rng(seed)
    errors = []
    for _ in range(sets):
        n = right * 4
        noise = rng.standard_t(2, (n, 3)) if tails else rng.normal(size=(n, 3))
        raw = (3 * noise - 3 - true).astype(np.float32)
        truth = rng.random(raw.shape) < special.expit(raw + true)
        labels = LabelSet.of(["a", "b", "c"])
        sources = [Source(f"{i}.jpg") for i in range(n)]
        data = Scored("data", "model", labels, sources, raw, truth)
        found: Calibration = calibration.fit(data)
        errors.append(found.calibrated.bias_shift - true)
    return errors


@dataclass
class Intervals:
    """How many intervals are shown, hold the true difference, and are clear of 0."""

    shown: int = 0
    holding: int = 0
    clear: int = 0

    def add(self, found: comparison.Difference, truth: float) -> None:
        """Count one."""
        if found.interval:
            low, high = found.interval
            self.shown += 1
            self.holding += low - 1e-9 <= truth <= high + 1e-9
            self.clear += found.sign != 0


@lru_cache
def true_average_precision(distance: float, common: float) -> float:
    """Return the average precision over all images that there could be: of its integral, by quadrature."""
    cuts = np.linspace(distance - 7, distance + 7, 20_001)
    density = np.exp(-((cuts - distance) ** 2) / 2) / math.sqrt(2 * math.pi)
    hits, false = common * special.ndtr(distance - cuts), (1 - common) * special.ndtr(-cuts)
    return float((density * hits / (hits + false)).sum() * (cuts[1] - cuts[0]))


def precision_intervals(
    seed: int, runs: int, right: int, n: int, distances: tuple[float, float], shared: float = 0.7
) -> Intervals:
    """Compare two columns of scores that share so much of their noise."""
    found = Intervals()
    a, b = (true_average_precision(d, right / n) for d in distances)
    for run in range(runs):
        rng = np.random.default_rng([seed, run])
        truth = rng.permutation(n) < right
        noise = math.sqrt(shared) * rng.normal(size=n) + math.sqrt(1 - shared) * rng.normal(
            size=(2, n)
        )
        raw = (noise + np.outer(distances, truth)).astype(np.float32)
        counts = comparison.draw(n, 300, seed + run)
        each = [comparison.average_precisions(scores, truth, counts) for scores in raw]
        apart = comparison.differing(raw[0], raw[1], truth)
        found.add(comparison.difference(each[0], each[1], right, apart), b - a)
    return found


def share_intervals(
    seed: int, runs: int, n: int, shares: tuple[float, float], phi: float = 0.5
) -> Intervals:
    """Compare two columns of hits, right in such shares of all images and correlated by phi."""
    found, (a, b) = Intervals(), shares
    both = min(a * b + phi * math.sqrt(a * (1 - a) * b * (1 - b)), a, b)
    cells = np.maximum([both, a - both, b - both, 1 - a - b + both], 0)
    for row in np.random.default_rng(seed).multinomial(n, cells / cells.sum(), runs):
        hits = np.repeat([[1, 1], [1, 0], [0, 1], [0, 0]], row, axis=0).T.astype(np.float64)
        found.add(comparison.paired_shares(hits[0], hits[1]), b - a)
    return found


# --- tables ---------------------------------------------------------------------------------------


def tables(part: float) -> Iterator[str]:
    """Yield every table as lines of Markdown; `part` of the data sets."""
    yield from _changes(part)
    yield from _reached(part)
    yield from _shifts(part)
    yield from _intervals(part)


def _sets(count: int, part: float) -> int:
    return max(round(count * part), 2)


def _changes(part: float) -> Iterator[str]:
    yield "\n| thresholds | right | distance | labels moved | true change of F1 | reported | without doubt |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    for name, distances, offset in (
        ("says nothing", (0.0,), None),
        ("already right", (2.0, 3.0), 0.0),
        ("1 SD off", (2.0, 3.0), 1.0),
        ("2 SD off", (2.0, 3.0), 2.0),
        ("4 SD off", (2.0, 3.0), 4.0),
    ):
        for right in (5, 10, 30):
            for distance in distances:
                cut = 2.0 if offset is None else best_cut(distance) + offset
                found = change(right, _sets(1500 // right, part), right, distance, cut)
                yield (
                    f"| {name} | {right} | {distance:g} | {found.moved:.1%} | {found.true:+.4f}"
                    f" | {found.reported:+.4f} | {found.plain:+.4f} |"
                )


def _reached(part: float) -> Iterator[str]:
    yield "\n| precision | right | distances | said to reach it | of those, true | recall | lost it |"
    yield "|---|--:|---|--:|--:|--:|--:|"
    for precision in (0.8, 0.9, 0.95):
        for right in (30, 60, 200):
            for distances in ((1.0,), (2.0,), (3.0,), (4.0,), (1.0, 2.0, 3.0, 4.0)):
                found = reached(right, _sets(9000 // right, part), right, distances, precision)
                true = f"{found.true / found.said:.1%}" if found.said else ""
                yield (
                    f"| {precision} | {right} | {', '.join(f'{d:g}' for d in distances)}"
                    f" | {found.said:,} of {found.labels:,} | {true} | {found.recall:.2f} | {found.spoilt} |"
                )


def _shifts(part: float) -> Iterator[str]:
    yield "\n| tails | right | mean error of the shift | spread |"
    yield "|---|--:|--:|--:|"
    for tails in (False, True):
        for right in (5, 50, 500):
            errors = shift_errors(right, _sets(100, part), right, tails=tails)
            name = "Student's t, 2 degrees" if tails else "normal"
            yield f"| {name} | {right} | {np.mean(errors):+.2f} | {np.std(errors):.2f} |"


def _intervals(part: float) -> Iterator[str]:
    yield "\n| average precision: right of images | distances | shown | of those, hold the truth | clear |"
    yield "|---|---|--:|--:|--:|"
    pairs = ((1.0, 1.0), (1.5, 2.2), (3.0, 3.0), (3.0, 3.5), (4.0, 4.0), (2.0, 4.0))
    for right, n in ((10, 40), (10, 100), (20, 200), (100, 500)):
        for pair in pairs:
            runs = _sets(1000, part)
            yield _row(f"{right} of {n}", pair, precision_intervals(0, runs, right, n, pair), runs)
    yield "\n| accuracy: images | true shares | shown | of those, hold the truth | clear |"
    yield "|---|---|--:|--:|--:|"
    for n in (20, 50, 200):
        for pair in ((0.6, 0.6), (0.9, 0.9), (0.9, 0.7), (0.97, 0.97), (0.97, 0.9), (1.0, 0.95)):
            runs = _sets(4000, part)
            yield _row(f"{n}", pair, share_intervals(0, runs, n, pair), runs)


def _row(what: str, pair: tuple[float, float], found: Intervals, runs: int) -> str:
    share = max(found.shown, 1)
    return (
        f"| {what} | {pair[0]:g}, {pair[1]:g} | {found.shown / runs:.0%}"
        f" | {found.holding / share:.1%} | {found.clear / share:.1%} |"
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="What calibrate and compare promise, simulated.")
    parser.add_argument("--quick", action="store_true", help="a tenth of the data sets")
    for line in tables(0.1 if parser.parse_args().quick else 1.0):
        print(line, flush=True)


if __name__ == "__main__":
    main()
