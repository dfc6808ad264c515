"""What the library takes: images and labels in every form a program has them in, checked at the call."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

import siglipcli
from siglipcli import (
    Classifier,
    Failure,
    ImageError,
    ImageTextScores,
    LabelError,
    LabelSet,
    Match,
    ModelSpec,
    Prediction,
    Query,
    ScoringOptions,
    Source,
    Store,
    UsageError,
    demo,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Callable

    from fake_encoder import FakeEncoder

HEART = demo.IMAGES / "blue-heart.jpg"
SHAPES = ["red circle", "blue heart", "green star"]
ROOT = Path(siglipcli.__file__).parent.parent


@pytest.fixture(scope="module")
def demo_clf() -> Classifier:
    return Classifier("demo", runtime="torch", precision="fp32", device="cpu")


@pytest.fixture
def clf(encoder: FakeEncoder) -> Classifier:
    return Classifier(encoder)


@pytest.fixture
def red(tmp_path: Path) -> Path:
    path = tmp_path / "red.png"
    pixels = np.random.default_rng(0).integers(0, 255, (30, 20, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


# --- images ---------------------------------------------------------------------------------------

FORMS: dict[str, Callable[[Path], Any]] = {
    "str": str,
    "Path": lambda path: path,
    "bytes": Path.read_bytes,
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "memoryview": lambda path: memoryview(path.read_bytes()),
    "BytesIO": lambda path: io.BytesIO(path.read_bytes()),
    "file": lambda path: path.open("rb"),
    "PIL image": Image.open,
    "array": pixels,
    "strided array": lambda path: np.flip(pixels(path).copy(), 1)[:, ::-1],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_every_form_of_an_image_has_the_same_scores(clf: Classifier, red: Path, form: str) -> None:
    """A path, its bytes, a file, a PIL image and an array are one image, alone and in a list."""
    expected = clf.classify_one(red, SHAPES).scores
    make = FORMS[form]
    assert clf.classify_one(make(red), SHAPES).scores == expected
    (alone,) = clf.classify(make(red), SHAPES)
    assert alone.scores == expected
    several = list(clf.classify([make(red), make(red)], SHAPES))
    assert [result.scores for result in several] == [expected] * 2
    (lazy,) = clf.classify((item for item in [make(red)]), SHAPES)
    assert lazy.scores == expected
    np.testing.assert_array_equal(clf.encode_images(make(red)), clf.encode_images(red))


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I", "F", "CMYK", "YCbCr", "HSV", "RGBa"]
)
def test_a_pil_image_of_any_mode_is_the_file_it_would_be(
    clf: Classifier, red: Path, tmp_path: Path, mode: str
) -> None:
    """Whatever its mode, an image in memory is scored as the same image in a file."""
    image = Image.open(red)
    image.load()
    if mode in {"I", "F", "I;16"}:
        image = Image.fromarray(pixels(red)[..., 0].astype(np.float32) * 200).convert("I")
        image = image.convert(mode)
    elif mode == "RGBa":
        image = image.convert("RGBA").convert("RGBa")
    else:
        image = image.convert(mode)
    plain = {"HSV": "RGB", "YCbCr": "RGB", "RGBa": "RGBA"}.get(mode, mode)
    file = tmp_path / "same.tiff"
    image.convert(plain).save(file)
    in_memory = clf.classify_one(image, SHAPES)
    in_file = clf.classify_one(file, SHAPES)
    assert in_memory.scores == in_file.scores


def test_an_orientation_counts_in_memory_too(clf: Classifier, tmp_path: Path) -> None:
    """A PIL image with EXIF orientation is scored upright, as its file is."""
    half = np.zeros((16, 16, 3), np.uint8)
    half[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(half).save(tmp_path / "turned.png", exif=exif)
    opened = Image.open(tmp_path / "turned.png")
    written = io.BytesIO()
    opened.save(written, "PNG", exif=opened.getexif())
    (turned,) = siglipcli.arguments.as_images(opened)  # type: ignore[attr-defined]
    assert Image.open(io.BytesIO(turned.content)).getexif()[0x0112] == 6
    np.testing.assert_array_equal(clf.encode_images(opened), clf.encode_images(written.getvalue()))


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_images_in_memory_have_names(clf: Classifier, red: Path) -> None:
    """By their place; by their file where they were opened from one."""
    data, array = red.read_bytes(), pixels(red)
    several = [data, red, io.BytesIO(data), array, red.open("rb"), Image.open(red), data]
    assert [result.file for result in clf.classify(several, SHAPES)] == [
        *("image 0", str(red), "image 2", "image 3", str(red), str(red), "image 6")
    ]
    stack = np.stack([array, array])
    assert [result.file for result in clf.classify(stack, SHAPES)] == ["image 0", "image 1"]


def test_what_is_no_image_raises_at_the_call(clf: Classifier, red: Path, tmp_path: Path) -> None:
    """A wrong type or shape is an error where it is written, not when the stream is read."""
    text = tmp_path / "text.txt"
    text.write_text("x")
    with text.open() as opened:
        wrong: list[tuple[Any, type[Exception], str]] = [
            (None, TypeError, "NoneType"),
            (7, TypeError, "int"),
            ([red, 7], TypeError, "int"),
            ([[red]], TypeError, "list"),
            ({"a": red}, TypeError, "dict"),
            (opened, TypeError, "binary mode"),
            (pixels(red).astype(np.float32), TypeError, "float32"),
            (pixels(red)[..., 0], ValueError, r"\[h, w, 3\]"),
            (np.zeros((0, 4, 3), np.uint8), ValueError, r"\[h, w, 3\]"),
            ([pixels(red)[..., :2]], ValueError, r"\[h, w, 3\]"),
        ]
        for images, kind, why in wrong:
            for call in (
                lambda images=images: clf.classify(images, SHAPES),
                lambda images=images: clf.score(images, "a"),
                lambda images=images: clf.search(images, "a"),
                lambda images=images: clf.encode_images(images),
            ):
                with pytest.raises(kind, match=why):
                    call()
    with pytest.raises(TypeError, match="int"):
        list(clf.classify((item for item in [7]), SHAPES))


def test_a_broken_image_in_memory_fails_alone(clf: Classifier, red: Path) -> None:
    """Bytes that are no image, and a PIL image that breaks when it is read, are rows of the stream."""
    cut = Image.open(io.BytesIO(red.read_bytes()[:-400]))
    results = list(clf.classify([b"", cut, red], SHAPES))
    assert [type(result) for result in results] == [Failure, Failure, Prediction]
    assert [result.file for result in results[:2]] == ["image 0", "image 1"]
    with pytest.raises(ImageError, match="image 0: "):
        clf.classify_one(b"no image", SHAPES)
    with pytest.raises(ImageError, match="image 1: "):
        clf.encode_images([red, b"no image"])


def test_one_image_is_one(clf: Classifier, red: Path, tmp_path: Path) -> None:
    """classify_one wants exactly one: no list, no folder of two, no empty folder."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(TypeError, match="list"):
        clf.classify_one([red], SHAPES)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no image"):
        clf.classify_one(tmp_path / "empty", SHAPES)
    (tmp_path / "b.png").write_bytes(red.read_bytes())
    with pytest.raises(ValueError, match="more than one"):
        clf.classify_one(tmp_path, SHAPES)


