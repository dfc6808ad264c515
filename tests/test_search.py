"""Ranking: the best of a stream, queries that are sums, and what a number may be called."""

from __future__ import annotations

import io
import json
import os
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from siglipcli import (
    Classifier,
    Failure,
    Match,
    Query,
    Ranking,
    Source,
    outputs,
    search,
)
from siglipcli import (
    embedding_files as vectors,
)
from siglipcli.embedding_files import About
from siglipcli.embeddings import Batch
from siglipcli.errors import UsageError
from siglipcli.outputs import Header
from siglipcli.results import Head, ImageTextScores, Pair, Result
from siglipcli.search import Best, combine

if TYPE_CHECKING:
    from fake_encoder import FakeEncoder

GOLDENS = Path(__file__).parent / "goldens" / "outputs"
UPDATE = os.environ.get("SIGLIP_UPDATE_GOLDENS") == "1"


@pytest.fixture
def clf(encoder: FakeEncoder) -> Classifier:
    return Classifier(encoder)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Four plain images and one file that is none."""
    for name, colour in (("a", "red"), ("b", "lime"), ("d", "blue"), ("e", "darkred")):
        Image.new("RGB", (10, 10), colour).save(tmp_path / f"{name}.png")
    (tmp_path / "c.png").write_bytes(b"no image")
    return tmp_path


def names(found: list[Any]) -> list[str]:
    return [Path(item.file).name for item in found]


# --- the best of a stream -------------------------------------------------------------------------


@given(
    st.lists(st.lists(st.integers(-5, 5), max_size=8), max_size=8),
    st.none() | st.integers(1, 12),
)
def test_the_best_are_those_of_a_full_sort(batches: list[list[int]], top: int | None) -> None:
    """However the stream is cut: the best first, ties in order of arrival."""
    best: Best[int] = Best(top)
    for start, batch in enumerate(batches):
        best.add(np.float32(batch), [100 * start + i for i in range(len(batch))])
    every = [(v, 100 * s + i) for s, batch in enumerate(batches) for i, v in enumerate(batch)]
    expected = sorted(every, key=lambda each: -each[0])[:top]
    values, items = best.ranked()
    assert list(zip(values.tolist(), items, strict=True)) == expected


def test_the_best_hold_no_more_than_is_asked_for() -> None:
    """A million images cost the memory of ten."""
    best: Best[int] = Best(10)
    rng = np.random.default_rng(0)
    for start in range(0, 100_000, 100):
        best.add(rng.random(100, np.float32), range(start, start + 100))
        assert len(best._items) <= 110


def test_a_query_is_a_renormalised_sum() -> None:
    """Σ wanted - Σ unwanted, at length 1."""
    x, y, z = np.eye(3, dtype=np.float32)
    np.testing.assert_allclose(combine([x, y], [z]), np.float32([1, 1, -1]) / np.sqrt(3), rtol=1e-6)
    np.testing.assert_array_equal(combine([x], []), x)
    with pytest.raises(UsageError, match="cancels itself out"):
        combine([x, y], [y, x])
    with pytest.raises(UsageError, match="nothing to look for"):
        combine([], [y])


# --- the library ----------------------------------------------------------------------------------


def test_a_search_ranks_a_folder(clf: Classifier, images: Path) -> None:
    """Failures come as they are met, then matches with rank, similarity and score."""
    found = list(clf.search([images], "reddish"))
    assert isinstance(found[0], Failure)
    assert names(found[:1]) == ["c.png"]
    ranked = [item for item in found if isinstance(item, Match)]
    assert [m.rank for m in ranked] == [1, 2, 3, 4]
    assert [m.similarity for m in ranked] == sorted((m.similarity for m in ranked), reverse=True)
    (text,) = clf.encode_texts(["reddish"])
    for match in ranked:
        ((one,),) = clf.embed(match.file)
        assert match.similarity == pytest.approx(float(one.vector @ text), abs=1e-6)
        logit = 10.0 * match.similarity - 2.0
        assert match.score == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-6)


def test_a_image_finds_itself_first(clf: Classifier, images: Path) -> None:
    """An image query has similarities, no scores: the head is trained for texts."""
    query = Query(images=[str(images / "a.png")])
    found = [m for m in clf.search([images], query) if isinstance(m, Match)]
    assert names(found) == ["a.png", "e.png", *names(found)[2:]]
    assert found[0].similarity == pytest.approx(1, abs=1e-5)
    assert {m.score for m in found} == {None}


def test_only_what_is_text_has_scores() -> None:
    """Several texts are one prompt's ensemble; with an image or --not it is a direction only."""
    assert Query(["a", "b"]).is_text
    assert not Query(["a"], images=["x.jpg"]).is_text
    assert not Query(["a"], without=["b"]).is_text


