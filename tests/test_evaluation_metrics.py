"""Every figure against scikit-learn called directly, and the cases that it knows nothing of."""

from __future__ import annotations

import importlib
import re
import sys
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from sklearn import calibration
from sklearn import metrics as reference

from siglipcli import scoring
from siglipcli.errors import MissingExtraError
from siglipcli.evaluation import metrics, plots
from siglipcli.evaluation.metrics import Measures, measure
from siglipcli.evaluation.scored import Scored
from siglipcli.labels import Label, LabelSet
from siglipcli.results import Source
from siglipcli.scoring import ScoringOptions

SEEDS = pytest.mark.parametrize("seed", range(4))


def scored(labels: LabelSet, logits: object, truth: object) -> Scored:
    """Put images `0.png`, `1.png`, … with these logits and right labels together."""
    values = np.asarray(logits, np.float32).reshape(-1, len(labels.labels))
    right = np.asarray(truth, np.bool_).reshape(values.shape)
    sources = [Source(f"{i}.png") for i in range(len(values))]
    return Scored("drawn", "fake", labels, sources, values, right)


def label_set(*paths: str, negative: str = "", **keys: object) -> LabelSet:
    labels = tuple(Label(path, (path,), negative=path == negative) for path in paths)
    return LabelSet("some", labels, **keys)  # type: ignore[arg-type]


def drawn(seed: int, *, several: bool = False, exclusive: bool = False) -> Scored:
    """60 images, 7 labels, of which the last never occurs; with `several`, none to three right."""
    rng = np.random.default_rng(seed)
    count = rng.integers(0, 4, 60) if several else np.ones(60, int)
    truth = np.zeros((60, 7), bool)
    for row, n in zip(truth, count, strict=True):
        row[rng.choice(6, n, replace=False)] = True
    logits = rng.normal(-2, 2, (60, 7)) + 2.5 * truth
    labels = label_set(*"abcdefg", exclusive=exclusive)
    return scored(labels, logits, truth)


def tags_of(data: Scored, threshold: float | None = None) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:  # fmt: skip
    scores = scoring.sigmoid(data.logits)
    return scoring.tags(data.logits, scores, data.labels, ScoringOptions(threshold=threshold))


def by_label(found: Measures, key: str) -> list[float | None]:
    return [getattr(each, key) for each in found.labels]


# --- against scikit-learn -------------------------------------------------------------------------


@SEEDS
def test_ranking_of_one_label_a_image(seed: int) -> None:
    """acc1, acc5 and the recall of classes are accuracy, top-k accuracy and balanced accuracy."""
    data = drawn(seed)
    true, best = data.truth.argmax(axis=1), data.logits.argmax(axis=1)
    found = measure(data, ScoringOptions())
    assert found.images == 60
    assert found.acc1 == pytest.approx(reference.accuracy_score(true, best))
    assert found.acc5 == pytest.approx(
        reference.top_k_accuracy_score(true, data.logits, k=5, labels=np.arange(7))
    )
    assert found.mean_per_class_recall == pytest.approx(
        reference.recall_score(true, best, average="macro", labels=np.unique(true))
    )
    each = reference.recall_score(true, best, average=None, labels=np.arange(6))
    assert by_label(found, "recall1") == pytest.approx([*each, None])
    assert (
        metrics.confusion(data) == reference.confusion_matrix(true, best, labels=range(7))
    ).all()


