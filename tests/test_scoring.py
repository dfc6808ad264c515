"""Scores: what sigmoid, softmax, aggregation, thresholds and order come to."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from siglipcli.labels import Label, LabelSet
from siglipcli.results import Head, Score
from siglipcli.scoring import (
    LabelEmbeddings,
    ScoringOptions,
    cosines,
    embed_labels,
    logits,
    rank,
    sigmoid,
    softmax,
)

HEAD = Head(logit_scale=10.0, logit_bias=-2.0)
ALL = ScoringOptions(top=None, negatives=True)
LOGITS = hnp.arrays(
    np.float32, st.integers(1, 12), elements=st.floats(-500, 500, width=32, allow_nan=False)
)


def unit(rows: object) -> np.ndarray:
    array = np.asarray(rows, dtype=np.float64)
    return (array / np.linalg.norm(array, axis=1, keepdims=True)).astype(np.float32)


def random_units(n: int, d: int = 6, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(n, d)))


def labels(*paths: str, **options: object) -> LabelSet:
    return LabelSet("set", tuple(Label(path, (path,)) for path in paths), **options)


def banked(label_set: LabelSet, wanted: list[float]) -> LabelEmbeddings:
    """A bank whose labels get these logits from the one image `[1, 0]`."""
    cosines = [(logit - HEAD.logit_bias) / HEAD.logit_scale for logit in wanted]
    vectors = np.array([[c, math.sqrt(1 - c * c)] for c in cosines], np.float32)
    return LabelEmbeddings(label_set, vectors, np.arange(len(wanted)))


def ranked(
    label_set: LabelSet, wanted: list[float], selection: ScoringOptions = ALL
) -> tuple[Score, ...]:
    (answer,) = rank(np.array([[1, 0]], np.float32), banked(label_set, wanted), HEAD, selection)
    return answer


def tags(label_set: LabelSet, wanted: list[float], selection: ScoringOptions = ALL) -> set[str]:
    return {score.label for score in ranked(label_set, wanted, selection) if score.tag}


def logit_of(score: float) -> float:
    return math.log(score / (1 - score))


# --- the functions --------------------------------------------------------------------------------


@given(LOGITS)
def test_sigmoid_is_exact_and_never_overflows(x: np.ndarray) -> None:
    """A score is 1 / (1 + e^-logit), whatever the logit, in [0, 1] and never NaN."""
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        scores = sigmoid(x)
    exact = [1 / (1 + math.exp(-v)) if v >= 0 else math.exp(v) / (1 + math.exp(v)) for v in x]
    assert scores.dtype == np.float32
    assert ((scores >= 0) & (scores <= 1)).all()
    np.testing.assert_allclose(scores, exact, rtol=1e-6, atol=1e-38)


@given(LOGITS)
def test_scores_and_shares_rise_with_the_logit(x: np.ndarray) -> None:
    """A label with a higher logit never has a lower score or share."""
    order = np.argsort(x)
    for values in (sigmoid(x)[order], softmax(x)[order]):
        assert all(a <= b for a, b in pairwise(values.tolist()))


@given(LOGITS)
def test_shares_sum_to_one(x: np.ndarray) -> None:
    """`share` is a softmax: one whole, however large the logits."""
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        shares = softmax(x)
    assert shares.dtype == np.float32
    assert abs(float(shares.sum()) - 1) < 1e-5
    exact = np.exp(x.astype(np.float64) - x.max())
    np.testing.assert_allclose(shares, exact / exact.sum(), rtol=1e-5, atol=1e-30)


def test_tiny_scores_keep_their_order() -> None:
    """At logits near -30, where SigLIP's scores often are, a score is small but not zero."""
    low, high = sigmoid(np.array([-30.5, -30], np.float32))
    assert 0 < low < high < 1e-12


# --- aggregation ----------------------------------------------------------------------------------

PROMPTS = LabelSet(
    "set",
    (Label("a", ("a1", "a2", "a3")), Label("b", ("b1",)), Label("c", ("c1", "c2"))),
)


