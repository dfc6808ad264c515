"""What each output format looks like, and how it takes odd names, failures and interrupts."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from siglipcli import outputs
from siglipcli.errors import UsageError
from siglipcli.outputs import Header
from siglipcli.outputs.table import render
from siglipcli.results import Failure, Prediction, Result, Score

GOLDENS = Path(__file__).parent / "goldens" / "outputs"
UPDATE = os.environ.get("SIGLIP_UPDATE_GOLDENS") == "1"

ANIMALS = (
    Score("animals", "cat", 0.4123457, 0.992, -0.35432124, True),
    Score("animals", "bird/owl", 0.00312, 0.0075, -5.7667, False),
    Score("animals", "dog", 3.2e-06, 0.00001, -12.6524, False),
    Score("animals", "goldfish", 4.4e-11, 1.4e-10, -23.8469, False),
)
SCENES = (
    Score("scenes", "indoors", 0.93, 0.9, 2.5866892, True),
    Score("scenes", "a room that nobody has tidied for quite some time", 0.01, 0.1, -4.6, False),
    Score("scenes", "猫のいる部屋", 0.0, 0.0, -800.0, False),
)
ODD_NAME = 'photos/[bold]=cmd, "x"\x1b[31m\nnaïve\u202egpj.\udcff'
RESULTS: tuple[Result, ...] = (
    Prediction("photos/2024/cat.jpg", ANIMALS + SCENES),
    Failure("photos/a.jpg", "truncated", "The file ends before the image does."),
    Failure(
        "photos/b.jpg",
        "unidentified",
        "The content starts like an HTML page. Remove it, or leave it out with --exclude.",
    ),
    Prediction(ODD_NAME, ANIMALS[1:3] + SCENES[:1]),
    Prediction("-", ()),
)
HEADER = Header(
    model="ViT-B-16-SigLIP-384",
    sets=("animals", "scenes"),
    labels=tuple(score.label for score in ANIMALS + SCENES),
)
ONE_SET = Header("demo", ("animals",), tuple(score.label for score in ANIMALS))
CAT = Prediction("cat.jpg", ANIMALS)
SGR = re.compile(r"\x1b\[[0-9;]*m")


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """Say yes."""
        return True


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what the developer's own terminal says out of the tests."""
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def written(
    name: str,
    results: tuple[Result, ...] = RESULTS,
    header: Header = HEADER,
    stream: io.StringIO | None = None,
) -> str:
    """Return what a format writes for these results."""
    stream = stream or io.StringIO(newline="")
    writer = outputs.make_sink(name, stream, header)
    for result in results:
        writer.write(result)
    writer.close()
    return stream.getvalue()


def check_golden(name: str, text: str) -> None:
    """Compare with the stored output, byte for byte; SIGLIP_UPDATE_GOLDENS=1 stores it anew."""
    path = GOLDENS / name
    if UPDATE:
        path.write_bytes(text.encode())
    assert path.exists(), f"{path} is missing: run with SIGLIP_UPDATE_GOLDENS=1 and read the diff"
    assert text == path.read_bytes().decode()


# --- goldens --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["json", "jsonl", "csv"])
def test_formats_for_programs_look_as_agreed(name: str) -> None:
    """Each format for programs writes exactly the bytes that scripts were built on."""
    check_golden(f"results.{name}", written(name))


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_table_fits_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table is laid out for narrow, usual and wide terminals."""
    monkeypatch.setenv("COLUMNS", str(columns))
    check_golden(f"table-{columns}.txt", written("table"))


def test_table_of_one_set_has_no_set_headings() -> None:
    """With one label set the table does not repeat the set's name in every block."""
    check_golden("table-one-set.txt", written("table", (CAT,), ONE_SET))


def test_table_in_colour() -> None:
    """On a terminal the table is coloured from the terminal's own palette."""
    check_golden("table-colour.txt", written("table", RESULTS[:2], stream=Terminal()))


