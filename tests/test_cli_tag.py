"""`siglip tag`: what a user types, what comes out, and with which exit status."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from settings import settle
from test_tagging import keywords, names, tree
from typer.testing import CliRunner

from siglipcli import demo
from siglipcli.cli import app

if TYPE_CHECKING:
    from typer.testing import Result

THREE = ["-L", "blue heart", "-L", "green star", "-L", "red circle"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def photos(monkeypatch: pytest.MonkeyPatch, cache: Path, tmp_path: Path) -> Path:
    """A folder with two photos that have a tag, one that has none, and a text that is no image."""
    settle(monkeypatch, tmp_path, cache, columns=100)
    monkeypatch.setenv("SIGLIP_MODEL", "demo")
    monkeypatch.setattr("siglipcli.encoders.openvino_library.is_installed", lambda: False)
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("blue-heart.jpg", "green-star.png", "yellow-bolt.png"):
        shutil.copy(demo.IMAGES / name, folder / name)
    monkeypatch.chdir(tmp_path)
    return folder


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["tag", *arguments])


def rows(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_tag_retag_and_remove(photos: Path) -> None:
    """Keywords come, are replaced with another set, and go; each run prints a row an image and a count."""
    before = tree(photos)
    first = run("photos", *THREE)
    assert first.exit_code == 0, first.output
    assert [row["added"] for row in rows(first)] == [["blue heart"], ["green star"], []]
    assert rows(first)[0]["written"] == ["photos/blue-heart.jpg.xmp"]
    assert "keywords of images: 2 changed, 1 unchanged" in first.stderr
    assert keywords(photos / "blue-heart.jpg.xmp")["dc:subject"] == ("blue heart",)
    second = run("photos", *THREE)
    assert "0 encoded, 3 from the store" in second.stderr
    assert "0 changed, 3 unchanged" in second.stderr
    third = run("photos", "-L", "yellow bolt", "--prefix", "AI|", "--format", "table")
    assert third.stdout.splitlines() == [
        "photos/blue-heart.jpg  - blue heart",
        "photos/green-star.png  - green star",
        "photos/yellow-bolt.png  + AI|yellow bolt",
    ]
    gone = run("photos", "--remove")
    assert (gone.exit_code, tree(photos)) == (0, before)
    assert [row["removed"] for row in rows(gone)] == [[], [], ["AI|yellow bolt"]]


def test_dry_run_and_skip_tagged(photos: Path) -> None:
    """A dry run says what would be; --skip-tagged does not even score what has tags of ours."""
    before = tree(photos)
    dry = run("photos", *THREE, "--dry-run", "--format", "table")
    assert dry.stdout.splitlines()[0] == "photos/blue-heart.jpg  + blue heart"
    assert "2 would change, 1 unchanged" in dry.stderr
    assert tree(photos) == before
    run("photos/blue-heart.jpg", *THREE)
    rest = run("photos", *THREE, "--skip-tagged")
    assert [row["file"] for row in rows(rest)] == [
        "photos/green-star.png",
        "photos/yellow-bolt.png",
    ]
    assert "1 changed, 1 unchanged, 1 skipped" in rest.stderr
    all_done = run("photos/blue-heart.jpg", *THREE, "--skip-tagged")
    assert (all_done.exit_code, all_done.stdout) == (0, "")


def test_failures_are_rows_and_status_1(photos: Path) -> None:
    """An image that cannot be read, and one whose sidecar is damaged; the others are tagged."""
    (photos / "text.jpg").write_text("no image")
    (photos / "green-star.png.xmp").write_text("<half")
    result = run("photos", *THREE)
    assert result.exit_code == 1
    kinds = {row["file"]: row.get("error", {}).get("kind") for row in rows(result)}
    assert kinds["photos/text.jpg"] == "unidentified"
    assert kinds["photos/green-star.png"] == "sidecar"
    assert "blue-heart.jpg.xmp" in names(photos)
    assert "2 failed" in result.stderr
    plain = run("photos/text.jpg", *THREE, "--format", "table")
    assert plain.stdout.startswith("✗ photos/text.jpg  unidentified: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["photos", "-l", "bad.yaml"], "darktable cuts keywords at commas"),
        (["photos", *THREE, "--prefix", "a,"], "cannot be a keyword"),
        (["photos", *THREE, "--for", "gimp"], "'gimp' is none of digikam, windows, all"),
        (["photos", *THREE, "--sidecar-name", "x"], "not one of auto, full, stem"),
        (["photos", *THREE, "--min-score", "2"], "not a number from 0 to 1"),
        (["photos", "--remove", "--skip-tagged"], "contradict each other"),
        ([], "nothing to read"),
    ],
)
def test_what_cannot_be_is_status_2(photos: Path, arguments: list[str], message: str) -> None:
    """Before an image is read, and nothing is written."""
    Path("bad.yaml").write_text("labels: ['cat, dog', bird]\n")
    result = run(*arguments)
    assert (result.exit_code, message in result.stderr) == (2, True), result.stderr
    assert names(photos) == ["blue-heart.jpg", "green-star.png", "yellow-bolt.png"]


def test_negative_labels_may_hold_commas(photos: Path) -> None:
    """They are never tags."""
    Path("set.yaml").write_text("labels: [blue heart, {name: 'a, b', negative: true}]\n")
    assert run("photos", "-l", "set.yaml").exit_code == 0


def test_for_makes_the_fields_of_a_program(photos: Path) -> None:
    """With --for all, digiKam's and Windows' own fields are there too."""
    run("photos/blue-heart.jpg", *THREE, "--for", "all")
    fields = keywords(photos / "blue-heart.jpg.xmp")
    assert fields["digiKam:TagsList"] == ("blue heart",)
    assert fields["MicrosoftPhoto:LastKeywordXMP"] == ("blue heart",)


def test_without_an_extra_the_message_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Status 2, before the model is looked for."""
    monkeypatch.setitem(__import__("sys").modules, "lxml", None)
    result = run("photos", *THREE)
    assert result.exit_code == 2
    assert "pip install 'siglipcli[photo]'" in result.stderr
    monkeypatch.undo()


