"""`siglip compare`: two label sets on drawings whose labels are known."""

from __future__ import annotations

import json
import sys
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


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with drawings and label sets, and what was encoded before."""
    folder = tmp_path_factory.mktemp("compare")
    labelled.draw_folder(folder / "drawings", SHAPES, per_class=12)
    labelled.write_labels(folder / "good.yaml", SHAPES)
    bad = {"name": "blue heart", "prompts": ["a green star"]}
    swapped = [bad if name == "blue heart" else name for name in SHAPES]
    labelled.write_labels(folder / "bad.yaml", swapped)
    return folder


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    """No test sees this machine's settings, nor fetches a model."""
    settle(monkeypatch, here, here / "cache")


def compare(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


def answer(*arguments: str | Path) -> dict[str, Any]:
    result = compare(*arguments, "-f", "json")
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


SETS = ("drawings", "-l", "good.yaml", "-l", "bad.yaml")


def test_a_set_calibrated_for_another_model_is_said() -> None:
    """A warning on stderr, as for every command that reads label sets."""
    fitted = "calibrated: {model: big, fingerprint: abc, precision: fp32}\n"
    Path("other.yaml").write_text(fitted + Path("good.yaml").read_text())
    result = compare("drawings", "-l", "good.yaml", "-l", "other.yaml")
    assert result.exit_code == 0
    assert "its thresholds were fitted on big" in result.stderr


def test_a_bad_prompt_is_found() -> None:
    """The label whose prompt means another shape is worse, and the interval is away from 0."""
    found = answer(*SETS)
    labels = {each["label"]: each for each in found["labels"]}
    assert list(labels) == SHAPES
    heart = labels["blue heart"]
    assert heart["examples"] == 12
    assert heart["average_precision"]["a"] > 0.9
    assert heart["average_precision"]["b"] < 0.5
    low, high = heart["interval"]
    assert low <= heart["difference"] <= high < -0.3
    assert heart["verdict"] == "A better"
    assert {each["verdict"] for each in found["labels"]} == {"A better", "no clear difference"}
    for measure in ("acc1", "mean_average_precision"):
        assert found["metrics"][measure]["verdict"] == "A better"
        assert found["metrics"][measure]["interval"][1] < 0


def test_the_answer_says_what_it_is_about() -> None:
    """Data, model, both sets, the resampling; and how many labels would seem to differ by chance."""
    found = answer(*SETS, "--resamples", "200", "--seed", "3")
    assert list(found) == [
        "dataset", "model", "made_with", "images", "failures", "resamples", "seed", "confidence", "a", "b",
        "metrics", "expected_by_chance", "labels",
    ]  # fmt: skip
    assert found["dataset"] == "drawings"
    assert (found["model"], found["images"], found["failures"]) == ("demo", 72, [])
    assert (found["resamples"], found["seed"], found["confidence"]) == (200, 3, 0.95)
    assert found["a"] == {"set": "good", "from": "good.yaml", "only": []}
    assert found["b"] == {"set": "bad", "from": "bad.yaml", "only": []}
    assert found["expected_by_chance"] == 0.05
    assert list(found["labels"][0]) == [
        "label", "examples", "average_precision", "difference", "interval", "verdict",
    ]  # fmt: skip


def test_the_figures_are_those_of_evaluate() -> None:
    """Each set's acc1 and average precisions are what `siglip evaluate` says of it."""
    found = answer(*SETS)
    for side, name in (("a", "good.yaml"), ("b", "bad.yaml")):
        result = CliRunner().invoke(app, ["evaluate", "drawings", "-l", name, "-f", "json"])
        told = json.loads(result.stdout)
        assert found["metrics"]["acc1"][side] == pytest.approx(told["metrics"]["acc1"], abs=1e-5)
        for ours, theirs in zip(found["labels"], told["labels"], strict=True):
            expected = theirs["average_precision"]
            assert ours["average_precision"][side] == pytest.approx(expected, abs=1e-5)


def test_the_table_has_the_largest_difference_first() -> None:
    """Figures, interval and a word for each label; what the numbers are is said below."""
    result = compare(*SETS)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[:3] == [
        "A  good (good.yaml)",
        "B  bad (bad.yaml)",
        "   on drawings: 72 images, demo",
    ]
    assert lines[4].split() == ["images", "A", "B", "B", "-", "A", "95", "%", "interval"]
    labels = [line.strip().split("  ")[0] for line in lines[8 : 8 + len(SHAPES)]]
    assert labels[0] == "blue heart"
    assert sorted(labels) == sorted(SHAPES)
    assert lines[8].endswith("A better")
    assert all(line.endswith("not clear") for line in lines[9 : 8 + len(SHAPES)])
    assert "1 of 1 differences clear; by chance alone it would be about 0.05" in lines
    assert max(map(len, lines)) <= 80


def test_a_set_is_no_better_than_itself() -> None:
    """Two names for one file: no difference anywhere, though both sets are called the same."""
    found = answer("drawings", "-l", "good.yaml", "-l", "./good.yaml")
    every = [*found["metrics"].values(), *found["labels"]]
    assert {each["verdict"] for each in every} == {"no clear difference"}
    assert {each["difference"] for each in every} == {0}


def test_one_seed_one_answer() -> None:
    """Again the same intervals; another seed, others."""
    first = answer(*SETS)
    assert answer(*SETS) == first
    other = answer(*SETS, "--seed", "1")
    assert (
        other["metrics"]["mean_average_precision"]["interval"]
        != first["metrics"]["mean_average_precision"]["interval"]
    )
    assert other["metrics"]["acc1"]["a"] == first["metrics"]["acc1"]["a"]


def test_a_second_run_opens_no_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images and prompts come from the store; the answer is the same."""
    first = compare(*SETS)
    monkeypatch.setattr("siglipcli.images.load_bytes", None)
    again = compare(*SETS)
    assert again.stdout == first.stdout
    assert "0 encoded, 72 from the store" in again.stderr


def test_few_images_are_said_to_be_few() -> None:
    """Below ten, a label gets its figures and no interval."""
    labelled.draw_folder(Path("few"), ["red circle", "blue heart"], per_class=2)
    labelled.draw_folder(Path("few"), ["green star"], per_class=5)
    found = answer("few", "-l", "good.yaml", "-l", "bad.yaml")
    labels = {each["label"]: each for each in found["labels"]}
    heart = labels["blue heart"]
    assert (heart["interval"], heart["verdict"]) == (None, "too few to tell")
    assert heart["difference"] < 0
    assert (labels["green star"]["interval"], labels["green star"]["verdict"]) == (
        None,
        "no clear difference",
    )
    assert labels["black ring"] == {
        "label": "black ring", "examples": 0, "average_precision": {"a": None, "b": None},
        "difference": None, "interval": None, "verdict": "no examples",
    }  # fmt: skip
    assert found["expected_by_chance"] == 0
    table = compare("few", "-l", "good.yaml", "-l", "bad.yaml").stdout
    assert "too few: fewer than 10 images" in table
    assert "no image shows: yellow square, black ring, pink arrow" in table


def test_labels_of_one_set_are_listed_and_names_can_be_mapped() -> None:
    """What has no partner is said, not compared; --map holds for both sets."""
    labelled.write_labels(Path("a.yaml"), [*SHAPES[:2], "white bolt"], name="[bold]a[/]")
    labelled.write_labels(Path("b.yaml"), [*SHAPES[:2], "orange cross"])
    labelled.draw_folder(Path("two"), SHAPES[:2], per_class=2)
    Path("two/red circle").rename("two/rouge")
    sets = ("two", "-l", "a.yaml", "-l", "b.yaml")
    refused = compare(*sets)
    assert refused.exit_code == 2
    assert "siglip: 1 name in the data matches no label of" in refused.stderr
    assert "[bold]a[/]" in refused.stderr
    assert "'rouge'" in refused.stderr
    found = answer(*sets, "--map", "rouge=red circle")
    assert [each["label"] for each in found["labels"]] == SHAPES[:2]
    assert (found["a"]["only"], found["b"]["only"]) == (["white bolt"], ["orange cross"])
    table = compare(*sets, "--map", "rouge=red circle").stdout
    assert "A  [bold]a[/] (a.yaml)" in table
    assert "only in A, not compared: white bolt" in table
    assert "only in B, not compared: orange cross" in table


def test_labels_on_the_spot_are_a_set() -> None:
    """`--labels good.yaml -L "red circle" -L "blue heart"`."""
    labelled.draw_folder(Path("spot"), SHAPES[:2], per_class=1)
    found = answer("spot", "-l", "good.yaml", "-L", "red circle", "-L", "blue heart")
    assert found["b"] == {"set": "labels", "from": "labels", "only": []}
    assert found["a"]["only"] == SHAPES[2:]


def test_the_answer_goes_to_a_file() -> None:
    """JSON where its name says so; --format decides; an input is never replaced."""
    assert compare(*SETS, "-o", "found.json").stdout == ""
    assert json.loads(Path("found.json").read_text(encoding="utf-8"))["images"] == 72
    compare(*SETS, "-o", "found.txt")
    assert Path("found.txt").read_text(encoding="utf-8") == compare(*SETS).stdout
    before = Path("bad.yaml").read_bytes()
    refused = compare(*SETS, "-o", "bad.yaml")
    assert refused.exit_code == 2
    assert refused.stderr == "siglip: the output bad.yaml is a label set that is read\n"
    assert Path("bad.yaml").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "compare takes two label sets: give --labels A --labels B; none given"),
        (["-l", "good.yaml"], "compare takes two label sets: give --labels A --labels B; 1 given"),
        (
            ["-l", "animals"] * 3,
            "compare takes two label sets: give --labels A --labels B; 3 given",
        ),
        (["-l", "good.yaml", "-l", "bad.yaml", "--map", "x"], "--map takes NAME=LABEL, not 'x'"),
        (
            ["-l", "good.yaml", "-l", "animals"],
            "6 names in the data match no label of ",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_line(arguments: list[str], line: str) -> None:
    """Status 2, before a model is looked for."""
    result = compare("drawings", *arguments, "-m", "no-such-model")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"siglip: {line}")
    assert result.stderr.count("\n") == 1


def test_it_works_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Average precision under resamples is the program's own."""
    expected = compare(*SETS).stdout
    for name in [name for name in sys.modules if name.partition(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    done = compare(*SETS)
    assert done.exit_code == 0, done.stderr
    assert done.stdout == expected


def test_data_must_be_given() -> None:
    """And there."""
    result = compare("-l", "good.yaml", "-l", "bad.yaml")
    assert result.exit_code == 2
    assert result.stderr == (
        "siglip: nothing to read: give DATA, a folder per class, or a CSV or JSONL file\n"
    )
    assert compare("gone", "-l", "good.yaml", "-l", "bad.yaml").exit_code == 2


@pytest.mark.parametrize(
    "option", [["--resamples", "99"], ["--resamples", "1e4"], ["--seed", "-1"]]
)
def test_options_out_of_range_are_refused(option: list[str]) -> None:
    """Status 2."""
    assert compare(*SETS, *option).exit_code == 2


def test_a_image_that_cannot_be_read_is_status_1() -> None:
    """The others are compared, and the document names it; with no other it is of the same kind."""
    labelled.draw_folder(Path("broken"), SHAPES[:2], per_class=1)
    Path("broken/red circle/x.png").write_text("<html>")
    sets = ("-l", "good.yaml", "-l", "bad.yaml")
    result = compare("broken", *sets, "-f", "json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["images"] == 2
    (failure,) = found["failures"]
    assert failure["file"] == str(Path("broken", "red circle", "x.png"))
    assert failure["error"]["kind"] == "unidentified"
    assert "x.png: unidentified: " in result.stderr
    assert "1 failed" in result.stderr
    Path("html").mkdir()
    Path("html/red circle").mkdir()
    Path("html/red circle/x.png").write_text("<html>")
    result = compare("html", *sets, "-f", "json")
    assert result.exit_code == 1
    nothing = json.loads(result.stdout)
    assert list(nothing) == list(found)
    assert (nothing["images"], nothing["metrics"]["acc1"]["verdict"]) == (0, "no examples")
    assert compare("html", *sets).exit_code == 1
