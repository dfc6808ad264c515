"""`siglip sort`: what a user types, what is where afterwards, and with which exit status."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from settings import settle
from typer.testing import CliRunner, Result

from siglipcli import demo
from siglipcli.cli import app

LABELS = ["--labels", str(demo.LABELS)]
JOURNAL = "sorted/.siglip-moves.jsonl"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _photos(monkeypatch: pytest.MonkeyPatch, cache: Path, tmp_path: Path) -> None:
    """A folder `photos` with two drawings, a sidecar and a file that is cut short."""
    settle(monkeypatch, tmp_path, cache, columns=100)
    monkeypatch.setattr("siglipcli.encoders.openvino_library.is_installed", lambda: False)
    Path("photos").mkdir()
    for name in ("blue-heart.jpg", "green-star.png"):
        shutil.copy(demo.IMAGES / name, "photos")
    Path("photos/blue-heart.jpg.xmp").write_text("mine")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["sort", *arguments])


def files(folder: str = ".") -> list[str]:
    return sorted(str(path) for path in Path(folder).rglob("*") if path.is_file())


def test_without_an_action_it_only_says_what_it_would_do() -> None:
    """Lines of from and to, and how to do it; no file is touched."""
    before = files()
    result = run("photos", *LABELS, "--into", "sorted")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[:2] == [
        "photos/blue-heart.jpg -> sorted/blue heart/blue-heart.jpg  blue heart 0.97",
        "  photos/blue-heart.jpg.xmp -> sorted/blue heart/blue-heart.jpg.xmp",
    ]
    assert "would place 2 images with 1 file that belongs to them" in result.stderr
    assert "--move" in result.stderr
    assert files() == before


def test_move_and_undo() -> None:
    """The way there and back, as the last line says it."""
    before = {name: Path(name).read_bytes() for name in files()}
    result = run("photos", *LABELS, "--into", "sorted", "--move")
    assert result.exit_code == 0
    assert f"siglip sort --undo {JOURNAL}" in result.stderr
    assert files("photos") == []
    assert files("sorted") == [
        JOURNAL,
        "sorted/blue heart/blue-heart.jpg",
        "sorted/blue heart/blue-heart.jpg.xmp",
        "sorted/green star/green-star.png",
    ]
    result = run("--undo", JOURNAL)
    assert (result.exit_code, "3 files taken back" in result.stderr) == (0, True)
    assert {name: Path(name).read_bytes() for name in files()} == before
    assert run("--undo", JOURNAL).exit_code == 2


def test_a_destination_inside_the_folder_is_not_read_again() -> None:
    """Nor is what an earlier run has put into the folder itself."""
    for into in ("photos/sorted", "photos"):
        result = run("photos", *LABELS, "--into", into, "--copy", "--format", "jsonl")
        assert [json.loads(line)["what"] for line in result.stdout.splitlines()] == ["placed"] * 2
        result = run("photos", *LABELS, "--into", into, "--copy", "--format", "jsonl")
        assert [json.loads(line)["what"] for line in result.stdout.splitlines()] == ["there"] * 2
        assert run("--undo", into).exit_code == 0
        assert len(files()) == 3


def test_failures_stay_and_the_status_says_so() -> None:
    """An image that cannot be read keeps its place, and the rest is sorted."""
    data = Path("photos/blue-heart.jpg").read_bytes()
    Path("photos/cut.jpg").write_bytes(data[:500])
    result = run("photos", "gone.jpg", *LABELS, "--into", "sorted", "--move")
    assert result.exit_code == 1
    assert "✗ photos/cut.jpg  truncated: " in result.stdout
    assert "✗ gone.jpg  missing: " in result.stdout
    assert files("photos") == ["photos/cut.jpg"]


def test_layout_options() -> None:
    """A template, a folder for what has no tag, and a threshold that decides what has none."""
    args = ["photos", *LABELS, "--into", "sorted", "--move", "--alone"]
    template = ["--template", "{set}/{label}/{name}"]
    result = run(
        *args, *template, "--untagged", "rest", "--flat", "--threshold", "0.9", "-f", "jsonl"
    )
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    name = json.loads(result.stdout.splitlines()[0])["set"]
    assert [row["to"] for row in rows] == [
        f"sorted/{name}/blue heart/blue-heart.jpg",
        f"sorted/{name}/rest/green-star.png",
    ]
    assert files("photos") == ["photos/blue-heart.jpg.xmp"]


def test_pairs_count_as_one_image() -> None:
    """With --pairs one the JPEG is read; without, the RAW has a row too, and still goes with its JPEG."""
    Path("photos/blue-heart.nef").write_bytes(b"no real RAW")
    result = run("photos", *LABELS, "--into", "sorted", "--move", "--pairs", "one", "-f", "jsonl")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 2
    assert "sorted/blue heart/blue-heart.nef" in files("sorted")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["photos"], "--into DIR"),
        (["photos", "--into", "sorted", "--move", "--copy"], "contradict"),
        (["photos", "--into", "photos/blue-heart.jpg"], "is a file"),
        (["photos", "--into", "not/here"], "does not exist"),
        (["-", "--into", "sorted"], "stdin"),
        (["photos", "--into", "sorted", "--template", "{labels}/{name}"], "{labels}"),
        (["photos", "--into", "sorted", "--untagged", " "], "--untagged"),
        (["photos", "--undo", "photos"], "--undo takes the journal alone"),
        (["--undo", "photos"], "There is no journal"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(arguments: list[str], words: str) -> None:
    """Status 2, in a line, and nothing is made."""
    result = run(*arguments, "-L", "cat")
    assert (result.exit_code, words in result.stderr) == (2, True), result.stderr
    assert len(files()) == 3
    assert not Path("sorted").exists()