@SEEDS
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("threshold", [None, 0.6])
def test_tags(seed: int, several: bool, exclusive: bool, threshold: float | None) -> None:
    """Precision, recall and F1 of the very tags that classify gives: label by label, macro, micro."""
    data = drawn(seed, several=several, exclusive=exclusive)
    chosen = tags_of(data, threshold)
    found = measure(data, ScoringOptions(threshold=threshold))
    here = np.flatnonzero(data.truth.any(axis=0))
    for average, prefix in (("macro", "macro"), ("micro", "micro")):
        labels = here if average == "macro" else None  # false positives on g count in micro
        precision, recall, f1, _ = reference.precision_recall_fscore_support(
            data.truth, chosen, average=average, labels=labels, zero_division=0
        )
        figures = [getattr(found, f"{prefix}_{name}") for name in ("precision", "recall", "f1")]
        assert figures == pytest.approx([precision, recall, f1])
    precision, recall, f1, support = reference.precision_recall_fscore_support(
        data.truth, chosen, average=None, zero_division=0
    )
    assert by_label(found, "examples") == support.tolist()
    assert by_label(found, "tags") == chosen.sum(axis=0).tolist()
    assert [value or 0 for value in by_label(found, "precision")] == pytest.approx(list(precision))
    assert by_label(found, "recall")[:6] == pytest.approx(list(recall[:6]))
    assert by_label(found, "f1")[:6] == pytest.approx(list(f1[:6]))
    assert found.labels[6].recall is None
    assert {each.threshold for each in found.labels} == {threshold or 0.2}


@SEEDS
@pytest.mark.parametrize("several", [False, True])
def test_average_precision(seed: int, several: bool) -> None:
    """Of each label over all images; the mean is over labels that occur."""
    data = drawn(seed, several=several)
    found = measure(data, ScoringOptions())
    each = [
        reference.average_precision_score(data.truth[:, j], data.logits[:, j]) for j in range(6)
    ]
    assert by_label(found, "average_precision") == pytest.approx([*each, None])
    assert found.mean_average_precision == pytest.approx(
        reference.average_precision_score(data.truth[:, :6], data.logits[:, :6], average="macro")
    )


@SEEDS
@pytest.mark.parametrize("several", [False, True])
def test_calibration(seed: int, several: bool) -> None:
    """Bins of equal width over all pairs, as scikit-learn's calibration curve has them; ECE from them."""
    data = drawn(seed, several=several)
    found = measure(data, ScoringOptions())
    scores = scoring.sigmoid(data.logits).ravel()
    right, mean = calibration.calibration_curve(data.truth.ravel(), scores, n_bins=15)
    full = [each for each in found.reliability if each.count]
    assert len(found.reliability) == 15
    assert [each.fraction_right for each in full] == pytest.approx(list(right))
    assert [each.mean_score for each in full] == pytest.approx(list(mean))
    counts = np.histogram(scores, bins=15, range=(0, 1))[0]
    assert [each.count for each in found.reliability] == counts.tolist()
    error = np.average(np.abs(right - mean), weights=[each.count for each in full])
    assert found.ece == pytest.approx(error)


# --- several labels -------------------------------------------------------------------------------

PETS = label_set("cat", "dog", "cow")


def test_several_right_labels_are_a_hit_at_k() -> None:
    """One of them first is acc1; images without a label count in no ranking."""
    found = measure(
        scored(PETS, [[1, 2, 0], [1, 2, 3], [9, 0, 0]], [[1, 1, 0], [1, 1, 0], [0, 0, 0]]),
        ScoringOptions(),
    )
    assert (found.images, found.acc1, found.acc5) == (3, 0.5, None)
    # Held against the wrong ones only: cat is above cow in one of its two images.
    assert by_label(found, "recall1") == [0.5, 0.5, None]
    assert [(each.true, each.predicted, each.count) for each in found.confused] == [
        ("cat", "cow", 1),
        ("dog", "cow", 1),
    ]


def test_backgrounds_count_where_no_label_is_asked_for() -> None:
    """An image of nothing makes false positives, not misses."""
    found = measure(
        scored(PETS, [[3, -9, -9], [3, -9, -9]], [[1, 0, 0], [0, 0, 0]]), ScoringOptions()
    )
    cat = found.labels[0]
    assert (cat.examples, cat.tags, cat.precision, cat.recall) == (1, 2, 0.5, 1.0)
    assert cat.average_precision == 0.5
    assert found.acc1 == 1.0


