"""Thresholds and a shift from labelled images: what is fitted, what is left alone, what is promised."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import simulate
from hypothesis import given, settings
from hypothesis import strategies as st

from siglipcli import scoring
from siglipcli.evaluation import metrics
from siglipcli.evaluation.calibration import Aim, Calibration, LabelFit, fit
from siglipcli.evaluation.moved import readable
from siglipcli.evaluation.scored import Scored
from siglipcli.labels import Label, LabelSet
from siglipcli.results import Source
from siglipcli.scoring import ScoringOptions

NO_SHIFT = Aim(shift=False)


def scored(labels: LabelSet, logits: object, truth: object) -> Scored:
    values = np.asarray(logits, np.float32)
    sources = [Source(f"{i}.jpg") for i in range(len(values))]
    return Scored("data", "model", labels, sources, values, np.asarray(truth, np.bool_))


def one(logits: object, right: object, **label: object) -> Scored:
    """A set of one label, `a`."""
    labels = LabelSet("set", (Label("a", ("a",), **label),))
    return scored(labels, np.reshape(logits, (-1, 1)), np.reshape(right, (-1, 1)))


def of(found: Calibration, label: str = "a") -> LabelFit:
    return next(each for each in found.labels if each.label == label)


def tags(answers: Scored, labels: LabelSet) -> np.ndarray:
    """What `siglip classify` makes tags of with `labels`, whose shift replaces that of the answers."""
    raw = answers.logits + np.float32(labels.bias_shift - answers.labels.bias_shift)
    return scoring.tags(raw, scoring.sigmoid(raw), labels, ScoringOptions())


def logit(score: float) -> float:
    return float(np.log(score / (1 - score)))


def clusters(seed: int, per_label: int, *, gap: float = 3.0, count: int = 4) -> Scored:
    """Images of `count` classes, whose labels score `gap` more on their own, each at its own height."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.eye(count, dtype=np.bool_), per_label, axis=0)
    heights = np.linspace(-9, -4, count)
    logits = rng.normal(size=truth.shape) + heights + gap * truth
    return scored(LabelSet.of([f"l{i}" for i in range(count)]), logits, truth)


def macro_f1(answers: Scored, labels: LabelSet) -> float:
    found = tags(answers, labels)
    hits = (found & answers.truth).sum(axis=0)
    return float(np.mean(2 * hits / (found.sum(axis=0) + answers.truth.sum(axis=0))))


# --- thresholds -----------------------------------------------------------------------------------


def test_a_threshold_lies_in_the_middle_of_the_gap() -> None:
    """Where right and wrong images are apart, the threshold is halfway between, as logits go."""
    right = np.repeat([True, False], 20)
    logits = np.where(right, -5.0, -9.0)
    found = of(fit(one(logits, right), NO_SHIFT))
    assert found.reason == ""
    assert logit(found.new) == pytest.approx(-7, abs=0.01)
    assert (found.examples, found.old) == (20, 0.2)
    assert found.before is not None
    assert found.held_out is not None
    assert (found.before.f1, found.held_out.f1) == (0, 1)


def test_the_best_f1_is_found_among_noise() -> None:
    """With many images the threshold is about as good as the best that there is for them."""
    rng = np.random.default_rng(0)
    right = rng.random(2000) < 0.3
    logits = rng.normal(size=2000) * 1.5 + 2 * right - 6
    found = of(fit(one(logits, right), NO_SHIFT))

    def f1(cut: float) -> float:
        chosen = logits >= cut
        return 2 * (chosen & right).sum() / (chosen.sum() + right.sum())

    best = max(map(f1, logits))
    assert f1(logit(found.new)) > best - 0.01
    assert found.held_out is not None
    assert found.held_out.f1 == pytest.approx(best, abs=0.03)


