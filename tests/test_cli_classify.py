"""`siglip classify`: what a user types, what comes out, and with which exit status."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from settings import settle
from typer.testing import CliRunner

from siglipcli import demo
from siglipcli.cli import app
from siglipcli.cli.classify import Tally
from siglipcli.encoders.checkpoint import locate
from siglipcli.encoders.tokens import Tokenizer
from siglipcli.labels import LabelSet

if TYPE_CHECKING:
    from typer.testing import Result

HEART = str(demo.IMAGES / "blue-heart.jpg")
STAR = str(demo.IMAGES / "green-star.png")
THREE = ["-L", "blue heart", "-L", "green star", "-L", "red circle"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, cache: Path, tmp_path: Path) -> None:
    """No test sees this machine's settings, nor fetches a model."""
    settle(monkeypatch, tmp_path, cache, columns=100)
    monkeypatch.delenv("SIGLIP_MODEL")
    # `demo` takes what suits the machine; here no engine is built for it
    monkeypatch.setattr("siglipcli.encoders.openvino_library.is_installed", lambda: False)


def run(*arguments: str | Path, stdin: bytes | None = None, model: str | None = "demo") -> Result:
    """Run `siglip classify ARGUMENTS --model demo`."""
    chosen = ["--model", model] if model else []
    return CliRunner().invoke(app, ["classify", *map(str, arguments), *chosen], input=stdin)


def answers(result: Result) -> list[dict[str, Any]]:
    """The answers of a run in JSON Lines."""
    return [json.loads(line) for line in result.stdout.splitlines()]


def labels_of(result: Result) -> list[str]:
    """The labels of the only answer."""
    (answer,) = answers(result)
    return [label["label"] for label in answer["labels"]]


def write(name: str, content: str | bytes) -> str:
    """Write a file here and return its name."""
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    return name


def copies(folder: str, *names: str) -> Path:
    """Make a folder with images of these names."""
    Path(folder).mkdir()
    for name in names:
        Path(folder, name).write_bytes(Path(HEART).read_bytes())
    return Path(folder)


def names_in(folder: str | Path) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


# --- formats --------------------------------------------------------------------------------------


def test_in_a_pipe_each_image_is_a_json_line() -> None:
    """Without --format a pipe gets JSON Lines, with the keys that the contract promises."""
    result = run(HEART, STAR, *THREE)
    assert result.exit_code == 0
    first, second = answers(result)
    assert list(first) == ["file", "status", "model", "labels"]
    assert (first["file"], first["status"], first["model"]) == (HEART, "ok", "demo")
    assert list(first["labels"][0]) == ["label", "score", "softmax", "logit", "set", "tag"]
    assert [a["labels"][0]["label"] for a in (first, second)] == ["blue heart", "green star"]
    assert first["labels"][0]["tag"] is True


def test_every_format_gives_the_same_answers() -> None:
    """JSON is the JSON Lines in one array; CSV has a row for each label; the table has both."""
    lines = answers(run(HEART, *THREE))
    assert json.loads(run(HEART, *THREE, "-f", "json").stdout) == lines
    rows = list(csv.DictReader(io.StringIO(run(HEART, *THREE, "-f", "csv").stdout)))
    columns = ["file", "set", "rank", "label", "score", "softmax", "logit", "tag", "error", "model"]
    assert list(rows[0]) == columns
    assert [r["rank"] for r in rows] == ["1", "2", "3"]
    assert {r["model"] for r in rows} == {lines[0]["model"]}
    assert [r["label"] for r in rows] == [each["label"] for each in lines[0]["labels"]]
    assert [float(r["score"]) for r in rows] == [each["score"] for each in lines[0]["labels"]]
    table = run(HEART, *THREE, "-f", "table").stdout
    assert "blue-heart.jpg" in table
    assert "green star" in table
    assert "\x1b" not in table