def test_results_hold_no_image(clf: Classifier, red: Path) -> None:
    """A result is a few numbers and names: one line to print, small to pickle, no bytes behind it."""
    image = Image.fromarray(np.zeros((500, 500, 3), np.uint8))
    result = clf.classify_one(image, SHAPES)
    assert result.source is None
    given = clf.classify_one(Source("-", red.read_bytes()), SHAPES)  # the caller's own record
    for each in (result, given):
        assert len(repr(each)) < 200
        assert "\n" not in repr(each)
        assert len(pickle.dumps(each)) < 1000
        again = pickle.loads(pickle.dumps(each))
        assert again == each
        assert again.source is None


# --- labels and texts -----------------------------------------------------------------------------


def test_a_string_is_never_split_in_letters(clf: Classifier, red: Path) -> None:
    """One label, one text, one query: a string where several may stand is one."""
    (scored,) = clf.score(red, "red circle")
    assert isinstance(scored, ImageTextScores)
    assert [pair.text for pair in scored.pairs] == ["red circle"]
    assert [label.path for label in LabelSet.of("cat").labels] == ["cat"]
    assert clf.encode_texts("red circle").shape == (1, 4)
    assert clf.encode_texts(["red circle", "cat"]).shape == (2, 4)
    assert Query("a dog") == Query(["a dog"])
    assert Query("a dog", without="a cat").without == ("a cat",)
    (match,) = clf.search(red, "red circle")
    assert isinstance(match, Match)
    assert [batch.sources[0].name for batch in clf.embed_texts("red circle")] == ["red circle"]


