"""`siglip calibrate`: from labelled drawings to a label set that fits them, and its comments kept."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from labelled import NOTHING, draw_folder, draw_image, write_manifest
from settings import settle
from sklearn.metrics import f1_score
from typer.testing import CliRunner

from siglipcli import labels as labelsets
from siglipcli.cli import app
from siglipcli.cli.output import print_json
from siglipcli.outputs.calibration_report import threshold

if TYPE_CHECKING:
    from typer.testing import Result

NAMES = ["red circle", "blue star", "green square", "yellow triangle"]
PER_CLASS = 8

LABELS = """\
# what the drawings show
name: drawings
templates: ["a {}.", "a photo of a {}."]
bias_shift: -6        # the test's
labels:
  - red circle        # round
  - name: blue star
    prompts: ["a blue star"]   # one
  - name: shapes
    children: [green square, {name: yellow triangle, threshold: 0.5}]
  - green star
  - purple star
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with drawings to fit on, others to hold out, and the cache of all tests here."""
    folder = tmp_path_factory.mktemp("calibrate")
    for seed, name in enumerate(["known", "new"]):
        draw_folder(folder / name, NAMES, PER_CLASS, seed + 1)
        draw_folder(folder / name, ["green star"], 2, seed + 1)
    return folder


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, shared: Path, tmp_path: Path) -> None:
    """No test sees this machine's settings, nor fetches a model."""
    settle(monkeypatch, tmp_path, shared / "cache", columns=100)
    Path("set.yaml").write_text(LABELS, encoding="utf-8")


@pytest.fixture
def known(shared: Path) -> Path:
    return shared / "known"