def encode(texts: list[str]) -> np.ndarray:
    return random_units(len(texts), seed=3)


def test_mean_is_the_renormalised_mean_of_unit_embeddings() -> None:
    """Several prompts of one label become one vector, by open_clip's rule."""
    made = embed_labels(PROMPTS, encode)
    rows = iter(encode([""] * 6))
    for i, label in enumerate(PROMPTS.labels):
        mean = np.mean([next(rows) for _ in label.prompts], axis=0)
        np.testing.assert_allclose(made.vectors[i], mean / np.linalg.norm(mean), atol=1e-6)
    assert made.vectors.dtype == np.float32
    assert len(made.vectors) == len(made.starts) == 3


def test_max_takes_the_best_prompt() -> None:
    """With `aggregate: max` a label's logit is that of its best prompt."""
    images = random_units(5, seed=4)
    made = embed_labels(LabelSet("set", PROMPTS.labels, aggregate="max"), encode)
    vectors = encode([""] * 6)
    for i, image in enumerate(images):
        cosines = [float(image @ v) for v in vectors]
        best = [max(cosines[:3]), cosines[3], max(cosines[4:])]
        expected = [HEAD.logit_scale * c + HEAD.logit_bias for c in best]
        np.testing.assert_allclose(logits(images, made, HEAD)[i], expected, atol=1e-5)


def test_one_prompt_a_label_is_the_same_by_mean_and_by_max() -> None:
    """Aggregation changes nothing where there is nothing to aggregate."""
    one = LabelSet("set", (Label("a", ("a",)), Label("b", ("b",))))
    most = LabelSet("set", one.labels, aggregate="max")
    images = random_units(4)
    first, second = (logits(images, embed_labels(each, encode), HEAD) for each in (one, most))
    np.testing.assert_array_equal(first, second)


def test_each_prompt_is_encoded_once_and_in_order() -> None:
    """A label set is encoded in one call with every prompt."""
    calls: list[list[str]] = []

    def watched(texts: list[str]) -> np.ndarray:
        calls.append(list(texts))
        return encode(texts)

    embed_labels(PROMPTS, watched)
    assert calls == [["a1", "a2", "a3", "b1", "c1", "c2"]]


# --- what changes no score ------------------------------------------------------------------------


def table(images: np.ndarray, made: LabelEmbeddings) -> list[dict[str, float]]:
    return [{s.label: s.score for s in row} for row in rank(images, made, HEAD, ALL)]


@given(st.integers(1, 7), st.randoms(use_true_random=False))
def test_batches_and_orders_change_no_score(size: int, random: object) -> None:
    """Scores do not depend on the batch size, the order of files or the order of labels."""
    images, paths = random_units(9), [f"label {i}" for i in range(6)]
    vectors = dict(zip(paths, random_units(6, seed=1), strict=True))

    def made(order: list[str]) -> LabelEmbeddings:
        return embed_labels(labels(*order), lambda texts: np.stack([vectors[t] for t in texts]))

    expected = table(images, made(paths))
    files, shuffled = list(range(9)), list(paths)
    random.shuffle(files)
    random.shuffle(shuffled)
    got: list[dict[str, float]] = [{}] * 9
    for start in range(0, 9, size):
        chosen = files[start : start + size]
        for i, row in zip(chosen, table(images[chosen], made(shuffled)), strict=True):
            got[i] = row
    for i in range(9):
        assert got[i] == pytest.approx(expected[i], abs=1e-6)


SETS = [1, 2, 3, 7, 16, 17, 100, 513, 1000]


@pytest.mark.parametrize("d", [64, 768, 1152])
def test_a_logit_depends_on_its_image_and_prompt_alone(d: int) -> None:
    """To the last bit: in any batch, with any other labels, at any place in the set."""
    images, prompts = random_units(600, d, 1), random_units(1000, d, 2)
    whole = cosines(images, prompts)
    for n in (1, 2, 5, 64, 255, 600):
        for m in SETS:
            part = cosines(images[-n:], prompts[-m:])
            np.testing.assert_array_equal(part, whole[-n:, -m:])
            assert part.dtype == np.float32
    exact = images[:50].astype(np.float64) @ prompts.T.astype(np.float64)
    assert np.abs(whole[:50] - exact).max() < 6e-8