def test_tags_only_shows_tags_and_nothing_else() -> None:
    """`--tags-only` is for scripts that tag: what is no tag is left out, whatever --top says."""
    labels = ["-L", "a blue heart", "-L", "a green star", "-L", "a red circle"]
    (row,) = answers(run(HEART, *labels, "--tags-only"))
    assert [label["label"] for label in row["labels"]] == ["a blue heart"]
    (row,) = answers(run(HEART, *labels, "--tags-only", "--threshold", "1"))
    assert row["labels"] == []
    assert run(HEART, *labels, "--tags-only", "--all").exit_code == 2


def test_top_shows_the_best_and_every_tag_beyond_them() -> None:
    """`--top 1` loses no tag: a second label over the threshold is shown too."""
    labels = ["-L", "a blue heart", "-L", "something blue", "-L", "a red circle"]
    (row,) = answers(run(HEART, *labels, "--top", "1", "--threshold", "0.0001"))
    assert [label["tag"] for label in row["labels"]] == [True] * len(row["labels"])
    assert len(row["labels"]) >= 2


def test_a_printed_score_as_threshold_keeps_its_tag() -> None:
    """`-t` with a score as it was printed: that label is a tag, and the one next to it is not."""
    every = answers(run(HEART, *THREE))[0]["labels"]
    for label in every:
        again = answers(run(HEART, *THREE, "-t", str(label["score"])))[0]["labels"]
        assert [x["label"] for x in again if x["tag"]] == [
            x["label"] for x in every if x["score"] >= label["score"]
        ]


def test_parquet_is_chosen_by_its_ending() -> None:
    """`-o a.parquet`: the same labels and scores, as the float32 they are."""
    parquet = pytest.importorskip("pyarrow.parquet")
    lines = answers(run(HEART, "gone.jpg", *THREE))
    assert run(HEART, "gone.jpg", *THREE, "-o", "a.parquet").exit_code == 1
    rows = parquet.read_table("a.parquet").to_pylist()
    assert [row["file"] for row in rows] == [HEART, "gone.jpg"]
    assert [x["label"] for x in rows[0]["labels"]] == [x["label"] for x in lines[0]["labels"]]
    assert rows[0]["labels"][0]["score"] == np.float32(lines[0]["labels"][0]["score"])
    assert (rows[1]["labels"], rows[1]["error"]["kind"]) == ([], "missing")


@pytest.mark.parametrize(
    ("name", "start"), [("a.jsonl", "{"), ("a.JSON", "["), ("a.csv", "file,"), ("a.txt", "")]
)
def test_the_ending_of_the_output_chooses_the_format(name: str, start: str) -> None:
    """`--output a.csv` writes CSV, and nothing to stdout."""
    result = run(HEART, *THREE, "-o", name)
    assert result.exit_code == 0
    assert result.stdout == ""
    text = Path(name).read_text(encoding="utf-8")
    assert text.startswith(start)
    assert "blue heart" in text


def test_format_wins_over_the_ending() -> None:
    """`--format` says how, `--output` only where."""
    run(HEART, *THREE, "-o", "a.txt", "-f", "jsonl")
    assert json.loads(Path("a.txt").read_text())["file"] == HEART


def test_an_unknown_ending_is_refused_before_any_work() -> None:
    """An ending that names no format is a usage error, said before a model is looked for."""
    result = run(HEART, *THREE, "-o", "a.xml", model="no-such-model")
    assert result.exit_code == 2
    assert "give --format" in result.stderr


# --- labels ---------------------------------------------------------------------------------------


def test_without_labels_the_default_set_is_used_and_said() -> None:
    """No labels at all: the built-in set `everyday`, said on stderr."""
    result = run(HEART, "--all")
    assert "no labels given: using the built-in set 'everyday'" in result.stderr
    (answer,) = answers(result)
    assert {label["set"] for label in answer["labels"]} == {"everyday"}
    assert len(answer["labels"]) == len(LabelSet.load("everyday").labels)


