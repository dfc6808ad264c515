"""An output never takes the place of a file that is not siglip's, nor of anything that the run reads."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from settings import settle
from typer.testing import CliRunner

from siglipcli import demo, embedding_files, outputs
from siglipcli.cli import app
from siglipcli.embeddings import Batch
from siglipcli.errors import UsageError
from siglipcli.labels import LabelSet
from siglipcli.outputs import Header, provenance, safety
from siglipcli.results import (
    Failure,
    ImageTextScores,
    Match,
    Pair,
    Prediction,
    Result,
    Score,
    Source,
)

if TYPE_CHECKING:
    from typer.testing import Result as Done

HEART = str(demo.IMAGES / "blue-heart.jpg")
STAR = str(demo.IMAGES / "green-star.png")
LABELS = "labels: [blue heart, green star]\n"
SCORE = Score("s", "a cat", 0.5, 1.0, 0.0, tag=True)
FAILED = Failure("b.jpg", "missing", "Gone.")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, cache: Path, tmp_path: Path) -> None:
    settle(monkeypatch, tmp_path, cache)


def run(*arguments: str | Path) -> Done:
    return CliRunner().invoke(app, [*map(str, arguments)])


def classify(*arguments: str | Path) -> Done:
    return run("classify", "-L", "blue heart", "-L", "green star", *arguments)


# --- the rule -------------------------------------------------------------------------------------


RUNS: dict[str, tuple[Header, list[Result]]] = {
    "classify": (Header("demo"), [Prediction('odd "name".jpg', (SCORE,)), FAILED]),
    "failed": (Header("demo"), [FAILED]),
    "search": (Header("demo", kind=Match), [Match("a\udcff.jpg", 1, 0.5, 0.2)]),
    "score": (
        Header("demo", kind=ImageTextScores),
        [ImageTextScores("a.jpg", (Pair("a, b", 0.1, 0.2, 0.3),))],
    ),
    "empty": (Header("demo"), []),
}


@pytest.mark.parametrize("kind", RUNS)
@pytest.mark.parametrize("name", ["a.txt", "a.json", "a.jsonl", "a.csv", "a.parquet"])
def test_an_earlier_output_is_replaced(name: str, kind: str) -> None:
    """Whatever format a run wrote, the next one may write in its place."""
    header, results = RUNS[kind]
    form = outputs.for_path(name)
    with outputs.opened(form, Path(name), header) as sink:
        for result in results:
            sink.write(result)
    safety.check(Path(name), plain=form == "table")


@pytest.mark.parametrize("name", ["a.npz", "a.npy", "a.parquet", "a.jsonl"])
def test_earlier_embeddings_are_replaced(name: str) -> None:
    """Saved embeddings may be saved again."""
    about = embedding_files.About("demo", "abc")
    with embedding_files.save(Path(name), about) as sink:
        sink.write(Batch([Source("a.jpg")], np.eye(1, 4, dtype=np.float32), [False]))
    embedding_files.check(Path(name))


FOREIGN = {
    "photo.jpg": b"\xff\xd8\xff",
    "drawing.SVG.png": b"",
    "labels.yaml": LABELS.encode(),
    "labels.yml": b"",
    "labels.json": b'{"name": "pets", "labels": ["cat"]}',
    "manifest.csv": b"file,label\na.jpg,cat\n",
    "prices.csv": b"name,price\ncat,3\n",
    "manifest.jsonl": b'{"file": "a.jpg", "labels": ["cat"]}\n',
    "train.jsonl": b'{"text": "hello"}\n',
    "config.json": b'{"theme": "dark"}',
    "numbers.json": b"[1, 2, 3]",
    "notes.csv": b"Dear diary\n",
    "a.parquet": b"PAR1somebody else's tablePAR1",
    "a.npz": b"PK\x03\x04",
    "a.npy": b"\x93NUMPY",
    "image.csv": b"\x89PNG\r\n\x1a\n",
    "home.html": b"<!doctype html><p>mine",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_of_another_origin_is_refused(name: str) -> None:
    """Images, label sets, manifests and other people's data stay, whatever their ending; --force lets go."""
    path = Path(name)
    path.write_bytes(FOREIGN[name])
    with pytest.raises(UsageError, match="exists") as caught:
        safety.check(path)
    assert caught.value.code == "foreign_output"
    safety.check(path, force=True)


def test_a_table_takes_the_place_of_text_alone() -> None:
    """A table is plain text, as notes are; images and label sets are told from it by their content."""
    Path("a.txt").write_text("any text\n")
    safety.check(Path("a.txt"), plain=True)
    for content in (b"\x89PNG\r\n\x1a\n\0", LABELS.encode()):
        Path("a.txt").write_bytes(content)
        with pytest.raises(UsageError):
            safety.check(Path("a.txt"), plain=True)