def test_confusions_are_counted_and_shown() -> None:
    """The most frequent first, with up to three files; the order of the set breaks ties."""
    logits = [[0, 1, -1]] * 4 + [[1, 0, -1]] + [[-1, 0, 1]]
    truth = [[1, 0, 0]] * 4 + [[0, 1, 0]] * 2
    data = scored(PETS, logits, truth)
    assert [
        (each.true, each.predicted, each.count, each.files)
        for each in measure(data, ScoringOptions()).confused
    ] == [
        ("cat", "dog", 4, ("0.png", "1.png", "2.png")),
        ("dog", "cat", 1, ("4.png",)),
        ("dog", "cow", 1, ("5.png",)),
    ]
    assert metrics.confusion(data).tolist() == [[0, 4, 0], [1, 0, 1], [0, 0, 0]]


def test_equal_scores_keep_the_order_of_the_set() -> None:
    """As classify ranks them: the first label of two equal ones comes first."""
    found = measure(scored(PETS, [[1, 1, 0], [1, 1, 0]], [[1, 0, 0], [0, 1, 0]]), ScoringOptions())
    assert found.acc1 == 0.5
    assert by_label(found, "recall1") == [1.0, 0.0, None]
    assert found.confused[0].true == "dog"


@SEEDS
def test_ranks_count_what_stands_before_the_right_label(seed: int) -> None:
    """Also among equals, and -1 where no label is right."""
    data = drawn(seed, several=True)
    tied = scored(data.labels, data.logits.round(), data.truth)
    order = np.argsort(-tied.logits, axis=1, kind="stable")
    in_order = np.take_along_axis(tied.truth, order, axis=1)
    wanted = np.where(in_order.any(axis=1), in_order.argmax(axis=1), -1)
    assert metrics.ranks(tied).tolist() == wanted.tolist()
    assert np.isnan(metrics.top1(tied)).tolist() == (wanted < 0).tolist()
    assert np.nanmean(metrics.top1(tied)) == measure(tied, ScoringOptions()).acc1


# --- parents and negatives ------------------------------------------------------------------------

BIRDS = label_set("cat", "bird", "bird/owl")


def test_a_parent_is_neither_right_nor_wrong_in_the_ranking() -> None:
    """An owl ranked as bird, then owl, is no mistake; as cat it is."""
    found = measure(scored(BIRDS, [[0, 3, 2], [3, 2, 1]], [[0, 0, 1], [0, 0, 1]]), ScoringOptions())
    assert found.acc1 == 0.5
    assert found.labels[2].recall1 == 0.5
    assert [(each.true, each.predicted) for each in found.confused] == [("bird/owl", "cat")]


def test_a_finer_answer_than_the_data_has_is_not_wrong_in_the_ranking() -> None:
    """An image that is called a bird and ranked as owl, then bird, is no mistake; as cat it is."""
    logits = [[0, 3, 2], [0, 2, 3], [4, 2, 3]]
    found = measure(scored(BIRDS, logits, [[0, 1, 0]] * 3), ScoringOptions())
    assert found.acc1 == pytest.approx(2 / 3)
    assert [(each.true, each.predicted) for each in found.confused] == [("bird", "cat")]


def test_a_parent_is_right_where_its_child_is() -> None:
    """An owl is a bird: that tag is no false positive, and is missed where it is not given."""
    data = scored(BIRDS, [[-9, 3, 3], [-9, -9, 3], [-9, 3, -9]], [[0, 0, 1], [0, 0, 1], [1, 0, 0]])
    found = measure(data, ScoringOptions())
    bird = found.labels[1]
    assert (bird.examples, bird.tags, bird.precision, bird.recall, bird.f1) == (
        2,
        2,
        0.5,
        0.5,
        0.5,
    )
    assert bird.recall1 is None
    assert found.micro_precision == pytest.approx(3 / 4)
    assert found.micro_recall == pytest.approx(3 / 5)
    assert metrics.relevant(data)[:, 1].tolist() == [True, True, False]
    assert bird.average_precision == pytest.approx(
        reference.average_precision_score([1, 1, 0], data.logits[:, 1])
    )
    assert sum(each.count * (each.fraction_right or 0) for each in found.reliability) == 5