def test_each_label_gets_its_own_and_they_hold_on_new_images() -> None:
    """Thresholds fitted on some images raise the F1 on others, by what was said."""
    known, new = clusters(1, 20), clusters(2, 200)
    found = fit(known)
    assert macro_f1(new, known.labels) < 0.25
    assert macro_f1(new, found.calibrated) == pytest.approx(found.macro_f1()[1], abs=0.08)
    assert macro_f1(new, found.calibrated) > 0.7


def test_a_precision_is_reached_with_some_to_spare() -> None:
    """A threshold for P: on these images more than P of the tags are right, and the bound says how sure that is."""
    rng = np.random.default_rng(0)
    right = rng.random(2000) < 0.3
    logits = rng.normal(size=2000) + 2 * right - 6
    found = [of(fit(one(logits, right), Aim(precision=p, shift=False))) for p in (0.7, 0.8, 0.9)]
    for wanted, each in zip((0.7, 0.8, 0.9), found, strict=True):
        chosen = logits >= logit(each.new)
        assert each.reached
        assert each.at_least is not None
        assert wanted <= each.at_least < right[chosen].mean()
    assert found[0].new < found[1].new < found[2].new


def test_a_label_that_reaches_the_precision_is_moved_for_more_recall_only() -> None:
    """A threshold that is precise for sure gives way to one of more hits, and to no other."""
    right = np.tile([True, False], 30)
    logits = np.where(right, np.linspace(-6, -4, 60), np.linspace(-9, -6.1, 60))
    found = of(fit(one(logits, right, threshold=0.0024), Aim(precision=0.8, shift=False)))
    assert (found.reason, found.reached, found.new) == ("reached already", True, 0.0024)
    more = of(fit(one(logits, right, threshold=0.01), Aim(precision=0.8, shift=False)))
    assert more.before is not None
    assert more.held_out is not None
    assert more.before.precision == 1
    assert more.before.recall < more.held_out.recall
    assert (more.reason, more.reached) == ("", True)


def test_a_precision_that_cannot_be_reached_leaves_the_label_alone() -> None:
    """Where a wrong image always scores highest nothing is precise."""
    right = np.tile([True, False, False], 20)
    logits = np.where(right, -8.0, -5.0) + np.linspace(0, 1, 60)
    found = of(fit(one(logits, right), Aim(precision=0.9, shift=False)))
    assert (found.reason, found.new) == ("precision not reached", 0.2)
    assert found.reached is False
    assert fit(one(logits, right), Aim(precision=0.9)).reached() == (0, 1)


def test_the_flat_threshold_is_the_sets_or_as_given_and_a_labels_own_wins() -> None:
    """What the gain is measured against is what the user has now."""
    right = np.repeat([True, False], 20)
    logits = np.where(right, 1.0, -1.0)
    assert of(fit(one(logits, right), Aim(threshold=0.9))).old == 0.9
    assert of(fit(one(logits, right, threshold=0.8), Aim(threshold=0.9))).old == 0.8
    labels = LabelSet("set", (Label("a", ("a",)),), threshold=0.7)
    with_set = scored(labels, logits[:, None], right[:, None])
    assert of(fit(with_set)).old == 0.7
    found = of(fit(with_set, Aim(threshold=0.95)))
    assert found.before is not None
    assert found.before.f1 == 0


def test_the_same_seed_gives_the_same_fit() -> None:
    """Nothing is left to chance but what --seed says."""
    answers = clusters(3, 8, gap=1.5)
    assert fit(answers, Aim(seed=4)) == fit(answers, Aim(seed=4))
    assert fit(answers, Aim(seed=4)) != fit(answers, Aim(seed=5))


# --- what keeps few images from fooling it ------------------------------------------------------


def test_labels_with_too_few_examples_are_left_alone() -> None:
    """Fewer right images than asked for: said, and nothing changes but the shift."""
    answers = clusters(1, 4)
    found = fit(answers, Aim(shift=False))
    assert found.calibrated == answers.labels
    assert {each.reason for each in found.labels} == {"too few examples"}
    assert not any(each.reason for each in fit(answers, Aim(min_examples=4)).labels)