def test_an_input_is_never_replaced() -> None:
    """What the run reads stays, through links too, and with --force."""
    Path("a.jsonl").touch()
    Path("link").symlink_to("a.jsonl")
    for name in ("a.jsonl", "./a.jsonl", "link"):
        with pytest.raises(UsageError, match="one of the inputs"):
            safety.check(Path("a.jsonl"), [None, "-", "other", name], force=True)


@pytest.mark.parametrize("name", ["/dev/null", "/dev/stdout", "new.jpg"])
def test_what_is_no_file_yet_passes(name: str) -> None:
    """Devices, and names that are free, are no loss."""
    safety.check(Path(name))


# --- every command --------------------------------------------------------------------------------


def test_a_shell_glob_after_output_loses_no_photo() -> None:
    """`-f csv -o *.jpg`: status 2, the photo stays, and what to do is said."""
    for name in ("a.jpg", "b.jpg"):
        shutil.copy(HEART, name)
    before = Path("a.jpg").read_bytes()
    for arguments in (["-f", "csv", "-o", "a.jpg", "b.jpg"], [".", "-f", "csv", "-o", "a.jpg"]):
        done = classify(*arguments)
        assert done.exit_code == 2
        assert "--force" in done.stderr
        assert Path("a.jpg").read_bytes() == before
    assert classify("b.jpg", "-f", "csv", "-o", "a.jpg", "--force").exit_code == 0
    assert Path("a.jpg").read_text().startswith("file,")