def test_several_sets_and_labels_on_the_spot_are_kept_apart() -> None:
    """--labels twice and --label: three sets in one answer, in that order, each best first."""
    file = write("mine.yaml", "name: mine\nlabels: [green star, blue heart]\n")
    pets = write("pets.yaml", "labels: [cat, dog, bird]")
    result = run(HEART, "-l", pets, "--labels", file, "-k", "2", *THREE)
    (answer,) = answers(result)
    assert [label["set"] for label in answer["labels"]] == [
        "pets", "pets", "mine", "mine", "labels", "labels",
    ]  # fmt: skip
    assert [label["label"] for label in answer["labels"]][2::2] == ["blue heart"] * 2


def test_sets_of_one_name_are_refused() -> None:
    """Two sets with the same name could not be told apart in the answers."""
    result = run(HEART, "-l", "animals", "-l", "animals")
    assert result.exit_code == 2
    assert "two label sets are called 'animals'" in result.stderr


@pytest.mark.parametrize("model", ["demo", "no-such-model"])
def test_a_bad_label_file_is_said_before_any_model_is_loaded(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File, line and key of a bad label set; the model is not even looked for."""
    monkeypatch.setattr("siglipcli.api.Classifier.load", None)
    file = write("bad.yaml", "labels:\n  - cat\n  - nme: dog\n")
    result = run(HEART, "-l", file, model=model)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("siglip: bad.yaml:3")
    assert result.stderr.count("\n") == 1


def test_an_unknown_built_in_set_brings_the_nearest() -> None:
    """A mistyped set is a usage error that names the one that was meant."""
    result = run(HEART, "-l", "animal")
    assert result.exit_code == 2
    assert "The nearest built-in set is 'animals'" in result.stderr


def test_labels_the_model_cannot_tell_apart_are_said() -> None:
    """`C` and `C++` read the same to the model: a warning, unless --quiet; the answer stands."""
    result = run(HEART, "-L", "C", "-L", "C++")
    assert result.exit_code == 0
    assert "C++: the model reads the same prompt as for C" in result.stderr
    assert labels_of(result) == ["C", "C++"]
    assert run(HEART, "-L", "C", "-L", "C++", "-q").stderr == ""


def test_a_prompt_that_is_cut_is_said() -> None:
    """A prompt beyond the model's context is a warning; short ones bring none."""
    long = "red circle " * 9
    result = run(HEART, "-L", long, "-L", "heart")
    assert "is cut after 16 tokens" in result.stderr
    assert result.stderr.count("\n") == 1
    assert run(HEART, *THREE).stderr == ""


def test_many_warnings_are_cut_short() -> None:
    """A set made for a larger model brings a few warnings and the number of the others."""
    rows = "".join(f"- a very {'very ' * 12} large number {i}\n" for i in range(40))
    result = run(HEART, "-l", write("s.yaml", f"labels:\n{rows}"))
    lines = result.stderr.splitlines()
    assert lines[-1] == "siglip: label set s: 73 more like these"
    assert len([line for line in lines if "is cut after 16 tokens" in line]) == 3
    assert len([line for line in lines if "reads the same prompt" in line]) == 3


def test_short_prompts_are_not_tokenised_to_be_counted(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    """Only a prompt that could be cut is counted: warnings cost nothing on ordinary sets."""
    counted: list[str] = []
    plain = Tokenizer.count
    monkeypatch.setattr(
        Tokenizer, "count", lambda self, text: (counted.append(text), plain(self, text))[1]
    )
    run(HEART, "-L", "cat", "-L", "red " * 9)
    assert counted == ["a photo of a cat.", "a photo of a " + " ".join(["red"] * 9) + "."]
    counted.clear()
    run(HEART, "-l", str(demo.LABELS), "-k", "1")
    checkpoint = locate("demo", cache_dir=cache)
    assert all(len(text) + 2 > checkpoint.context_length for text in counted)


# --- forms of labels ------------------------------------------------------------------------------


def test_labels_come_as_lines_as_a_list_and_through_stdin() -> None:
    """A text file with one label per line, a JSON list, and `-`, named after where they come from."""
    write("lines.txt", "red circle\nblue star\n")
    write("list.json", '["green heart", "a blue heart"]')
    arguments = ["classify", HEART, "-m", "demo", "-f", "jsonl", "--all"]
    result = CliRunner().invoke(
        app, [*arguments, "-l", "lines.txt", "-l", "list.json", "-l", "-"], input="cat\ndog\n"
    )
    assert result.exit_code == 0, result.stderr
    (row,) = [json.loads(line) for line in result.stdout.splitlines()]
    sets = {(label["set"], label["label"]) for label in row["labels"]}
    assert sets == {
        ("lines", "red circle"), ("lines", "blue star"), ("list", "green heart"),
        ("list", "a blue heart"), ("stdin", "cat"), ("stdin", "dog"),
    }  # fmt: skip


def test_stdin_is_read_once() -> None:
    """It cannot be the labels and the image."""
    for more in (["-", "-l", "-"], [HEART, "-l", "-", "-l", "-"]):
        result = run(*more)
        assert result.exit_code == 2
        assert "stdin cannot be both" in result.stderr


def test_labels_on_the_spot_are_split_and_say_how() -> None:
    """`cat,dog` is two labels; a comma before a blank belongs to the label, which is said."""
    (row,) = answers(run(HEART, "-L", "cat,dog", "--all"))
    assert {label["label"] for label in row["labels"]} == {"cat", "dog"}
    result = run(HEART, "-L", "cat, dog")
    assert "'cat, dog' is one label; for several" in result.stderr


def test_a_template_takes_the_place_of_the_sets() -> None:
    """`--template` says how labels are filled in; without it a name with its article is the prompt."""

    def score(*arguments: str) -> float:
        (row,) = answers(run(HEART, *arguments, "--all"))
        return float(row["labels"][0]["score"])

    write("s.yaml", "templates: ['no {} here']\nlabels: [blue heart]")
    plain = score("-l", "s.yaml", "--template", "a {}")
    assert plain == score("-L", "a blue heart")
    assert plain == score("-L", "blue heart", "--template", "a {}")
    assert plain != score("-L", "blue heart", "--template", "{}")
    assert "with {} for the name" in run(HEART, "-L", "cat", "--template", "a").stderr


def test_a_set_calibrated_for_another_model_is_said_or_refused() -> None:
    """A warning on stderr; with --strict, status 2."""
    write("s.yaml", "labels: [cat]\ncalibrated: {model: big, fingerprint: abc, precision: fp32}")
    result = run(HEART, "-l", "s.yaml")
    assert result.exit_code == 0
    assert "label set s: its thresholds were fitted on big" in result.stderr
    result = run(HEART, "-l", "s.yaml", "--strict")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "fitted on big" in result.stderr


def test_a_report_notes_a_set_calibrated_for_another_model() -> None:
    """Who looks at the page only is told too."""
    write("s.yaml", "labels: [cat]\ncalibrated: {model: big, fingerprint: abc, precision: fp32}")
    assert run(HEART, "-l", "s.yaml", "--report", "page.html").exit_code == 0
    assert "its thresholds were fitted on big" in Path("page.html").read_text()


def test_the_rate_is_that_of_the_images() -> None:
    """What comes before the first image, such as a model that is prepared, is not in images per second."""
    tally = Tally(started=-1e9)
    assert list(tally.adding([])) == []
    assert tally.started > 0


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["猫"], "multilingual model such as"),
        (["red circle " * 30], "is cut after 16 tokens"),
        (["!!!"], "reads nothing of the text '!!!'"),
        (["red-circle"], "the model reads 'redcircle'"),
    ],
)
def test_texts_are_judged_as_prompts_are(texts: list[str], words: str) -> None:
    """score, search and embed --text say what the model does not read as typed; not with --quiet."""
    named = [word for text in texts for word in ("--text", text)]
    for command in (
        ["score", HEART, *named],
        ["search", HEART, *named],
        ["embed", "--text", *texts],
    ):
        result = CliRunner().invoke(app, [*command, "-m", "demo"])
        assert result.exit_code == 0, result.stderr
        assert words in result.stderr
        assert not CliRunner().invoke(app, [*command, "-m", "demo", "-q"]).stderr


