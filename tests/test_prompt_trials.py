"""Trying prompts and templates one by one: each figure is that of a set written without them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from siglipcli import scoring
from siglipcli.evaluation import metrics
from siglipcli.evaluation.comparison import Difference, draw
from siglipcli.evaluation.prompts import Race, templates, trial
from siglipcli.evaluation.scored import Collection, Scored, score
from siglipcli.labels import Label, LabelSet
from siglipcli.results import Head, Source
from siglipcli.scoring import ScoringOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from siglipcli.evaluation.prompts import SetTrial

HEAD = Head(logit_scale=10.0, logit_bias=-2.0)
SIZE = 8
CAT = np.eye(SIZE, dtype=np.float32)[0]


def unit(rows: NDArray[Any]) -> NDArray[np.float32]:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


class Texts:
    """Encodes texts: as told, else at random but always the same; and remembers what was asked."""

    def __init__(self, **known: NDArray[np.float32]) -> None:
        self.known = known
        self.asked: list[str] = []

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.asked += texts
        return np.stack([self.known.get(text, self._made(text)) for text in texts])

    @staticmethod
    def _made(text: str) -> NDArray[np.float32]:
        rng = np.random.default_rng(list(text.encode()))
        return unit(rng.normal(size=SIZE))


def collected(n: int, seed: int = 0) -> Collection:
    """Return images whose embeddings are noise."""
    vectors = unit(np.random.default_rng(seed).normal(size=(n, SIZE)))
    return Collection("data", [Source(f"{i}.png") for i in range(n)], range(n), vectors)


def judged(labels: LabelSet, found: Collection, truth: Any, encode: Texts) -> Scored:
    label_embeddings = scoring.embed_labels(labels, encode)
    return score(found, label_embeddings, HEAD, np.asarray(truth, np.bool_))


def tried(labels: LabelSet, found: Collection, truth: Any, encode: Texts) -> SetTrial:
    answers = judged(labels, found, truth, encode)
    encode.asked.clear()
    return trial(answers, found.vectors, encode, HEAD, draw(len(found.sources), 200, 0))


# --- templates ------------------------------------------------------------------------------------


def set_of(**prompts: Sequence[str]) -> LabelSet:
    return LabelSet("set", tuple(Label(path, tuple(texts)) for path, texts in prompts.items()))


def test_prompts_that_share_a_form_come_from_a_template() -> None:
    """A prompt of one label alone does not, though it holds the label's name."""
    labels = set_of(cat=["a photo of a cat.", "my cat"], dog=["a photo of a dog.", "a puppy"])
    assert templates(labels) == [("a photo of a {}.", None), ("a photo of a {}.", None)]


def test_the_last_name_fills_a_template() -> None:
    """For bird/owl that is owl, and for a name that holds a slash the whole of it."""
    labels = LabelSet.of(["cat", "a/c", "C"])
    labels = replace(labels, labels=(*labels.labels, Label("bird/owl", ("a photo of a owl.",))))
    assert templates(labels) == [("a photo of a {}.",)] * 4


def test_a_name_that_is_in_the_template_too_confuses_nothing() -> None:
    """The form that most labels share is taken."""
    labels = LabelSet.of(["photo", "a", "heart", "blue heart"])
    assert templates(labels) == [("a photo of a {}.",)] * 4


def test_a_template_may_be_a_few_labels_own() -> None:
    """Two forms of one set: a and an."""
    labels = set_of(otter=["an otter"], owl=["an owl"], cat=["a cat"], dog=["a dog"])
    assert templates(labels) == [("an {}",), ("an {}",), ("a {}",), ("a {}",)]


# --- figures --------------------------------------------------------------------------------------

SETS = {
    "templates": LabelSet.of(
        ["cat", "dog", "owl"], templates=["a {}.", "a photo of a {}.", "a drawing of a {}."]
    ),
    "own prompts": set_of(
        cat=["a cat", "kitten"], dog=["a dog"], owl=["a owl", "night", "bird of prey"]
    ),
    "parents": LabelSet(
        "set",
        (
            Label("bird", ("a bird", "wings")),
            Label("bird/owl", ("a owl", "night", "owl!")),
            Label("cat", ("a cat", "cat!")),
            Label("none", ("a none", "nothing"), negative=True),
        ),
    ),
}
SETS |= {f"{name}, max": replace(each, aggregate="max") for name, each in list(SETS.items())}
SETS |= {f"{name}, shifted": replace(each, bias_shift=1.5) for name, each in [*SETS.items()][:1]}


def figures(answers: Scored, column: int) -> tuple[float | None, float | None]:
    """Return what `evaluate` says: a label's average precision, and acc1."""
    found = metrics.measure(answers, ScoringOptions())
    return found.labels[column].average_precision, found.acc1


def changed(labels: LabelSet, column: int, prompts: tuple[str, ...]) -> LabelSet:
    own = list(labels.labels)
    own[column] = replace(own[column], prompts=prompts)
    return replace(labels, labels=tuple(own))