def test_a_label_that_no_image_has_is_left_alone() -> None:
    """No example, no measure, no threshold."""
    found = of(fit(one([0.0, 1.0, -1.0], [False] * 3)))
    assert (found.examples, found.reason, found.before) == (0, "no examples", None)


def test_a_label_that_every_image_has_is_left_alone() -> None:
    """With nothing to tell it from there is no threshold to find."""
    found = of(fit(one([-5.0] * 9 + [-4.0], [True] * 10)))
    assert (found.reason, found.examples) == ("too few others", 10)


def test_a_threshold_that_fits_is_kept_to_the_digit() -> None:
    """What tags the same images as the fitted one is not replaced by it."""
    right = np.repeat([True, False], 20)
    found = of(fit(one(np.where(right, 2.0, -6.0), right, threshold=0.123), NO_SHIFT))
    assert (found.reason, found.new) == ("fits already", 0.123)


@pytest.mark.parametrize("per_label", [5, 8])
def test_noise_is_not_taken_for_a_gain(per_label: int) -> None:
    """Labels whose scores say nothing end no worse on new images than with the flat threshold."""
    gains = []
    for seed in range(25):
        known, new = clusters(seed, per_label, gap=0), clusters(100 + seed, 100, gap=0)
        found = fit(known)
        gains.append(macro_f1(new, found.calibrated) - macro_f1(new, known.labels))
        everything = tags(known, found.calibrated).all(axis=0)
        assert not everything.any()
    assert min(gains) >= -0.03
    assert np.mean(gains) >= 0


def test_what_is_said_of_few_examples_is_about_what_new_images_show() -> None:
    """The F1 reported for five examples a label is measured on images held out, not on those fitted."""
    said, true = [], []
    for seed in range(25):
        known, new = clusters(seed, 5), clusters(100 + seed, 100)
        found = fit(known)
        said.append(found.macro_f1()[1])
        true.append(macro_f1(new, found.calibrated))
    assert np.mean(said) == pytest.approx(np.mean(true), abs=0.05)


@st.composite
def any_scored(draw: st.DrawFn) -> Scored:
    """Up to 40 images and 5 labels, of any structure, with ties."""
    paths = ["a", "b", "b/c", "b/c/d", "e"]
    own = st.one_of(st.none(), st.floats(0, 1), st.sampled_from([0.0, 1e-7, 0.2, 0.9999999, 1.0]))
    labels = LabelSet(
        "set",
        tuple(
            Label(path, (path,), threshold=draw(own), negative=path == "e" and draw(st.booleans()))
            for path in paths
        ),
        threshold=draw(own),
        exclusive=draw(st.booleans()),
        bias_shift=draw(st.sampled_from([0.0, -6.0, 2.5, -300.0, 40.0])),
    )
    count = draw(st.integers(4, 40))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    truth = rng.random((count, 5)) < draw(st.sampled_from([0.1, 0.4, 0.8]))
    logits = rng.normal(size=(count, 5)) * draw(st.sampled_from([1e-4, 0.5, 3.0, 30.0]))
    logits = logits + truth * draw(st.sampled_from([2, 15]))
    logits = logits + draw(st.sampled_from([-120.0, -25.0, -9.0, 0.0, 3.0, 20.0]))
    logits = logits.astype(np.float32)
    return scored(labels, logits.round(1) if draw(st.booleans()) else logits, truth)


AIMS = st.builds(
    Aim,
    precision=st.one_of(st.none(), st.sampled_from([0.5, 0.8, 1.0])),
    min_examples=st.integers(3, 6),
    folds=st.integers(3, 6),
    seed=st.integers(0, 5),
    shift=st.booleans(),
    threshold=st.one_of(st.none(), st.sampled_from([0.0, 0.3, 1.0])),
)


