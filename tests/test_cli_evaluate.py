"""`siglip evaluate`: known drawings, known figures."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browser import chromium, console, requests
from labelled import NOTHING, draw_folder, draw_image, write_labels, write_manifest
from selenium.webdriver.common.by import By
from settings import settle
from sklearn import metrics as reference
from typer.testing import CliRunner

from siglipcli.cli import app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver import Chrome
    from typer.testing import Result

CIRCLE, STAR, HEART, RING = "red circle", "blue star", "yellow heart", "white ring"
NAMES = [CIRCLE, STAR, HEART, RING]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, cache: Path, tmp_path: Path) -> None:
    """No test sees this machine's settings, nor fetches a model."""
    settle(monkeypatch, tmp_path, cache)


def evaluate(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def figures(*arguments: str | Path) -> dict[str, Any]:
    result = evaluate(*arguments, "--format", "json")
    assert result.exit_code == 0, result.stderr
    return dict(json.loads(result.stdout))


def shapes() -> Path:
    """Twelve drawings in folders, two of which lie: a star called a circle, and nothing called a ring."""
    folder = draw_folder(Path("shapes"), NAMES, per_class=3)
    draw_image(folder / CIRCLE / "lie.png", STAR, seed=8)
    draw_image(folder / RING / "lie.png", NOTHING, seed=8)
    return folder


LABELS = ["-l", "set.yaml"]


@pytest.fixture
def drawn() -> Path:
    write_labels(Path("set.yaml"), NAMES, name="drawings", threshold=0.5)
    return shapes()


# --- figures --------------------------------------------------------------------------------------


def test_a_folder_per_class_gives_known_figures(drawn: Path) -> None:
    """Under the keys of CLIP_benchmark; the two lies are the only mistakes."""
    found = figures(drawn, *LABELS)
    head = [found[key] for key in ("dataset", "model", "task", "set", "images", "failures")]
    assert head == ["shapes", "demo", "zeroshot_classification", "drawings", 14, []]
    measured = found["metrics"]
    assert list(measured) == [
        *("acc1", "acc5", "mean_per_class_recall", "mean_average_precision"),
        *("macro_f1", "macro_precision", "macro_recall"),
        *("micro_f1", "micro_precision", "micro_recall", "ece"),
    ]
    assert measured["acc5"] is None  # of four labels
    assert measured["acc1"] in {12 / 14, 13 / 14}  # nothing may look like a ring by chance
    assert measured["micro_recall"] == 12 / 14
    assert measured["micro_precision"] == 12 / 13
    assert measured["ece"] < 0.1
    circle = found["labels"][0]
    assert (circle["label"], circle["examples"], circle["tags"]) == (CIRCLE, 4, 3)
    assert (circle["recall1"], circle["precision"], circle["recall"]) == (0.75, 1.0, 0.75)
    assert circle["threshold"] == 0.5
    assert {
        "true": CIRCLE,
        "predicted": STAR,
        "count": 1,
        "files": [{"file": f"shapes/{CIRCLE}/lie.png"}],
    } in found["confused"]
    assert sum(each["count"] for each in found["reliability"]) == 14 * 4


def test_figures_are_those_of_what_classify_answers(drawn: Path) -> None:
    """scikit-learn, given classify's own scores and tags, finds the same."""
    found = figures(drawn, *LABELS)["metrics"]
    result = CliRunner().invoke(app, ["classify", str(drawn), *LABELS, "--all", "-f", "jsonl"])
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    true = [NAMES.index(Path(row["file"]).parent.name) for row in rows]
    scores = [{each["label"]: each for each in row["labels"]} for row in rows]
    truth = [[int(j == i) for j in range(4)] for i in true]
    logits = [[row[name]["logit"] for name in NAMES] for row in scores]
    tags = [[int(row[name]["tag"]) for name in NAMES] for row in scores]
    best = [NAMES.index(row["labels"][0]["label"]) for row in rows]
    assert found["acc1"] == pytest.approx(reference.accuracy_score(true, best))
    assert found["mean_per_class_recall"] == pytest.approx(
        reference.balanced_accuracy_score(true, best)
    )
    assert found["mean_average_precision"] == pytest.approx(
        reference.average_precision_score(truth, logits)
    )
    assert found["macro_f1"] == pytest.approx(reference.f1_score(truth, tags, average="macro"))
    assert found["micro_f1"] == pytest.approx(reference.f1_score(truth, tags, average="micro"))


def test_a_manifest_gives_the_same_figures_as_folders(drawn: Path) -> None:
    """CSV and JSONL, in another place."""
    wanted = figures(drawn, *LABELS)
    files = sorted(drawn.rglob("*.png"))
    rows = {os.path.relpath(file, "lists"): [file.parent.name] for file in files}
    Path("lists").mkdir()
    for name in ("lists/m.csv", "lists/m.jsonl"):
        found = figures(write_manifest(Path(name), rows), *LABELS)
        assert found["dataset"] == "m"
        assert found["metrics"] == wanted["metrics"]
        assert found["labels"] == wanted["labels"]


def test_several_labels_and_none() -> None:
    """A manifest may name two labels for an image, or none: then every tag is wrong."""
    draw_image(Path("a.png"), CIRCLE)
    draw_image(Path("b.png"), STAR)
    draw_image(Path("c.png"), NOTHING)
    rows = {"a.png": ["Red-Circle", "shape"], "b.png": [], "c.png": []}
    write_manifest(Path("m.csv"), rows)
    write_labels(Path("set.yaml"), [CIRCLE, STAR, {"name": "shape", "prompts": ["a red shape"]}])
    found = figures("m.csv", *LABELS, "-t", "0.5")
    circle, star, shape = found["labels"]
    assert (circle["examples"], circle["recall1"], circle["f1"]) == (1, 1.0, 1.0)
    assert (star["examples"], star["tags"], star["precision"], star["recall"]) == (0, 1, 0.0, None)
    assert (shape["examples"], found["metrics"]["acc1"]) == (1, 1.0)
    assert found["metrics"]["micro_precision"] < 1


def test_parents_and_negatives() -> None:
    """Folders below a class, a parent that is no mistake, a negative label that only DATA ranks."""
    for i in range(2):
        draw_image(Path(f"pets/round/red circle/{i}/x.png"), CIRCLE, i)
        draw_image(Path(f"pets/star/{i}.png"), STAR, i)
    write_labels(
        Path("set.yaml"),
        [
            {"name": "round", "prompts": ["a red circle"], "children": [CIRCLE]},
            {"name": "star", "prompts": ["a blue star"]},
            {"name": "other", "prompts": ["a blue star"], "negative": True},
        ],
    )
    found = figures("pets", *LABELS)
    assert found["metrics"]["acc1"] == 1.0
    assert found["confused"] == []
    parent, child, star, other = found["labels"]
    assert (parent["label"], parent["examples"], parent["precision"]) == ("round", 2, 1.0)
    assert parent["recall1"] is None
    assert (child["label"], child["examples"], child["recall"]) == (f"round/{CIRCLE}", 2, 1.0)
    assert (other["examples"], other["average_precision"]) == (0, None)
    assert star["examples"] == 2
    named = figures("pets", *LABELS, "--map", "star=other")
    assert named["labels"][3]["examples"] == 2
    assert named["metrics"]["acc1"] == 0.5  # star is listed before it, with the same score


def test_thresholds_and_shifts(drawn: Path) -> None:
    """-t decides what is a tag; --bias-shift, and the set's own, move the scores but no ranking."""
    plain = figures(drawn, *LABELS)
    write_labels(Path("bare.yaml"), NAMES)
    none = figures(drawn, "-l", "bare.yaml", "-t", "1")
    assert none["metrics"]["micro_recall"] == 0
    assert none["metrics"]["micro_precision"] is None
    assert {each["threshold"] for each in none["labels"]} == {1.0}
    low = figures(drawn, *LABELS, "--bias-shift", "-6")
    assert low["metrics"]["micro_recall"] < plain["metrics"]["micro_recall"]
    assert low["metrics"]["acc1"] == plain["metrics"]["acc1"]
    write_labels(Path("set.yaml"), NAMES, name="drawings", threshold=0.5, bias_shift=-4)
    moved = figures(drawn, *LABELS, "--bias-shift", "-2")
    assert moved.pop("made_with") != low.pop("made_with")  # another set
    assert moved == low


def test_labels_on_the_spot_and_renames(drawn: Path) -> None:
    """-L names labels; --map says what a folder is called among them."""
    (drawn / HEART).rename(drawn / "Herzen")
    labels = [part for name in NAMES for part in ("-L", name)]
    found = figures(drawn, *labels, "--map", f"herzen={HEART}")
    assert found["labels"][2]["examples"] == 3
    assert found["labels"][2]["recall1"] == 1.0


# --- what cannot be measured ----------------------------------------------------------------------


def test_images_that_fail_are_counted_and_named(drawn: Path) -> None:
    """Status 1; the others are measured."""
    Path(drawn, STAR, "broken.png").write_text("<html>")
    write_manifest(Path("m.csv"), {"gone.png": [CIRCLE], f"{drawn}/{STAR}/000.png": [STAR]})
    result = evaluate(drawn, *LABELS, "-f", "json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["images"]) == (1, 14)
    assert [each["file"] for each in found["failures"]] == [f"shapes/{STAR}/broken.png"]
    assert found["failures"][0]["error"]["kind"] == "unidentified"
    first, counts = result.stderr.splitlines()
    assert first.startswith(f"siglip: shapes/{STAR}/broken.png: unidentified: ")
    assert ", 1 failed," in counts
    missing = evaluate("m.csv", *LABELS, "-f", "json")
    assert missing.exit_code == 1
    assert json.loads(missing.stdout)["metrics"]["acc1"] == 1.0


@pytest.mark.parametrize("form", ["json", "table"])
def test_nothing_that_can_be_read_is_no_figure(form: str) -> None:
    """Every image failed: all figures are empty, and it is said."""
    write_labels(Path("set.yaml"), NAMES)
    write_manifest(Path("m.csv"), {"gone.png": [CIRCLE], "away.png": [STAR]})
    result = evaluate("m.csv", *LABELS, "-f", form)
    assert result.exit_code == 1
    assert "2 failed" in result.stderr
    if form == "json":
        assert set(json.loads(result.stdout)["metrics"].values()) == {None}
    else:
        assert "0 images, 2 failed" in result.stdout
        assert re.search(r"\(acc1\) +–$", result.stdout, re.MULTILINE)


def test_names_that_no_label_matches_are_one_error(drawn: Path) -> None:
    """Before a model is looked for, with the nearest label and how to go on."""
    Path(drawn, STAR).rename(drawn / "blu star")
    Path(drawn, HEART).rename(drawn / "xyzzy")
    result = evaluate(drawn, *LABELS, "-m", "no-such-model")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "siglip: 2 names in the data match no label of the set 'drawings': 'blu star' (nearest: blue star),"
        " 'xyzzy'; rename them to labels, or leave them out. For example: --map 'blu star=blue star'.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (LABELS, "nothing to read: give DATA, a folder per class, or a CSV or JSONL file"),
        (
            ["shapes"],
            "evaluate takes one label set: give --labels SET (siglip compare takes two); none given",
        ),
        (
            ["shapes", *LABELS, "-l", "everyday"],
            "evaluate takes one label set: give --labels SET (siglip compare takes two); 2 given",
        ),
        (
            ["shapes", *LABELS, "-L", "x"],
            "evaluate takes one label set: give --labels SET (siglip compare takes two); 2 given",
        ),
        (["gone", *LABELS], "there is no file or folder gone"),
        (["shapes", *LABELS, "--map", "x"], "--map takes NAME=LABEL, not 'x'"),
        (["shapes", *LABELS, "--map", f"{STAR}="], f"--map takes NAME=LABEL, not '{STAR}='"),
        (
            ["shapes", *LABELS, "--map", f"a={STAR}", "--map", f"a={RING}"],
            f"--map says two things of 'a': '{STAR}' and '{RING}'",
        ),
        (
            ["shapes", *LABELS, "--map", f"stars={STAR}"],
            f"cannot rename 'stars': the data has no such name; the nearest is '{STAR}'",
        ),
        (["m.csv", *LABELS], "m.csv:2: file: expected a path, found nothing"),
        (["m.csv", *LABELS, "-o", "./m.csv"], "the output m.csv is DATA"),
        (
            ["shapes", *LABELS, "-o", "./set.yaml"],
            "the output set.yaml is a label set that is read",
        ),
    ],
)
def test_questions_that_make_no_sense_are_refused(
    drawn: Path, arguments: list[str], message: str
) -> None:
    """Status 2 and one line, before a model is looked for."""
    Path("m.csv").write_text("file,label\n,cat\n")
    result = evaluate(*arguments, "-m", "no-such-model")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"siglip: {message}\n"


