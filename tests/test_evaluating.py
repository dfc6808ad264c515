"""`siglipcli.evaluate`, `calibrate` and `compare`: the evaluation commands as Python functions."""

from __future__ import annotations

import pickle
import sys
from typing import TYPE_CHECKING, Any

import pytest
from labelled import draw_folder, write_labels, write_manifest

import siglipcli
from siglipcli import Classifier, LabelSet, MissingExtraError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = ["red circle", "blue heart", "green star"]
SWAPPED = {
    "name": "swapped",
    "labels": [
        {"name": "red circle", "prompts": ["blue heart"]},
        {"name": "blue heart", "prompts": ["red circle"]},
        "green star",
    ],
}


@pytest.fixture(scope="module")
def clf() -> Iterator[Classifier]:
    with Classifier("demo") as classifier:
        yield classifier


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("data") / "known", NAMES, 12)


def test_every_form_of_data_and_labels_gives_the_same_figures(
    clf: Classifier, folder: Path, tmp_path: Path
) -> None:
    """A folder, a manifest or rows; a list, a dict, a file, a LabelSet or its embeddings."""
    files = {str(path): [path.parent.name] for path in sorted(folder.rglob("*.png"))}
    manifest = write_manifest(tmp_path / "known.csv", files)
    rows = [*files.items()]
    named = LabelSet.of(NAMES)
    sets: list[Any] = [NAMES, {"labels": NAMES}, named, clf.encode_labels(named)]
    plain = write_labels(tmp_path / "names.yaml", NAMES, templates=["{}"])
    wanted = siglipcli.evaluate(clf, folder, NAMES)
    assert wanted.images == 36
    assert wanted.acc1 == 1.0
    for labels in sets:
        assert siglipcli.evaluate(clf, str(folder), labels) == wanted
    a, b = (siglipcli.evaluate(clf, data, plain) for data in (manifest, rows))
    assert (a.macro_f1, a.labels) == (b.macro_f1, b.labels)


def test_records_become_dictionaries_and_frames(clf: Classifier, folder: Path) -> None:
    """`to_dict` holds plain values, `to_frame` a row for each label; records are equal and pickle."""
    pytest.importorskip("pandas")
    records = [
        siglipcli.evaluate(clf, folder, NAMES),
        siglipcli.calibrate(clf, folder, NAMES),
        siglipcli.compare(clf, folder, NAMES, SWAPPED),
    ]
    for record in records:
        content = record.to_dict()
        assert [row["label"] for row in content["labels"]] == NAMES
        frame = record.to_frame()
        assert list(frame["label"]) == NAMES
        assert pickle.loads(pickle.dumps(record)) == record
    assert list(records[2].to_frame()["average_precision.a"]) == [1.0, 1.0, 1.0]


def test_a_calibrated_set_tags_better_and_says_what_it_was_fitted_on(
    clf: Classifier, folder: Path
) -> None:
    """`calibrate` fits a set's thresholds; `.calibrated` is the LabelSet to use from then on."""
    strict = LabelSet.from_dict({"name": "strict", "threshold": 1.0, "labels": NAMES})
    assert siglipcli.evaluate(clf, folder, strict).macro_f1 == 0
    result = siglipcli.calibrate(clf, folder, strict)
    assert siglipcli.evaluate(clf, folder, result.calibrated).macro_f1 == 1
    assert result.calibrated.calibrated
    assert result.calibrated.calibrated.images == 36
    before, after = result.macro_f1()
    assert (before, after > 0.9) == (0, True)


def test_the_better_set_is_seen(clf: Classifier, folder: Path) -> None:
    """`compare` says how much b is above a; renames map names of the data."""
    result = siglipcli.compare(clf, folder, NAMES, SWAPPED, resamples=200)
    assert result.mean_average_precision.sign == -1
    assert result.acc1.value == pytest.approx(-2 / 3)
    renamed = siglipcli.evaluate(
        clf, folder, ["red circle", "blue heart", "a star"], renames={"green star": "a star"}
    )
    assert renamed.images == 36


def test_wrong_arguments_are_refused_at_the_call(clf: Classifier, folder: Path) -> None:
    """Data of a wrong type is a TypeError, data that means nothing a ValueError."""
    bad: Any
    for bad in (7, [7], ["a.png"], [("a.png", [1])], [(1, "red circle")]):
        with pytest.raises(TypeError):
            siglipcli.evaluate(clf, bad, NAMES)
    with pytest.raises(UsageError, match="no images in the data"):
        siglipcli.evaluate(clf, [], NAMES)
    with pytest.raises(ValueError, match="one label set is measured"):
        siglipcli.evaluate(clf, folder, [LabelSet.of(["a"], name="a"), LabelSet.of(["b"])])
    with pytest.raises(ValueError, match="matches no label"):
        siglipcli.evaluate(clf, [("a.png", "purple cow")], NAMES)


def test_without_the_extra_the_call_says_how_to_get_it(
    clf: Classifier, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`evaluate` and `calibrate` need scikit-learn, `to_frame` pandas; `compare` neither."""
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    monkeypatch.setitem(sys.modules, "pandas", None)
    for call in (siglipcli.evaluate, siglipcli.calibrate):
        with pytest.raises(MissingExtraError, match="scikit-learn"):
            call(clf, folder, NAMES)  # type: ignore[operator]
    result = siglipcli.compare(clf, folder, NAMES, SWAPPED, resamples=100)
    with pytest.raises(UsageError, match="pip install pandas"):
        result.to_frame()
