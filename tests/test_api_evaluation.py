"""`siglipcli.evaluate`, `calibrate` and `compare`: label sets on images whose labels are known, from Python."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

import siglipcli
from siglipcli import (
    Aim,
    Calibration,
    Classifier,
    LabelSet,
    Measures,
    MissingExtraError,
    SetComparison,
    UsageError,
    calibrate,
    compare,
    demo,
    evaluate,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPES = ["heart", "star", "circle"]
HEART, STAR = demo.IMAGES / "blue-heart.jpg", demo.IMAGES / "green-star.png"
KNOWN = [(HEART, "heart"), (STAR, ["star"])]
ROOT = Path(siglipcli.__file__).parent.parent


@pytest.fixture(scope="module")
def clf() -> Classifier:
    return Classifier("demo", runtime="torch", precision="fp32", device="cpu")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a folder per class, of 12 images each."""
    root = tmp_path_factory.mktemp("known")
    for kind, path in (("heart", HEART), ("star", STAR)):
        (root / kind).mkdir()
        image = Image.open(path).convert("RGB")
        for n in range(12):
            image.resize((200 + 9 * n, 200)).save(root / kind / f"{n}.png")
    return root


def test_a_set_is_measured(clf: Classifier) -> None:
    """Two drawings, each named rightly; every figure is there."""
    measures = evaluate(clf, KNOWN, SHAPES)
    assert isinstance(measures, Measures)
    assert (measures.images, measures.acc1) == (2, 1.0)
    assert [(label.label, label.examples) for label in measures.labels] == [
        *(("heart", 1), ("star", 1), ("circle", 0))
    ]
    assert evaluate(clf, KNOWN, SHAPES, threshold=1.0).micro_recall == 0
    assert evaluate(clf, KNOWN, SHAPES, threshold=0.999, bias_shift=40.0).micro_recall == 1


def test_data_comes_in_every_form(clf: Classifier, many: Path, tmp_path: Path) -> None:
    """A folder per class, a manifest, rows with one label or several, a lazy stream: the same figures."""
    folder = evaluate(clf, many, SHAPES)
    assert folder.images == 24
    files = sorted(path for path in many.rglob("*.png"))
    manifest = tmp_path / "known.csv"
    manifest.write_text("file,label\n" + "".join(f"{path},{path.parent.name}\n" for path in files))
    forms: list[Any] = [
        str(many), manifest, [(path, path.parent.name) for path in files],
        ((str(path), (path.parent.name,)) for path in files),
    ]  # fmt: skip
    for data in forms:
        assert evaluate(clf, data, SHAPES) == folder


def test_names_are_renamed_and_ignored(clf: Classifier) -> None:
    """The data may call a label otherwise, and have classes that are not measured."""
    data = [(HEART, "love"), (STAR, "star"), (HEART.with_name("red-circle.jpg"), "other")]
    with pytest.raises(UsageError, match="love"):
        evaluate(clf, data, SHAPES)
    measures = evaluate(clf, data, SHAPES, renames={"love": "heart"}, ignored=["other"])
    assert (measures.images, measures.acc1) == (2, 1.0)


def test_images_that_cannot_be_read_are_left_out(clf: Classifier) -> None:
    """A row of a file that is gone is no image that was got wrong."""
    assert evaluate(clf, [*KNOWN, ("gone.png", "heart")], SHAPES) == evaluate(clf, KNOWN, SHAPES)


def test_a_set_is_calibrated(clf: Classifier, many: Path) -> None:
    """The new set is a LabelSet that says what it was fitted on, or the old one where nothing would be gained."""
    labels = LabelSet.from_dict({"name": "shapes", "labels": SHAPES, "threshold": 0.999})
    result = calibrate(clf, many, labels)
    assert isinstance(result, Calibration)
    assert isinstance(result.calibrated, LabelSet)
    assert not result.is_unchanged()
    assert result.calibrated.calibrated is not None
    assert (result.calibrated.calibrated.model, result.calibrated.calibrated.images) == ("demo", 24)
    before, after = result.macro_f1()
    assert after > before
    assert clf.classify_one(HEART, result.calibrated).tags == ("heart",)
    aim = Aim(min_examples=20, shift=False)
    strict = calibrate(clf, many, labels, aim)
    assert strict.is_unchanged()
    assert strict.calibrated == labels
    assert strict.aim == aim