def test_a_missing_library_is_said_before_the_work(
    monkeypatch: pytest.MonkeyPatch, drawn: Path
) -> None:
    """With what to install."""
    monkeypatch.setitem(sys.modules, "sklearn", None)
    result = evaluate(drawn, *LABELS, "-m", "no-such-model")
    assert result.exit_code == 2
    assert result.stderr == (
        "siglip: Measuring needs scikit-learn. Install it with: pip install 'siglipcli[eval]'\n"
    )


# --- where it goes --------------------------------------------------------------------------------


def test_tables_for_people(drawn: Path) -> None:
    """A summary, the labels from the worst, the confusions with their files; within 80 columns."""
    text = evaluate(drawn, *LABELS, "--format", "table").stdout
    lines = text.splitlines()
    assert lines[0] == "drawings on shapes  14 images, demo"
    assert all(len(line) <= 80 and line == line.rstrip() for line in lines)
    assert re.search(r"^right label among the first 5 \(acc5\) +–$", text, re.MULTILINE)
    header = next(i for i, line in enumerate(lines) if line.startswith("label, worst first"))
    assert lines[header].split()[3:] == [
        "images",
        "first",
        "AP",
        "precision",
        "recall",
        "F1",
        "from",
    ]
    rows = [re.split(r"  +", line) for line in lines[header + 1 : header + 5]]
    worth = [float(row[3]) for row in rows]
    assert worth == sorted(worth)
    assert {row[0] for row in rows} == set(NAMES)
    assert f"   1  {CIRCLE} → {STAR}\n      shapes/{CIRCLE}/lie.png\n" in text


