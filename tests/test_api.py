"""The library: a model, a label set and a stream of results, without the terminal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

import siglipcli
from siglipcli import (
    Classifier,
    Failure,
    Label,
    LabelSet,
    Prediction,
    ScoringOptions,
    Source,
    Store,
    demo,
)  # fmt: skip
from siglipcli.errors import DeviceError, UnknownModelError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fake_encoder import FakeEncoder

COLOURS = LabelSet.of(["red", "green", "blue"], name="colours")
MOODS = LabelSet.of(["calm", "loud"], name="moods")


@pytest.fixture
def clf(encoder: FakeEncoder) -> Classifier:
    return Classifier(encoder)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with three plain images and one file that is none."""
    for name, colour in (("a", "red"), ("b", "lime"), ("d", "blue")):
        Image.new("RGB", (10, 10), colour).save(tmp_path / f"{name}.png")
    (tmp_path / "c.png").write_bytes(b"no image")
    return tmp_path


@pytest.fixture(scope="module")
def small() -> Classifier:
    """The bundled model."""
    return Classifier.load("demo", runtime="torch", precision="fp32", device="cpu")


def test_what_the_contract_shows_runs(small: Classifier, tmp_path: Path) -> None:
    """Load a model, load a label set, go through the results: names as in the library's promise."""
    file = tmp_path / "shapes.yaml"
    file.write_text("labels: [red circle, blue heart, green star]\n")
    found = {}
    for result in small.classify([demo.IMAGES / "blue-heart.jpg"], LabelSet.load(file)):
        assert isinstance(result, Prediction)
        found[result.file] = result.scores
    (scores,) = found.values()
    assert scores[0].label == "blue heart"
    assert scores[0].score > 0.5
    assert scores[0].tag
    assert [s.set for s in scores] == ["shapes"] * 3


def test_every_bundled_image_gets_its_label(small: Classifier) -> None:
    """The demo model names each bundled drawing after its file."""
    for result in small.classify([demo.IMAGES], LabelSet.load(demo.LABELS)):
        assert isinstance(result, Prediction)
        assert result.scores[0].label.replace(" ", "-") == Path(result.file).stem


def test_folders_give_their_images_and_their_failures(clf: Classifier, images: Path) -> None:
    """A folder is read in the order of its names; a file that is no image is a Failure."""
    results = list(clf.classify([images], COLOURS))
    assert [Path(r.file).name for r in results] == ["a.png", "b.png", "c.png", "d.png"]
    assert [type(r) for r in results] == [Prediction, Prediction, Failure, Prediction]
    assert results[2].kind == "unidentified"


def test_paths_of_every_kind_are_taken(clf: Classifier, images: Path) -> None:
    """Strings, paths, directory entries and records all name an input; one alone needs no list."""
    path = images / "a.png"
    (entry,) = (e for e in os.scandir(images) if e.name == "a.png")
    inputs = [str(path), path, entry, Source("bytes", path.read_bytes())]
    results = list(clf.classify(inputs, COLOURS))
    assert [r.file for r in results] == [str(path)] * 3 + ["bytes"]
    assert len({r.scores for r in results}) == 1
    for one in inputs:
        assert [r.scores for r in clf.classify(one, COLOURS)] == [results[0].scores]


def test_a_failure_handed_in_comes_out(clf: Classifier, images: Path) -> None:
    """Records of `sources` pass through: what failed already keeps its place and its reason."""
    gone = Failure("gone.jpg", "missing", "No such file or folder.")
    results = list(clf.classify([gone, images / "a.png", gone], COLOURS))
    assert results[0] == results[2] == gone
    assert isinstance(results[1], Prediction)


def test_missing_files_are_failures(clf: Classifier, images: Path) -> None:
    """A path that leads nowhere is a result like any other."""
    (result,) = clf.classify([images / "nothing.png"], COLOURS)
    assert isinstance(result, Failure)
    assert result.kind == "missing"


def test_several_sets_are_kept_apart(clf: Classifier, images: Path) -> None:
    """Sets are scored in one pass; each has its own shares and its own order, set by set."""
    (both,) = clf.classify([images / "a.png"], [COLOURS, MOODS])
    (colours,) = clf.classify([images / "a.png"], COLOURS)
    (moods,) = clf.classify([images / "a.png"], MOODS)
    assert both.scores == colours.scores + moods.scores
    assert sum(s.softmax for s in both.scores if s.set == "moods") == pytest.approx(1)


def test_an_encoded_set_scores_as_the_set_itself(clf: Classifier, images: Path) -> None:
    """Labels may be encoded once and used for many runs."""
    label_embeddings = clf.encode_labels(COLOURS)
    first = [r.scores for r in clf.classify([images / "a.png", images / "b.png"], label_embeddings)]
    second = [r.scores for r in clf.classify([images / "a.png", images / "b.png"], [COLOURS])]
    assert first == second