# --- inputs ---------------------------------------------------------------------------------------


def test_a_missing_file_is_a_row_and_status_1() -> None:
    """The other images are answered, the counts are on stderr."""
    result = run(HEART, "nothing.jpg", STAR, *THREE, "--no-cache")
    assert result.exit_code == 1
    assert [a["status"] for a in answers(result)] == ["ok", "error", "ok"]
    assert answers(result)[1] == {
        "file": "nothing.jpg",
        "status": "error",
        "labels": [],
        "error": {"kind": "missing", "message": "No such file or folder."},
    }
    assert re.search(r"^siglip: 2 encoded, .*, 1 failed, ", result.stderr)


def test_a_corrupt_image_is_a_row_and_status_1() -> None:
    """A truncated image and a text named .jpg each cost one row."""
    folder = copies("images", "a.jpg", "d.jpg")
    (folder / "b.jpg").write_bytes(Path(HEART).read_bytes()[:900])
    (folder / "c.jpg").write_text("<html>")
    result = run(folder, *THREE)
    assert result.exit_code == 1
    kinds = [a.get("error", {}).get("kind") for a in answers(result)]
    assert kinds == [None, "truncated", "unidentified", None]


def test_all_failed_is_status_1_too() -> None:
    """Where no input could be answered the run still finished."""
    result = run("a.jpg", "b.jpg", *THREE)
    assert result.exit_code == 1
    assert re.search(r"^siglip: 0 encoded, .*, 2 failed, ", result.stderr)


