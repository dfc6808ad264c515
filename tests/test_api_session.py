"""A classifier and what lives long behind it: processes, threads, both towers, the store."""

from __future__ import annotations

import gc
import io
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner
from what_runs import children, linux_only, threads, wait_until

from siglipcli import Classifier, LoadOptions, ModelSpec, Session, Store, UsageError, demo
from siglipcli.cli import app, setup

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fake_encoder import FakeEncoder

LABELS = ["red", "green", "blue"]
SHAPES = ["red circle", "blue heart", "green star"]


def gif(grey: int = 90) -> bytes:
    """An image that is decoded in a worker process."""
    out = io.BytesIO()
    Image.new("RGB", (9, 9), (grey, 200, 10)).save(out, "GIF")
    return out.getvalue()


@pytest.fixture
def clf(encoder: FakeEncoder) -> Iterator[Classifier]:
    with Classifier(encoder) as made:
        yield made


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """After the test there is no thread and no process that was not there before it."""
    gc.collect()
    before = threads(), children()
    yield
    assert wait_until(lambda: threads() <= before[0] and children() <= before[1])


@linux_only
@pytest.mark.parametrize("with_block", [True, False])
@pytest.mark.usefixtures("nothing_left")
def test_closing_ends_every_process_and_thread(encoder: FakeEncoder, with_block: bool) -> None:
    """After `close` or the `with` block nothing runs that did not before, whatever was called or begun."""
    clf = Classifier(encoder)
    clf.classify_one(gif(), LABELS)
    list(clf.score([gif(1), gif(2)], "red"))
    list(clf.search([gif(1), gif(2)], "red"))
    unfinished = clf.classify([gif(n) for n in range(50)], LABELS)
    next(unfinished)
    assert children()
    assert threads()
    if with_block:
        with clf:
            pass
    else:
        clf.close()
    with pytest.raises(UsageError, match="closed") as error:
        list(unfinished)
    assert error.value.code == "closed"
    clf.close()  # again does nothing
    for call in (
        lambda: clf.classify_one(gif(), LABELS),
        lambda: clf.encode_texts("red"),
        lambda: clf.encode_images(gif()),
    ):
        with pytest.raises(UsageError, match="closed"):
            call()


@linux_only
@pytest.mark.usefixtures("nothing_left")
def test_a_classifier_that_nobody_closes_leaves_nothing(encoder: FakeEncoder) -> None:
    """When the last reference goes, so do its processes and threads."""
    Classifier(encoder).classify_one(gif(), LABELS)


@linux_only
@pytest.mark.usefixtures("nothing_left")
def test_a_stream_outlives_the_name_of_its_classifier(encoder: FakeEncoder) -> None:
    """A stream that is still read keeps what it needs, though nobody else has the classifier."""
    images = [gif(n) for n in range(20)]
    assert len(list(Classifier(encoder).classify(images, LABELS))) == 20
    assert len([item for items in Classifier(encoder).embed(images) for item in items]) == 20
    batches = Session(encoder).batches(iter(Classifier(encoder).batches(images)).__next__().sources)
    gc.collect()
    assert sum(len(batch.sources) for batch in batches) == 1


@linux_only
def test_single_calls_start_no_process_or_thread_each(clf: Classifier) -> None:
    """One image per call: the process and the threads of the first call serve all that follow."""
    clf.classify_one(gif(), LABELS)
    first = children(), threads()
    for n in range(8):
        clf.classify_one(gif(n), LABELS)
        list(clf.score(gif(n), "red"))
        clf.encode_images(gif(n))
    assert children() == first[0]
    assert wait_until(lambda: threads() <= first[1])  # a reader's last moment


def test_threads_share_a_classifier(clf: Classifier) -> None:
    """Calls side by side, of every kind, give what each would give alone."""
    images = [gif(n) for n in range(9)]

    def calls(_: int) -> list[Any]:
        return [
            list(clf.classify(images, LABELS)),
            list(clf.score(images, LABELS)),
            list(clf.search(images, "red")),
            clf.encode_images(images).tolist(),
        ]

    expected = calls(0)
    with ThreadPoolExecutor(6) as callers:
        assert all(result == expected for result in callers.map(calls, range(12)))