@settings(max_examples=60, deadline=None)
@given(any_scored(), AIMS)
def test_nobody_ends_worse_than_before(answers: Scored, aim: Aim) -> None:
    """A fitted label is better on held-out images than in the set as it was; any other keeps every tag."""
    found = fit(answers, aim)
    before, after = tags(answers, answers.labels), tags(answers, found.calibrated)
    places = {label.path: j for j, label in enumerate(answers.labels.labels)}
    for each in found.labels:
        j = places[each.label]
        if each.reason:
            assert (before[:, j] == after[:, j]).all()
        elif aim.precision is None:
            assert each.held_out is not None
            assert each.kept is not None
            assert each.held_out.f1 > each.kept.f1
    if aim.threshold is None and all(each.reason for each in found.labels):
        assert found.macro_f1()[1] == found.macro_f1()[0]


@settings(max_examples=60, deadline=None)
@given(any_scored(), AIMS)
def test_a_shift_pushes_no_threshold_to_where_all_scores_are_one(answers: Scored, aim: Aim) -> None:
    """No threshold goes over a logit of 12, or up at all where one is there; --no-shift moves none."""
    found = fit(answers, aim)
    delta = found.calibrated.bias_shift - answers.labels.bias_shift
    if not aim.shift:
        assert delta == 0
    plain = fit(answers, replace(aim, shift=False)).calibrated
    used = [not label.negative for label in plain.labels]
    at = scoring.thresholds(plain, ScoringOptions())[used].astype(np.float64)
    highest = max((logit(x) for x in at if 0 < x < 1), default=0.0)
    assert delta <= max(12 - highest, 0) + 0.01


@settings(max_examples=60, deadline=None)
@given(any_scored(), AIMS)
def test_before_is_what_evaluate_measures(answers: Scored, aim: Aim) -> None:
    """The F1 that a gain is counted from is the one that `siglip evaluate` gives at these thresholds."""
    found = fit(answers, aim)
    measured = metrics.measure(answers, ScoringOptions(threshold=aim.threshold)).labels
    f1 = {each.label: each.f1 for each in measured}
    for each in found.labels:
        if each.before is not None:
            assert f1[each.label] == pytest.approx(each.before.f1)


@settings(max_examples=60, deadline=None)
@given(any_scored(), AIMS)
def test_a_reached_precision_holds_on_the_images_it_was_fitted_to(
    answers: Scored, aim: Aim
) -> None:
    """The tags of the written threshold, digits cut, have the precision on the data at hand."""
    found = fit(answers, aim)
    after = tags(answers, found.calibrated)
    right = metrics.relevant(answers)
    for j, label in enumerate(answers.labels.labels):
        if aim.precision and not label.negative and of(found, label.path).reached:
            assert after[:, j].any()
            assert right[after[:, j], j].mean() >= aim.precision


@settings(max_examples=300, deadline=None)
@given(st.floats(-30, 15, width=32), st.floats(1e-6, 20), st.floats(0, 1))
def test_thresholds_are_short_and_on_the_right_side(low: float, gap: float, part: float) -> None:
    """A threshold has few digits, and still lies between the two scores it separates."""
    raw = np.array([low, low + gap], np.float32)
    below, above = scoring.sigmoid(raw)
    if below == above:
        return
    found = readable(low + gap * part, float(below), float(above))
    assert below < np.float32(found) <= above
    if gap > 1:
        middle = readable(low + gap / 2, float(below), float(above))
        lacking = min(middle, 1 - middle)
        assert float(f"{lacking:.3g}") == pytest.approx(lacking, rel=1e-4)


def test_every_readable_threshold_survives_the_file() -> None:
    """Three digits of the score; near 1, of what it lacks."""
    assert readable(-7.0, 0.0, 0.5) == 0.000911
    assert readable(7.0, 0.5, 1.0) == 0.999089
    assert readable(-np.inf, -1.0, 1.0) == 0
    assert readable(np.inf, 0.5, 2.0) == 1