def test_table_without_unicode() -> None:
    """Where the terminal cannot show it, the table draws in ASCII and spells characters out."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, "ascii", newline="")
    writer = outputs.make_sink("table", stream, HEADER)
    for result in RESULTS:
        writer.write(result)
    writer.close()
    check_golden("table-ascii.txt", raw.getvalue().decode("ascii"))


# --- the registry ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a.json", "json"),
        ("b/A.JSONL", "jsonl"),
        ("x.ndjson", "jsonl"),
        ("r.csv", "csv"),
        ("t.txt", "table"),
    ],
)
def test_a_files_ending_chooses_the_format(path: str, name: str) -> None:
    """A file's ending, in any case, chooses the format."""
    assert outputs.for_path(path) == name
    assert outputs.for_path(Path(path)) == name


@pytest.mark.parametrize("path", ["answers", "answers.xml", "answers.json.gz", ".json"])
def test_an_unknown_ending_names_the_known_ones(path: str) -> None:
    """An ending that means nothing is refused with the list of those that do."""
    with pytest.raises(UsageError, match=r"\.txt, \.json, \.jsonl, \.ndjson, \.csv, \.parquet\."):
        outputs.for_path(path)


def test_an_unknown_format_names_the_known_ones() -> None:
    """A format that is not there is refused with the list of those that are."""
    with pytest.raises(UsageError, match=r"'xml'.*table, json, jsonl, csv, parquet"):
        outputs.make_sink("xml", io.StringIO(), HEADER)


def test_no_format_but_the_table_loads_rich() -> None:
    """Writing JSON, JSONL or CSV does not pay for importing Rich."""
    code = """
import io, sys
from siglipcli import outputs
for name in ("json", "jsonl", "csv"):
    outputs.make_sink(name, io.StringIO(), outputs.Header("m")).close()
print([name for name in sys.modules if name.split(".")[0] == "rich"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- JSON and JSON Lines --------------------------------------------------------------------------


def test_jsonl_object_has_the_agreed_keys_in_order() -> None:
    """An answered image is an object of exactly the promised keys."""
    row = json.loads(written("jsonl", (CAT,)))
    assert list(row) == ["file", "status", "model", "labels"]
    assert list(row["labels"][0]) == ["label", "score", "softmax", "logit", "set", "tag"]
    assert row["status"] == "ok"


def test_jsonl_failure_names_kind_and_message() -> None:
    """A failed image is an object that says why."""
    assert json.loads(written("jsonl", RESULTS[1:2])) == {
        "file": "photos/a.jpg",
        "status": "error",
        "labels": [],
        "error": {"kind": "truncated", "message": "The file ends before the image does."},
    }


def test_tiny_scores_keep_their_digits() -> None:
    """A score of 3.2e-06 is written as such, not rounded to nothing."""
    labels = json.loads(written("jsonl", (CAT,)))["labels"]
    assert [each["score"] for each in labels] == [0.4123457, 0.00312, 3.2e-06, 4.4e-11]
    assert labels[0]["logit"] == -0.35432124


@pytest.mark.parametrize("results", [(), RESULTS[:1], RESULTS[1:3], RESULTS])
def test_json_is_one_array_of_the_jsonl_objects(results: tuple[Result, ...]) -> None:
    """The JSON format holds the very objects of JSON Lines, for no result as for many."""
    lines = written("jsonl", results).splitlines()
    assert json.loads(written("json", results)) == [json.loads(line) for line in lines]


def test_json_is_whole_when_closed_early_and_twice() -> None:
    """After an interrupt the array written so far is still valid JSON."""
    stream = io.StringIO()
    writer = outputs.make_sink("json", stream, HEADER)
    writer.write(RESULTS[0])
    writer.close()
    writer.close()
    assert len(json.loads(stream.getvalue())) == 1


@pytest.mark.parametrize("name", ["json", "jsonl", "csv"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("field", ["score", "logit"])
def test_no_format_writes_nan(name: str, value: float, field: str) -> None:
    """A number that is not finite is a bug that stops the run, never a row."""
    numbers = {"score": 0.5, "softmax": 0.5, "logit": 0.0} | {field: value}
    score = Score("s", "cat", tag=False, **numbers)
    with pytest.raises(ValueError, match=r"finite|not JSON compliant"):
        written(name, (Prediction("a", (score,)),))


def test_a_name_that_is_not_utf8_carries_its_bytes() -> None:
    """A name that is not UTF-8 stays valid JSON and can be got back exactly."""
    row = json.loads(written("jsonl", (Prediction("a\udcff.jpg", ()),)))
    assert row["file"] == "a\ufffd.jpg"
    assert row["file_bytes"] == "Yf8uanBn"


def test_a_line_is_a_line_for_every_reader() -> None:
    """Characters that some readers split lines at, or terminals obey, are escaped in JSON Lines."""
    text = written("jsonl", (Failure("a\u2028\x85\x9b\u202eé", "vanished", "\u2029"),))
    assert text.splitlines() == [text[:-1]]
    assert not set("\x9b\u202e") & set(text)
    assert json.loads(text)["file"] == "a\u2028\x85\x9b\u202eé"


@pytest.mark.parametrize("name", ["json", "jsonl", "csv", "table"])
def test_each_result_is_out_when_write_returns(name: str) -> None:
    """The first answer can be read before the last image is done."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(io.BufferedWriter(Unclosing(raw)), "utf-8", newline="")
    writer = outputs.make_sink(name, stream, HEADER)
    writer.write(RESULTS[0])
    assert b"indoors" in raw.getvalue()


