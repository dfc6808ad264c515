"""`siglip search`: words, images and sums of them against a folder."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from settings import settle, with_engine
from typer.testing import CliRunner

from siglipcli import demo
from siglipcli.cli import app

if TYPE_CHECKING:
    from typer.testing import Result

HEART = str(demo.IMAGES / "blue-heart.jpg")
STAR = str(demo.IMAGES / "green-star.png")
ALL = str(demo.IMAGES)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, cache: Path, tmp_path: Path) -> None:
    """No test sees this machine's settings, nor fetches a model."""
    settle(monkeypatch, tmp_path, cache, columns=100)


def search(*arguments: str | Path, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, ["search", *map(str, arguments)], input=stdin)


def rows(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def found(result: Result) -> list[str]:
    return [Path(row["file"]).stem for row in rows(result)]


# --- queries --------------------------------------------------------------------------------------


def test_words_rank_a_folder() -> None:
    """The first argument is what to look for; the best match comes first, with its score."""
    result = search("a green star", ALL)
    assert result.exit_code == 0
    first, *others = rows(result)
    assert list(first) == ["file", "status", "model", "rank", "score", "similarity"]
    assert (first["file"], first["rank"]) == (STAR, 1)
    assert first["score"] > 0.5 > others[0]["score"]
    assert [row["rank"] for row in others] == list(range(2, 9))


def test_a_image_finds_those_like_it() -> None:
    """--image: similarities and no scores; the image itself is the most similar."""
    result = search("--image", HEART, ALL)
    first, *_ = rows(result)
    assert first["file"] == HEART
    assert first["similarity"] == pytest.approx(1, abs=1e-4)
    assert all("score" not in row for row in rows(result))


def test_a_image_may_come_on_stdin() -> None:
    """`--image -` reads the query's bytes."""
    result = search("--image", "-", ALL, "-k", "1", stdin=Path(STAR).read_bytes())
    assert found(result) == ["green-star"]


def test_sums_and_differences() -> None:
    """Several of each are added, --not is subtracted; all of it counts."""
    heart, star = found(search("--image", HEART, ALL)), found(search("--image", STAR, ALL))
    both = found(search("--image", HEART, "--image", STAR, ALL))
    assert set(both[:2]) == {"blue-heart", "green-star"}
    mixed = found(search("--image", HEART, "--text", "a green star", "-T", "a green star", ALL))
    assert mixed != heart
    assert mixed != star
    without = rows(search("--image", HEART, "--not", "a blue heart", ALL))
    plain = rows(search("--image", HEART, ALL))
    assert without[0]["similarity"] < plain[0]["similarity"]


def test_words_without_others() -> None:
    """`search "…" --not "…"`: the first argument is still the words."""
    result = search("a green star", "--not", "a blue heart", ALL)
    assert result.exit_code == 0
    assert found(result)[0] == "green-star"
    assert "score" not in rows(result)[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to look for: give a text, or --image FILE"),
        (["a dog"], "nothing to search for 'a dog' in: give images or folders"),
        (["--image", HEART], "nothing to search"),
        (["at night", "--image", HEART, ALL], "say words with --text"),
        (["", ALL], "a text to look for is empty"),
        (["a dog", "--not", " ", ALL], "a text to look for is empty"),
        (["--image", "-", "-"], "stdin cannot be both"),
        (["a dog", ALL, "--paths", "-f", "csv"], "leave out --format"),
        (["a dog", ALL, "--from", "v.npz"], "one or the other"),
        (["a dog", ALL, "-o", "v.xml"], "give --format"),
    ],
)
def test_questions_that_make_no_sense_are_refused(arguments: list[str], message: str) -> None:
    """Status 2 and one line, before a model is looked for."""
    result = search(*arguments, "-m", "no-such-model")
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("value", ["2", "-1.5", "nan"])
def test_a_threshold_is_a_cosine_or_a_probability(value: str) -> None:
    """Anything else is refused."""
    assert search("a dog", ALL, "--threshold", value).exit_code == 2


def test_a_query_image_that_cannot_be_used_is_status_2() -> None:
    """Missing, broken or a folder: said with its name."""
    Path("bad.jpg").write_text("<html>")
    for name in ("gone.jpg", "bad.jpg", ALL):
        result = search("--image", name, HEART)
        assert (result.exit_code, result.stdout) == (2, "")
        assert f"the query's image {name} cannot be used" in result.stderr


def test_a_query_that_cancels_itself_out_is_refused() -> None:
    """Nothing is left to look for."""
    result = search("a dog", "--not", "a dog", ALL)
    assert result.exit_code == 2
    assert "cancels itself out" in result.stderr


# --- which ----------------------------------------------------------------------------------------


def test_top_all_and_threshold() -> None:
    """Ten by default, --top N, --all; with --threshold all that reach it."""
    Path("many").mkdir()
    for i in range(14):
        Path("many", f"{i:02}.jpg").write_bytes(Path(HEART).read_bytes())
    query = ["a blue heart", "many"]
    assert found(search(*query)) == [f"{i:02}" for i in range(10)]
    assert found(search(*query, "-k", "3")) == ["00", "01", "02"]
    assert len(found(search(*query, "--all"))) == 14
    assert len(found(search(*query, "-t", "0.5"))) == 14
    assert len(found(search(*query, "-t", "0.5", "-k", "2"))) == 2
    assert found(search("a green star", HEART, STAR, "-t", "0.5")) == ["green-star"]