OTHERS = label_set("cat", "dog", "none of these", negative="none of these")


def test_a_negative_label_is_ranked_only_if_the_data_names_it() -> None:
    """Else it takes no part, though it still keeps labels below it from being tags."""
    logits = [[1, 0, 2], [3, 0, 2]]
    found = measure(scored(OTHERS, logits, [[1, 0, 0], [1, 0, 0]]), ScoringOptions())
    assert (found.acc1, found.confused) == (1.0, ())
    assert (found.labels[0].tags, found.macro_recall) == (1, 0.5)
    assert sum(each.count for each in found.reliability) == 4
    named = measure(scored(OTHERS, logits, [[1, 0, 0], [0, 0, 1]]), ScoringOptions())
    assert named.acc1 == 0.0
    assert [each.predicted for each in named.confused] == ["none of these", "cat"]
    assert sum(each.count for each in named.reliability) == 6


def test_a_negative_label_is_never_missed_as_a_tag() -> None:
    """What cannot be a tag has no recall, and is in no mean."""
    found = measure(
        scored(OTHERS, [[1, 0, 2], [3, 0, -2]], [[0, 0, 1], [1, 0, 0]]), ScoringOptions()
    )
    none = found.labels[2]
    assert (none.examples, none.tags, none.recall1, none.average_precision) == (1, 0, 1.0, 1.0)
    assert (none.precision, none.recall, none.f1) == (None, None, None)
    assert (found.macro_recall, found.micro_recall) == (1.0, 1.0)


# --- little to measure ----------------------------------------------------------------------------


def test_a_set_of_one_label() -> None:
    """Ranking says nothing; tags and average precision do."""
    found = measure(scored(label_set("cat"), [3, -3, 2], [1, 0, 0]), ScoringOptions())
    assert (found.acc1, found.labels[0].precision, found.labels[0].recall) == (1.0, 0.5, 1.0)
    assert found.labels[0].average_precision == 1.0


@pytest.mark.parametrize("count", [0, 3])
def test_what_has_no_examples_is_none(count: int) -> None:
    """No images, or none with a label: no figure, no error, no warning."""
    found = measure(scored(PETS, [[-9] * 3] * count, [[0] * 3] * count), ScoringOptions())
    figures = [
        *(found.acc1, found.acc5, found.mean_per_class_recall, found.mean_average_precision),
        *(found.macro_f1, found.macro_precision, found.macro_recall),
        *(found.micro_f1, found.micro_precision, found.micro_recall),
    ]
    assert figures == [None] * 10
    assert by_label(found, "average_precision") == [None] * 3
    assert (found.ece is None) == (count == 0)


def test_the_shift_of_a_selection_is_in_the_logits_already() -> None:
    """It is not added twice."""
    data = scored(PETS, [[-1, -2, -3]], [[1, 0, 0]])
    assert measure(data, ScoringOptions(bias_shift=5)) == measure(data, ScoringOptions())