class Unclosing(io.RawIOBase):
    """Passes bytes on to a buffer that can be read after this end is gone."""

    def __init__(self, target: io.BytesIO) -> None:
        super().__init__()
        self._target = target

    def writable(self) -> bool:
        """Say yes."""
        return True

    def write(self, data: object) -> int:
        """Pass the bytes on."""
        return self._target.write(data)  # type: ignore[arg-type]


# --- CSV ------------------------------------------------------------------------------------------


def rows_of(text: str) -> list[dict[str, str]]:
    """Parse CSV as a strict reader does."""
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def test_csv_failure_and_empty_answer_keep_a_row() -> None:
    """No input is lost in CSV: a failure says why, a result without labels has only its name and model."""
    rows = rows_of(written("csv", (RESULTS[1], RESULTS[4])))
    assert [row["file"] for row in rows] == ["photos/a.jpg", "-"]
    assert rows[0]["error"] == "truncated: The file ends before the image does."
    assert not rows[0]["label"]
    assert {key for key, value in rows[1].items() if value} == {"file", "model"}


@pytest.mark.parametrize(
    "name", ["=cmd|' /C calc'!A0", "+1", "-1", "@x", " a ", 'a"b', "a,b", "a\r\nb"]
)
def test_csv_leaves_names_as_they_are(name: str) -> None:
    """A name that a spreadsheet might run is still written as it is: CSV is for programs."""
    (row,) = rows_of(written("csv", (Failure(name, "vanished", "Gone."),)))
    assert row["file"] == name


def test_csv_spells_out_a_name_that_is_not_utf8() -> None:
    """A name that is not UTF-8 is percent-encoded after `file:`, and so is a name that looks so."""
    names = ["fo lder/a\udcff.jpg", "file:a.jpg"]
    rows = rows_of(written("csv", tuple(Prediction(n, ()) for n in names)))
    assert [row["file"] for row in rows] == ["file:fo%20lder/a%FF.jpg", "file:file%3Aa.jpg"]


def test_csv_without_results_has_its_column_names() -> None:
    """A run without inputs still gives a CSV file with a header, ended by CRLF."""
    assert written("csv", ()) == "file,set,rank,label,score,softmax,logit,tag,error,model\r\n"


# --- the table ------------------------------------------------------------------------------------


def test_table_without_results_prints_nothing() -> None:
    """A run without inputs prints no headings and no legend."""
    assert not written("table", ())


def test_table_of_failures_explains_no_scores() -> None:
    """Where nothing was answered, there is no legend about scores."""
    assert "sigmoid" not in written("table", RESULTS[1:3])


def test_table_says_what_the_score_is() -> None:
    """The table names what its numbers are, and the model they come from."""
    text = written("table", (CAT,), ONE_SET)
    assert "score = sigmoid" in text
    assert "do not sum to 1" in text
    assert "demo" in text


