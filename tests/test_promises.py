"""What calibrate promises, by simulation: `make simulate` tries the same on many more data sets."""

from __future__ import annotations

import numpy as np
import pytest
import simulate


@pytest.mark.parametrize(("right", "precision"), [(30, 0.8), (60, 0.8), (60, 0.9)])
def test_labels_said_to_reach_a_precision_do(right: int, precision: float) -> None:
    """At least 90 % of those said to reach it do on fresh images, and none that had it loses it."""
    sets = 180 // right
    found = [
        simulate.reached(i, sets, right, distances, precision)
        for i, distances in enumerate([(1.0,), (2.0,), (3.0,), (4.0,), (1.0, 2.0, 3.0, 4.0)])
    ]
    said = sum(each.said for each in found)
    assert said > 0.05 * sum(each.labels for each in found)
    assert sum(each.true for each in found) >= 0.9 * said
    for each in found:
        assert each.said - each.true <= max(0.1 * each.said, 1)
        assert each.spoilt <= 1


def test_what_cannot_be_shown_is_not_said() -> None:
    """Thirty right images cannot show a precision of 0.95: no label is said to reach it."""
    assert simulate.reached(0, 2, 30, (4.0,), 0.95).said == 0


@pytest.mark.parametrize("right", [5, 10, 30])
def test_labels_without_skill_are_left_alone(right: int) -> None:
    """Where scores say nothing, at most 5 % of labels are fitted."""
    assert simulate.null(right, max(100 // right, 4), right) <= 0.05


def test_recalibrating_what_is_right_does_no_harm() -> None:
    """Thresholds that are right already lose less than .003 of F1 on average, and little else is reported."""
    found = [
        simulate.change(seed, 100 // right, right, distance, simulate.best_cut(distance))
        for seed, right in enumerate([5, 10, 30])
        for distance in (2.0, 3.0)
    ]
    assert abs(np.mean([each.true for each in found])) <= 0.003
    assert abs(np.mean([each.reported - each.true for each in found])) <= 0.01
    assert np.mean([each.plain for each in found]) < -0.02  # what there is to be spoilt


def test_bad_thresholds_are_mended() -> None:
    """Where thresholds are bad, at most a tenth of what plain fitting would gain is lost to caution."""
    found = [
        simulate.change(seed, 60 // right, right, distance, simulate.best_cut(distance) + 2)
        for seed, right in enumerate([5, 10, 30])
        for distance in (2.0, 3.0)
    ]
    for each in found:
        assert each.plain > 0.4
    assert np.mean([x.true for x in found]) >= 0.9 * np.mean([x.plain for x in found])
    assert np.mean([x.reported for x in found]) == pytest.approx(
        np.mean([x.true for x in found]), abs=0.05
    )
