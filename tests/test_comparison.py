"""Comparing two label sets: average precision under weights, the paired bootstrap, what is matched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import simulate
from sklearn.metrics import average_precision_score

from siglipcli.evaluation import comparison, metrics
from siglipcli.evaluation.comparison import Difference, average_precisions, compare, draw
from siglipcli.evaluation.scored import Scored
from siglipcli.labels import Label, LabelSet
from siglipcli.results import Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def scored(paths: Sequence[str], logits: Any, truth: Any) -> Scored:
    """Return what two columns of numbers say about images."""
    labels = LabelSet("set", tuple(Label(path, (path,)) for path in paths))
    values = np.asarray(logits, np.float32)
    sources = [Source(f"{i}.png") for i in range(len(values))]
    return Scored("data", "model", labels, sources, values, np.asarray(truth, np.bool_))


def images(seed: int, n: int, right: int, distance: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return scores and what is right: normal noise, the right ones `distance` above."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) < right
    return (rng.normal(size=n) + distance * truth).astype(np.float32), truth


# --- average precision ----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("digits", [0, 1, 6])
def test_weighted_average_precision_is_scikit_learns(seed: int, digits: int) -> None:
    """Under every resample, and with as many equal scores as one likes, the figure is the same."""
    scores, right = images(seed, 60, 9, 1.0)
    scores = np.round(scores, digits)
    counts = draw(60, 25, seed)
    expected = [average_precision_score(right, scores, sample_weight=w) for w in counts.T]
    np.testing.assert_allclose(average_precisions(scores, right, counts), expected, atol=1e-9)


def test_the_first_figure_is_that_of_the_images_themselves() -> None:
    """Each image once: what scikit-learn says without any weights."""
    scores, right = images(0, 40, 7, 1.0)
    found = average_precisions(scores, right, draw(40, 5, 0))
    assert found[0] == pytest.approx(average_precision_score(right, scores))


def test_nothing_right_has_no_average_precision() -> None:
    """A label that no image has, or a resample that holds none of its images, is no number."""
    counts = np.array([[1, 0, 2], [1, 2, 0]], np.uint8)
    scores = np.array([0.5, 0.1], np.float32)
    assert np.isnan(average_precisions(scores, np.array([False, False]), counts)).all()
    found = average_precisions(scores, np.array([True, False]), counts)
    np.testing.assert_array_equal(found, [1, np.nan, 1])


def test_large_data_is_worked_on_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts' figures are those of the whole."""
    scores, right = images(1, 50, 6, 1.0)
    counts = draw(50, 40, 1)
    whole = average_precisions(scores, right, counts)
    monkeypatch.setattr(comparison, "_CELLS", 100)
    np.testing.assert_array_equal(average_precisions(scores, right, counts), whole)


# --- the bootstrap --------------------------------------------------------------------------------


def test_resamples_hold_as_many_images_as_there_are() -> None:
    """Drawn with replacement, the first column apart; one seed, one answer."""
    counts = draw(30, 50, 7)
    assert counts.shape == (30, 51)
    assert (counts[:, 0] == 1).all()
    assert (counts.sum(axis=0) == 30).all()
    assert counts.max() > 1
    np.testing.assert_array_equal(counts, draw(30, 50, 7))
    assert (counts != draw(30, 50, 8)).any()


@pytest.mark.parametrize(
    ("right", "n", "distances"),
    [(10, 40, (1.5, 2.2)), (10, 100, (2.0, 4.0)), (10, 100, (3.0, 3.5)), (20, 200, (2.0, 2.0))],
)
def test_intervals_hold_the_truth_wherever_they_are_shown(
    right: int, n: int, distances: tuple[float, float]
) -> None:
    """Down to ten right images, and near perfection: at least 90 % hold it, at most 5 % of equals seem to differ."""
    found = simulate.precision_intervals(0, 150, right, n, distances)
    assert found.shown > 30
    assert found.holding >= 0.9 * found.shown
    if distances[0] == distances[1]:
        assert found.clear <= 0.05 * found.shown