def test_threads_change_no_logit() -> None:
    """One BLAS thread or many: the same bits."""
    script = (
        "import numpy as np, hashlib\n"
        "from siglipcli.scoring import cosines\n"
        "rows = np.random.default_rng(0).normal(size=(1100, 768))\n"
        "rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)\n"
        "print(hashlib.sha256(cosines(rows[:500], rows[500:]).tobytes()).hexdigest())"
    )
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
    digests = {
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | dict.fromkeys(names, count),
            check=True, capture_output=True, text=True,
        ).stdout
        for count in ("1", "2", "5")
    }  # fmt: skip
    assert len(digests) == 1


@pytest.mark.parametrize("count", SETS)
def test_equal_prompts_tie_and_keep_the_sets_order(count: int) -> None:
    """Labels with one prompt have one logit, come as the set lists them, and an exclusive set takes the first."""
    own = random_units(count + 1, 768, 7)
    at = np.array([0, *range(1, count), 0, 0]) if count > 1 else np.zeros(3, int)
    names = [f"label {i}" for i in range(len(at))]
    for exclusive in (False, True):
        same = labels(*names, exclusive=exclusive)
        made = LabelEmbeddings(same, own[at], np.arange(len(at)))
        twins = {names[i] for i in np.flatnonzero(at == 0)}
        for row in rank(random_units(60, 768, 8), made, HEAD, ScoringOptions(None, 0.0)):
            found = [score for score in row if score.label in twins]
            assert [score.label for score in found] == sorted(twins, key=names.index)
            assert len({(score.score, score.softmax, score.logit) for score in found}) == 1
            if exclusive:
                assert not any(score.tag for score in found[1:])


def test_a_label_level_with_a_negative_one_is_a_tag() -> None:
    """Only a label *below* a negative one is no tag; the same logit is not below."""
    two = LabelSet("set", (Label("a", ("a",)), Label("none", ("b",), negative=True)))
    assert tags(two, [2.0, 2.0]) == {"a"}
    assert tags(two, [1.999, 2.0]) == set()


@pytest.mark.parametrize(
    "bad", [{"top": 0}, {"threshold": 1.1}, {"threshold": math.nan}, {"bias_shift": math.inf}]
)
def test_options_out_of_range_are_refused_at_once(bad: dict[str, float]) -> None:
    """Numbers that mean nothing raise where they are written."""
    with pytest.raises(ValueError, match=next(iter(bad))):
        ScoringOptions(**bad)


# --- thresholds and tags --------------------------------------------------------------------------


def test_the_default_threshold_is_one_fifth() -> None:
    """Where nobody says otherwise a score of 0.2 makes a tag."""
    given_logits = [logit_of(0.201), logit_of(0.199)]
    assert tags(labels("above", "below"), given_logits) == {"above"}


@pytest.mark.parametrize(
    ("own", "caller", "of_set", "expected"),
    [
        (0.6, 0.4, 0.3, {"other"}),
        (0.1, 0.9, 0.9, {"own"}),
        (None, 0.4, 0.9, {"own", "other"}),
        (None, 0.6, 0.3, set()),
        (0.1, None, 0.7, {"own"}),
        (None, None, 0.7, set()),
        (0.0, 1.0, None, {"own"}),  # nought is a threshold, not the lack of one
        (None, 0.0, 1.0, {"own", "other"}),
        (None, None, 0.0, {"own", "other"}),
    ],
)
def test_a_labels_threshold_wins_then_the_callers_then_the_sets(
    own: float | None, caller: float | None, of_set: float | None, expected: set[str]
) -> None:
    """Which threshold counts for a score of 0.5: the label's, --threshold, the set's, 0.2."""
    both = LabelSet(
        "set", (Label("own", ("a",), threshold=own), Label("other", ("b",))), threshold=of_set
    )
    assert tags(both, [0.0, 0.0], ScoringOptions(threshold=caller)) == expected