# --- the shift ------------------------------------------------------------------------------------


@pytest.mark.parametrize("true_shift", [-4.0, 0.0, 6.5])
def test_the_shift_that_made_the_data_is_found(true_shift: float) -> None:
    """Images drawn right with probability sigmoid(logit + b) give b back."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 3)) * 3 - true_shift
    truth = rng.random(logits.shape) < 1 / (1 + np.exp(-(logits + true_shift)))
    answers = scored(LabelSet.of(["a", "b", "c"]), logits, truth)
    assert fit(answers).calibrated.bias_shift == pytest.approx(true_shift, abs=0.1)


def test_after_the_shift_scores_sum_to_what_is_right() -> None:
    """But for the prior, which is worth one pair a logit: that makes the shift the likeliest."""
    answers = clusters(1, 30, gap=2)
    shift = fit(answers).calibrated.bias_shift
    total = scoring.sigmoid(answers.logits + np.float32(shift)).sum()
    assert total == pytest.approx(answers.truth.sum() - shift, abs=0.1)


def test_the_shift_is_added_to_what_the_set_has() -> None:
    """A set that is shifted already ends where an unshifted one does."""
    plain = clusters(1, 20)
    labels = LabelSet(plain.labels.name, plain.labels.labels, bias_shift=-6.0)
    moved = scored(labels, plain.logits - 6, plain.truth)
    first, second = fit(plain), fit(moved)
    assert second.calibrated.bias_shift == pytest.approx(first.calibrated.bias_shift, abs=0.011)
    assert second.old_shift == -6
    for a, b in zip(first.calibrated.labels, second.calibrated.labels, strict=True):
        assert a.threshold == pytest.approx(b.threshold, rel=0.05)


@pytest.mark.parametrize("right", [True, False])
def test_the_shift_is_finite_where_all_is_right_or_nothing(right: bool) -> None:
    """Data without a contrast moves scores by a bounded amount, or not at all."""
    answers = one(np.full(50, -8.0), np.full(50, right))
    shift = fit(answers).calibrated.bias_shift
    assert (1 < shift < 10) if right else shift == 0


def test_a_set_that_tells_its_images_apart_is_hardly_shifted() -> None:
    """Scores of 0.95 and 0.001 are good as they are, though all of the former are right."""
    right = np.arange(60) < 30
    logits = np.where(right, 3.0, -7.0)[:, None]
    shift = fit(scored(LabelSet.of(["a"]), logits, right[:, None])).calibrated.bias_shift
    assert 0 <= shift < 1


def test_labels_that_no_image_is_named_after_do_not_move_the_shift() -> None:
    """A large vocabulary beside few classes says nothing: images may show what nobody named."""
    few = clusters(1, 20)
    labels = LabelSet.of([label.path for label in few.labels.labels] + ["x", "y"])
    more = np.full((len(few.logits), 2), 5.0)
    many = scored(labels, np.hstack([few.logits, more]), np.hstack([few.truth, more < 0]))
    assert fit(many).calibrated.bias_shift == fit(few).calibrated.bias_shift


def test_labels_that_the_model_knows_nothing_of_do_not_move_the_shift() -> None:
    """Where right images score no higher than others, no shift is sought: it would spoil the others."""
    few = clusters(1, 20)
    rng = np.random.default_rng(0)
    labels = LabelSet.of([label.path for label in few.labels.labels] + ["x"])
    unknown = rng.normal(size=(80, 1)) - 20
    right = rng.random((80, 1)) < 0.2
    many = scored(labels, np.hstack([few.logits, unknown]), np.hstack([few.truth, right]))
    assert fit(many).calibrated.bias_shift == fit(few).calibrated.bias_shift
    alone = scored(LabelSet.of(["x"]), unknown, right)
    assert fit(alone).calibrated.bias_shift == 0


def test_parents_that_the_data_does_not_name_do_not_move_the_shift() -> None:
    """That an owl is a bird is known from the set alone: what `bird` scores on it is nobody's word."""
    right = np.repeat([True, False], 20)
    owl = np.where(right, 2.0, -6.0)
    labels = LabelSet("set", (Label("bird", ("b",)), Label("bird/owl", ("o",))))
    truth = np.stack([np.zeros(40, np.bool_), right], axis=1)
    both = scored(labels, np.stack([np.where(right, -15.0, -20.0), owl], axis=1), truth)
    assert fit(both).calibrated.bias_shift == fit(one(owl, right)).calibrated.bias_shift