@pytest.mark.parametrize("n", [20, 50])
@pytest.mark.parametrize("shares", [(0.9, 0.9), (0.97, 0.9), (1.0, 0.95), (0.6, 0.6)])
def test_intervals_of_accuracy_hold_the_truth(n: int, shares: tuple[float, float]) -> None:
    """From 20 images on and near 1: at least 90 % hold it, at most 5 % of equals seem to differ."""
    found = simulate.share_intervals(1, 4000, n, shares)
    assert found.shown == 4000
    assert found.holding >= 0.9 * found.shown
    if shares[0] == shares[1]:
        assert found.clear <= 0.05 * found.shown


def test_the_interval_of_accuracy_is_tangos() -> None:
    """The example of Tango's paper: 44 pairs, 1 gained and 0 lost, from -0.060 to 0.118."""
    a, b = np.ones(44), np.ones(44)
    a[0] = 0
    assert comparison.paired_shares(a, b).interval == pytest.approx((-0.0600, 0.1178), abs=2e-3)


def test_the_bootstrap_is_paired() -> None:
    """Two sets that make the same mistakes differ by little, however unsure each figure is."""
    scores, right = images(3, 100, 15, 1.5)
    nearly = scores + np.float32(1e-3) * np.random.default_rng(0).normal(size=100)
    counts = draw(100, 300, 0)
    a = average_precisions(scores, right, counts)
    b = average_precisions(nearly.astype(np.float32), right, counts)
    low, high = comparison.difference(a, b, 15, 15).interval or (0, 0)
    assert high - low < 0.1 * (np.percentile(a, 97.5) - np.percentile(a, 2.5))


def test_few_images_get_no_interval() -> None:
    """Below ten, or with fewer than three ranked differently, nothing is said about how sure a difference is."""
    a, b = np.array([0.2, 0.2, 0.3]), np.array([0.9, 0.8, 1.0])
    assert comparison.difference(a, b, 9, 9).interval is None
    assert comparison.difference(a, b, 10, 2).interval is None
    assert comparison.difference(a, b, 10, 2).value == pytest.approx(0.7)
    assert comparison.difference(a, b, 10, 2).sign == 0
    assert comparison.difference(a, b, 10, 3).sign == 1


def test_images_ranked_differently_are_counted() -> None:
    """Those at which the precision is another; a change of scores that changes no order counts none."""
    right = np.array([True, True, False, True])
    scores = np.array([4, 3, 2, 1], np.float32)
    other = np.array([2.5, 3, 2.7, 1], np.float32)
    assert comparison.differing(scores, 2 * scores, right) == 0
    assert comparison.differing(scores, other, right) == 1


@pytest.mark.parametrize(
    ("interval", "sign"), [((0.1, 0.2), 1), ((-0.2, -0.1), -1), ((0.0, 0.2), 0), ((-0.1, 0.0), 0)]
)
def test_a_difference_is_clear_where_the_interval_is_on_one_side(
    interval: tuple[float, float], sign: int
) -> None:
    """An interval that touches 0 holds it."""
    assert Difference(0.5, 0.6, interval).sign == sign


# --- sets -----------------------------------------------------------------------------------------


def two_sets() -> tuple[Scored, Scored]:
    """Return two sets over 60 images of three labels; the second is worse at `c`."""
    rng = np.random.default_rng(5)
    truth = np.arange(60)[:, None] % 3 == np.arange(3)
    a = rng.normal(size=(60, 3)) + 4 * truth
    b = a.copy()
    b[:, 2] = rng.normal(size=60)
    return scored("abc", a, truth), scored("abc", b, truth)


def test_labels_are_compared_one_by_one_and_together() -> None:
    """Each figure is what `evaluate` says of each set; the label that changed is found."""
    a, b = two_sets()
    found = compare(a, b, draw(60, 300, 0))
    assert [each.label for each in found.labels] == ["a", "b", "c"]
    assert [each.examples for each in found.labels] == [20, 20, 20]
    assert [each.average_precision.sign for each in found.labels] == [0, 0, -1]
    precisions = [
        [metrics.average_precision(each.truth[:, j], each.logits[:, j]) for j in range(3)]
        for each in (a, b)
    ]
    for j, each in enumerate(found.labels):
        assert each.average_precision.a == pytest.approx(precisions[0][j])
        assert each.average_precision.b == pytest.approx(precisions[1][j])
    assert found.mean_average_precision.a == pytest.approx(np.mean(precisions[0]))
    assert found.mean_average_precision.b == pytest.approx(np.mean(precisions[1]))
    assert found.acc1.a == pytest.approx(metrics.top1(a).mean())
    assert found.acc1.b == pytest.approx(metrics.top1(b).mean())
    assert found.acc1.sign == found.mean_average_precision.sign == -1