def test_long_sets_stay_readable(drawn: Path) -> None:
    """The worst thirty labels, and labels without images only as a count."""
    many = [f"{CIRCLE} {i:03}" for i in range(60)]
    write_labels(Path("set.yaml"), [*NAMES, *many])
    text = evaluate(drawn, *LABELS, "-t", "0", "-f", "table").stdout
    header = text.index("label, worst first")
    assert 30 < text[header:].count("\n") < 50
    assert "34 more: all are in the JSON format" in text
    text = evaluate(drawn, *LABELS, "-t", "1", "-f", "table").stdout
    assert "60 labels have neither images nor tags" in text


def test_names_cannot_move_the_terminal() -> None:
    """Control characters are spelt out, markup is text."""
    odd = "[red]\x1b[2Jcat"
    draw_image(Path("data", odd, "x.png"), STAR)
    write_labels(Path("set.yaml"), [STAR])
    result = evaluate("data", *LABELS, "--map", f"{odd}={STAR}", "-f", "table")
    assert result.exit_code == 0
    write_labels(Path("set.yaml"), ["[b]one[/b]", STAR])
    result = evaluate("data", *LABELS, "--map", f"{odd}=[b]one[/b]", "-f", "table")
    assert "[b]one[/b] → blue star" in result.stdout
    assert "data/[red]\\x1b[2Jcat/x.png" in result.stdout
    assert "\x1b" not in result.stdout