def test_a_missing_library_is_named_at_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing costs nothing; measuring says what to install."""
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingExtraError) as caught:
        metrics.average_precision(np.array([True]), np.array([1.0]))
    assert "Measuring needs scikit-learn." in str(caught.value)
    assert "pip install 'siglipcli[eval]'" in str(caught.value)


def test_a_missing_plotting_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "siglipcli.evaluation.plots", raising=False)
    with pytest.raises(MissingExtraError, match="needs matplotlib"):
        importlib.import_module("siglipcli.evaluation.plots")


# --- plots ----------------------------------------------------------------------------------------

HOSTILE = label_set("</text><script>", "_#010203", 'a$b$ id="x', "日本\x1b語", "long " * 20, "never")  # fmt: skip


def hostile() -> Scored:
    rng = np.random.default_rng(0)
    truth = np.eye(6, dtype=bool)[rng.integers(0, 5, 40)]
    return scored(HOSTILE, rng.normal(size=(40, 6)) + truth, truth)


def images() -> list[str]:
    data = hostile()
    paths = [label.path for label in data.labels.labels]
    return [plots.precision_recall(data, paths), plots.reliability(metrics.reliability(data))]


@pytest.mark.parametrize("which", [0, 1])
def test_a_plot_is_an_element_for_any_page(which: int) -> None:
    """Well-formed, titled and described, in the page's colour and font, with nothing fetched or run."""
    text = images()[which]
    root = ET.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    assert text.startswith("<svg ")
    assert (root.tag, root.attrib["role"]) == (f"{space}svg", "img")
    assert {"width", "height"} & set(root.attrib) == set()
    assert [child.tag for child in root[:2]] == [f"{space}title", f"{space}desc"]
    assert root[0].text in {"Precision–recall curves", "Reliability of the scores"}
    assert {each.tag for each in root.iter()}.isdisjoint({space + "script", space + "style"})
    styles = " ".join(each.attrib.get("style", "") for each in root.iter())
    assert "currentColor" in styles
    assert "#010203" not in styles
    assert "font-family" not in styles
    links = re.findall(r'(?:href="|url\()([^")]*)', text)
    assert {link[0] for link in links} <= {"#"}
    ids = {each.attrib["id"] for each in root.iter() if "id" in each.attrib}
    assert {link[1:] for link in links} <= ids


def test_the_same_figures_give_the_same_image() -> None:
    """A report does not change with the day it was made."""
    assert images() == images()
    assert images()[0] != images()[1]


def test_curves_are_named_with_their_average_precision() -> None:
    """In the legend and for those who hear it; a label without examples has no curve."""
    data = hostile()
    root = ET.fromstring(images()[0])
    value = metrics.average_precision(data.truth[:, 0], data.logits[:, 0])
    assert f"</text><script> {value:.2f}," in (root[1].text or "")
    shown = [each.text or "" for each in root.iter() if each.tag.endswith("}text")]
    assert f"</text><script> ({value:.2f})" in shown
    assert any("_#010203 (" in each for each in shown)
    assert any(each.startswith('a$b$ id="x (') for each in shown)
    assert any(each.startswith("日本\\x1b語 (") for each in shown)
    assert any(each.startswith("long long long long long lo…") for each in shown)
    assert "never" not in " ".join(shown)


def test_plots_of_nothing_are_plots() -> None:
    """No curve, no bin: still an image that says so."""
    data = scored(PETS, [], [])
    curves = plots.precision_recall(data, ["cat"])
    bins = plots.reliability(metrics.reliability(data))
    assert "no label has examples" in curves
    assert "by their score: none." in bins


def test_long_curves_are_thinned() -> None:
    """Ten thousand images make no larger a drawing than a few hundred."""
    rng = np.random.default_rng(0)
    truth = rng.random((10_000, 1)) < 0.5
    data = scored(label_set("cat"), rng.normal(size=(10_000, 1)) + truth, truth)
    assert len(plots.precision_recall(data, ["cat"])) < 60_000


def test_among_five_says_nothing_of_fewer_labels() -> None:
    """acc5 is None below five labels, as CLIP_benchmark has it: any order would be a hit."""
    few = label_set("a", "b", "c", "d")
    enough = label_set("a", "b", "c", "d", "e")
    options = ScoringOptions()
    assert measure(scored(few, np.zeros((2, 4)), np.eye(4)[:2]), options).acc5 is None
    assert measure(scored(enough, np.zeros((2, 5)), np.eye(5)[:2]), options).acc5 == 1
