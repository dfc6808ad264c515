"""Properties: what any file name and any finite score must come back as."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
import unicodedata
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglipcli import outputs
from siglipcli.digits import shortest
from siglipcli.outputs import Header
from siglipcli.outputs.layout import number
from siglipcli.results import Failure, Prediction, Result, Score

# Any bytes can be a file name, save NUL; most are text, and some are meant to hurt.
NASTY = st.sampled_from(
    [
        "\x1b[31m",
        "\x9b31m",
        "[bold]",
        "\n",
        "\r\n",
        '"',
        ",",
        "=cmd",
        "\u202e",
        "\u2028",
        "猫",
        "👩\u200d👧",
        "file:",
        "\\",
    ]
)


def as_printed(value: float) -> float:
    """A float32 as scoring hands it on."""
    return float(shortest(np.array([value], np.float32))[0])


NAMES = st.one_of(
    st.binary(min_size=1, max_size=40).map(lambda raw: os.fsdecode(raw.replace(b"\0", b"x"))),
    st.lists(st.one_of(NASTY, st.text(max_size=5)), min_size=1, max_size=6).map(
        lambda parts: (
            os.fsdecode("".join(parts).replace("\0", "x").encode("utf-8", "replace")) or "x"
        )
    ),
)
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32).map(as_printed)
UNIT = st.floats(0, 1, width=32).map(as_printed)
SCORES = st.builds(Score, TEXTS, TEXTS, UNIT, UNIT, FINITE, st.booleans())
RESULTS = st.one_of(
    st.builds(
        Prediction,
        NAMES,
        st.lists(SCORES, max_size=4).map(tuple),
    ),
    st.builds(Failure, NAMES, st.just("truncated"), TEXTS),
)


def written(name: str, results: list[Result], header: Header | None = None) -> str:
    """Return what a format writes, checking that UTF-8 can hold it."""
    stream = io.StringIO(newline="")
    writer = outputs.make_sink(name, stream, header or Header("model"))
    for result in results:
        writer.write(result)
    writer.close()
    text = stream.getvalue()
    assert text.encode().decode() == text
    return text


def name_in_json(row: dict[str, str]) -> str:
    """Return the file name as the system has it."""
    if "file_bytes" in row:
        return os.fsdecode(base64.b64decode(row["file_bytes"]))
    return row["file"]


def name_in_csv(cell: str) -> str:
    """Return the file name as the system has it."""
    return os.fsdecode(unquote_to_bytes(cell[5:])) if cell.startswith("file:") else cell


def no_constants(word: str) -> float:
    """Refuse NaN and Infinity, as strict JSON does."""
    raise AssertionError(word)


def check_numbers(got: dict[str, float], score: Score) -> None:
    """A number reads back as it was, to the last digit."""
    for field in ("score", "softmax", "logit"):
        assert got[field] == getattr(score, field)


def check_json(row: dict[str, object], result: Result) -> None:
    """Compare an object with the result it stands for."""
    assert name_in_json(row) == result.file  # type: ignore[arg-type]
    if isinstance(result, Failure):
        assert row["error"] == {"kind": result.kind, "message": result.message}
        return
    for got, score in zip(row["labels"], result.scores, strict=True):  # type: ignore[call-overload]
        assert (got["set"], got["label"], got["tag"]) == (score.set, score.label, score.tag)
        check_numbers(got, score)


@given(st.lists(RESULTS, max_size=4))
def test_jsonl_comes_back_as_it_was(results: list[Result]) -> None:
    """Any name and any score can be read back from JSON Lines, one line each."""
    lines = written("jsonl", results).splitlines()
    for line, result in zip(lines, results, strict=True):
        check_json(json.loads(line, parse_constant=no_constants), result)


@given(st.lists(RESULTS, max_size=4))
def test_json_comes_back_as_it_was(results: list[Result]) -> None:
    """Any name and any score can be read back from the JSON array."""
    rows = json.loads(written("json", results), parse_constant=no_constants)
    for row, result in zip(rows, results, strict=True):
        check_json(row, result)


@given(RESULTS)
def test_csv_comes_back_as_it_was(result: Result) -> None:
    """Any name and any score can be read back from CSV, as many rows as labels, at least one."""
    text = written("csv", [result])
    rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    assert {name_in_csv(row["file"]) for row in rows} == {result.file}
    if isinstance(result, Failure):
        assert [row["error"] for row in rows] == [f"{result.kind}: {result.message}"]
        return
    if not result.scores:
        assert [row["label"] for row in rows] == [""]
        return
    for row, score in zip(rows, result.scores, strict=True):
        assert (row["set"], row["label"]) == (score.set, score.label)
        assert row["tag"] == str(score.tag).lower()
        check_numbers({key: float(row[key]) for key in ("score", "softmax", "logit")}, score)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=20))
def test_a_printed_number_is_the_same_float32_in_the_fewest_digits(values: list[float]) -> None:
    """What is printed reads back as the float32 that scoring compared, as short as NumPy prints it."""
    exact = np.array(values, np.float32)
    printed = [float(repr(number)) for number in shortest(exact).tolist()]
    assert np.array(printed, np.float32).tolist() == exact.tolist()
    assert [abs(number) for number in printed] == [abs(float(str(value))) for value in exact]


@given(st.floats(0, 1, width=32), st.floats(0, 1, width=32), st.booleans())
def test_the_table_rounds_no_score_across_its_threshold(
    one: float, other: float, close: bool
) -> None:
    """A score that misses its threshold is shown below it, one that reaches it is not."""
    limit = np.float32(other)
    score = np.nextafter(limit, np.float32(one)) if close else np.float32(one)
    threshold, value = as_printed(float(limit)), as_printed(float(score))
    shown = number(value, threshold)
    assert (float(shown) >= threshold) == bool(score >= limit)
    assert len(shown) <= 6
    assert float(shown) == pytest.approx(value, rel=0.12 if value > 1e-9 else 1, abs=1e-4)


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """Say yes."""
        return True


SGR = re.compile(r"\x1b\[[0-9;]*m")
BIDI = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@settings(max_examples=60)
@given(st.lists(RESULTS, max_size=3), st.sampled_from([20, 40, 80, 120]))
def test_table_gives_no_name_power_over_the_terminal(results: list[Result], columns: int) -> None:
    """Whatever a file or a label is called, a terminal only ever gets text, newlines and styles."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        patch.setenv("TERM", "xterm")
        stream = Terminal()
        writer = outputs.make_sink("table", stream, Header("model"))
        for result in results:
            writer.write(result)
        writer.close()
    plain = SGR.sub("", stream.getvalue()).replace("\n", "")
    assert not {character for character in plain if unicodedata.category(character) in {"Cc", "Cs"}}
    assert not BIDI & set(plain)


@given(NAMES)
def test_table_keeps_a_name_on_its_own_lines(name: str) -> None:
    """A newline in a name starts no line that could pass for another answer."""
    result = Failure(name, "vanished", "Gone.")
    lines = written("table", [result]).splitlines()
    assert lines[0].startswith("✗ ")
    assert all(line.startswith("  ") for line in lines[1:])