def test_table_explains_the_tag_mark_only_where_it_occurs() -> None:
    """The sign for a tag is explained when there was one, and only then."""
    assert "✓ = tag" in written("table", (CAT,))
    untagged = Prediction("x", ANIMALS[1:])
    assert "✓" not in written("table", (untagged,))


def test_table_tells_tiny_scores_apart() -> None:
    """Scores too small for four decimals are still told apart, in a column of equal width."""
    text = written("table", (CAT,), ONE_SET)
    assert all(score in text for score in ("0.4123", "0.0031", "3.2e-6", " 4e-11"))
    lines = [line for line in text.splitlines() if re.match(r"  [1-4] ", line)]
    assert len({re.search(r"\d(?=$|  )", line[10:]).end() for line in lines}) == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "score", [0.0, 5e-324, 1e-100, 9.49e-10, 9.5e-10, 9.99e-4, 0.001, 0.99999, 1.0]
)
def test_table_numbers_never_outgrow_their_column(score: float) -> None:
    """Every score there can be fits in the score's column."""
    shown = written("table", (Prediction("x", (Score("s", "cat", score, 0.5, 0.0, False),)),))
    row = next(line for line in shown.splitlines() if line.startswith("  1"))
    number = row.split("cat")[1].split()[0]
    assert len(number) <= 6
    assert float(number) == pytest.approx(score, rel=0.06, abs=5e-5 if score >= 1e-3 else 0)


def test_table_bars_are_linear_in_the_score() -> None:
    """A bar is as long as its score: half the score, half the bar."""
    scores = tuple(Score("s", "x", p, p, 0.0, False) for p in (1.0, 0.5, 0.25, 0.0))
    text = written("table", (Prediction("f", scores),), Header("m", ("s",), ("x",)))
    assert [line.count("━") for line in text.splitlines()[2:6]] == [36, 18, 9, 0]


def test_table_columns_line_up_across_images() -> None:
    """The eye can run down: the score stands in the same column in every block."""
    short = Prediction("a", ANIMALS[:1])
    long = Prediction("b", ANIMALS[3:])
    text = written("table", (short, long), ONE_SET)
    ends = [
        line.index(n) + len(n)
        for line in text.splitlines()
        for n in ("0.4123", "4e-11")
        if n in line
    ]
    assert len(ends) == 2
    assert len(set(ends)) == 1


def test_table_is_plain_where_it_is_not_a_terminal() -> None:
    """In a file or a pipe the table has no colour codes."""
    assert "\x1b" not in written("table")


def test_table_honours_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    """With NO_COLOR set there may be bold and dim text, but no colour."""
    monkeypatch.setenv("NO_COLOR", "1")
    codes = set(re.findall(r"[\d]+", "".join(SGR.findall(written("table", stream=Terminal())))))
    assert codes <= {"0", "1", "2", "3"}


def test_table_uses_only_the_terminals_palette() -> None:
    """No colour is fixed, and none is black, white or grey: light and dark terminals both work."""
    codes = set(re.findall(r"[\d]+", "".join(SGR.findall(written("table", stream=Terminal())))))
    assert {"31", "32"} <= codes
    assert codes <= {"0", "1", "2", "3", "31", "32", "36"}


def test_table_says_nothing_by_colour_alone() -> None:
    """Without its colours the table still has the same text."""
    assert SGR.sub("", written("table", stream=Terminal())) == written("table")