def test_subtracting_moves_matches_down(clf: Classifier, images: Path) -> None:
    """Red without darkness: what is taken away ranks lower than before."""
    dark = clf.encode_query(Query(images=[str(images / "d.png")]))
    plain = clf.encode_query(Query(["x"], images=[str(images / "d.png")]))
    without = clf.encode_query(Query(images=[str(images / "d.png")], without=["x"]))
    (text,) = clf.encode_texts(["x"])
    assert float(without @ text) < float(dark @ text) < float(plain @ text)
    assert np.linalg.norm(without) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.2, 0.5, 1.0])
def test_a_threshold_is_of_the_score(clf: Classifier, images: Path, threshold: float) -> None:
    """Taken back through the head, it cuts where the scores say."""
    every = [m for m in clf.search([images], "reddish", Ranking(None)) if isinstance(m, Match)]
    kept = clf.search([images], "reddish", Ranking(None, threshold))
    assert [m for m in kept if isinstance(m, Match)] == [
        m for m in every if m.score is not None and m.score >= threshold
    ]


def test_a_threshold_of_a_image_query_is_of_the_similarity(clf: Classifier, images: Path) -> None:
    """There is no score to hold it against."""
    query = Query(images=[str(images / "a.png")])
    found = [m for m in clf.search([images], query, Ranking(None, 0.99)) if isinstance(m, Match)]
    assert names(found) == ["a.png", "e.png"]


def test_a_query_image_that_cannot_be_used_is_an_error(clf: Classifier, images: Path) -> None:
    """Broken, missing or a folder: the search has nothing to go by."""
    for name, why in (
        ("c.png", "PNG|no image|image"),
        ("gone.png", "No such file"),
        ("", "not one image"),
    ):
        with pytest.raises(UsageError, match=why):
            list(clf.search([images], Query(images=[str(images / name)])))


def test_pairs_are_the_heads_numbers() -> None:
    """One tuple an image, one pair a text, in the order given."""
    images, texts = np.eye(2, dtype=np.float32), np.float32([[1, 0], [0.6, 0.8]])
    first, second = search.pairs(images, texts, ["x", "y"], Head(10, -2))
    assert [p.text for p in first] == ["x", "y"]
    assert [p.similarity for p in second] == pytest.approx([0, 0.8])
    assert [p.logit for p in second] == pytest.approx([-2, 6])
    assert first[0].score == pytest.approx(1 / (1 + np.exp(-8)))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 33])
def test_neighbours_do_not_change_a_score(count: int) -> None:
    """To the last digit: which images shared a batch depends on how fast each was read."""
    rows = np.random.default_rng(0).normal(size=(34, 768)).astype(np.float32)
    images, texts, head = rows[1:], rows[:3], Head(117.0, -16.0)
    found = search.pairs(images[:count], texts, "abc", head)
    alone = [search.pairs(image[None], texts, "abc", head)[0] for image in images[:count]]
    assert found == alone
    sources = [Source(str(i)) for i in range(count)]
    whole = [Batch(sources, images[:count], [False] * count)]
    single = [Batch([s], v[None], [False]) for s, v in zip(sources, images, strict=False)]
    query: Future[Any] = Future()
    query.set_result(rows[0])
    ranked = [list(search.rank(b, query, head, Ranking(), is_text=True)) for b in (whole, single)]
    assert ranked[0] == ranked[1]


def test_scoring_keeps_order_and_failures(clf: Classifier, images: Path) -> None:
    """`Classifier.score` gives a comparison or a failure for each input, in place."""
    found = list(clf.score([images], ["one", "two"]))
    assert names(found) == ["a.png", "b.png", "c.png", "d.png", "e.png"]
    assert [type(f) for f in found] == [
        ImageTextScores,
        ImageTextScores,
        Failure,
        ImageTextScores,
        ImageTextScores,
    ]
    with pytest.raises(UsageError, match="no text"):
        clf.score([images], [])