def test_embedding_without_exiftool_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Status 3: how to install it, or to leave out --embed."""
    monkeypatch.setenv("PATH", "/nowhere")
    result = run("photos", *THREE, "--embed")
    assert result.exit_code == 3
    assert "apt install libimage-exiftool-perl" in result.stderr
    assert "leave out --embed" in result.stderr


def test_no_image_is_status_1() -> None:
    """As in classify."""
    Path("empty").mkdir()
    result = run("empty", *THREE)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no images found" in result.stderr


def test_with_pairs_one_tags_go_to_the_jpeg_and_to_its_raw(photos: Path) -> None:
    """The JPEG is scored, both get the keywords, and --remove takes them from both."""
    (photos / "blue-heart.nef").write_bytes(b"no RAW that anything could read")
    before = tree(photos)
    pairs = ["photos", "--pairs", "one"]
    result = run(*pairs, *THREE)
    assert result.exit_code == 0, result.output
    assert [Path(row["file"]).name for row in rows(result)][:2] == [
        "blue-heart.jpg",
        "blue-heart.nef",
    ]
    for sidecar in ("blue-heart.jpg.xmp", "blue-heart.xmp"):
        assert keywords(photos / sidecar)["dc:subject"] == ("blue heart",)
    assert run(*pairs, *THREE).stderr.count("0 changed, 4 unchanged") == 1
    assert run(*pairs, "--remove").exit_code == 0
    assert tree(photos) == before
    assert run(*pairs, *THREE, "--exclude", "*.nef").exit_code == 0
    assert "blue-heart.xmp" not in names(photos)