def test_a_negative_label_is_never_a_tag_and_sets_a_bar() -> None:
    """A label that scores below a negative one is no tag; the negative one is none either."""
    three = LabelSet(
        "set", (Label("low", ("a",)), Label("none", ("b",), negative=True), Label("high", ("c",)))
    )
    assert tags(three, [1.0, 2.0, 3.0]) == {"high"}
    assert tags(three, [2.5, 2.0, 3.0]) == {"low", "high"}
    assert tags(three, [1.0, 2.0, 1.5]) == set()


def test_each_image_has_its_own_bar_of_negative_labels() -> None:
    """In a batch an image's tags depend on its own negative labels, not on another image's."""
    pair = LabelSet("set", (Label("a", ("a",)), Label("none", ("b",), negative=True)))
    made = LabelEmbeddings(pair, np.eye(2, dtype=np.float32), np.arange(2))
    images = unit([[3, 1], [1, 3], [3, 2]])
    tagged = [
        {score.label for score in row if score.tag}
        for row in rank(images, made, HEAD, replace(ALL, threshold=0.0))
    ]
    assert tagged == [{"a"}, set(), {"a"}]


def test_label_embeddings_are_equal_where_all_of_them_is() -> None:
    """Two with the same labels, vectors and starts are one value; another label set makes another."""
    first = banked(labels("a", "b"), [1, 2])
    assert first == banked(labels("a", "b"), [1, 2])
    assert hash(first) == hash(banked(labels("a", "b"), [1, 2]))
    assert first != banked(labels("a", "c"), [1, 2])
    assert first != banked(labels("a", "b"), [1, 3])
    assert first != LabelEmbeddings(first.labels, first.vectors, np.array([0, 2]))
    assert first != "a"


def test_negative_labels_show_only_on_request_but_count_in_shares() -> None:
    """`--all` lists negative labels; without it they are left out, and shares stay the same."""
    two = LabelSet("set", (Label("a", ("a",)), Label("none", ("b",), negative=True)))
    hidden = ranked(two, [1.0, 1.0], ScoringOptions())
    shown = ranked(two, [1.0, 1.0])
    assert [s.label for s in hidden] == ["a"]
    assert [s.label for s in shown] == ["a", "none"]
    assert hidden[0].softmax == shown[0].softmax == pytest.approx(0.5)


def test_a_set_of_negative_labels_alone_answers_nothing() -> None:
    """Nothing to show is an empty answer, not an error."""
    none = LabelSet("set", (Label("a", ("a",), negative=True),), exclusive=True)
    assert ranked(none, [1.0], ScoringOptions()) == ()
    assert tags(none, [1.0]) == set()


def test_in_an_exclusive_set_only_the_best_can_be_a_tag() -> None:
    """`exclusive: true`: at most one tag, and none where the best is too low."""
    exclusive = labels("a", "b", "c", exclusive=True)
    assert tags(exclusive, [2.0, 3.0, 2.5]) == {"b"}
    assert tags(exclusive, [-5.0, -4.0, -6.0]) == set()
    assert len(tags(exclusive, [3.0, 3.0, 3.0])) == 1


def test_exclusive_looks_past_negative_labels() -> None:
    """The best label that may be a tag is the one, and still must beat the negative ones."""
    pair = (Label("a", ("a",)), Label("b", ("b",)), Label("none", ("c",), negative=True))
    exclusive = LabelSet("set", pair, exclusive=True)
    assert tags(exclusive, [3.0, 2.0, 1.0]) == {"a"}
    assert tags(exclusive, [3.0, 2.0, 4.0]) == set()