@pytest.mark.parametrize(
    "arguments",
    [
        ["classify", "-l", "labels.yaml", "-f", "csv", "-o", "labels.yaml", HEART, "--force"],
        ["classify", "-l", "labels.yaml", "--files-from", "list", "-f", "csv", "-o", "list"],
        ["classify", "-l", "labels.yaml", HEART, "--report", "own.html"],
        ["search", "a heart", "photos", "-f", "csv", "-o", "photos/a.jpg"],
        ["search", "a heart", "photos", "--paths", "-o", "photos/a.jpg"],
        ["score", "a heart", HEART, "-f", "csv", "-o", "photos/a.jpg"],
        ["embed", HEART, "-o", "own.npz"],
        ["embed", "--files-from", "list.jsonl", "-o", "list.jsonl", "--force"],
        ["evaluate", "photos", "-l", "labels.yaml", "-f", "json", "-o", "photos/a.jpg"],
        ["evaluate", "set", "-l", "labels.yaml", "-o", "config.json"],
        ["compare", "set", "-l", "labels.yaml", "-l", "two.yaml", "-o", "config.json"],
        ["prompts", "set", "-l", "labels.yaml", "-o", "config.json"],
        ["calibrate", "set", "-l", "labels.yaml", "-o", "photos/a.jpg"],
        ["calibrate", "set", "-l", "labels.yaml", "-o", "config.json"],
        ["classify", HEART, "-l", "labels.yaml", "-o", "x.csv", "--provenance"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_every_command_that_writes_keeps_the_rule(arguments: list[str]) -> None:
    """Status 2 before any work, and not one byte of what is there has changed."""
    for folder in ("photos", "set/blue heart", "set/green star"):
        Path(folder).mkdir(parents=True)
    for name in ("photos/a.jpg", "set/blue heart/a.jpg", "set/green star/b.jpg"):
        shutil.copy(HEART, name)
    for name in ("labels.yaml", "two.yaml"):
        Path(name).write_text(LABELS)
    for name in ("list", "list.jsonl"):
        Path(name).write_text(HEART + "\n")
    Path("own.html").write_text("<!doctype html><p>mine")
    Path("own.npz").write_bytes(b"PK\x03\x04mine")
    for name in ("config.json", "x.csv.meta.json"):
        Path(name).write_text('{"theme": "dark"}')
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


def test_a_second_run_needs_no_force() -> None:
    """The same command may run every night."""
    for name in ("a.csv", "a.jsonl", "a.json", "a.txt", "a.parquet"):
        for _ in range(2):
            assert classify(HEART, "-o", name, "--report", "a.html").exit_code == 0, name
    for name in ("e.npz", "e.npy", "e.jsonl", "e.parquet"):
        for _ in range(2):
            assert run("embed", HEART, "-o", name).exit_code == 0, name


# --- no input at all ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        ["classify", "empty", "-L", "cat", "--report", "a.html"],
        ["search", "cat", "empty"],
        ["score", "--text", "cat", "empty"],
        ["embed", "empty"],
    ],
    ids=lambda command: command[0],
)
def test_no_input_leaves_an_earlier_output(command: list[str]) -> None:
    """An empty folder is status 1 with a word; yesterday's output and page stay. --allow-empty lets them go."""
    Path("empty").mkdir()
    assert run(*command, "-o", "a.jsonl").exit_code == 1
    assert not Path("a.jsonl").exists()
    old = '{"file": "a.jpg", "status": "ok"}\n'
    Path("a.jsonl").write_text(old)
    done = run(*command, "-o", "a.jsonl", "--quiet")
    assert done.exit_code == 1
    assert "no images found" in done.stderr
    assert Path("a.jsonl").read_text() == old
    assert not Path("a.html").exists()
    done = run(*command, "-o", "a.jsonl", "--allow-empty")
    assert (done.exit_code, Path("a.jsonl").read_text()) == (0, "")


@pytest.mark.parametrize("gone", ["empty/*.jpg", "unmounted"])
def test_names_that_lead_to_nothing_leave_an_earlier_output(gone: str) -> None:
    """A pattern without a match or a folder that is not there is no input: yesterday's output stays."""
    Path("empty").mkdir()
    assert classify(HEART, "-o", "a.csv").exit_code == 0
    old = Path("a.csv").read_text()
    done = classify(gone, "-o", "a.csv")
    assert done.exit_code == 1
    assert f"{gone}: missing: " in done.stderr
    assert "no images found; a.csv stays as it was" in done.stderr
    assert Path("a.csv").read_text() == old
    assert classify(gone, "-o", "new.csv").exit_code == 1
    assert "missing: " in Path("new.csv").read_text()
    assert classify(gone, HEART, "-o", "a.csv").exit_code == 1
    assert "missing: " in Path("a.csv").read_text()


@pytest.mark.parametrize("command", ["evaluate", "calibrate", "prompts"])
def test_measuring_nothing_is_status_1(command: str) -> None:
    """An empty folder of known images ends as every command without input does."""
    Path("empty").mkdir()
    Path("labels.yaml").write_text("templates: ['a {}', 'the {}']\n" + LABELS)
    done = run(command, "empty", "-l", "labels.yaml")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "there are no images in empty" in done.stderr


def test_no_input_is_status_1_in_a_pipe_too() -> None:
    """Scripts see it, and what they read is still whole."""
    Path("empty").mkdir()
    done = classify("empty", "-f", "json")
    assert (done.exit_code, json.loads(done.stdout)) == (1, [])
    assert "no images found" in done.stderr
    assert next(iter(csv.reader(io.StringIO(classify("empty", "-f", "csv").stdout))))[0] == "file"


def test_a_search_without_matches_is_no_empty_input() -> None:
    """Images that do not reach the threshold were there: status 0."""
    assert run("search", "cat", HEART, "-t", "0.99999", "-o", "a.csv").exit_code == 0
    assert Path("a.csv").read_text().startswith("file,")


# --- what a run was made with ---------------------------------------------------------------------


def test_provenance_lies_beside_the_output() -> None:
    """`--provenance`: version, model, fingerprint, runtime, precision, label sets and counts."""
    Path("labels.yaml").write_text(LABELS)
    done = run("classify", HEART, "gone.jpg", "-l", "labels.yaml", "-o", "a.csv", "--provenance")
    assert done.exit_code == 1
    facts = json.loads(Path("a.csv.meta.json").read_text())
    assert list(facts) == [
        "siglipcli", "model", "fingerprint", "runtime", "precision", "label_sets", "images",
    ]  # fmt: skip
    assert facts["model"] in Path("a.csv").read_text()
    assert facts["images"]["failed"] == 1
    assert facts["images"]["encoded"] + facts["images"]["stored"] == 1
    (named,) = facts["label_sets"]
    assert named == {
        "name": "labels",
        "sha256": provenance.digest(LabelSet.load("labels.yaml")),
    }
    assert run("classify", HEART, "-L", "a", "-o", "a.csv", "--provenance").exit_code == 0


def test_provenance_needs_a_file() -> None:
    """In a pipe there is no place beside the output."""
    done = classify(HEART, "--provenance")
    assert done.exit_code == 2
    assert "--output FILE" in done.stderr


def test_parquet_carries_its_provenance() -> None:
    """Parquet's metadata holds it without an option."""
    parquet = pytest.importorskip("pyarrow.parquet")
    classify(HEART, "-o", "a.parquet")
    about = parquet.read_schema("a.parquet").metadata
    assert {b"siglipcli", b"model", b"fingerprint", b"runtime", b"precision"} <= set(about)
    assert json.loads(about[b"label_sets"])[0]["sha256"]


def test_a_label_sets_digest_is_of_what_it_says() -> None:
    """Layout and comments do not count; a threshold does."""
    Path("a.yaml").write_text(LABELS)
    Path("b.yaml").write_text("# again\nname: a\nlabels:\n- blue heart\n- green star\n")
    Path("c.yaml").write_text("name: a\nthreshold: 0.3\nlabels:\n- blue heart\n- green star\n")
    one, same, other = (provenance.digest(LabelSet.load(f"{n}.yaml")) for n in "abc")
    assert one == same != other