def test_the_shift_leaves_thresholds_apart() -> None:
    """However far below the right scores are, the highest threshold goes to a logit of 12 and no further."""
    right = np.repeat([True, False], 200)
    logits = np.stack([np.where(right, -22.0, -40.0), np.linspace(-9, -1, 400)], axis=1)
    answers = scored(LabelSet.of(["a", "b"]), logits, np.stack([right, right & ~right], axis=1))
    most = 12 - logit(0.2)  # b is left alone, with the default threshold
    assert fit(answers).calibrated.bias_shift == pytest.approx(most, abs=0.011)
    above = scored(LabelSet("s", answers.labels.labels, threshold=0.999995), logits, answers.truth)
    assert fit(above).calibrated.bias_shift == 0
    down = one(np.where(right, 20.0, 14.0), right)
    assert -20 < fit(down).calibrated.bias_shift < -14


@pytest.mark.parametrize("tails", [True, False])
def test_the_shift_is_found_the_better_the_more_images_there_are(tails: bool) -> None:
    """One huge logit does not hold it back: with long tails too the error shrinks as images are added."""
    errors = [
        np.mean(np.abs(simulate.shift_errors(0, 6, right, tails=tails))) for right in (5, 50, 500)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.15


def test_a_shift_that_makes_the_truth_no_likelier_is_not_taken() -> None:
    """A set whose own shift fits its images better than one nearer to 0 keeps it to the digit."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=20) * 3
    right = rng.random(20) < 1 / (1 + np.exp(-logits))
    labels = LabelSet("set", (Label("a", ("a",)),), bias_shift=-9.125)
    answers = scored(labels, logits[:, None], right[:, None])
    assert fit(answers).calibrated.bias_shift == -9.125
    assert of(fit(answers)).label == "a"


def test_a_shift_that_would_change_a_kept_tag_is_not_taken() -> None:
    """Two scores that fp32 holds apart where they are may be one after a shift: then there is none."""
    right = np.repeat([True, False], 200)
    kept = np.where(np.arange(400) < 5, -1.3862, -1.3864)  # 0.2 lies between the two
    logits = np.stack([np.where(right, -14.0, -30.0), kept], axis=1)
    answers = scored(LabelSet.of(["a", "b"]), logits, np.stack([right, right & ~right], axis=1))
    found = fit(answers)
    assert found.old_shift == found.calibrated.bias_shift == 0
    assert of(found, "a").reason == ""
    assert of(found, "b").reason == "no examples"
    assert (tags(answers, found.calibrated)[:, 1] == tags(answers, answers.labels)[:, 1]).all()
    alone = scored(LabelSet.of(["a"]), logits[:, :1], right[:, None])
    assert fit(alone).calibrated.bias_shift > 10


def test_the_flat_threshold_in_use_is_never_written() -> None:
    """`-t` is what the gain is measured against; what is left alone goes by the set as before."""
    right = np.repeat([True, False], 20)
    logits = np.where(right, 2.0, -6.0)
    labels = LabelSet("set", (Label("a", ("a",)), Label("rare", ("r",))))
    answers = scored(
        labels, np.stack([logits, logits], axis=1), np.stack([right, right & ~right], 1)
    )
    found = fit(answers, Aim(shift=False, threshold=0.95))
    assert found.calibrated == labels
    before, after = of(found).before, of(found).after
    assert before is not None
    assert after is not None
    assert (before.f1, after.f1) == (0, 1)
    assert (of(found).old, of(found).new, of(found).reason) == (0.95, 0.2, "fits already")
    shifted = fit(answers, Aim(threshold=0.95)).calibrated
    assert shifted == fit(answers).calibrated


def test_labels_left_alone_go_on_with_the_sets_threshold() -> None:
    """With a shift the set's own threshold moves for all of them; the labels stay without one."""
    answers = clusters(1, 20)
    labels = LabelSet("set", (*answers.labels.labels, Label("rare", ("rare",))))
    logits = np.hstack([answers.logits, np.linspace(-8, 8, 80)[:, None]])
    truth = np.hstack([answers.truth, np.zeros((80, 1), np.bool_)])
    found = fit(scored(labels, logits, truth))
    shift = found.calibrated.bias_shift
    assert found.calibrated.labels[-1].threshold is None
    assert logit(found.calibrated.threshold or 0) == pytest.approx(logit(0.2) + shift, abs=0.01)
    assert of(found, "rare").new == found.calibrated.threshold
    unmoved = fit(scored(labels, logits, truth), NO_SHIFT).calibrated
    assert unmoved.threshold is None


# --- what can be a tag ----------------------------------------------------------------------------


def test_in_an_exclusive_set_only_the_best_label_counts_against_a_threshold() -> None:
    """An image in which another label is better moves no threshold, however high this one scores."""
    truth = np.repeat(np.eye(2, dtype=np.bool_), 20, axis=0)
    logits = np.where(truth[:, :1], [[-5.0, -9.0]], [[-4.0, -3.0]])  # a's best is on b's images
    labels = LabelSet("set", (Label("a", ("a",)), Label("b", ("b",))), exclusive=True)
    found = fit(scored(labels, logits, truth), NO_SHIFT)
    assert found.macro_f1() == (0, 1)
    assert (tags(scored(labels, logits, truth), found.calibrated) == truth).all()


def test_a_image_that_a_negative_label_wins_counts_against_no_threshold() -> None:
    """Nor does one where a negative label outranks it; negative labels themselves get no threshold."""
    right = np.repeat([True, False], 20)
    logits = np.stack([np.where(right, -5.0, -4.0), np.where(right, -7.0, -3.0)], axis=1)
    labels = LabelSet("set", (Label("a", ("a",)), Label("none", ("n",), negative=True)))
    answers = scored(labels, logits, np.stack([right, ~right], axis=1))
    found = fit(answers, NO_SHIFT)
    assert [each.label for each in found.labels] == ["a"]
    assert (tags(answers, found.calibrated)[:, 0] == right).all()
    assert found.calibrated.labels[1].threshold is None


def test_a_label_that_is_always_outranked_is_left_alone() -> None:
    """Where it is right it can never be a tag: no threshold helps."""
    right = np.repeat([True, False], 20)
    logits = np.stack([np.full(40, -5.0), np.where(right, -3.0, -7.0)], axis=1)
    labels = LabelSet("set", (Label("a", ("a",)), Label("none", ("n",), negative=True)))
    found = fit(scored(labels, logits, np.stack([right, ~right], axis=1)))
    assert of(found).reason == "always outranked"


def test_parents_are_right_where_a_child_is() -> None:
    """A tag `bird` on an owl is no mistake, and is fitted from owls where nothing else is named."""
    labels = LabelSet("set", (Label("bird", ("b",)), Label("bird/owl", ("o",))))
    right = np.repeat([True, False], 20)
    logits = np.stack([np.where(right, -5.0, -9.0)] * 2, axis=1)
    truth = np.stack([np.zeros(40, np.bool_), right], axis=1)
    found = fit(scored(labels, logits, truth), NO_SHIFT)
    assert of(found, "bird").examples == 20
    assert of(found, "bird").held_out == of(found, "bird/owl").held_out
    assert found.macro_f1() == (0, 1)