def test_bias_shift_moves_every_logit_alike() -> None:
    """`--bias-shift` adds to logits: scores and tags move, order and shares do not."""
    two = labels("a", "b")
    plain = ranked(two, [-3.0, -4.0])
    moved = ranked(two, [-3.0, -4.0], ScoringOptions(top=None, bias_shift=3.5))
    assert [s.label for s in plain] == [s.label for s in moved] == ["a", "b"]
    for before, after in zip(plain, moved, strict=True):
        assert after.logit == pytest.approx(before.logit + 3.5, abs=1e-5)
        assert after.score == pytest.approx(1 / (1 + math.exp(-after.logit)), abs=1e-6)
        assert after.softmax == pytest.approx(before.softmax, abs=1e-5)
    assert [s.tag for s in plain] == [False, False]
    assert [s.tag for s in moved] == [True, True]


def test_a_sets_own_shift_is_added_to_the_callers() -> None:
    """`bias_shift: X` in a set is the same as --bias-shift X, and both add up."""
    own = labels("a", "b", bias_shift=2.0)
    both = ranked(own, [-3.0, -4.0], ScoringOptions(top=None, bias_shift=1.5))
    assert both == ranked(labels("a", "b"), [-3.0, -4.0], ScoringOptions(top=None, bias_shift=3.5))
    assert [s.tag for s in ranked(own, [-3.0, -4.0])] == [True, False]


# --- selection and order --------------------------------------------------------------------------


@pytest.mark.parametrize(("top", "shown"), [(1, 1), (3, 3), (99, 7), (None, 7)])
def test_top_limits_what_is_shown(top: int | None, shown: int) -> None:
    """`--top N` shows the best N; more than there are, or no limit, shows all."""
    wanted = [0.3, -1.0, 2.0, 0.5, 1.0, -2.0, 1.5]
    paths = [str(i) for i in range(7)]
    answer = ranked(labels(*paths), wanted, ScoringOptions(top=top, threshold=1.0))
    best = sorted(paths, key=lambda p: -wanted[int(p)])
    assert [s.label for s in answer] == best[:shown]


def test_ties_keep_the_sets_order() -> None:
    """Labels with equal scores come as the set lists them."""
    answer = ranked(labels("z", "a", "m", "b"), [1.0, 2.0, 1.0, 1.0])
    assert [s.label for s in answer] == ["a", "z", "m", "b"]


def test_scores_are_plain_python_values() -> None:
    """What leaves the room can be written as JSON as it is."""
    (score,) = ranked(labels("a"), [1.0])
    assert [type(v) for v in (score.score, score.softmax, score.logit, score.tag)] == [
        float, float, float, bool,
    ]  # fmt: skip
    assert score.set == "set"


def test_every_tag_is_reported_whatever_top_says() -> None:
    """A threshold that four labels reach gives four tags, even where two labels were asked for."""
    labels = LabelSet.of(["a", "b", "c", "d", "e"])
    encoded = embed_labels(labels, lambda texts: np.eye(len(texts), dtype=np.float32))
    image = np.array([[0.9, 0.1, 0.8, 0.7, 0.6]], np.float32)
    head = Head(logit_scale=10.0, logit_bias=-5.0)
    (found,) = rank(image, encoded, head, ScoringOptions(top=2, threshold=0.5))
    assert [(s.label, s.tag) for s in found] == [("a", True), ("c", True), ("d", True), ("e", True)]
    (found,) = rank(image, encoded, head, ScoringOptions(top=2, threshold=0.99))
    assert [(s.label, s.tag) for s in found] == [("a", False), ("c", False)]


def test_tags_alone() -> None:
    """`tags_only` keeps every tag and nothing else, whatever `top` says."""
    made = embed_labels(
        labels("a", "b", "c"), lambda texts: np.eye(len(texts), 8, dtype=np.float32)
    )
    (row,) = rank(np.eye(1, 8, dtype=np.float32), made, HEAD, ScoringOptions(tags_only=True))
    assert [score.label for score in row] == ["a"]
    assert all(score.tag for score in row)