def test_an_empty_folder_has_no_rows() -> None:
    """Without an input there is no result: status 1, and a word on stderr."""
    Path("empty").mkdir()
    result = run("empty", *THREE)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == "siglip: no images found\n"
    assert run("empty", *THREE, "--allow-empty").exit_code == 0
    assert json.loads(run("empty", *THREE, "-q", "-f", "json").stdout) == []


def test_folder_options() -> None:
    """--no-recursive, --ext, --exclude and --hidden choose what a folder gives."""
    folder = copies("images", "a.jpg", "b.jpeg", ".c.jpg")
    (folder / "sub").mkdir()
    (folder / "sub" / "d.jpg").write_bytes(Path(HEART).read_bytes())

    def found(*options: str) -> list[str]:
        return [a["file"] for a in answers(run(folder, *THREE, *options))]

    assert found() == ["images/a.jpg", "images/b.jpeg", "images/sub/d.jpg"]
    assert found("--no-recursive") == ["images/a.jpg", "images/b.jpeg"]
    assert found("--ext", "jpeg") == ["images/b.jpeg"]
    assert found("--exclude", "sub", "--exclude", "b*") == ["images/a.jpg"]
    assert "images/.c.jpg" in found("--hidden")


def test_a_image_on_stdin() -> None:
    """`-` reads one image's bytes from stdin, among other paths."""
    result = run(STAR, "-", *THREE, stdin=Path(HEART).read_bytes())
    first, second = answers(result)
    assert second["file"] == "-"
    assert second["labels"][0]["label"] == "blue heart"
    assert first["labels"][0]["label"] == "green star"
    nothing = run("-", *THREE, stdin=b"")
    assert nothing.exit_code == 1
    assert answers(nothing)[0]["status"] == "error"


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("{a}\n{b}\n", []),
        ("{a}\r\n\r\n{b}", []),
        ("\n\n{a}\n\n{b}\n\n", []),
        ("{a}\0{b}\0", ["-0"]),
        ("\0{a}\0\0{b}", ["--null"]),
    ],
)
def test_a_list_of_paths(text: str, options: list[str]) -> None:
    """--files-from takes a file or stdin, one path a line or NUL-separated, empty entries or not."""
    listing = text.format(a=HEART, b=STAR)
    by_file = run("--files-from", write("list", listing), *options, *THREE)
    by_stdin = run("--files-from", "-", *options, *THREE, stdin=listing.encode())
    assert by_file.exit_code == by_stdin.exit_code == 0
    assert [a["file"] for a in answers(by_file)] == [HEART, STAR]
    assert by_stdin.stdout == by_file.stdout