def test_label_sets_are_encoded_together(
    clf: Classifier, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts that sets share are encoded once; what is encoded already is taken as it is, in its place."""
    other = LabelSet.of(["red", "calm"], name="others")
    apart = [clf.encode_labels(labels) for labels in (COLOURS, other)]
    calls: list[list[str]] = []
    plain = clf.encoder.encode_texts
    monkeypatch.setattr(
        clf.encoder, "encode_texts", lambda texts: (calls.append(list(texts)), plain(texts))[1]
    )
    moods = clf.encode_labels(MOODS)
    calls.clear()
    first, second, third = clf.encode_label_sets([COLOURS, moods, other])
    assert second is moods
    for one, alone in zip((first, third), apart, strict=True):
        assert one.labels == alone.labels
        np.testing.assert_array_equal(one.vectors, alone.vectors)
    (texts,) = calls
    assert len(texts) == len(set(texts)) == len(set(prompts(COLOURS) + prompts(other)))
    assert len(texts) < len(prompts(COLOURS) + prompts(other))
    assert clf.encode_label_sets([moods]) == [moods]
    assert len(calls) == 1


def prompts(labels: LabelSet) -> list[str]:
    return [prompt for label in labels.labels for prompt in label.prompts]


def test_labels_are_encoded_once_a_run(
    clf: Classifier, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text tower runs once for all sets, not once for each image."""
    calls = []
    plain = clf.encoder.encode_texts
    monkeypatch.setattr(
        clf.encoder, "encode_texts", lambda texts: (calls.append(len(texts)), plain(texts))[1]
    )
    assert len(list(clf.classify([images] * 5, [COLOURS, MOODS]))) == 20
    assert calls == [5]


def test_many_labels_are_counted_and_kept_as_they_are_encoded(
    encoder: FakeEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Progress is told between parts; a run that is stopped half-way has the first half for the next."""
    labels = LabelSet.of([f"label {i}" for i in range(600)])
    told: list[tuple[int, int]] = []
    plain = encoder.encode_texts

    def stopping(texts: list[str]) -> Any:
        if told:
            raise KeyboardInterrupt
        return plain(texts)

    store = Store(tmp_path)
    clf = Classifier(encoder, store=store)
    monkeypatch.setattr(encoder, "encode_texts", stopping)
    with pytest.raises(KeyboardInterrupt):
        clf.encode_labels(labels, lambda done, total: told.append((done, total)))
    assert told == [(256, 600)]
    monkeypatch.setattr(encoder, "encode_texts", plain)
    told.clear()
    label_embeddings = clf.encode_labels(labels, lambda done, total: told.append((done, total)))
    assert told == [(256, 344)]
    np.testing.assert_array_equal(
        label_embeddings.vectors, Classifier(encoder).encode_labels(labels).vectors
    )
    store.close()


def test_the_stream_is_lazy(clf: Classifier, images: Path) -> None:
    """Inputs are drawn as results are taken, and an endless input has a first result."""

    def endless() -> Iterator[Path]:
        while True:
            yield images / "a.png"

    stream = clf.classify(endless(), COLOURS)
    assert isinstance(next(stream), Prediction)
    assert isinstance(next(stream), Prediction)
    stream.close()


def test_no_label_set_is_refused(clf: Classifier, images: Path) -> None:
    """An empty list of sets is an error that says so."""
    with pytest.raises(UsageError, match="no label"):
        clf.classify([images], [])


def test_a_selection_is_respected(clf: Classifier, images: Path) -> None:
    """How many labels and which tags are asked for in the same words as on the command line."""
    (one,) = clf.classify([images / "a.png"], COLOURS, ScoringOptions(top=1, threshold=1.0))
    assert len(one.scores) == 1
    assert not one.scores[0].tag
    (one,) = clf.classify([images / "a.png"], COLOURS, ScoringOptions(top=1, threshold=0.0))
    assert [score.tag for score in one.scores] == [True] * len(COLOURS.labels)


def test_scores_are_the_heads_sigmoid(clf: Classifier, images: Path) -> None:
    """The logit is scale x cosine + bias with the encoder's own head."""
    (result,) = clf.classify([images / "a.png"], COLOURS)
    pixels = np.asarray(Image.new("RGB", (8, 8), "red"))[None]
    image = clf.encoder.encode_images(pixels)[0]
    for score in result.scores:
        (text,) = clf.encoder.encode_texts([f"a photo of a {score.label}."])
        logit = 10.0 * float(image @ text) - 2.0
        assert score.logit == pytest.approx(logit, abs=1e-5)
        assert score.score == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-6)


def test_a_prompt_that_says_nothing_still_has_scores(small: Classifier) -> None:
    """A label of punctuation alone is an empty text to the model, and no error."""
    empty = LabelSet("set", (Label("?!", ("?!",)), Label("star", ("a green star",))))
    (result,) = small.classify(demo.IMAGES / "green-star.png", empty)
    assert result.scores[0].label == "star"
    assert all(np.isfinite(s.logit) for s in result.scores)


def test_an_unknown_model_and_device_are_said_at_once() -> None:
    """Loading fails before any input is read, with the nearest name or the devices there are."""
    with pytest.raises(UnknownModelError, match="ViT-B-16-SigLIP-384"):
        Classifier.load("ViT-B-16-SigLIP-383")
    with pytest.raises(DeviceError, match="use auto, cpu"):
        Classifier.load("demo", device="toaster", runtime="torch")


def test_public_names_lead_to_their_modules() -> None:
    """`from siglipcli import …` gives every name that the library promises, and no other."""
    assert siglipcli.Classifier is Classifier
    assert set(siglipcli.__all__) <= set(dir(siglipcli))
    with pytest.raises(AttributeError, match="Nonsense"):
        siglipcli.Nonsense  # noqa: B018
