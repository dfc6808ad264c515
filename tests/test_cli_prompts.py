"""`siglip prompts`: which prompts help and which hurt, on drawings whose labels are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import labelled
import pytest
from settings import settle
from typer.testing import CliRunner

from siglipcli.cli import app

if TYPE_CHECKING:
    from typer.testing import Result

SHAPES = ["red circle", "blue heart", "green star", "yellow square", "black ring", "pink arrow"]
GOOD, BAD = "a blue heart.", "a green star!"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with drawings and label sets, and what was encoded before."""
    folder = tmp_path_factory.mktemp("prompts")
    labelled.draw_folder(folder / "drawings", SHAPES, per_class=12)
    heart = {"name": "blue heart", "prompts": [GOOD, BAD]}
    mixed = [heart if name == "blue heart" else name for name in SHAPES]
    labelled.write_labels(folder / "mixed.yaml", mixed)
    templates = ["a {}.", "not a {}, but a red circle."]
    labelled.write_labels(folder / "forms.yaml", SHAPES, templates=templates)
    return folder


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    """No test sees this machine's settings, nor fetches a model."""
    settle(monkeypatch, here, here / "cache")


def prompts(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["prompts", *map(str, arguments)])


def answer(*arguments: str | Path) -> dict[str, Any]:
    result = prompts(*arguments, "-f", "json")
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_bad_prompt_hurts_and_a_good_one_helps() -> None:
    """Leaving the one out gains, leaving the other out costs; the intervals are away from 0."""
    found = answer("drawings", "-l", "mixed.yaml")
    label = found["labels"][1]
    assert (label["label"], label["examples"]) == ("blue heart", 12)
    good, bad = label["prompts"]
    assert (good["prompt"], bad["prompt"]) == (GOOD, BAD)
    assert (good["verdict"], bad["verdict"]) == ("helps", "hurts")
    assert good["interval"][0] > 0 > bad["interval"][1]
    assert good["average_precision"]["alone"] > 0.9 > bad["average_precision"]["alone"]
    assert good["average_precision"]["without"] == bad["average_precision"]["alone"]
    assert bad["acc1"]["without"] > bad["acc1"]["alone"]
    others = [each for i, each in enumerate(found["labels"]) if i != 1]
    assert {p["verdict"] for each in others for p in each["prompts"]} == {"no clear effect"}


def test_a_template_is_tried_over_the_labels_that_use_it() -> None:
    """The one that names another shape is told from the one that does not."""
    found = answer("drawings", "-l", "forms.yaml")
    plain, odd = found["templates"]
    assert (plain["template"], odd["template"]) == ("a {}.", "not a {}, but a red circle.")
    assert (plain["labels"], odd["labels"]) == (6, 6)
    assert plain["verdict"] == "helps"
    assert plain["interval"][0] > 0
    assert plain["mean_average_precision"]["alone"] > odd["mean_average_precision"]["alone"]
    assert odd["mean_average_precision"]["without"] == plain["mean_average_precision"]["alone"]
    assert plain["acc1"]["alone"] == odd["acc1"]["without"] > odd["acc1"]["alone"]
    assert {p["template"] for each in found["labels"] for p in each["prompts"]} == {
        "a {}.",
        "not a {}, but a red circle.",
    }


def test_the_answer_says_what_it_is_about() -> None:
    """Data, model, set and the resampling; the keys of each part stay."""
    found = answer("drawings", "-l", "mixed.yaml", "--resamples", "150", "--seed", "2")
    assert list(found) == [
        "dataset", "model", "made_with", "images", "failures", "resamples", "seed", "confidence", "set",
        "metrics", "expected_by_chance", "templates", "labels",
    ]  # fmt: skip
    assert (found["dataset"], found["model"], found["images"]) == ("drawings", "demo", 72)
    assert (found["set"], found["resamples"], found["seed"]) == ("mixed", 150, 2)
    assert found["expected_by_chance"] == 0.1
    assert list(found["labels"][0]) == ["label", "examples", "average_precision", "prompts"]
    assert list(found["labels"][0]["prompts"][0]) == [
        "prompt", "template", "average_precision", "difference", "interval", "verdict", "acc1",
    ]  # fmt: skip
    assert list(found["templates"][0]) == [
        "template", "labels", "mean_average_precision", "difference", "interval", "verdict", "acc1",
    ]  # fmt: skip
    for part in (
        found["templates"][0]["mean_average_precision"],
        found["labels"][0]["prompts"][0]["acc1"],
    ):
        assert list(part) == ["all", "alone", "without"]