def test_a_list_may_name_what_is_not_there() -> None:
    """A missing path in a list is a row, and the list comes after the paths of the command line."""
    result = run(STAR, "--files-from", write("list", f"gone.jpg\n{HEART}\n"), *THREE)
    assert result.exit_code == 1
    assert [a["file"] for a in answers(result)] == [STAR, "gone.jpg", HEART]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to read"),
        (["--files-from", "no-list"], "cannot read the list no-list: No such file"),
        (["--files-from", "."], "cannot read the list .: Is a directory"),
        (["a.jpg", "-0"], "--null is for the list that --files-from reads"),
        (["-", "--files-from", "-"], "stdin cannot be both"),
    ],
)
def test_inputs_that_make_no_sense_are_refused(arguments: list[str], message: str) -> None:
    """What cannot be read at all is a usage error, said before a model is looked for."""
    result = run(*arguments, *THREE, model="no-such-model")
    assert result.exit_code == 2
    assert message in result.stderr


# --- output ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["a.jpg", "./a.jpg", "link.jpg"])
def test_an_output_that_is_an_input_is_refused(given: str) -> None:
    """An image is never overwritten by its own answer, however it is named."""
    content = Path(HEART).read_bytes()
    write("a.jpg", content)
    Path("link.jpg").symlink_to("a.jpg")
    result = run(given, *THREE, "-o", "a.jpg", "-f", "jsonl")
    assert result.exit_code == 2
    assert "is one of the inputs" in result.stderr
    assert Path("a.jpg").read_bytes() == content
    assert names_in(".") == ["a.jpg", "link.jpg"]


def test_an_output_that_is_the_list_is_refused() -> None:
    """The list of paths is not overwritten either."""
    name = write("list.txt", HEART)
    result = run("--files-from", name, *THREE, "-o", "./list.txt")
    assert result.exit_code == 2
    assert "is one of the inputs" in result.stderr
    assert Path(name).read_text() == HEART


def test_the_output_inside_the_folder_is_not_read() -> None:
    """A file of answers in the scanned folder is no input, whatever its ending."""
    folder = copies("images", "a.jpg")
    for _ in range(2):
        result = run(folder, *THREE, "-o", folder / "out.png", "-f", "jsonl", "--force")
        assert result.exit_code == 0
        (line,) = (folder / "out.png").read_text().splitlines()
        assert json.loads(line)["file"] == "images/a.jpg"
    assert names_in(folder) == ["a.jpg", "out.png"]