def test_labels_come_in_every_form(clf: Classifier, red: Path, tmp_path: Path) -> None:
    """A built-in's name, a file, a list of strings, a dict as in YAML, a LabelSet, encoded labels."""
    file = tmp_path / "shapes.yaml"
    file.write_text("name: shapes\nlabels: [red circle, blue heart, green star]\n")
    forms: list[Any] = [
        file, str(file), SHAPES, tuple(SHAPES), iter(SHAPES), dict.fromkeys(SHAPES).keys(),
        {"name": "shapes", "labels": SHAPES}, LabelSet.load(file), clf.encode_labels(SHAPES),
    ]  # fmt: skip
    expected = [(s.label, s.score) for s in clf.classify_one(red, file).scores]
    for labels in forms:
        assert [(s.label, s.score) for s in clf.classify_one(red, labels).scores] == expected
    animals = clf.classify_one(red, "animals", ScoringOptions(top=None, negatives=True))
    assert len(animals.scores) == len(LabelSet.load("animals").labels)
    several = clf.classify_one(red, [file, {"name": "moods", "labels": ["calm", {"name": "loud"}]}])
    assert {score.set for score in several.scores} == {"shapes", "moods"}


def test_a_dict_says_all_that_yaml_says(clf: Classifier, red: Path) -> None:
    """Thresholds, prompts, children and flags, with the same messages."""
    labels = {
        "name": "set", "threshold": 0.9, "exclusive": True,
        "labels": ["cat", {"name": "bird", "children": ["owl"], "threshold": 0.0}],
    }  # fmt: skip
    result = clf.classify_one(red, labels)
    assert {score.label for score in result.scores} == {"cat", "bird", "bird/owl"}
    assert result.tags in {(), ("bird",)}
    with pytest.raises(LabelError, match="nearest known is 'threshold'"):
        clf.classify(red, {"labels": ["a"], "treshold": 0.5})


def test_what_is_no_label_raises_at_the_call(clf: Classifier, red: Path) -> None:
    """A wrong type, nothing at all, or a set that is not there: an error where it is written."""
    wrong: list[tuple[Any, type[Exception], str]] = [
        (None, TypeError, "NoneType"),
        (5, TypeError, "int"),
        ([5, "a"], TypeError, "int"),
        (["a", {"labels": ["b"]}], TypeError, "not both"),
        ([["a"]], TypeError, "list"),
        ([], ValueError, "no label"),
        ({"labels": []}, ValueError, "empty list"),
        (["a", "a"], ValueError, "there twice"),
        ("animls", ValueError, "nearest built-in set is .animals"),
        ([{"labels": ["a"]}, {"labels": ["b"]}], UsageError, "two label sets are called"),
    ]
    for labels, kind, why in wrong:
        with pytest.raises(kind, match=why):
            clf.classify(red, labels)
    for texts, kind, why in (
        (None, TypeError, "NoneType"),
        ([1], TypeError, "int"),
        (b"x", TypeError, "bytes"),
        ([None], TypeError, "NoneType"),
        ([], ValueError, "no text"),
    ):
        for call in (clf.encode_texts, lambda texts: clf.score(red, texts)):
            with pytest.raises(kind, match=why):
                call(texts)  # type: ignore[arg-type]
        with pytest.raises(kind, match=why):
            clf.search(red, texts)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="nothing to look for"):
        clf.search(red, Query(without="a"))
    with pytest.raises(ValueError, match="encode_label_sets"):
        clf.encode_labels([{"name": "a", "labels": ["a"]}, {"name": "b", "labels": ["a"]}])