def test_no_match_is_no_failure() -> None:
    """Nothing on stdout, status 0, said on stderr."""
    result = search("a green star", HEART, STAR, "--threshold", "0.999")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no image reaches the threshold, of 2" in result.stderr


def test_an_empty_folder_has_no_matches() -> None:
    """As everywhere."""
    Path("empty").mkdir()
    result = search("a dog", "empty")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "siglip: no images found\n"


# --- answers --------------------------------------------------------------------------------------


def test_failures_are_rows_and_status_1() -> None:
    """The others are ranked all the same."""
    result = search("a green star", "gone.jpg", ALL, "-k", "1")
    assert result.exit_code == 1
    assert [row["status"] for row in rows(result)] == ["error", "ok"]
    assert ", 1 failed, " in result.stderr


def test_every_format_gives_the_same_ranking() -> None:
    """JSON is the JSON Lines in one array; CSV has a row a match; the table has it too."""
    lines = rows(search("a green star", ALL))
    assert json.loads(search("a green star", ALL, "-f", "json").stdout) == lines
    table = list(csv.DictReader(io.StringIO(search("a green star", ALL, "-f", "csv").stdout)))
    assert list(table[0]) == ["file", "rank", "score", "similarity", "error", "model"]
    assert [(r["file"], float(r["score"])) for r in table] == [
        (r["file"], r["score"]) for r in lines
    ]
    shown = search("a green star", ALL, "-f", "table").stdout
    assert shown.index("green-star") < shown.index("blue-heart")
    assert "score = sigmoid" in shown
    assert "similarity = cosine" in search("--image", HEART, ALL, "-f", "table").stdout
    search("a green star", ALL, "-o", "out.csv")
    assert Path("out.csv").read_text().startswith("file,rank,score,similarity,error")


def test_a_printed_score_as_threshold_keeps_its_image() -> None:
    """`--threshold` with a score, or a similarity, as it was printed: that image is still there."""
    for query, key in ((["a green star"], "score"), (["--image", HEART], "similarity")):
        every = rows(search(*query, ALL))
        for i, row in enumerate(every):
            again = rows(search(*query, ALL, "-t", str(row[key])))
            assert again[: i + 1] == every[: i + 1]
            assert all(found[key] >= row[key] for found in again)


def test_bare_paths_for_other_programs() -> None:
    """-0 ends each with NUL, --paths with a newline; failures are told on stderr."""
    result = search("a green star", ALL, "gone.jpg", "-k", "2", "--print0")
    assert result.exit_code == 1
    assert result.stdout_bytes.split(b"\0")[0] == os.fsencode(STAR)
    assert result.stdout_bytes.count(b"\0") == 2
    assert "siglip: gone.jpg: missing: " in result.stderr
    assert search("a green star", ALL, "-k", "1", "--paths").stdout == f"{STAR}\n"
    assert search("a green star", ALL, "-k", "1", "--print0", "-o", "list").exit_code == 0
    assert Path("list").read_bytes() == os.fsencode(STAR) + b"\0"


def test_bare_paths_are_the_names_bytes() -> None:
    """A name that is not UTF-8 reaches xargs as it is."""
    name = os.fsdecode(b"a\n\xff\xe9.jpg")
    try:
        Path(name).write_bytes(Path(HEART).read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert search("a blue heart", ".", "--print0").stdout_bytes == b"./a\n\xff\xe9.jpg\0"
    (row,) = rows(search("a blue heart", "."))
    assert "file_bytes" in row


def test_lists_of_paths_may_end_in_nul_too() -> None:
    """`--null` is for the list that is read; -0 for the one that is printed."""
    listing = f"{HEART}\0{STAR}\0".encode()
    result = search("a green star", "--files-from", "-", "--null", "-k", "1", stdin=listing)
    assert found(result) == ["green-star"]


def test_saved_vectors_can_be_searched() -> None:
    """The same ranking, without an image."""
    CliRunner().invoke(app, ["embed", ALL, "-o", "v.npz"])
    assert search("a green star", "--from", "v.npz").stdout == search("a green star", ALL).stdout


def test_what_the_store_holds_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second search opens no image, not even the query's."""
    first = search("--image", HEART, ALL)
    monkeypatch.setattr("siglipcli.images.load_bytes", None)
    assert search("--image", HEART, ALL).stdout == first.stdout
    assert "0 encoded, 8 from the store" in search("a blue heart", ALL).stderr


def test_a_closed_pipe_ends_the_search_quietly(tmp_path: Path, prepared: Path) -> None:
    """`| head -1`: status 0, no complaint."""
    env = with_engine(prepared, tmp_path / "cache")
    code = "from siglipcli.cli import main; main()"
    done = subprocess.run(
        ["sh", "-c", '{ "$@"; echo "status $?" >&2; } | head -1', "sh",
         sys.executable, "-c", code, "search", "a blue heart", ALL, "--all"],
        env=env, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr.splitlines()[-1] == "status 0"
    assert "Broken pipe" not in done.stderr