def test_a_file_gets_what_it_is_called(drawn: Path) -> None:
    """Unless --format says otherwise."""
    assert evaluate(drawn, *LABELS).stdout.startswith("drawings on shapes")
    piped = evaluate(drawn, *LABELS, "-f", "json")
    assert json.loads(piped.stdout)["set"] == "drawings"
    for name in ("out.json", "out.txt"):
        result = evaluate(drawn, *LABELS, "-o", name)
        assert (result.exit_code, result.stdout) == (0, "")
    assert Path("out.json").read_text(encoding="utf-8") == piped.stdout
    assert Path("out.txt").read_text(encoding="utf-8").startswith("drawings on shapes")
    asked = evaluate(drawn, *LABELS, "-o", "out.txt", "-f", "json")
    assert asked.exit_code == 0
    assert Path("out.txt").read_text(encoding="utf-8") == piped.stdout


def test_the_output_is_never_a_image_of_the_data(drawn: Path) -> None:
    """In a folder and in a manifest it is refused, and the image stays."""
    taken = draw_image(Path(drawn, STAR, "out.png"), CIRCLE).read_bytes()
    result = evaluate(drawn, *LABELS, "-o", f"{drawn}/{STAR}/out.png", "-f", "json")
    assert (result.exit_code, result.stderr) == (
        2,
        f"siglip: the output {drawn}/{STAR}/out.png is one of the images in DATA\n",
    )
    assert Path(drawn, STAR, "out.png").read_bytes() == taken
    write_manifest(Path("m.csv"), {f"{drawn}/{STAR}/000.png": [STAR]})
    result = evaluate("m.csv", *LABELS, "-o", f"{drawn}/{STAR}/../{STAR}/000.png")
    assert result.exit_code == 2
    assert "is one of the images in DATA" in result.stderr