# --- results --------------------------------------------------------------------------------------


def test_results_say_the_best_and_the_tags(demo_clf: Classifier) -> None:
    """`.best` is the label with the highest score, `.tags` the names of what reached its threshold."""
    result = demo_clf.classify_one(HEART, SHAPES)
    assert result.best is not None
    assert result.best.label == "blue heart"
    assert result.tags == ("blue heart",)
    assert Prediction("x", ()).best is None
    (scored,) = demo_clf.score(HEART, SHAPES)
    assert isinstance(scored, ImageTextScores)
    assert scored.best is not None
    assert scored.best.text == "blue heart"


def test_results_and_records_compare_pickle_and_print_in_a_line(clf: Classifier, red: Path) -> None:
    """Every public record: equal to its copy, whole after pickling, short on the screen."""
    labels = LabelSet.load("everyday")
    records = [
        *clf.classify([red, "gone.png"], labels),
        *clf.score(red, SHAPES),
        *clf.search(red, "x"),
        *(item for items in clf.embed(red) for item in items),
        clf.encode_labels(labels),
        labels,
        Query("x", images=["y.png"]),
        ScoringOptions(),
        Source("image 0", bytes(100_000)),
        clf.encoder.head,
        ModelSpec("demo", device="cpu"),
    ]
    for record in records:
        again = pickle.loads(pickle.dumps(record))
        assert again == record
        assert record != object()
        assert hash(again) == hash(record)
        assert "\n" not in repr(record)
        assert len(repr(record)) < 400, record
    embedded, other = (
        next(clf.embed(image))[0] for image in (red, Image.new("RGB", (4, 4), "red"))
    )
    assert embedded != other
    assert clf.encode_labels(SHAPES) != clf.encode_labels(SHAPES[:2])


def test_a_spec_opens_the_same_model_elsewhere(demo_clf: Classifier) -> None:
    """A classifier's spec pickles; what it opens gives the same scores."""
    elsewhere = Classifier(pickle.loads(pickle.dumps(demo_clf.spec)))
    assert elsewhere.spec == demo_clf.spec
    assert elsewhere.encoder is not demo_clf.encoder
    assert elsewhere.classify_one(HEART, SHAPES) == demo_clf.classify_one(HEART, SHAPES)


def test_a_classifier_is_made_by_name_and_closes_its_store(tmp_path: Path) -> None:
    """`Classifier("demo")`, `.load("demo")`; leaving the block closes what it owns; nonsense is a TypeError."""
    with Classifier("demo", store=Store(tmp_path)) as first:
        assert first.classify_one(HEART, SHAPES).tags == ("blue heart",)
        assert Classifier.load("demo").spec == first.spec == ModelSpec("demo")
    with Classifier("demo", store=Store(tmp_path)) as second:
        assert second.classify_one(HEART, SHAPES).stored
    with pytest.raises(TypeError, match="int"):
        Classifier(7)  # type: ignore[arg-type]


def test_help_reads_like_a_page() -> None:
    """`help(Classifier)` says what goes in, what comes out and what is raised, without private names."""
    page = subprocess.run(
        [sys.executable, "-c", "import siglipcli; help(siglipcli.Classifier)"],
        check=True, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PAGER": "cat"},
    ).stdout  # fmt: skip
    for word in (
        "PIL.Image",
        "uint8[h, w, 3]",
        "TypeError",
        "classify_one(",
        "ModelSpec",
        "float32[n, d]",
    ):
        assert word in page
    public = [name for name in vars(Classifier) if not name.startswith("_")]
    for name in public:
        assert (getattr(Classifier, name).__doc__ or "").strip(), name