def test_the_old_output_stays_until_the_new_one_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that cannot go on leaves the old file; one with failed inputs replaces it."""
    old = '{"file": "old.jpg", "status": "ok"}\n'
    write("out.jsonl", old)
    assert run(HEART, "-l", "nonsense", "-o", "out.jsonl").exit_code == 2
    with monkeypatch.context() as patch:
        patch.setattr(Tally, "add", lambda tally, result: 1 / 0)
        assert isinstance(run(HEART, *THREE, "-o", "out.jsonl").exception, ZeroDivisionError)
    assert Path("out.jsonl").read_text() == old
    assert run("gone.jpg", HEART, *THREE, "-o", "out.jsonl").exit_code == 1
    assert len(Path("out.jsonl").read_text().splitlines()) == 2
    assert names_in(".") == ["out.jsonl"]


def test_an_output_that_cannot_be_written_is_said() -> None:
    """A folder that is not there is status 3 and one line."""
    result = run(HEART, *THREE, "-o", "nowhere/out.jsonl")
    assert result.exit_code == 3
    assert "write error: nowhere/out.jsonl" in result.stderr


# --- choice ---------------------------------------------------------------------------------------


def test_top_and_all() -> None:
    """--top limits the labels of each set; --all shows every label, negative ones too."""
    file = write(
        "s.yaml",
        "labels: [blue heart, green star, red circle, {name: nothing, negative: true}]\n",
    )
    assert labels_of(run(HEART, "-l", file, "--top", "1")) == ["blue heart"]
    assert len(labels_of(run(HEART, "-l", file))) == 3
    assert sorted(labels_of(run(HEART, "-l", file, "--all", "-k", "1"))) == [
        "blue heart", "green star", "nothing", "red circle",
    ]  # fmt: skip


def test_threshold_and_bias_shift_decide_what_is_a_tag() -> None:
    """--threshold moves the bar, --bias-shift the scores; ranking is shown whatever they are."""

    def tags(*options: str) -> list[str]:
        (answer,) = answers(run(HEART, *THREE, *options))
        assert len(answer["labels"]) == 3
        return [label["label"] for label in answer["labels"] if label["tag"]]

    assert tags() == ["blue heart"]
    assert tags("-t", "0.999") == []
    assert len(tags("-t", "0")) == 3
    assert len(tags("--bias-shift", "30")) == 3
    assert tags("--bias-shift", "-30") == []


def test_a_labels_own_threshold_wins() -> None:
    """--threshold does not replace what a label says of itself."""
    file = write("s.yaml", "labels: [{name: blue heart, threshold: 1.0}, green star]\n")
    (answer,) = answers(run(HEART, "-l", file, "-t", "0"))
    assert {label["label"]: label["tag"] for label in answer["labels"]} == {
        "blue heart": False, "green star": True,
    }  # fmt: skip


# --- model and device -----------------------------------------------------------------------------


def test_an_unknown_model_brings_the_nearest() -> None:
    """A mistyped model is status 3 with the name that was meant; nothing goes to stdout."""
    result = run(HEART, *THREE, model="ViT-B-16-SigLIP-385")
    assert result.exit_code == 3
    assert "ViT-B-16-SigLIP-384" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    "options", [["--device", "cuda:63"], ["--precision", "fp16", "--device", "cpu"]]
)
def test_what_this_machine_lacks_is_status_3(options: list[str]) -> None:
    """A device or precision that is a fine word but not here: one line, status 3."""
    result = run(HEART, *THREE, *options)
    assert result.exit_code == 3
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.parametrize(
    "options", [["--batch-size", "1"], ["--batch-size", "7", "--workers", "3"]]
)
def test_batch_size_and_workers_change_no_answer(options: list[str]) -> None:
    """However the work is cut, scores stay what they are."""
    whole = [demo.IMAGES, *THREE, "--no-cache"]
    plain, cut = answers(run(*whole)), answers(run(*whole, *options))
    assert [a["file"] for a in plain] == [a["file"] for a in cut]
    for one, other in zip(plain, cut, strict=True):
        scores = {label["label"]: label["score"] for label in one["labels"]}
        for label in other["labels"]:
            assert label["score"] == pytest.approx(scores[label["label"]], abs=1e-4)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGLIP_MODEL and SIGLIP_LABELS stand for the options; an option on the line wins."""
    monkeypatch.setenv("SIGLIP_MODEL", "demo")
    one, two = (write(f"{n}.yaml", "labels: [red circle, blue heart]") for n in ("one", "two"))
    monkeypatch.setenv("SIGLIP_LABELS", f"{one} {two}")
    (answer,) = answers(run(HEART, "-k", "1", model=None))
    assert answer["model"] == "demo"
    assert [label["set"] for label in answer["labels"]] == ["one", "two"]
    assert {label["set"] for label in answers(run(HEART, "-l", two))[0]["labels"]} == {"two"}
    monkeypatch.setenv("SIGLIP_MAX_MEGAPIXELS", "0.001")
    assert answers(run(HEART, *THREE, "--no-cache"))[0]["error"]["kind"] == "too_large"
    monkeypatch.setenv("SIGLIP_DEVICE", "toaster")
    assert run(HEART, *THREE).exit_code == 2