@pytest.mark.parametrize("aggregate", ["mean", "max"])
def test_the_figures_are_those_of_evaluate(aggregate: str) -> None:
    """A label's average precision without a prompt is what a set written without it has."""
    heart = {"name": "blue heart", "prompts": [GOOD, BAD, "a heart"]}
    labelled.write_labels(
        Path("three.yaml"), [heart, *SHAPES[2:], "red circle"], aggregate=aggregate
    )
    heart = {"name": "blue heart", "prompts": [GOOD, "a heart"]}
    labelled.write_labels(Path("two.yaml"), [heart, *SHAPES[2:], "red circle"], aggregate=aggregate)
    tried = answer("drawings", "-l", "three.yaml")["labels"][0]["prompts"][1]
    for name, key in (("three.yaml", "all"), ("two.yaml", "without")):
        result = CliRunner().invoke(app, ["evaluate", "drawings", "-l", name, "-f", "json"])
        told = json.loads(result.stdout)
        expected = told["labels"][0]["average_precision"]
        assert tried["average_precision"][key] == pytest.approx(expected, abs=1e-5)
        assert tried["acc1"][key] == pytest.approx(told["metrics"]["acc1"], abs=1e-5)


def test_the_table_says_helps_and_hurts() -> None:
    """Templates, then labels with the largest effect first; what the numbers are is said below."""
    result = prompts("drawings", "-l", "mixed.yaml")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "mixed (mixed.yaml) on drawings: 72 images, demo"
    start = next(i for i, line in enumerate(lines) if line.startswith("label and prompt"))
    assert lines[start].split() == ["label", "and", "prompt", "alone", "without", "effect", "95", "%", "interval"]  # fmt: skip
    assert lines[start + 1] == "blue heart (12 images)"
    rows = {line[2:20].rstrip(): line for line in lines[start + 2 : start + 4]}
    assert rows[GOOD].endswith("helps")
    assert rows[BAD].endswith("hurts")
    assert "2 of 2 effects of prompts clear; by chance alone it would be about 0.1" in lines
    assert any(line.startswith("a photo of a {}. (5 labels)") for line in lines)
    assert max(map(len, lines)) <= 80


def test_names_are_no_markup() -> None:
    """A prompt with brackets is printed as it is; one that is folded keeps its indent."""
    long = "an image that shows a [bold]circle[/bold] of the colour red and nothing else"
    circle = {"name": "red circle", "prompts": [long, "a red circle"]}
    labelled.write_labels(Path("odd.yaml"), [circle, "blue heart"])
    labelled.draw_folder(Path("odd"), SHAPES[:2], per_class=1)
    shown = prompts("odd", "-l", "odd.yaml").stdout
    assert "[bold]circle[/bold]" in " ".join(shown.split())
    assert "too few" in shown
    lines = shown.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("  an image that"))
    assert lines[at + 1].startswith("  ")


def test_a_second_run_opens_no_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images and prompts come from the store; the answer is the same."""
    first = prompts("drawings", "-l", "mixed.yaml")
    monkeypatch.setattr("siglipcli.images.load_bytes", None)
    again = prompts("drawings", "-l", "mixed.yaml")
    assert again.stdout == first.stdout
    assert "0 encoded, 72 from the store" in again.stderr


def test_labels_with_one_prompt_are_listed() -> None:
    """They have nothing to leave out; the set's other labels are tried."""
    one = {"name": "red circle", "prompts": ["a red circle"]}
    labelled.write_labels(Path("one.yaml"), [one, *SHAPES[1:]])
    found = answer("drawings", "-l", "one.yaml")["labels"][0]["prompts"]
    assert [each["verdict"] for each in found] == ["only prompt"]
    assert found[0]["average_precision"]["without"] is None
    assert "only one prompt: red circle" in prompts("drawings", "-l", "one.yaml").stdout


def test_the_answer_goes_to_a_file() -> None:
    """JSON where its name says so."""
    assert prompts("drawings", "-l", "mixed.yaml", "-o", "found.json").stdout == ""
    assert json.loads(Path("found.json").read_text(encoding="utf-8"))["set"] == "mixed"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "prompts takes one label set: give --labels SET; none given"),
        (
            ["-l", "mixed.yaml", "-l", "forms.yaml"],
            "prompts takes one label set: give --labels SET; 2 given",
        ),
        (
            ["-L", "red circle", "-L", "blue heart"],
            "each label of labels has one prompt, so none can be left out; give the set more ",
        ),
        (["-l", "gone.yaml"], "there is no file and no built-in label set 'gone.yaml'. `siglip labels"),
        (["-l", "mixed.yaml", "-o", "mixed.yaml"], "the output mixed.yaml is a label set that is read"),
    ],
)  # fmt: skip
def test_what_cannot_be_tried_is_refused_in_a_line(arguments: list[str], line: str) -> None:
    """Status 2, before a model is looked for."""
    result = prompts("drawings", *arguments, "-m", "no-such-model")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"siglip: {line}")
    assert result.stderr.count("\n") == 1


def test_a_image_that_cannot_be_read_is_status_1() -> None:
    """The others are judged all the same."""
    labelled.draw_folder(Path("broken"), SHAPES[:2], per_class=1)
    Path("broken/red circle/x.png").write_text("<html>")
    result = prompts("broken", "-l", "mixed.yaml", "-f", "json")
    assert result.exit_code == 1
    assert [each["error"]["kind"] for each in json.loads(result.stdout)["failures"]] == [
        "unidentified"
    ]