def test_the_other_way_round_the_signs_change() -> None:
    """B - A of A and B is the opposite of that of B and A, interval and all."""
    a, b = two_sets()
    counts = draw(60, 200, 0)
    there, back = compare(a, b, counts), compare(b, a, counts)
    pairs = list(zip(there.labels, back.labels, strict=True))
    assert any(one.average_precision.interval for one, _ in pairs)
    for one, other in pairs:
        if one.average_precision.interval is None or other.average_precision.interval is None:
            assert one.average_precision.interval is other.average_precision.interval is None
            continue
        low, high = one.average_precision.interval
        assert other.average_precision.interval == pytest.approx((-high, -low))


def test_a_set_does_not_differ_from_itself() -> None:
    """Everything is 0, and nothing is clear."""
    a, _ = two_sets()
    found = compare(a, a, draw(60, 100, 0))
    every = [found.acc1, found.mean_average_precision, *(e.average_precision for e in found.labels)]
    assert all(each.value == 0 and each.sign == 0 for each in every)
    assert all(each.interval is None for each in every[1:])  # nothing is ranked differently


def test_labels_of_one_set_only_are_listed() -> None:
    """What cannot be compared is said, and is no part of the means."""
    a, _ = two_sets()
    truth = np.roll(a.truth, -1, axis=1)  # b, c, a
    b = scored(["b", "c", "d"], np.roll(a.logits, -1, axis=1), truth)
    found = compare(a, b, draw(60, 100, 0))
    assert [each.label for each in found.labels] == ["b", "c"]
    assert (found.only_a, found.only_b) == (("a",), ("d",))
    assert found.mean_average_precision.value == 0


def test_a_parents_images_are_those_of_its_children_in_either_set() -> None:
    """An owl is a bird, also where only one of the sets says so."""
    truth = np.array([[0, 1], [0, 1], [1, 0], [0, 0]] * 3)
    a = scored(["bird", "bird/owl"], np.random.default_rng(0).normal(size=(12, 2)), truth)
    b = scored(["bird", "owl"], a.logits, truth)
    bird, *_ = compare(a, b, draw(12, 100, 0)).labels
    assert bird.examples == 9
    expected = average_precision_score(truth.any(axis=1), a.logits[:, 0])
    assert bird.average_precision.a == bird.average_precision.b == pytest.approx(expected)


def test_a_label_without_images_is_no_part_of_the_mean() -> None:
    """It has neither a figure nor a difference."""
    a, b = two_sets()
    none = np.zeros((60, 1), np.bool_)
    wide = [
        scored("abcd", np.hstack([e.logits, e.logits[:, :1]]), np.hstack([e.truth, none]))
        for e in (a, b)
    ]
    counts = draw(60, 100, 0)
    found = compare(wide[0], wide[1], counts)
    assert found.labels[3].examples == 0
    assert found.labels[3].average_precision == Difference()
    assert found.mean_average_precision == compare(a, b, counts).mean_average_precision


def test_images_without_any_label_count_for_precision_alone() -> None:
    """They are wrong for every label, and say nothing of which label should come first."""
    a, b = two_sets()
    bare = [
        scored("abc", np.vstack([e.logits, np.full((5, 3), 9.0)]), np.vstack([e.truth, np.zeros((5, 3))]))
        for e in (a, b)
    ]  # fmt: skip
    found = compare(bare[0], bare[1], draw(65, 100, 0))
    whole = compare(a, b, draw(60, 100, 0))
    assert found.acc1.a == whole.acc1.a
    assert found.mean_average_precision.a < whole.mean_average_precision.a  # type: ignore[operator]


def test_without_any_right_image_there_is_nothing_to_say() -> None:
    """No figure, no interval, no complaint."""
    a = scored("ab", np.zeros((3, 2)), np.zeros((3, 2)))
    found = compare(a, a, draw(3, 100, 0))
    assert found.acc1 == found.mean_average_precision == Difference()