@pytest.mark.parametrize("keep_towers", [True, False])
def test_threads_share_a_model(tmp_path: Path, keep_towers: bool) -> None:
    """New texts and new images at the same time, with one tower in memory or both, and one store."""
    spec = ModelSpec("demo", device="cpu", runtime="torch", precision="fp32", offline=True)
    heart = demo.IMAGES / "blue-heart.jpg"
    with Classifier(spec, store=Store(tmp_path), keep_towers=keep_towers) as clf:

        def best(n: int) -> str | None:
            labels = [*SHAPES, f"new label {n}"]
            image = Image.open(heart).resize((200 + n, 200 + n))
            score = clf.classify_one(image, labels).best
            return score and score.label

        with ThreadPoolExecutor(4) as callers:
            assert set(callers.map(best, range(12))) == {"blue heart"}


def test_both_towers_stay_in_a_program_and_one_in_a_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Alternating calls of a library user load nothing twice; a run of the command line has its low peak."""
    heart = str(demo.IMAGES / "blue-heart.jpg")
    model = ["--model", "demo", "--device", "cpu", "--runtime", "torch", "--precision", "fp32"]
    monkeypatch.setenv("SIGLIP_CACHE_DIR", str(tmp_path))
    assert CliRunner().invoke(app, ["classify", heart, *model]).exit_code == 0
    (used,) = setup._open
    assert used.encoder._image is not None  # type: ignore[attr-defined]
    assert used.encoder._text is None  # type: ignore[attr-defined]
    assert used.spec
    with Classifier(used.spec) as clf:
        clf.classify_one(heart, SHAPES)
        assert clf.encoder._image is not None  # type: ignore[attr-defined]
        assert clf.encoder._text is not None  # type: ignore[attr-defined]


@pytest.mark.usefixtures("without_pauses")
def test_classifiers_share_a_session_and_leave_it_open(encoder: FakeEncoder) -> None:
    """Each has its own way to read images; the session is closed by who opened it."""
    with Session(encoder, LoadOptions(batch_size=2)) as session:
        with Classifier(session) as one, Classifier(session, LoadOptions(batch_size=3)) as other:
            for clf, batches in ((one, [1, 2, 2, 1]), (other, [1, 3, 2])):
                encoder.batches.clear()
                clf.encode_images([gif(n) for n in range(6)])
                assert encoder.batches == batches
        assert session.encode_texts(["red"])[0].shape == (1, 4)
    with pytest.raises(UsageError, match="closed"):
        one.encode_texts("red")


@pytest.mark.parametrize(
    "options",
    [
        LoadOptions(),
        LoadOptions(exact=True),
        LoadOptions(color_management=False),
        LoadOptions(allow_truncated=True),
    ],
)
def test_a_session_and_a_classifier_have_one_store(
    encoder: FakeEncoder, tmp_path: Path, options: LoadOptions
) -> None:
    """What a classifier encoded a bare session finds, and only where the pixels are made in the same way."""
    file = tmp_path / "image.gif"
    file.write_bytes(gif())
    with Classifier(encoder, options, Store(tmp_path / "store")) as clf:
        vectors = clf.encode_images(file)
        clf.encode_texts("a photo of a red.")
    others = LoadOptions(exact=not options.exact, color_management=options.color_management)
    with Session(encoder, options, Store(tmp_path / "store")) as session:
        clf = Classifier(session)
        assert clf.classify_one(file, LABELS).stored
        np.testing.assert_array_equal(clf.encode_images(file), vectors)
        assert session.encode_texts(["a photo of a red."])[1] == [True]
        assert not Classifier(session, others).classify_one(file, LABELS).stored


def test_what_belongs_elsewhere_is_refused(encoder: FakeEncoder, tmp_path: Path) -> None:
    """A device beside a ModelSpec or a store beside a session would be ignored: it is a TypeError."""
    with pytest.raises(TypeError, match="ModelSpec"):
        Classifier(ModelSpec("demo"), device="cpu")
    with Session(encoder) as session:
        with pytest.raises(TypeError, match="ModelSpec"):
            Classifier(session, precision="fp32")
        with pytest.raises(TypeError, match="store"):
            Classifier(session, store=Store(tmp_path))