def siglip(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


def calibrate(*arguments: str | Path) -> Result:
    return siglip("calibrate", *arguments)


def report(*arguments: str | Path) -> dict[str, Any]:
    result = calibrate(*arguments, "-f", "json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def encoded(encoding: str, *arguments: str | Path) -> Result:
    """Run it with streams of that encoding."""
    return CliRunner(charset=encoding).invoke(app, ["calibrate", *map(str, arguments)])


def label(found: dict[str, Any], path: str) -> dict[str, Any]:
    return next(each for each in found["labels"] if each["label"] == path)


def measured(labels: str, folder: Path) -> float:
    """The macro F1 of the tags that `siglip classify` gives to images in a folder per class."""
    paths = [each.path for each in labelsets.load(labels).labels]
    right, tagged = [], []
    for line in siglip("classify", folder, "-l", labels, "-f", "jsonl").stdout.splitlines():
        row = json.loads(line)
        name = Path(row["file"]).parent.name
        right.append([path.rpartition("/")[2] == name for path in paths])
        tags = {each["label"] for each in row["labels"] if each["tag"]}
        tagged.append([path in tags for path in paths])
    used = [i for i, path in enumerate(paths) if path.rpartition("/")[2] in NAMES]
    columns = ([[row[i] for i in used] for row in rows] for rows in (right, tagged))
    return float(f1_score(*columns, average="macro", zero_division=0))


# --- what it is for -------------------------------------------------------------------------------


def test_f1_rises_on_images_that_were_held_out(known: Path, shared: Path) -> None:
    """Scores are shifted so that the flat threshold fails; fitted on some drawings, it holds on others."""
    assert calibrate(known, "-l", "set.yaml", "-o", "fitted.yaml").exit_code == 0
    flat, fitted = measured("set.yaml", shared / "new"), measured("fitted.yaml", shared / "new")
    assert flat < 0.3
    assert fitted > 0.9


def test_thresholds_hold_without_a_shift_too(known: Path, shared: Path) -> None:
    """--no-shift fits thresholds to the scores as they are."""
    assert calibrate(known, "-l", "set.yaml", "--no-shift", "-o", "fitted.yaml").exit_code == 0
    assert labelsets.load("fitted.yaml").bias_shift == -6
    assert measured("fitted.yaml", shared / "new") > 0.9


def test_the_set_is_written_back_with_all_that_was_in_it(known: Path) -> None:
    """Comments, order and untouched labels stay; numbers are few-digit and where they belong."""
    calibrate(known, "-l", "set.yaml", "-o", "fitted.yaml")
    text = Path("fitted.yaml").read_text(encoding="utf-8")
    number = r"threshold: [0-9.e-]+"
    assert re.fullmatch(
        r"# what the drawings show\nname: drawings\n"
        r'templates: \["a \{\}\.", "a photo of a \{\}\."\]\n'
        rf"{number}\ncalibrated: .*\nbias_shift: -?[0-9.]+ +# the test's\nlabels:\n"
        rf"  - name: red circle  +# round\n    {number}\n"
        rf'  - name: blue star\n    {number}\n    prompts: \["a blue star"\]   # one\n'
        rf"  - name: shapes\n(    {number}\n)?"
        rf"    children: \[\{{name: green square, {number}\}},"
        rf" \{{name: yellow triangle, {number}\}}\]\n"
        r"  - green star\n  - purple star\n",
        text,
    )
    made = labelsets.load("fitted.yaml").calibrated
    assert made is not None
    assert (made.model, made.images) == ("demo", len(NAMES) * PER_CLASS + 2)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", made.date)
    for found in re.findall(r"threshold: ([0-9.e-]+)", text):
        lacking = min(float(found), 1 - float(found))
        assert float(f"{lacking:.3g}") == pytest.approx(lacking, rel=1e-6)


def test_labels_left_alone_keep_their_tags(known: Path, shared: Path) -> None:
    """Two images are too few, none are too: said, and these labels' tags stay what they are."""
    found = report(known, "-l", "set.yaml", "-o", "fitted.yaml")
    assert label(found, "green star")["kept"] == "too few examples"
    assert label(found, "purple star")["kept"] == "no examples"

    def tags(labels: str) -> list[list[str]]:
        rows = siglip("classify", shared, "-l", labels, "-f", "jsonl").stdout.splitlines()
        return [
            [x["label"] for x in json.loads(row)["labels"] if x["tag"] and "star" in x["label"]]
            for row in rows
        ]

    kept = [[x for x in row if x != "blue star"] for row in tags("set.yaml")]
    assert [[x for x in row if x != "blue star"] for row in tags("fitted.yaml")] == kept
    few = report(known, "-l", "set.yaml", "--min-examples", "9")
    left = {x["label"] for x in few["labels"] if x["kept"] == "too few examples"}
    assert left == {
        "red circle",
        "blue star",
        "shapes/green square",
        "shapes/yellow triangle",
        "green star",
    }
    assert [x["label"] for x in few["labels"] if x["held_out"]] == ["shapes"]
    assert all(x["held_out"] is None for x in few["labels"] if x["label"] in left)


def test_calibrating_twice_changes_nothing(known: Path) -> None:
    """What fits already is left to the character."""
    calibrate(known, "-l", "set.yaml", "-o", "fitted.yaml")
    found = report(known, "-l", "fitted.yaml", "-o", "again.yaml")
    assert not any(each["fitted"] for each in found["labels"])
    assert Path("again.yaml").read_text() == Path("fitted.yaml").read_text()


# --- what is said ---------------------------------------------------------------------------------


def test_the_table_says_examples_thresholds_and_gain_of_each_label(known: Path) -> None:
    """One row a label, old → new, and a line for all."""
    result = calibrate(known, "-l", "set.yaml", "-o", "fitted.yaml")
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[0] == "label examples threshold F1 gain"
    assert re.fullmatch(r"red circle 8 0\.2 → \S+ 0\.\d\d → [01]\.\d\d \+[01]\.\d\d", lines[1])
    assert any(
        re.fullmatch(r"green star 2 0\.2 → \S+ 0\.\d\d kept: too few examples", line)
        for line in lines
    )
    assert re.match(r"\d of 7 labels fitted; mean F1 0\.\d+ → 0\.\d+ on images left out", lines[-2])
    assert re.fullmatch(
        r"bias_shift -6 → \S+: thresholds are scores after it; those of the \d kept labels moved with it,"
        r" and tag as in the set\.",
        lines[-1],
    )
    assert result.stderr.count("\n") == 2
    shift = labelsets.load("fitted.yaml").bias_shift
    assert result.stderr.endswith(f"wrote fitted.yaml: 4 thresholds and bias_shift {shift:g}\n")


def test_the_table_shows_the_thresholds_that_are_written(known: Path) -> None:
    """Digit for digit, also near 1, where three of them would all be 1."""
    result = calibrate(known, "-l", "set.yaml", "-o", "fitted.yaml")
    written = labelsets.load("fitted.yaml")
    rows = dict(re.findall(r"^(\S+ ?\S*) +\d+ +[\d.]+ → (\S+) ", result.stdout, re.MULTILINE))
    assert float(rows["red circle"]) == written.labels[0].threshold
    assert float(rows["green star"]) == written.threshold
    for value, text in (
        *((0.2, "0.2"), (0.999089, "0.999089"), (0.99957, "0.99957"), (1.0, "1"), (0.0, "0")),
        *((0.9999971, "0.999997"), (0.99999971, "0.9999997"), (1.5e-09, "1.5e-09")),
        *((0.12345678, "0.123457"), (1e-320, "1e-320")),
    ):
        assert threshold(value) == text


def test_one_label_is_no_labels(known: Path) -> None:
    """Singular and plural are right, and one kept label has moved with the shift, which is said."""
    Path("one.yaml").write_text("labels: [{name: red circle, threshold: 0.5}]\nbias_shift: -6\n")
    write_manifest(
        Path("d.csv"),
        {str(path): [path.parent.name] for path in known.glob("red circle/*.png")}
        | {str(path): [] for path in known.glob("blue star/*.png")},
    )
    lines = calibrate("d.csv", "-l", "one.yaml", "--min-examples", "9").stdout.splitlines()
    assert lines[-2].startswith("0 of 1 label fitted; mean F1 ")
    assert lines[-1].endswith("; that of the kept label moved with it, and tags as in the set.")


def test_every_terminal_can_show_it(known: Path) -> None:
    """What an encoding lacks is spelt out on stdout and stderr; JSON is UTF-8 whatever the locale."""
    Path("x.yaml").write_text('bias_shift: -6\nlabels: [red circle, "星"]', encoding="utf-8")
    data = write_manifest(
        Path("d.csv"), {str(path): ["red circle"] for path in known.glob("red*/*")}
    )
    shown = {}
    for encoding in ("cp1252", "utf-8"):
        ran = [encoded(encoding, data, "-l", "x.yaml", *more) for more in ((), ("-o", "-"))]
        assert [done.exit_code for done in ran] == [0, 0], ran
        for stream in (ran[0].stdout_bytes, ran[1].stderr_bytes):
            shown[encoding] = stream.decode(encoding)
            assert re.search(r"bias_shift -6 (→|->) \S+: thresholds", shown[encoding])
        assert "bias_shift" in ran[1].stdout_bytes.decode("utf-8")
    assert "→" in shown["utf-8"]
    assert "星" in shown["utf-8"]
    assert "→" not in shown["cp1252"]
    assert "->" in shown["cp1252"]
    assert r"\u661f" in shown["cp1252"]
    found = json.loads(encoded("cp1252", data, "-l", "x.yaml", "-f", "json").stdout_bytes)
    assert [each["label"] for each in found["labels"]] == ["red circle", "星"]


def test_json_says_the_same_to_programs(known: Path) -> None:
    """One document: what was measured, before and held out, label by label."""
    found = report(known, "-l", "set.yaml", "-o", "fitted.yaml")
    assert (found["dataset"], found["model"], found["set"]) == ("known", "demo", "drawings")
    assert found["images"] == len(NAMES) * PER_CLASS + 2
    labels = labelsets.load("fitted.yaml")
    assert found["bias_shift"] == {"before": -6, "after": labels.bias_shift}
    one = label(found, "red circle")
    assert one["threshold"] == {"before": 0.2, "after": labels.labels[0].threshold}
    assert one["examples"] == PER_CLASS
    assert one["held_out"]["f1"] > one["before"]["f1"]
    assert label(found, "shapes/yellow triangle")["threshold"]["before"] == 0.5
    assert label(found, "shapes")["examples"] == 2 * PER_CLASS
    metrics = found["metrics"]
    assert metrics["macro_f1_held_out"] > metrics["macro_f1_before"] + 0.4


def test_without_an_output_it_only_says_what_would_be_gained(known: Path) -> None:
    """Nothing is written, and that is said."""
    result = calibrate(known, "-l", "set.yaml")
    assert result.exit_code == 0
    assert "nothing is written: --output FILE" in result.stderr
    assert [path.name for path in Path().iterdir()] == ["set.yaml"]


def test_the_set_on_stdout_keeps_the_table_off_it(known: Path) -> None:
    """`-o -` gives the YAML to a pipe; the table goes to stderr, or nowhere with --quiet."""
    calibrate(known, "-l", "set.yaml", "-o", "fitted.yaml")
    result = calibrate(known, "-l", "set.yaml", "-o", "-")
    assert result.stdout == Path("fitted.yaml").read_text()
    assert "red circle" in result.stderr
    assert calibrate(known, "-l", "set.yaml", "-o", "-", "-q").stderr == ""


def test_the_gain_can_be_held_against_another_flat_threshold(known: Path) -> None:
    """--threshold is what is used now in place of the set's, and is not written."""
    found = report(known, "-l", "set.yaml", "-t", "0.01", "--no-shift", "-o", "fitted.yaml")
    assert label(found, "red circle")["threshold"]["before"] == 0.01
    assert label(found, "shapes/yellow triangle")["threshold"]["before"] == 0.5
    assert labelsets.load("fitted.yaml").threshold is None
    few = ("--min-examples", "99", "--no-shift", "-t", "0.3", "-o", "same.yaml")
    shown = calibrate(known, "-l", "set.yaml", *few).stdout
    assert "0 of 7 labels fitted; " in shown
    assert "held out" not in shown
    assert Path("same.yaml").read_text() == LABELS


def test_a_precision_can_be_asked_for(known: Path) -> None:
    """--min-precision P: labels that show it are fitted and marked, the others are left alone and counted."""
    found = report(known, "-l", "set.yaml", "--min-precision", "0.5")
    reached = [each for each in found["labels"] if each.get("reached")]
    assert found["reached"] == len(reached) >= 4
    assert all(each["precision_at_least"] >= 0.5 for each in reached)
    most = report(known, "-l", "set.yaml", "--min-precision", "0.95")
    assert (most["reached"], most["not_reached"]) == (0, 5)
    assert label(most, "red circle")["kept"] == "precision not reached"
    shown = calibrate(known, "-l", "set.yaml", "--min-precision", "0.95").stdout
    assert shown.splitlines()[0].split() == [
        "label", "examples", "threshold", "precision", "recall", "gain",
    ]  # fmt: skip
    assert "precision 0.95 reached by 0 labels, not reached by 5" in shown
    assert "takes 50 right images of a label or more" in shown


def test_names_act_on_no_terminal(known: Path) -> None:
    """Rich markup and control characters in a label are shown as they are written."""
    Path("x.yaml").write_text('labels: ["[bold]red[/bold]", "a\\u202eb"]')
    write_manifest(Path("d.csv"), {str(known / "red circle" / "000.png"): ["[bold]red[/bold]"]})
    shown = calibrate("d.csv", "-l", "x.yaml").stdout
    assert "[bold]red[/bold]" in shown
    assert r"a\u202eb" in shown


# --- what goes in ---------------------------------------------------------------------------------


def test_names_on_the_spot_become_a_set(known: Path) -> None:
    """-L names give a plain new file, with the thresholds that were found."""
    Path("two").mkdir()
    for name in NAMES[:2]:
        Path("two", name).symlink_to(known / name)
    result = calibrate("two", "-L", NAMES[0], "-L", NAMES[1], "-t", "0.999", "-o", "new.yaml")
    assert result.exit_code == 0, result.stderr
    assert [x.path for x in labelsets.load("new.yaml").labels] == NAMES[:2]
    assert Path("new.yaml").read_text().startswith("name: labels\n")


def test_built_in_sets_and_renamed_classes(known: Path) -> None:
    """A built-in set is the start of one's own; --map says what a folder is called in it."""
    Path("data").mkdir()
    Path("data", "a").symlink_to(known / NAMES[0])
    Path("data", "b").symlink_to(known / NAMES[1])
    result = calibrate("data", "-l", "animals", "--map", "a=cat", "--map", "b=dog", "-o", "x.yaml")
    assert result.exit_code == 0, result.stderr
    before, after = labelsets.load("animals"), labelsets.load("x.yaml")
    assert [x.prompts for x in before.labels] == [x.prompts for x in after.labels]


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="needs /dev/fd")
def test_a_label_set_from_a_pipe_is_read_once(known: Path) -> None:
    """`--labels <(…)` works."""
    reading, writing = os.pipe()
    os.write(writing, Path("set.yaml").read_bytes())
    os.close(writing)
    done = calibrate(known, "--labels", f"/dev/fd/{reading}", "-o", "-", "-q")
    os.close(reading)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith("# what the drawings show\n")


def test_images_that_cannot_be_read_are_said_and_status_1(known: Path) -> None:
    """The others are fitted to; each failure has a line, and the set is written."""
    rows = {str(path): [path.parent.name] for path in sorted(known.rglob("*.png"))}
    Path("bad.jpg").write_text("<html>")
    write_manifest(Path("d.csv"), {**rows, "bad.jpg": ["red circle"], "gone.jpg": ["red circle"]})
    result = calibrate("d.csv", "-l", "set.yaml", "-o", "fitted.yaml")
    assert result.exit_code == 1
    assert "bad.jpg: unidentified: " in result.stderr
    assert "gone.jpg: vanished: " in result.stderr
    assert ", 2 failed, " in result.stderr
    assert labelsets.load("fitted.yaml").labels[0].threshold is not None


def test_failures_are_told_to_programs_as_everywhere(known: Path) -> None:
    """A row per file with status, kind and message; a name that is not UTF-8 gives its bytes too."""
    folder = os.fsencode(Path.cwd()) + b"/data\xff"
    os.makedirs(folder + b"/red circle")  # noqa: PTH103  # pathlib takes no bytes
    image = (known / "red circle" / "000.png").read_bytes()
    for name, content in ((b"a.png", image), (b"bad\xe9.png", b"<html>")):
        Path(os.fsdecode(folder + b"/red circle/" + name)).write_bytes(content)
    done = encoded("cp1252", os.fsdecode(folder), "-L", "red circle", "-f", "json")
    assert done.exit_code == 1
    found = json.loads(done.stdout_bytes)
    assert found["dataset"] == "data\ufffd"
    (lost,) = found["failures"]
    assert set(lost) == {"file", "file_bytes", "status", "error"}
    assert base64.b64decode(lost["file_bytes"]) == folder + b"/red circle/bad\xe9.png"
    assert (lost["status"], lost["error"]["kind"]) == ("error", "unidentified")


def test_what_is_printed_as_json_is_utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    """`labels`, `models`, `cache` and `doctor` too, whatever the locale; what is no number is no JSON."""
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", stdout)
    print_json({"label": "星"})
    assert stdout.buffer.getvalue() == '{\n  "label": "星"\n}\n'.encode()
    with pytest.raises(ValueError, match="JSON compliant"):
        print_json(float("nan"))


def test_images_without_a_label_count_as_wrong_for_all(known: Path) -> None:
    """A manifest may hold images that show nothing of the set."""
    rows = {str(path): [path.parent.name] for path in sorted(known.rglob("*.png"))}
    for i in range(6):
        rows[str(draw_image(Path(f"{i}.png"), NOTHING, i))] = []
    found = report(write_manifest(Path("d.jsonl"), rows), "-l", "set.yaml")
    assert found["images"] == len(rows)
    assert label(found, "red circle")["held_out"]["f1"] > 0.8


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "calibrate takes one label set: give --labels FILE; none given"),
        (
            ["-l", "set.yaml", "-l", "animals"],
            "calibrate takes one label set: give --labels FILE; 2 given",
        ),
        (
            ["-l", "set.yaml", "-L", "cat"],
            "calibrate takes one label set: give --labels FILE; 2 given",
        ),
        (["-l", "animals"], "match no label of the set 'animals'"),
        (["-l", "set.yaml", "-o", "-", "-f", "json"], "would both write to stdout"),
        (["-l", "set.yaml", "-o", "set.yaml"], "is the label set that is read; --force replaces"),
        (["-l", "gone.yaml"], "no file and no built-in label set"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], message: str, known: Path) -> None:
    """Status 2 and one line, before a model is looked for."""
    result = calibrate(known, *arguments, "-m", "no-such-model")
    assert result.exit_code == 2
    assert message in result.stderr
    assert (result.stdout, result.stderr.count("\n")) == ("", 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--min-precision", "1.5"], "--min-precision"),
        (["--min-precision", "high"], "--min-precision"),
        (["--min-precision", "nan"], "--min-precision"),
        (["--precision", "0.9"], "--precision"),
        (["--folds", "2"], "--folds"),
        (["--min-examples", "2"], "--min-examples"),
    ],
)
def test_values_out_of_range_are_refused(arguments: list[str], message: str, known: Path) -> None:
    """The option's name, and what would do."""
    result = calibrate(known, "-l", "set.yaml", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_no_data_is_refused() -> None:
    """Nothing to read: said."""
    result = calibrate("-l", "set.yaml")
    assert result.exit_code == 2
    assert "nothing to read: give DATA" in result.stderr


def test_the_set_itself_is_replaced_only_on_request(known: Path) -> None:
    """--force writes over the label set that was read; an image or the manifest never."""
    assert calibrate(known, "-l", "set.yaml", "-o", "set.yaml", "--force").exit_code == 0
    assert labelsets.load("set.yaml").labels[0].threshold is not None
    image = draw_image(Path("data", NAMES[0], "a.png"), NAMES[0])
    write_manifest(Path("d.csv"), {str(image): [NAMES[0]]})
    for data, output, what in (
        ("d.csv", image, "is one of the images in DATA"),
        ("d.csv", "d.csv", "is DATA"),
    ):
        result = calibrate(data, "-l", "set.yaml", "-o", output, "--force")
        assert result.exit_code == 2
        assert what in result.stderr


def test_an_output_that_cannot_be_written_is_status_3(known: Path) -> None:
    """Said in one line; no part of a file is left."""
    result = calibrate(known, "-l", "set.yaml", "-o", "no/such/folder/x.yaml")
    assert result.exit_code == 3
    assert "its folder does not exist" in result.stderr
    assert [path.name for path in Path().iterdir()] == ["set.yaml"]


def test_nothing_that_can_be_read_is_status_1() -> None:
    """As with every command: each failure is said, the document is of the usual kind, and the old file stays."""
    write_manifest(Path("d.csv"), {"gone.jpg": ["red circle"]})
    Path("x.yaml").write_text("labels: [old]\n")
    for more in ((), ("-f", "json"), ("-o", "x.yaml"), ("-o", "-")):
        result = calibrate("d.csv", "-l", "set.yaml", *more)
        assert result.exit_code == 1
        assert "gone.jpg: vanished: " in result.stderr
        assert "none of the images could be read: there is nothing to calibrate" in result.stderr
        if "json" in more:
            found = json.loads(result.stdout)
            assert (found["images"], len(found["failures"])) == (0, 1)
            assert {each["kept"] for each in found["labels"]} == {"no examples"}
        if "-" in more:
            assert result.stdout == ""
    assert Path("x.yaml").read_text() == "labels: [old]\n"


def test_explicit_keys_take_numbers_too(known: Path) -> None:
    """`? name` is no reason to refuse: the run goes on to look for the model."""
    Path("odd.yaml").write_text("labels:\n- ? name\n  : red circle\n- blue star\n")
    rows = {str(path): [path.parent.name] for path in sorted(known.glob("blue star/*"))}
    write_manifest(Path("d.csv"), rows | {str(known / "red circle" / "000.png"): ["red circle"]})
    result = calibrate("d.csv", "-l", "odd.yaml", "-m", "no-such-model", "-o", "x.yaml")
    assert result.exit_code == 3
    assert "no-such-model" in result.stderr


def test_without_the_extra_it_says_what_to_install(
    known: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 2 and the command that installs what is missing, before any image is read."""
    monkeypatch.setitem(sys.modules, "sklearn", None)
    result = calibrate(known, "-l", "set.yaml", "-m", "no-such-model")
    assert result.exit_code == 2
    assert "pip install 'siglipcli[eval]'" in result.stderr
