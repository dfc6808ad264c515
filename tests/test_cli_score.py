"""`siglip score`: images held against texts, pair by pair."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from settings import settle
from typer.testing import CliRunner

from siglipcli import demo
from siglipcli.cli import app

if TYPE_CHECKING:
    from typer.testing import Result

HEART = str(demo.IMAGES / "blue-heart.jpg")
STAR = str(demo.IMAGES / "green-star.png")
TEXTS = ["a green star", "a blue heart"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, cache: Path, tmp_path: Path) -> None:
    """No test sees this machine's settings, nor fetches a model."""
    settle(monkeypatch, tmp_path, cache)


def score(*arguments: str | Path, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, ["score", *map(str, arguments)], input=stdin)


def rows(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_texts_and_an_image() -> None:
    """--image FILE TEXTS…: one score a text, in the order typed."""
    result = score("--image", HEART, *TEXTS)
    assert (result.exit_code, result.stderr) == (0, "")
    (row,) = rows(result)
    assert list(row) == ["file", "status", "model", "texts"]
    assert list(row["texts"][0]) == ["text", "score", "logit", "similarity"]
    assert [pair["text"] for pair in row["texts"]] == TEXTS
    assert row["texts"][0]["score"] < 0.5 < row["texts"][1]["score"]


def test_the_score_is_that_of_classify() -> None:
    """A prompt scored here is the prompt scored there."""
    (row,) = rows(score("a photo of a blue heart.", HEART))
    classified = CliRunner().invoke(app, ["classify", HEART, "-L", "blue heart"])
    (label,) = json.loads(classified.stdout)["labels"]
    # One product of vectors and one of matrices: the last digit may differ.
    assert row["texts"][0]["score"] == pytest.approx(label["score"], rel=1e-5)
    assert row["texts"][0]["logit"] == pytest.approx(label["logit"], abs=1e-5)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--image", HEART, "-i", STAR, *TEXTS],
        [HEART, STAR, "--text", TEXTS[0], "-T", TEXTS[1]],
        ["-i", HEART, "-i", STAR, "-T", TEXTS[0], "-T", TEXTS[1]],
        ["--files-from", "list", *TEXTS],
        ["--files-from", "list", "-T", TEXTS[0], "-T", TEXTS[1]],
    ],
)
def test_several_images_and_texts(arguments: list[str]) -> None:
    """--image makes the arguments texts, --text makes them images; the matrix is the same."""
    Path("list").write_text(f"{HEART}\n{STAR}\n")
    first, second = rows(score(*arguments))
    assert [first["file"], second["file"]] == [HEART, STAR]
    assert [p["text"] for p in first["texts"]] == [p["text"] for p in second["texts"]] == TEXTS
    assert second["texts"][0]["score"] > 0.5 > second["texts"][1]["score"]


def test_a_folder_is_all_its_images() -> None:
    """`score --text … FOLDER` has a row for each."""
    assert len(rows(score(demo.IMAGES, "--text", "a star"))) == 8


def test_every_format_has_the_matrix() -> None:
    """A row an image in JSON, a row a pair in CSV, a real matrix in the table."""
    arguments = ["-i", HEART, "-i", STAR, *TEXTS]
    lines = rows(score(*arguments))
    assert json.loads(score(*arguments, "-f", "json").stdout) == lines
    table = list(csv.DictReader(io.StringIO(score(*arguments, "-f", "csv").stdout)))
    assert list(table[0]) == ["file", "text", "score", "logit", "similarity", "error", "model"]
    assert [float(r["score"]) for r in table] == [p["score"] for r in lines for p in r["texts"]]
    shown = score(*arguments, "-f", "table").stdout
    assert "1  a green star\n2  a blue heart\n" in shown
    (star,) = (line for line in shown.splitlines() if "green-star.png" in line)
    assert f"{lines[1]['texts'][0]['score']:.4f}" in star


def test_failures_are_rows_and_status_1() -> None:
    """The other images are answered, in order."""
    result = score("gone.jpg", HEART, "--text", "a")
    assert result.exit_code == 1
    assert [row["status"] for row in rows(result)] == ["error", "ok"]


def test_odd_texts_and_names() -> None:
    """Quotes, newlines and markup stay what they are; one row an image."""
    text, name = 'a "dog"\n[bold], =cmd', "a\n[bold],=.jpg"
    Path(name).write_bytes(Path(HEART).read_bytes())
    (row,) = rows(score(text, name))
    assert (row["file"], row["texts"][0]["text"]) == (name, text)
    (line,) = csv.DictReader(io.StringIO(score(text, name, "-f", "csv").stdout, newline=""))
    assert (line["file"], line["text"]) == (name, text)
    assert "\x1b" not in score(text + "\x1b[31m", name, "-f", "table").stdout


def test_an_image_on_stdin() -> None:
    """`-` is one."""
    (row,) = rows(score("a green star", "-", stdin=Path(STAR).read_bytes()))
    assert row["texts"][0]["score"] > 0.5


def test_an_empty_folder_is_status_1() -> None:
    """No rows, and a word."""
    Path("empty").mkdir()
    result = score("a star", "empty")
    assert (result.exit_code, result.stdout, result.stderr) == (
        1,
        "",
        "siglip: no images found\n",
    )


def test_saved_vectors_are_images_too() -> None:
    """--from: all arguments are texts."""
    CliRunner().invoke(app, ["embed", HEART, STAR, "-o", "v.npz"])
    assert rows(score("--from", "v.npz", *TEXTS)) == rows(score("-i", HEART, "-i", STAR, *TEXTS))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no text: siglip score TEXT PATHS"),
        ([HEART], "the text comes first"),
        ([HEART, "a star"], "the text comes first"),
        (["--text", "a"], "nothing to read"),
        (["--image", HEART], "no text"),
        (["", HEART], "a text is empty"),
        (["x", "--image", HEART, "--text", "a"], "is 'x' an image or a text?"),
        (["a", HEART, "-o", "x.xml"], "give --format"),
    ],
)
def test_questions_that_make_no_sense_are_refused(arguments: list[str], message: str) -> None:
    """Status 2 and one line, before a model is looked for."""
    result = score(*arguments, "-m", "no-such-model")
    assert result.exit_code == 2
    assert message in result.stderr