@pytest.mark.parametrize("labels", SETS.values(), ids=SETS)
def test_each_figure_is_that_of_a_set_written_so(labels: LabelSet) -> None:
    """Alone, and without: what evaluating a set with just these prompts gives."""
    count = len(labels.labels)
    found, encode = collected(60), Texts()
    truth = np.random.default_rng(1).integers(0, count + 1, 60)[:, None] == np.arange(count)
    result = tried(labels, found, truth, encode)
    whole = metrics.measure(judged(labels, found, truth, encode), ScoringOptions())
    assert result.acc1 == pytest.approx(whole.acc1)
    assert result.mean_average_precision == pytest.approx(whole.mean_average_precision)
    for column, label in enumerate(result.labels):
        assert label.average_precision == pytest.approx(whole.labels[column].average_precision)
        prompts = labels.labels[column].prompts
        for i, each in enumerate(label.prompts):
            alone = changed(labels, column, (each.prompt,))
            expected = figures(judged(alone, found, truth, encode), column)
            assert (each.alone, each.acc1_alone) == pytest.approx(expected)
            if len(prompts) > 1:
                without = changed(labels, column, prompts[:i] + prompts[i + 1 :])
                expected = figures(judged(without, found, truth, encode), column)
                assert (each.effect.a, each.acc1_without) == pytest.approx(expected)
                assert each.effect.b == label.average_precision


@pytest.mark.parametrize("aggregate", ["mean", "max"])
def test_a_template_is_tried_in_all_labels_that_use_it(aggregate: str) -> None:
    """Their mean, and top-1 over all labels, are those of sets with it alone and without it."""
    forms = ["a {}.", "a photo of a {}.", "{}!"]
    plain = replace(LabelSet.of(["cat", "dog", "owl"], templates=forms), aggregate=aggregate)
    other = Label("fish", ("water", "fins"))

    def written(*kept: str) -> LabelSet:
        some = LabelSet.of(["cat", "dog", "owl"], templates=kept)
        return replace(plain, labels=(*some.labels, other))

    found, encode = collected(80), Texts()
    truth = np.arange(80)[:, None] % 4 == np.arange(4)
    result = tried(written(*forms), found, truth, encode)
    assert [each.template for each in result.templates] == forms
    for each in result.templates:
        assert each.labels == 3
        sets = [written(each.template), written(*(f for f in forms if f != each.template))]
        measured = [
            metrics.measure(judged(one, found, truth, encode), ScoringOptions()) for one in sets
        ]
        means = [np.mean([e.average_precision for e in one.labels[:3]]) for one in measured]  # type: ignore[misc]
        assert (each.alone, each.effect.a) == pytest.approx(tuple(means))
        assert (each.acc1_alone, each.acc1.a) == pytest.approx(tuple(e.acc1 for e in measured))
        assert each.acc1.b == result.acc1


def test_a_bad_prompt_hurts_and_a_good_one_helps() -> None:
    """The effect is what is lost without the prompt, and its interval is away from 0."""
    found = collected(90)
    truth = np.arange(90)[:, None] % 3 == np.arange(3)
    vectors = found.vectors.copy()
    vectors[truth[:, 0]] = unit(vectors[truth[:, 0]] + 1.0 * CAT)
    found = replace(found, vectors=vectors)
    encode = Texts(cat=CAT, rubbish=unit(np.eye(SIZE)[1] - 0.8 * CAT))
    labels = set_of(cat=["cat", "rubbish"], dog=["dog"], owl=["owl"])
    good, bad = tried(labels, found, truth, encode).labels[0].prompts
    assert good.effect.sign == 1
    assert bad.effect.sign == -1
    assert good.alone > bad.alone  # type: ignore[operator]


def test_a_prompt_that_has_no_others_cannot_be_left_out() -> None:
    """It is told what it does alone, which is all there is."""
    labels = set_of(cat=["a cat", "kitten"], dog=["a dog"])
    found, truth = collected(30), np.arange(30)[:, None] % 2 == np.arange(2)
    result = tried(labels, found, truth, Texts())
    (only,) = result.labels[1].prompts
    assert (only.effect, only.acc1_without) == (Difference(), None)
    assert only.alone == result.labels[1].average_precision
    assert only.acc1_alone == result.acc1
    assert result.templates[0].labels == 1  # the label `cat` alone can do without


def test_a_label_without_images_is_left_out_of_its_templates() -> None:
    """Nothing is said of its prompts, and the others' means are not moved."""
    forms = ["a {}.", "{}!"]
    labels = LabelSet.of(["cat", "dog", "owl"], templates=forms)
    found = collected(40)
    truth = np.arange(40)[:, None] % 2 == np.arange(3)  # no owl
    result = tried(labels, found, truth, Texts())
    assert [each.labels for each in result.templates] == [2, 2]
    assert all(each.effect == Difference() for each in result.labels[2].prompts)
    assert all(each.alone is None for each in result.labels[2].prompts)


def test_each_text_is_encoded_once() -> None:
    """Also where two labels share a prompt."""
    labels = set_of(cat=["pet", "a cat"], dog=["pet", "a dog"])
    encode = Texts()
    tried(labels, collected(10), np.arange(10)[:, None] % 2 == np.arange(2), encode)
    assert encode.asked == ["pet", "a cat", "a dog"]


@pytest.mark.parametrize("seed", range(5))
def test_first_place_is_decided_as_evaluate_does(seed: int) -> None:
    """With equal scores, parents, negative labels and several right ones: the same images hit."""
    rng = np.random.default_rng(seed)
    paths = ["bird", "bird/owl", "cat", "none", "other"]
    labels = LabelSet("set", tuple(Label(p, (p,), negative=p in {"none", "other"}) for p in paths))
    truth = rng.random((50, 5)) < 0.3
    truth[:, 4] = False
    logits = rng.integers(0, 3, (50, 5)).astype(np.float32)
    answers = Scored("data", "model", labels, [Source("x")] * 50, logits, truth)
    race = Race(answers)
    np.testing.assert_array_equal(race.hits(race.winners), metrics.top1(answers))
    for column in range(5):
        other = logits.copy()
        other[:, column] = rng.integers(0, 3, 50)
        hits = race.hits(race.changed(column, other[:, column]))
        np.testing.assert_array_equal(hits, metrics.top1(replace(answers, logits=other)))