def known(vector: np.ndarray) -> Future[Any]:
    query: Future[Any] = Future()
    query.set_result(vector)
    return query


@pytest.mark.parametrize("is_text", [True, False])
def test_a_printed_number_as_threshold_keeps_its_image(is_text: bool) -> None:
    """`--threshold` with the score (or the similarity) of any match keeps that match and those above."""
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(41, 64))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    sources = [Source(str(i)) for i in range(40)]
    batch, head = Batch(sources, rows[1:], [True] * 40), Head(117.3, -16.2)

    def found(threshold: float | None) -> list[Match]:
        ranking = Ranking(None, threshold)
        return list(search.rank([batch], known(rows[0]), head, ranking, is_text=is_text))  # type: ignore[arg-type]

    every = found(None)
    for place, match in enumerate(every, 1):
        printed = json.loads(json.dumps(match.score if is_text else match.similarity))
        kept = found(printed)
        assert kept == every[: len(kept)]
        assert len(kept) >= place


def test_equal_images_stay_in_the_order_they_came_in() -> None:
    """Copies of one image rank side by side as they were listed, however the batches were cut."""
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(8, 768))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    vectors = rows[np.array([1, 2, 3, 1, 4, 1, 5, 1, 6, 7, 1])]
    sources = [Source(str(i)) for i in range(len(vectors))]
    for size in range(1, 12):
        batches = [
            Batch(sources[i : i + size], vectors[i : i + size], [True] * len(sources[i : i + size]))
            for i in range(0, len(sources), size)
        ]
        found = list(search.rank(batches, known(rows[0]), Head(10, 0), Ranking(None), is_text=True))
        assert [m.file for m in found if m.file in "0357" or m.file == "10"] == [
            *("0", "3", "5", "7", "10")
        ]
        copies = [m.similarity for m in found if isinstance(m, Match) and m.file in "0357"]  # type: ignore[union-attr]
        assert len(set(copies)) == 1


def test_few_images_wait_for_a_slow_query() -> None:
    """While the query is being encoded, memory holds at most so many images, whatever the folder has."""
    drawn = 0

    class Slow(Future[Any]):
        def done(self) -> bool:
            return False

        def result(self, timeout: float | None = None) -> Any:
            waiting.append(drawn)
            return np.float32([1, 0])

    def batches() -> Any:
        nonlocal drawn
        for start in range(0, 100, 2):
            drawn += 2
            yield Batch([Source(str(start)), Source("b")], np.eye(2, dtype=np.float32), [True] * 2)

    waiting: list[int] = []
    list(search.rank(batches(), Slow(), Head(1, 0), Ranking(), is_text=True, waiting=10))
    assert waiting[0] == 12
    assert search.WAITING <= 100_000


@pytest.mark.parametrize("bad", [{"top": 0}, {"threshold": 2.0}, {"threshold": float("nan")}])
def test_a_ranking_out_of_range_is_refused_at_once(bad: dict[str, Any]) -> None:
    """Numbers that mean nothing raise where they are written."""
    with pytest.raises(ValueError, match=next(iter(bad))):
        Ranking(**bad)


# --- saved vectors --------------------------------------------------------------------------------


def embedded(clf: Classifier, folder: Path, file: Path, about: About | None = None) -> Path:
    encoder = clf.encoder
    with vectors.save(file, about or About(encoder.name, encoder.fingerprint)) as sink:
        for batch in clf.batches([folder]):
            sink.write(batch)
    return file


@pytest.mark.parametrize("ending", ["npz", "npy", "parquet", "jsonl"])
def test_saved_vectors_stand_for_their_images(
    clf: Classifier, images: Path, tmp_path_factory: pytest.TempPathFactory, ending: str
) -> None:
    """classify, search and score give what the images would give, without one being encoded."""
    file = embedded(clf, images, tmp_path_factory.mktemp("v") / f"v.{ending}")
    clf.encoder.batches.clear()
    saved = vectors.load(file)
    found = list(clf.search(saved, "reddish"))
    scored = list(clf.score(saved, ["one"]))
    assert clf.encoder.batches == []
    fresh = list(clf.search([images], "reddish"))
    if ending != "jsonl":  # the others have no place for a failure
        fresh = [item for item in fresh if not isinstance(item, Failure)]
    assert [(i.file, getattr(i, "similarity", None)) for i in found] == [
        (i.file, pytest.approx(i.similarity, abs=1e-6) if isinstance(i, Match) else None)
        for i in fresh
    ]
    assert names(scored) == [
        n for n in names(list(clf.score([images], ["one"]))) if n in names(scored)
    ]