def test_two_sets_are_compared(clf: Classifier, many: Path) -> None:
    """The difference is b - a; labels that only one set has are named."""
    result = compare(clf, many, SHAPES, ["star", "heart", "ring"], resamples=200)
    assert isinstance(result, SetComparison)
    assert [label.label for label in result.labels] == ["heart", "star"]
    assert (result.only_a, result.only_b) == (("circle",), ("ring",))


RESULTS: list[Callable[[Classifier], Any]] = [
    lambda clf: evaluate(clf, KNOWN, SHAPES),
    lambda clf: calibrate(clf, KNOWN, SHAPES),
    lambda clf: compare(clf, KNOWN, SHAPES, SHAPES[:2], resamples=10),
]


@pytest.mark.parametrize("call", RESULTS)
def test_results_are_records(clf: Classifier, call: Callable[[Classifier], Any]) -> None:
    """They are JSON by `to_dict`, a row for each label by `to_frame`, one line, equal by value, and pickle."""
    result = call(clf)
    row = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert row == result.to_dict()
    assert [label["label"] for label in row["labels"]] == [each.label for each in result.labels]
    frame = result.to_frame()
    assert list(frame["label"]) == [each.label for each in result.labels]
    assert list(frame["examples"]) == [each.examples for each in result.labels]
    assert pickle.loads(pickle.dumps(result)) == result == call(clf)
    assert "\n" not in repr(result)
    assert f"{len(result.labels)} labels" in repr(result)
    assert len(repr(result)) < 400


@pytest.mark.parametrize("call", [evaluate, calibrate])
def test_no_scikit_learn_is_said_at_the_call(
    clf: Classifier, monkeypatch: pytest.MonkeyPatch, call: Callable[..., Any]
) -> None:
    """A MissingExtraError, before any image is looked at; `compare` goes without."""
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingExtraError, match=r"siglipcli\[eval\]") as error:
        call(clf, "gone", SHAPES)
    assert error.value.facts == {"library": "scikit-learn", "extra": "eval"}
    assert compare(clf, KNOWN, SHAPES, SHAPES, resamples=10).acc1.value == 0


def test_importing_needs_no_extra() -> None:
    """Every public name can be imported without scikit-learn, matplotlib, pandas and pyarrow."""
    code = (
        "import sys\n"
        "sys.modules |= dict.fromkeys(['sklearn', 'scipy', 'matplotlib', 'pandas', 'pyarrow'])\n"
        "import siglipcli\n"
        "for name in siglipcli.__all__: getattr(siglipcli, name)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_what_is_no_data_raises_at_the_call(clf: Classifier, tmp_path: Path) -> None:
    """A wrong type, a wrong row, nothing at all, two sets for one."""
    wrong: list[tuple[Any, type[Exception], str]] = [
        (7, TypeError, "int"),
        (b"x", TypeError, "bytes"),
        ({"a.png": "heart"}, TypeError, "dict"),
        (["ab"], TypeError, "a row is"),
        ([HEART], TypeError, "a row is"),
        ([(HEART, "heart", 1)], TypeError, "a row is"),
        ([(HEART, 3)], TypeError, "a row is"),
        ([(HEART, [3])], TypeError, "a row is"),
        ([(b"x", "heart")], TypeError, "a row is"),
        ([], ValueError, "no images"),
        ([(HEART, "heart"), (HEART, "star")], ValueError, "two rows"),
        ([(HEART, "hart")], ValueError, "heart"),
        (tmp_path / "gone", ValueError, "no file or folder"),
    ]
    for data, kind, why in wrong:
        for call in (
            lambda data=data: evaluate(clf, data, SHAPES),
            lambda data=data: calibrate(clf, data, SHAPES),
            lambda data=data: compare(clf, data, SHAPES, SHAPES),
        ):
            with pytest.raises(kind, match=why):
                call()
    two = [{"name": "a", "labels": ["a"]}, {"name": "b", "labels": ["a"]}]
    with pytest.raises(ValueError, match="measured at a time, not 2"):
        evaluate(clf, KNOWN, two)
    with pytest.raises(ValueError, match="at least one"):
        compare(clf, KNOWN, SHAPES, SHAPES, resamples=0)
    with pytest.raises(ValueError, match="folds"):
        calibrate(clf, KNOWN, SHAPES, Aim(folds=1))