@pytest.mark.parametrize("columns", ["", "0", "wide", "-5"])
def test_table_falls_back_to_80_columns(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A COLUMNS that is no number is ignored."""
    usual = written("table")
    monkeypatch.setenv("COLUMNS", columns)
    assert written("table") == usual


def test_table_in_a_tiny_terminal_still_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even a terminal of five columns gets every label and score."""
    monkeypatch.setenv("COLUMNS", "5")
    text = written("table", (CAT,), ONE_SET)
    assert all(word in text for word in ("cat", "dog", "goldfish", "0.4123"))


def test_table_can_be_recorded_as_a_image() -> None:
    """The image for the documentation is the table itself."""
    assert render(RESULTS, HEADER, 80).export_text() == written("table")
    assert "<svg" in render(RESULTS, HEADER, 80).export_svg(title="siglip")


# --- Parquet --------------------------------------------------------------------------------------


def test_parquet_holds_the_objects_of_json_lines(tmp_path: Path) -> None:
    """`-o x.parquet`: a row per image with the keys of JSON Lines, labels a list of structs, failures too."""
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "x.parquet"
    with outputs.opened("parquet", path, HEADER) as sink:
        for result in RESULTS:
            sink.write(result)
    rows = parquet.read_table(path).to_pylist()
    for row, line in zip(rows, written("jsonl").splitlines(), strict=True):
        expected = json.loads(line)
        raw = expected.pop("file_bytes", None)
        assert row.pop("file_bytes") == (raw and base64.b64decode(raw))
        found = {key: value for key, value in row.items() if value is not None}
        for label in found["labels"]:
            for key in ("score", "softmax", "logit"):
                label[key] = float(str(np.float32(label[key])))
        assert found == expected


def test_parquet_says_what_it_was_made_with(tmp_path: Path) -> None:
    """The file's metadata names the program, the model and what else the run was made with."""
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "x.parquet"
    header = Header("demo", provenance={"fingerprint": "abc", "label_sets": [{"name": "animals"}]})
    with outputs.opened("parquet", path, header):
        pass
    about = parquet.read_schema(path).metadata
    assert about[b"siglipcli"]
    assert (about[b"model"], about[b"fingerprint"]) == (b"demo", b"abc")
    assert json.loads(about[b"label_sets"]) == [{"name": "animals"}]
    assert parquet.read_table(path).num_rows == 0


def test_parquet_is_written_in_groups() -> None:
    """Rows go out as the run goes on: memory does not grow with it."""
    parquet = pytest.importorskip("pyarrow.parquet")
    stream = io.BytesIO()
    sink = outputs.make_sink("parquet", stream, ONE_SET)
    sizes = []
    for _ in range(20_000):
        sink.write(Prediction(CAT.file, ()))
        sizes.append(stream.tell())
    sink.close()
    assert len({*sizes}) == 3  # the magic number, and two groups
    assert parquet.ParquetFile(io.BytesIO(stream.getvalue())).metadata.num_row_groups == 3


def test_parquet_goes_through_a_pipe() -> None:
    """`-f parquet | cat` is a whole file: nothing is written that would need to go back."""
    parquet = pytest.importorskip("pyarrow.parquet")
    code = """
from siglipcli import outputs
from siglipcli.results import Prediction
with outputs.opened("parquet", None, outputs.Header("demo")) as sink:
    sink.write(Prediction("a.jpg", ()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert parquet.read_table(io.BytesIO(done.stdout)).column("file").to_pylist() == ["a.jpg"]


# --- a terminal -----------------------------------------------------------------------------------


def test_csv_on_a_terminal_spells_control_characters_out() -> None:
    """A terminal gets no ESC of a file's name or a label; a pipe gets the exact bytes."""
    odd = Prediction("a\x1b[2J.jpg", (Score("s", "b\x9b", 0.5, 1.0, 0.0, False),))
    shown = written("csv", (odd, RESULTS[1]), stream=Terminal())
    assert r"a\x1b[2J.jpg,s,1,b\x9b,0.5" in shown
    assert "a\x1b[2J.jpg,s,1,b\x9b,0.5" in written("csv", (odd,))


class TerminalBytes(io.BytesIO):
    """A stream of bytes that says that it is a terminal."""

    def isatty(self) -> bool:
        """Say yes."""
        return True


@pytest.mark.parametrize(("name", "end"), [("paths", b"\n"), ("paths0", b"\0")])
def test_paths_are_bytes_in_a_pipe_and_text_on_a_terminal(name: str, end: bytes) -> None:
    """`--paths` gives programs the name's bytes, and a terminal nothing that it would obey."""
    raw = b"a\x1b[2J\xff.jpg"
    results = (Prediction(os.fsdecode(raw), ()), RESULTS[1])
    for stream, expected in ((io.BytesIO(), raw), (TerminalBytes(), rb"a\x1b[2J\xff.jpg")):
        sink = outputs.make_sink(name, stream, HEADER)
        for result in results:
            sink.write(result)
        sink.close()
        assert stream.getvalue() == expected + end