def test_a_model_folder() -> None:
    """A local folder is a model; answers carry the name that was typed."""
    (answer,) = answers(run(HEART, *THREE, model=str(demo.MODEL_DIR)))
    assert answer["model"] == str(demo.MODEL_DIR)
    assert answer["labels"][0]["label"] == "blue heart"


def test_a_large_image_is_refused_or_read_as_asked() -> None:
    """--max-megapixels is a limit on one image; the others are answered."""
    Image.new("RGB", (1200, 1000), "red").save("large.png")
    result = run("large.png", HEART, *THREE, "--max-megapixels", "1")
    assert [a["status"] for a in answers(result)] == ["error", "ok"]
    assert run("large.png", *THREE, "--max-megapixels", "2").exit_code == 0


# --- what is said ---------------------------------------------------------------------------------


def test_one_answered_image_says_nothing_on_stderr() -> None:
    """Where the answer says it all, stderr is empty; more images bring their counts."""
    assert run(HEART, *THREE).stderr == ""
    several = run(HEART, STAR, *THREE, "--no-cache").stderr
    assert re.fullmatch(r"siglip: 2 encoded, .*, 0 failed, .* images/s\n", several)
    assert run(HEART, STAR, *THREE, "-q").stderr == ""


def test_verbose_says_what_is_used() -> None:
    """-v names the model, the device and the precision."""
    assert "model demo: torch on cpu at fp32" in run(HEART, *THREE, "-v").stderr


def test_names_with_control_characters_stay_on_their_line() -> None:
    """A name with a newline, an escape and markup is one record, in every format."""
    name = "a\n\x1b[31m[bold]=cmd,\"'.jpg"
    write(name, Path(HEART).read_bytes())
    assert [a["file"] for a in answers(run(name, *THREE))] == [name]
    (row, *_) = csv.DictReader(io.StringIO(run(name, *THREE, "-f", "csv", "-k", "1").stdout))
    assert row["file"].endswith(name)
    table = run(name, *THREE, "-f", "table").stdout
    assert "\x1b" not in table
    assert "[bold]" in table


def test_demo_prints_the_command_it_runs() -> None:
    """`siglip demo` shows the command, then its answers; each drawing gets its own name."""
    result = CliRunner().invoke(app, ["demo", "--format", "jsonl"])
    assert result.exit_code == 0
    assert "siglip classify images --labels labels.yaml --model demo" in result.stderr
    for answer in answers(result):
        assert answer["labels"][0]["label"].replace(" ", "-") == Path(answer["file"]).stem
    assert len(answers(result)) == 8


def test_demo_writes_where_it_was_started() -> None:
    """`siglip demo --output` means a file here, not beside the bundled images."""
    result = CliRunner().invoke(app, ["demo", "-q", "-o", "demo.csv"])
    assert result.exit_code == 0
    assert result.stderr == ""


def test_doctor_tells_what_is_here() -> None:
    """`siglip doctor` lists versions, devices and folders, and times one encode."""
    result = CliRunner().invoke(app, ["doctor", "--model", "demo"])
    assert result.exit_code == 0
    first_words = {line.split()[0] for line in result.stdout.splitlines()}
    assert {"siglip", "libraries", "processors", "devices", "cache", "encode"} <= first_words
    assert "s an image" in result.stdout