def test_another_models_vectors_are_refused(clf: Classifier, images: Path) -> None:
    """By checkpoint; another runtime of the same one is fine; texts are no images."""
    for about, why in (
        (About("other", "zzz-torch"), "another model, other. Open that one"),
        (About("fake", "zzz-torch"), "other weights than this fake"),
        (About("fake", "fake", "text"), "vectors of texts"),
    ):
        file = embedded(clf, images, images / "v.npz", about)
        with pytest.raises(UsageError, match=why):
            list(clf.search(vectors.load(file), "x"))
    file = embedded(clf, images, images / "v.npz", About("fake", "fake-elsewhere-bf16"))
    assert list(clf.search(vectors.load(file), "x"))


# --- how it is written ----------------------------------------------------------------------------

ODD = 'photos/[bold]=cmd, "x"\x1b[31m\nna\u00efve\u202egpj.\udcff'
FAILED = Failure("photos/b.jpg", "truncated", "The file ends before the image does.")
MATCHES: tuple[Result, ...] = (
    FAILED,
    Match("photos/2024/beach.jpg", 1, 0.1234567, 0.87654321),
    Match(ODD, 2, -0.05, 3.2e-6),
)
SIMILAR: tuple[Result, ...] = (
    Match("photos/2024/a beach in the evening with a very long name, twice.jpg", 1, 0.98765),
    Match("b.jpg", 2, -0.2),
)
TEXTS = ("a dog on a beach", "\u732b " * 20)
COMPARED: tuple[Result, ...] = (
    ImageTextScores(
        "photos/2024/cat.jpg",
        (Pair(TEXTS[0], 0.25, -1.0986, 0.1), Pair(TEXTS[1], 3e-9, -19.6, -0.08)),
    ),
    FAILED,
    ImageTextScores(ODD, (Pair(TEXTS[0], 1.0, 20.0, 0.3), Pair(TEXTS[1], 0.5, 0.0, 0.2))),
)
RUNS = {
    "matches": (MATCHES, Header("demo", kind=Match)),
    "similar": (SIMILAR, Header("demo", kind=Match)),
    "pairs": (COMPARED, Header("demo", labels=TEXTS, kind=ImageTextScores)),
}


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "table"])
def test_each_format_looks_as_agreed(run: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte for byte; SIGLIP_UPDATE_GOLDENS=1 stores it anew."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    results, header = RUNS[run]
    stream = io.StringIO(newline="")
    writer = outputs.make_sink(form, stream, header)
    for result in results:
        writer.write(result)
    writer.close()
    path = GOLDENS / f"{run}.{'txt' if form == 'table' else form}"
    if UPDATE:
        path.write_bytes(stream.getvalue().encode())
    assert path.exists(), f"{path} is missing: run with SIGLIP_UPDATE_GOLDENS=1 and read the diff"
    assert stream.getvalue() == path.read_bytes().decode()


@pytest.mark.parametrize("columns", [20, 32, 60, 200])
@pytest.mark.parametrize("count", [1, 2, 9, 60])
def test_a_matrix_of_any_size_fits(
    columns: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every score is there, no line is wider than the terminal (or 32 cells)."""
    monkeypatch.setenv("COLUMNS", str(columns))
    texts = tuple(f"text {i}" for i in range(count))
    pairs = tuple(Pair(text, (i + 1) / 100, 0.0, 0.0) for i, text in enumerate(texts))
    stream = io.StringIO()
    writer = outputs.make_sink("table", stream, Header("m", labels=texts, kind=ImageTextScores))
    writer.write(ImageTextScores("photos/a rather long name of an image.jpg", pairs))
    writer.close()
    text = stream.getvalue()
    assert all(f"{(i + 1) / 100:.4f}" in text for i in range(count))
    assert max(map(len, text.splitlines())) <= max(min(columns, 100), 32)