def test_images_are_encoded_once(drawn: Path) -> None:
    """The second run takes every embedding from the store; --quiet says nothing."""
    evaluate(drawn, *LABELS)
    again = evaluate(drawn, *LABELS)
    assert again.stderr.startswith("siglip: 0 encoded, 14 from the store, 0 failed")
    assert evaluate(drawn, *LABELS, "--quiet").stderr == ""


@pytest.mark.skipif(os.name == "nt", reason="names of files are Unicode there")
def test_a_name_that_is_not_utf8(drawn: Path) -> None:
    """JSON also carries the bytes it really has."""
    odd = os.fsencode(drawn / CIRCLE) + b"/lie\xff.png"
    Path(drawn, CIRCLE, "lie.png").rename(os.fsdecode(odd))
    confused = [each for each in figures(drawn, *LABELS)["confused"] if each["true"] == CIRCLE]
    assert list(confused[0]["files"][0]) == ["file", "file_bytes"]


def test_a_page_holds_the_figures_and_the_images(chrome: Chrome, drawn: Path) -> None:
    """--report: measures, labels, curves, the matrix; then every image with its tags; one file."""
    plain = evaluate(drawn, *LABELS, "-f", "json")
    result = evaluate(drawn, *LABELS, "-f", "json", "--report", "page.html")
    assert (result.exit_code, result.stdout) == (plain.exit_code, plain.stdout)
    chrome.get(Path("page.html").absolute().as_uri())
    titles = [each.text for each in chrome.find_elements(By.TAG_NAME, "h2")]
    assert titles[:5] == [
        "Measures",
        "Labels",
        "Precision and recall",
        "Calibration",
        "Confusion",
    ]
    found = json.loads(plain.stdout)
    first = chrome.find_element(By.CSS_SELECTOR, "table.metrics td.value").text
    assert first == f"{found['metrics']['acc1']:.4f}"
    names = [each.text for each in chrome.find_elements(By.CSS_SELECTOR, "figure svg text")]
    assert {"recall", "precision", "score"} <= set(names)
    cells = chrome.find_elements(By.CSS_SELECTOR, "table.confusion td.right")
    assert sum(int(each.text) for each in cells) == sum(
        round(each["recall1"] * each["examples"]) for each in found["labels"] if each["examples"]
    )
    assert len(chrome.find_elements(By.CSS_SELECTOR, "#grid .card")) == found["images"]
    assert console(chrome) == []
    assert set(requests(chrome)) <= {Path("page.html").absolute().as_uri()}


def test_a_page_takes_the_place_of_no_input(drawn: Path) -> None:
    """The manifest, the label set and the output stay what they are."""
    write_manifest(Path("m.csv"), {str(drawn / STAR / "000.png"): [STAR]})
    write_labels(Path("set.html"), NAMES)
    taken = {name: Path(name).read_bytes() for name in ("m.csv", "set.html")}
    for words, message in (
        (["-l", "set.yaml", "--report", "m.csv"], "should end in .html"),
        (["-l", "set.yaml", "--report", f"{drawn}/{STAR}/000.png"], "should end in .html"),
        (["-l", "set.html", "--report", "set.html"], "is one of the inputs"),
        (["-l", "set.yaml", "--report", "x.html", "-o", "x.html"], "are both x.html"),
    ):
        result = evaluate("m.csv", *words)
        assert (result.exit_code, result.stdout) == (2, "")
        assert message in result.stderr
    assert {name: Path(name).read_bytes() for name in taken} == taken


def test_a_page_without_figures(chrome: Chrome, drawn: Path) -> None:
    """No image can be read, or none has a label: a page that says so, and no mistake of ours."""
    write_manifest(Path("gone.csv"), {"gone.png": [STAR]})
    write_manifest(Path("none.csv"), {str(drawn / STAR / "000.png"): []})
    write_manifest(Path("one.csv"), {str(drawn / STAR / "000.png"): [STAR]})
    for name, status in (("gone.csv", 1), ("none.csv", 0), ("one.csv", 0)):
        result = evaluate(name, *LABELS, "--report", "page.html", "--quiet")
        assert (result.exit_code, result.stderr) == (status, "")
        chrome.get(Path("page.html").absolute().as_uri())
        assert console(chrome) == []


def test_the_page_says_what_a_wrong_image_is(drawn: Path) -> None:
    """Below the name of each image whose best label is wrong, and of no other."""
    found = figures(drawn, *LABELS, "--report", "page.html")
    page = Path("page.html").read_text(encoding="utf-8")
    wrong = sum(each["count"] for each in found["confused"])
    assert wrong > 0
    assert page.count("wrong: it is ") == wrong
    assert f'"wrong: it is {CIRCLE}"' in page


# --- what it was made with, and what each image got -----------------------------------------------


def test_figures_say_what_they_were_made_with(drawn: Path) -> None:
    """Version, weights, runtime, precision and a digest of the label set, which changes with it."""
    made = figures(drawn, *LABELS)["made_with"]
    assert list(made) == ["siglip", "fingerprint", "runtime", "precision", "label_sets"]
    assert all(made.values())
    (first,) = made["label_sets"]
    assert first["set"] == "drawings"
    assert len(first["digest"]) == 64
    write_labels(Path("set.yaml"), NAMES, name="drawings", threshold=0.4)
    (other,) = figures(drawn, *LABELS)["made_with"]["label_sets"]
    assert other["digest"] != first["digest"]


def test_predictions_are_written_beside_the_figures(drawn: Path) -> None:
    """One line for each image: what is right, every score and tag; scores are those of classify."""
    assert evaluate(drawn, *LABELS, "--predictions", "p.jsonl").exit_code == 0
    rows = [json.loads(line) for line in Path("p.jsonl").read_text().splitlines()]
    assert len(rows) == 14
    assert [each["label"] for each in rows[0]["labels"]] == NAMES
    by_file = {row["file"]: row for row in rows}
    shown = (
        CliRunner().invoke(app, ["classify", str(drawn), *LABELS, "--all", "-f", "jsonl"]).stdout
    )
    for line in shown.splitlines():
        row = json.loads(line)
        ours = {x["label"]: (x["score"], x["tag"]) for x in by_file[row["file"]]["labels"]}
        assert ours == {x["label"]: (x["score"], x["tag"]) for x in row["labels"]}
    assert sum(x["right"] for row in rows for x in row["labels"]) == 14
    refused = evaluate(drawn, *LABELS, "--predictions", "set.yaml")
    assert refused.exit_code == 2
    assert "should end in .jsonl" in refused.stderr


def test_a_class_can_be_left_out(drawn: Path) -> None:
    """--ignore-class: its images are no part of the figures, though no label matches the name."""
    (drawn / HEART).rename(drawn / "misc")
    refused = evaluate(drawn, *LABELS)
    assert refused.exit_code == 2
    found = figures(drawn, *LABELS, "--ignore-class", "misc")
    assert found["images"] == 14 - 3
    assert found["labels"][2]["examples"] == 0
