"""What a label set means, and what every broken one is told."""

from __future__ import annotations

import json
import os
import unicodedata
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from siglipcli import demo
from siglipcli import labels as labelsets
from siglipcli.encoders.tokens import Tokenizer
from siglipcli.errors import CheckpointError, LabelError
from siglipcli.labels import Calibration, Label, LabelSet, nodes, schema
from siglipcli.labels.model_view import (
    AnyModelView,
    ModelView,
    prompts,
    text_warnings,
    watched,
)

PETS = """\
name: pets
description: >
  Cats, dogs
  and birds
templates: ["a photo of a {}.", "a {} at home."]
aggregate: max
threshold: 0.20
bias_shift: -1.5
exclusive: true
labels:
  - cat
  - name: dog
    prompts: ["a dog", "a young {}"]
    threshold: 0.35
  - name: bird
    children: [sparrow, {name: owl, prompts: ["an owl at night"]}]
  - name: none of these
    negative: true
"""


def complaint(text: str | bytes, name: str = "x.yaml") -> str:
    """Return what `parse` complains about."""
    with pytest.raises(LabelError) as caught:
        labelsets.parse(text, name)
    return str(caught.value)


def paths(text: str | bytes) -> list[str]:
    """Return the labels' full names."""
    return [label.path for label in labelsets.parse(text, "x.yaml").labels]


def first(text: str) -> Label:
    """Return the first label."""
    return labelsets.parse(text, "x.yaml").labels[0]


# -- what a set means ---------------------------------------------------------------------------


def test_every_key_of_the_schema_is_read() -> None:
    """A set that uses every key comes back as it was meant."""
    assert labelsets.parse(PETS, "pets.yaml") == LabelSet(
        name="pets",
        description="Cats, dogs and birds",
        aggregate="max",
        threshold=0.2,
        bias_shift=-1.5,
        exclusive=True,
        labels=(
            Label("cat", ("a photo of a cat.", "a cat at home.")),
            Label("dog", ("a dog", "a young dog"), threshold=0.35),
            Label("bird", ("a photo of a bird.", "a bird at home.")),
            Label("bird/sparrow", ("a photo of a sparrow.", "a sparrow at home.")),
            Label("bird/owl", ("an owl at night",)),
            Label(
                "none of these",
                ("a photo of a none of these.", "a none of these at home."),
                negative=True,
            ),
        ),
    )


def test_the_shortest_set_has_sensible_defaults() -> None:
    """A list of names alone is filled into one template and named after its file."""
    found = labelsets.parse("labels: [cat]", "some/where/pets.yaml")
    assert found == LabelSet("pets", (Label("cat", ("a photo of a cat.",)),))


@pytest.mark.parametrize(
    "text",
    [
        "no",
        "on",
        "Yes",
        "1.0",
        "~",
        "null",
        "2024-01-01",
        "0x1F",
        "1_000",
        ".inf",
        "=",
        "12:30",
        "0o7",
    ],
)
def test_scalars_are_the_text_as_written(text: str) -> None:
    """A label that YAML would take for a number, date or truth value stays what it looks like."""
    assert paths(f"labels: [{text}]") == [text]


def test_blanks_around_a_text_are_dropped() -> None:
    """A quoted name with blanks is the name without them, and so is a folded prompt."""
    label = first("labels:\n- name: '  cat '\n  prompts:\n  - >\n    a cat\n    at home\n")
    assert label == Label("cat", ("a cat at home",))


def test_a_name_that_holds_braces_is_filled_in_once() -> None:
    """Templates are filled by replacement: no name can act as a format."""
    assert first("labels: ['{0} {} %s']").prompts == ("a photo of a {0} {} %s.",)


def test_negative_is_handed_down_unless_a_child_says_otherwise() -> None:
    """Children of a negative label are negative, save one that sets `negative: false`."""
    text = "labels: [{name: a, negative: true, children: [b, {name: c, negative: false}]}]"
    assert [label.negative for label in labelsets.parse(text, "x").labels] == [True, True, False]


def test_a_threshold_is_not_handed_down() -> None:
    """A parent's threshold is its own."""
    text = "labels: [{name: a, threshold: 0.5, children: [b]}]"
    assert [label.threshold for label in labelsets.parse(text, "x").labels] == [0.5, None]


def test_a_slash_in_a_name_is_kept() -> None:
    """A name may hold the separator; it is part of the path as it stands."""
    assert paths("labels: [baluster / handrail]") == ["baluster / handrail"]


def test_an_alias_repeats_a_value() -> None:
    """Plain YAML aliases are read."""
    text = "labels: [{name: a, prompts: &p ['one {}']}, {name: b, prompts: *p}]"
    assert [x.prompts for x in labelsets.parse(text, "x").labels] == [("one a",), ("one b",)]


@pytest.mark.parametrize("number", ["0", "1", "0.5", ".5", "1.", "5e-2", "+0.25", "'0.5'"])
def test_thresholds_are_numbers_from_0_to_1(number: str) -> None:
    """Every usual spelling of a number is taken."""
    found = labelsets.parse(f"threshold: {number}\nlabels: [a]", "x")
    assert found.threshold == float(number.strip("'"))


@pytest.mark.parametrize("number", ["-6", "+1.5", "0", "1e2", "'-.5'", "-1000", "1000"])
def test_a_sets_bias_shift_is_a_number_with_a_sign(number: str) -> None:
    """A set may carry the shift of its logits; nought where it does not."""
    found = labelsets.parse(f"bias_shift: {number}\nlabels: [a]", "x")
    assert found.bias_shift == float(number.strip("'"))
    assert labelsets.parse("labels: [a]", "x").bias_shift == 0


# -- how the text is read -----------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_with_a_mark_are_read(codec: str) -> None:
    """UTF-8 with or without a mark, and marked UTF-16 and UTF-32, read the same."""
    assert paths("labels: [café, 猫]\n".encode(codec)) == ["café", "猫"]


def test_windows_line_ends_are_read() -> None:
    """CRLF is a line end, and no part of a name."""
    assert paths(b"labels:\r\n- cat\r\n- dog\r\n") == ["cat", "dog"]


@pytest.mark.parametrize("codec", ["latin-1", "utf-16-le", "utf-16-be"])
def test_other_encodings_are_a_clear_error(codec: str) -> None:
    """Bytes that are not UTF-8 are refused with their line and what to do."""
    message = complaint("name: x\nlabels: [café]\n".encode(codec))
    assert message.startswith("x.yaml:")
    assert "save" in message
    assert "UTF-8" in message


def test_a_tab_is_a_clear_error() -> None:
    """A line that is indented with a tab is named as such."""
    assert complaint("labels:\n\t- cat\n") == "x.yaml:2: indented with a tab; YAML wants spaces."


def test_bad_syntax_names_the_line_and_the_usual_cause() -> None:
    """Braces without quotes, the usual slip, say which characters want quotes."""
    message = complaint("name: x\nlabels: [{name: a, prompts: [a {} b]}]\n")
    assert message.startswith("x.yaml:2: not valid YAML: ")
    assert "quote" in message


HOSTILE = {
    "bomb": "a: &a [x,x,x,x,x,x,x,x]\n"
    + "".join(
        f"{n}: &{n} [{','.join([f'*{p}'] * 8)}]\n"
        for p, n in zip("abcdefghi", "bcdefghij", strict=True)
    )
    + "labels: *j\n",
    "recursion in a list": "labels: &a [*a]",
    "recursion in a mapping": "labels: [&a {name: x, children: [*a]}]",
    "deep lists": "labels: " + "[" * 200_000,
    "deep mappings": "{a: " * 200_000,
    "deep blocks": "- " * 200_000,
    "deep keys": "? " * 200_000,
    "deep children": "labels: " + "[{name: a, children: " * 200 + "[b]" + "}]" * 200,
    "aliases deepen": "a: &a [[[[[[[[[[[[x]]]]]]]]]]]]\nb: &b [[[[[[[[[[[[*a]]]]]]]]]]]]\nlabels: [[*b]]",
    "many aliases": "name: &n x\nlabels: [" + "*n," * 5_000 + "]",
    "no anchor": "labels: [*a]",
    "python object": "labels: [!!python/object/apply:os.system [true]]",
    "own tag": "labels: [!own cat]",
    "tagged text": "labels: [!!str no]",
    "two documents": "labels: [a]\n---\nlabels: [b]\n",
    "merge key": "<<: {name: x}\nlabels: [a]",
    "list as key": "? [a]\n: b\nlabels: [c]",
    "null character": "labels: [a\0]",
    "escape character": "labels: [a\x1b]",
    "lone surrogate": "labels: [\ud800]",
    "escaped surrogate": 'labels: ["\\uD800"]',
    "beyond Unicode": 'labels: ["\\UFFFFFFFF"]',
    "absurd version": "%YAML 1." + "9" * 5_000 + "\n---\nlabels: [a]",
}


@pytest.mark.parametrize("loader", ["CSafeLoader", "SafeLoader"])
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_yaml_is_refused_on_one_line(
    text: str, loader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bomb, recursion, deep nesting, tags and the like are a `LabelError`, with either parser."""
    monkeypatch.setattr(nodes, "LOADER", getattr(yaml, loader, yaml.SafeLoader))
    message = complaint(text)
    assert message.startswith("x.yaml:")
    assert message.isprintable()
    assert len(message) < 300


def test_a_file_that_is_too_large_is_not_read_whole(tmp_path: Path) -> None:
    """Sixteen megabytes are enough for any set."""
    path = tmp_path / "big.yaml"
    with path.open("wb") as stream:
        stream.truncate(nodes.MAX_BYTES + 1)
    with pytest.raises(LabelError, match="larger than 16 MiB"):
        labelsets.load(path)


def test_text_that_is_too_large_is_refused() -> None:
    """The same limit holds for text that is parsed directly."""
    assert "larger than 16 MiB" in complaint("#" * (nodes.MAX_BYTES + 1))


def test_too_many_values_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser stops at a bounded number of values."""
    monkeypatch.setattr(nodes, "MAX_NODES", 1_000)
    assert "more than 1,000 values" in complaint("labels: [" + "a," * 2_000 + "]")


# -- what a broken set is told ------------------------------------------------------------------

BROKEN = {
    "": "x.yaml:1: labels: expected the keys of a label set, at least 'labels:', or a list, found nothing.",
    "# only this": "x.yaml:1: labels: expected the keys of a label set, at least 'labels:', or a list, found nothing.",
    "[]": "x.yaml:1: labels: expected a list of at least one, found an empty list.",
    "labels: [a]\ncalibrated: now": (
        "x.yaml:2: calibrated: expected the keys model, fingerprint, precision, images, date, found 'now'."
    ),
    "labels: [a]\ncalibrated: {date: 2026-01-01}": (
        "x.yaml:2: calibrated.model: expected the model's name, found nothing."
    ),
    "labels: [a]\ncalibrated: {model: m, images: few}": (
        "x.yaml:2: calibrated.images: expected a whole number, found 'few'."
    ),
    "labels: [a]\ncalibrated: {model: m, date: today}": (
        "x.yaml:2: calibrated.date: expected a date such as 2026-01-31, found 'today'."
    ),
    "labels: [a]\ncalibrated: {modle: m}": (
        "x.yaml:2: calibrated.modle: unknown key; the nearest known is 'model'. (1 more.)"
    ),
    "name: x": "x.yaml:1: labels: expected a list, found nothing.",
    "labels: []": "x.yaml:1: labels: expected a list of at least one, found an empty list.",
    "labels: cat": "x.yaml:1: labels: expected a list, found 'cat'.",
    "labels: {cat: dog}": "x.yaml:1: labels: expected a list, found a mapping.",
    "labels: [a]\nlabels: [b]": "x.yaml:2: labels: the key is already on line 1.",
    "labels:\n- cat\n- cat": "x.yaml:3: labels[1]: the label 'cat' is already on line 2.",
    "labels:\n- caf\u00e9\n- cafe\u0301": "x.yaml:3: labels[1]: the label 'cafe\u0301' is already on line 2.",
    "labels:\n- a/b\n- name: a\n  children:\n  - b": (
        "x.yaml:5: labels[1].children[0]: the label 'a/b' is already on line 2."
    ),
    "labels: [a]\ntreshold: 1": "x.yaml:2: treshold: unknown key; the nearest known is 'threshold'.",
    "labels: [a]\nzzz: 1": (
        "x.yaml:2: zzz: unknown key; known here: name, description, templates, aggregate, "
        "threshold, bias_shift, exclusive, calibrated, labels; quote a text that holds ': '."
    ),
    "labels:\n- C: a language": (
        "x.yaml:2: labels[0].C: unknown key; known here: name, prompts, threshold, negative, "
        "children; quote a text that holds ': '."
    ),
    "labels:\n- name: a\n  prompt: [b]": (
        "x.yaml:3: labels[0].prompt: unknown key; the nearest known is 'prompts'."
    ),
    "labels: [{}]": "x.yaml:1: labels[0].name: expected the label's name, found nothing.",
    "labels: [{prompts: [a]}]": "x.yaml:1: labels[0].name: expected the label's name, found nothing.",
    "labels: ['']": "x.yaml:1: labels[0]: expected a label's name, found nothing.",
    "labels:\n-": "x.yaml:2: labels[0]: expected a label's name, found nothing.",
    "labels: ['  ']": "x.yaml:1: labels[0]: expected a label's name, found nothing.",
    "labels: [\u200b]": "x.yaml:1: labels[0]: expected a label's name, found nothing.",
    "labels: [[a]]": (
        "x.yaml:1: labels[0]: expected a label's name, found a list; "
        "quote a text that holds ': ' or starts with { or [."
    ),
    'labels: ["a\\nb"]': (
        "x.yaml:1: labels[0]: expected a label's name on one line, found character U+000A in it."
    ),
    'labels: ["\\e[1mbold"]': (
        "x.yaml:1: labels[0]: expected a label's name on one line, found character U+001B in it."
    ),
    f"labels: [{'a' * 300}]": (
        "x.yaml:1: labels[0]: expected a label's name of at most 200 characters, "
        f"found '{'a' * 57}...'."
    ),
    "labels: [{name: a, prompts: []}]": (
        "x.yaml:1: labels[0].prompts: expected a list of at least one, found an empty list."
    ),
    "labels: [{name: a, prompts: b}]": "x.yaml:1: labels[0].prompts: expected a list, found 'b'.",
    "labels: [{name: a, prompts: [b, ' ']}]": (
        "x.yaml:1: labels[0].prompts[1]: expected a prompt, found nothing."
    ),
    "labels: [{name: a, prompts: ['{} and {}']}]": (
        "x.yaml:1: labels[0].prompts[0]: expected {} for the name at most once, found '{} and {}'."
    ),
    "labels: [{name: a, children: []}]": (
        "x.yaml:1: labels[0].children: expected a list of at least one, found an empty list."
    ),
    "labels: [{name: a, children: [{name: b, threshold: hot}]}]": (
        "x.yaml:1: labels[0].children[0].threshold: expected a number from 0 to 1, found 'hot'."
    ),
    "templates: ['a photo']\nlabels: [a]": (
        "x.yaml:1: templates[0]: expected a text with {} for the name, once, found 'a photo'."
    ),
    "templates: ['{} {}']\nlabels: [a]": (
        "x.yaml:1: templates[0]: expected a text with {} for the name, once, found '{} {}'."
    ),
    "templates: [{}]\nlabels: [a]": (
        "x.yaml:1: templates[0]: expected a text with {} for the name, found a mapping; "
        "quote a text that holds ': ' or starts with { or [."
    ),
    "aggregate: median\nlabels: [a]": "x.yaml:1: aggregate: expected mean or max, found 'median'.",
    "exclusive: yes\nlabels: [a]": "x.yaml:1: exclusive: expected true or false, found 'yes'.",
    "labels: [{name: a, negative: 1}]": (
        "x.yaml:1: labels[0].negative: expected true or false, found '1'."
    ),
    "threshold:\nlabels: [a]": "x.yaml:1: threshold: expected a number from 0 to 1, found nothing.",
    "name: [a]\nlabels: [a]": (
        "x.yaml:1: name: expected the set's name, found a list; "
        "quote a text that holds ': ' or starts with { or [."
    ),
    "description: ''\nlabels: [a]": "x.yaml:1: description: expected a text, found nothing.",
}


@pytest.mark.parametrize(("text", "expected"), BROKEN.items(), ids=range(len(BROKEN)))
def test_complaints_name_file_line_and_key(text: str, expected: str) -> None:
    """Each kind of mistake is told where it is and what was expected."""
    assert complaint(text) == expected


@pytest.mark.parametrize(
    "number", ["1.01", "-0.1", "nan", "inf", "1_0", "0x0", "50%", "[0.5]", "1e999"]
)
def test_other_thresholds_are_refused(number: str) -> None:
    """What is no number from 0 to 1 is refused, not rounded or guessed."""
    assert "threshold: expected a number from 0 to 1" in complaint(
        f"threshold: {number}\nlabels: [a]"
    )


@pytest.mark.parametrize("number", ["1000.1", "-1001", "nan", "inf", "six", "--6", "[6]", "1e999"])
def test_other_shifts_are_refused(number: str) -> None:
    """What would make every score 0 or 1 is refused, with file, line and key."""
    assert complaint(f"labels: [a]\nbias_shift: {number}").startswith(
        "x.yaml:2: bias_shift: expected a number from -1000 to 1000, found "
    )
    assert "labels[0].bias_shift: unknown key" in complaint("labels: [{name: a, bias_shift: 1}]")


def test_all_complaints_are_found_in_the_order_of_the_file() -> None:
    """`examine` lists every mistake at once; `parse` says how many more there are."""
    text = "aggregate: x\nlabels:\n- name: a\n  threshold: 7\n- a\nexclusive: x\n"
    found, complaints = labelsets.examine(text, "x.yaml")
    assert found is None
    assert [line.split(":")[1] for line in complaints] == ["1", "4", "5", "6"]
    assert complaint(text) == f"{complaints[0]} (3 more.)"


def test_complaints_are_capped() -> None:
    """A file in which every line is wrong does not flood the terminal."""
    _, complaints = labelsets.examine("labels:\n" + "- ''\n" * 5_000, "x.yaml")
    assert len(complaints) == 100


@pytest.mark.parametrize(
    ("limit", "value", "text"),
    [
        ("MAX_LABELS", 3, "labels: [a, b, c, d]"),
        ("MAX_PROMPTS", 3, "labels: [a, b, c, d]"),
        ("MAX_PROMPT_CHARACTERS", 30, "labels: [a, b, c, d]"),
        ("MAX_PROMPTS_PER_LABEL", 1, "labels: [{name: a, prompts: [b, c]}]"),
        ("MAX_TEXT", 5, "labels: [{name: a, prompts: [abcdef]}]"),
    ],
)
def test_sets_beyond_the_limits_are_refused(
    limit: str, value: int, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number and length of labels and prompts are bounded, templates filled in."""
    monkeypatch.setattr(schema, limit, value)
    message = complaint(text)
    assert message.startswith("x.yaml:1: labels")
    assert "at most" in message or "more than" in message


def test_an_odd_file_name_cannot_steer_the_terminal() -> None:
    """Control characters in a file's name are escaped in its complaints."""
    message = complaint("labels: []", "a\x1b[2J\n\udcff.yaml")
    assert message.startswith(r"a\x1b[2J\n\xff.yaml:1: labels: ")


# -- where sets come from -----------------------------------------------------------------------


def test_a_file_wins_over_a_built_in_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file called like a built-in set is the one that is read; a folder is not in its way."""
    monkeypatch.chdir(tmp_path)
    Path("food").mkdir()
    Path("animals").write_text("labels: [mine]", encoding="utf-8")
    assert [label.path for label in labelsets.load("animals").labels] == ["mine"]
    assert labelsets.load("food").name == "food"


@pytest.mark.parametrize("reference", ["animls", "Animals.yml", "animals.yaml"])
def test_an_unknown_name_is_told_the_nearest(
    reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slip of the pen is answered with the built-in set that was probably meant."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LabelError) as caught:
        LabelSet.load(reference)
    expected = (
        f"there is no file and no built-in label set '{reference}'."
        " The nearest built-in set is 'animals'."
    )
    assert str(caught.value) == expected


@pytest.mark.parametrize("reference", ["", "\0", "qqqqqq", "a" * 5_000, "/"])
def test_references_to_nothing_are_a_label_error(reference: str) -> None:
    """No reference, however odd, ends in anything but one line."""
    with pytest.raises(LabelError) as caught:
        labelsets.load(reference)
    assert str(caught.value).isprintable()


def test_a_file_that_may_not_be_read_is_a_label_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file without read permission is named, with the system's reason."""
    path = tmp_path / "x.yaml"
    path.touch()

    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(LabelError, match=r"x\.yaml: cannot be read: Permission denied\.$"):
        labelsets.load(path)


def test_a_pipe_is_read(tmp_path: Path) -> None:
    """A set may come through a descriptor, as shells pass one for `<(command)`."""
    reading, writing = os.pipe()
    os.write(writing, b"labels: [cat]")
    os.close(writing)
    if not Path(f"/dev/fd/{reading}").exists():
        pytest.skip("no /dev/fd here")
    assert [label.path for label in labelsets.load(f"/dev/fd/{reading}").labels] == ["cat"]
    os.close(reading)


# -- labels on the spot -------------------------------------------------------------------------


def test_names_make_a_set() -> None:
    """Plain names are filled into the templates given."""
    found = LabelSet.of(["cat", " dog "], name="pets", templates=["a {}", "my {}"])
    expected = (Label("cat", ("a cat", "my cat")), Label("dog", ("a dog", "my dog")))
    assert found == LabelSet("pets", expected)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], "labels: expected a list of at least one, found an empty list."),
        (["cat", "cat"], "labels[1]: the label 'cat' is there twice."),
        ([" "], "labels[0]: expected a label's name, found nothing."),
        (
            ["\udcff"],
            "labels[0]: expected a label's name on one line, found character U+DCFF in it.",
        ),
    ],
)
def test_names_are_checked_as_in_a_file(names: list[str], expected: str) -> None:
    """Empty, blank, repeated and undecodable names are refused."""
    with pytest.raises(LabelError) as caught:
        LabelSet.of(names)
    assert str(caught.value) == expected


def test_templates_given_in_code_are_checked() -> None:
    """A template without a place for the name is refused."""
    with pytest.raises(LabelError, match=r"with \{\} for the name"):
        LabelSet.of(["cat"], templates=["a photo"])


# -- warnings -----------------------------------------------------------------------------------


def bare(text: str) -> str:
    """Lower case without punctuation: what a model's cleaning does."""
    return " ".join("".join(c for c in text.lower() if c.isalnum() or c == " ").split())


def warned(labels: LabelSet, context_length: int = 64) -> list[str]:
    """What is said of a set's prompts without a model."""
    view = AnyModelView(bare, context_length)
    return [warning.message for warning in text_warnings(prompts(labels), view)]


def test_labels_that_read_the_same_are_warned_of_once() -> None:
    """`C` and `C.` are one prompt to the model, however many templates there are."""
    found = LabelSet.of(["C", "C.", "D"], templates=["a {}", "my {}"])
    assert warned(found) == ["C.: the model reads the same prompt as for C"]


def test_a_prompt_of_which_nothing_is_left_is_warned_of() -> None:
    """A prompt of punctuation is an empty text to the model."""
    found = LabelSet.of(["???"], templates=["{}"])
    assert warned(found) == ["???: the model reads nothing of the prompt '???'; use words"]


def test_a_prompt_beyond_the_context_is_warned_of() -> None:
    """Words beyond the model's context are cut."""
    found = LabelSet.of(["a b c"])
    assert warned(found, 4) == []
    assert warned(found, 3) == [
        "a b c: the prompt 'a b c' is cut after 3 tokens, the most this model reads"
    ]


@pytest.mark.parametrize(
    ("text", "read"),
    [("red-circle", "redcircle"), ("3/4", "34"), ("C++", "c"), ("R&B", "rb"), ("50 %", "50"), ("v1.5", "v15")],
)  # fmt: skip
def test_words_that_the_cleaning_joins_are_shown(text: str, read: str) -> None:
    """Punctuation within a word is deleted by the model's cleaning; the warning says what is left."""
    assert warned(LabelSet.of([text], templates=["{}"])) == [
        f"{text}: of the prompt '{text}' the model reads '{read}'; write it with spaces or in words"
    ]


@pytest.mark.parametrize("text", ["crane (bird)", "a cat, asleep.", "dog's bed", 'a "cat"', "café"])
def test_punctuation_that_means_nothing_draws_no_warning(text: str) -> None:
    """What the cleaning deletes without a change of sense is not worth a line."""
    assert warned(LabelSet.of([text], templates=["{}"])) == []


@pytest.mark.parametrize("text", ["猫", "кошка", "a photo of a 犬"])
def test_letters_that_an_english_model_does_not_know_are_warned_of(text: str) -> None:
    """They are all read as "unknown": the warning names a model that knows them."""
    (line,) = warned(LabelSet.of([text], templates=["{}"]))
    assert "multilingual model such as ViT-B-16-SigLIP2-256" in line


DEMO = Tokenizer(Path(demo.MODEL_DIR) / "tokenizer.json", 16, "</s>", "canonicalize")


def test_texts_are_compared_by_their_tokens() -> None:
    """Two unknown words are one text to the model, and so are two that differ after the cut."""
    view = ModelView(DEMO)
    kinds = [(w.kind, w.message) for w in text_warnings([("", "猫"), ("", "狗")], view)]
    assert [kind for kind, _ in kinds] == ["unknown", "same", "unknown"]
    assert ("same", "the model reads the text '狗' the same as '猫'") in kinds
    long = "red circle " * 30
    kinds = [(w.kind, w.message) for w in text_warnings([("", long + "a"), ("", long + "b")], view)]
    assert [kind for kind, _ in kinds] == ["cut", "same"]
    assert text_warnings([("", "ＣＡＴ"), ("", "dog")], view) == []
    assert [w.kind for w in text_warnings([("", "ＣＡＴ"), ("", "cat")], view)] == ["same"]


def test_plain_words_are_judged_without_the_tokenizers_file() -> None:
    """Letters, digits and blanks are in every vocabulary: a run with stored prompts reads no file."""
    view = ModelView(Tokenizer(Path("gone.json"), 64, "</s>", "canonicalize"))
    assert text_warnings([("", "A cat."), ("", "a dog"), ("", "no 3")], view) == []
    with pytest.raises(CheckpointError):
        text_warnings([("", "eine Straße")], view)


# -- names that are prompts ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        ("cat", "a photo of a cat."),
        ("a birthday party", "a birthday party"),
        ("The Eiffel Tower", "The Eiffel Tower"),
        ("an owl", "an owl"),
        ("two cats on a sofa.", "two cats on a sofa."),
        ("is it raining?", "is it raining?"),
        ("anchor", "a photo of a anchor."),
        ("the", "a photo of a the."),
        ("Martin Luther King Jr.", "a photo of a Martin Luther King Jr.."),
        ("U.S.", "a photo of a U.S.."),
        ("Yahoo!", "a photo of a Yahoo!."),
    ],
)
def test_a_name_with_an_article_and_a_sentence_are_prompts(name: str, prompt: str) -> None:
    """The default template would make no English of them; elsewhere it is filled in."""
    assert LabelSet.of(name).labels[0].prompts == (prompt,)
    assert first(f"labels: ['{name}']").prompts == (prompt,)


def test_own_templates_are_filled_with_every_name() -> None:
    """Only the default template steps back."""
    assert LabelSet.of("a dog", templates="look, {}!").labels[0].prompts == ("look, a dog!",)
    assert first("templates: ['x {}']\nlabels: [a dog]").prompts == ("x a dog",)


def test_templates_take_the_place_of_the_sets_own() -> None:
    """A label's own prompts stay."""
    text = "templates: ['x {}']\nlabels: [cat, {name: dog, prompts: [my dog]}]"
    found = labelsets.parse(text, "x.yaml", templates=["{}", "a {}"])
    assert [label.prompts for label in found.labels] == [("cat", "a cat"), ("my dog",)]


# -- lists and Python objects -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "file"),
    [
        ("cat\r\n\n  big dog \n# a comment\n#1\n", "x.txt"),
        ("\ufeff# first\ncat\nbig dog\n#1", "stdin"),
        ("- cat\n- big dog\n- '#1'\n", "x.yaml"),
        ("- cat\n- big dog\n- '#1'\n", "stdin"),
        ('["cat", "big dog", "#1"]', "x.json"),
        ('[\n\t"cat",\n\t"big dog",\n\t"#1"\n]', "x"),
        ("name: x\nlabels: [cat, big dog, '#1']", "x"),
    ],
)
def test_lists_of_names_are_label_sets(text: str, file: str) -> None:
    """One per line, or a list in YAML or JSON, by the file's ending or by its first line."""
    found = labelsets.parse(text, file)
    assert [label.path for label in found.labels] == ["cat", "big dog", "#1"]
    assert found.name == Path(file).stem


def test_mistakes_in_a_list_name_their_line() -> None:
    """A name that is there twice is found by the lines of the text."""
    message = complaint("cat\n\ndog\ncat\n", "x.txt")
    assert message == "x.txt:4: labels[2]: the label 'cat' is already on line 1."
    assert complaint("\n# nothing\n", "x.txt").startswith("x.txt:1: labels: expected")


def test_jsons_escapes_are_read() -> None:
    """Python's own JSON writes a character beyond U+FFFF as two escapes."""
    names = ["😀", "a/b", "\\ud83d", "é"]
    assert paths(json.dumps({"labels": names})) == names


def test_a_single_string_is_one_label() -> None:
    """It is never split into letters."""
    assert [label.path for label in LabelSet.of("cat").labels] == ["cat"]


@pytest.mark.parametrize("names", [None, 3, b"cat", {"cat": 1}, ["cat", 3], [b"cat"]])
def test_labels_that_are_no_text_are_a_type_error(names: Any) -> None:
    """As in any library, at the call."""
    with pytest.raises(TypeError, match="string"):
        LabelSet.of(names)


def test_a_dict_has_the_keys_of_the_yaml_form() -> None:
    """What YAML's own reader gives, `from_dict` reads as `parse` does."""
    assert LabelSet.from_dict(yaml.safe_load(PETS)) == labelsets.parse(PETS, "pets.yaml")
    found = LabelSet.from_dict({"labels": ["cat", 7], "threshold": None}, name="mine")
    assert (found.name, [label.path for label in found.labels]) == ("mine", ["cat", "7"])


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"labels": ["a"], "treshold": 1}, "treshold: unknown key; the nearest known is 'threshold'."),
        ({"labels": [{"name": "a", "threshold": 2}]}, "labels[0].threshold: expected a number from 0 to 1, found '2'."),
        ({"labels": ["a", "a"]}, "labels[1]: the label 'a' is there twice."),
        ({}, "labels: expected a list, found nothing."),
    ],
)  # fmt: skip
def test_a_broken_dict_is_a_label_error(schema: dict[str, Any], message: str) -> None:
    """The key is named as in a file."""
    with pytest.raises(LabelError) as caught:
        LabelSet.from_dict(schema)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (
            {"labels": ["a"], "threshold": True},
            "threshold: expected a number from 0 to 1, found 'true'.",
        ),
        (
            {"labels": ["x" * 199 + "\a"]},
            "labels[0]: expected a label's name on one line, found character U+0007 in it.",
        ),
    ],
)
def test_what_a_dict_has_wrong_is_named_without_a_line(
    schema: dict[str, Any], message: str
) -> None:
    """A Python object has no lines; the longest name that may be is not called too long."""
    with pytest.raises(LabelError) as error:
        LabelSet.from_dict(schema)
    assert message in str(error.value)
    assert ":1:" not in str(error.value)


def test_a_dict_with_other_objects_is_a_type_error() -> None:
    """The key says where; a dict that holds itself ends."""
    with pytest.raises(TypeError, match=r"labels\[0\] is a text, .* not object"):
        LabelSet.from_dict({"labels": [object()]})
    with pytest.raises(TypeError, match="schema is a dict, not list"):
        LabelSet.from_dict(["cat"])  # type: ignore[arg-type]
    endless: dict[str, Any] = {"name": "a"}
    endless["children"] = [endless]
    with pytest.raises(LabelError, match="nested more than 24"):
        LabelSet.from_dict({"labels": [endless]})


def test_only_a_name_or_path_is_loaded() -> None:
    """Anything else is a TypeError that says so."""
    with pytest.raises(TypeError, match="by name or path, not from list"):
        LabelSet.load(["animals"])  # type: ignore[arg-type]


def test_the_repr_of_a_set_fits_in_a_line() -> None:
    """However many labels there are."""
    assert repr(LabelSet.load("imagenet")) == "<LabelSet 'imagenet': 1,000 labels>"


# -- calibration --------------------------------------------------------------------------------

FITTED = """\
labels: [cat]
calibrated: {model: big, fingerprint: abc-openvino-bf16, precision: bf16, images: 120, date: 2026-11-25}
"""


def test_what_thresholds_were_fitted_on_is_read() -> None:
    """`calibrated` names the model, and what is known of the images."""
    expected = Calibration("big", "abc-openvino-bf16", "bf16", 120, "2026-11-25")
    assert labelsets.parse(FITTED, "x").calibrated == expected
    assert LabelSet.from_dict(yaml.safe_load(FITTED)).calibrated == expected
    alone = labelsets.parse("labels: [cat]\ncalibrated: {model: big}", "x").calibrated
    assert alone == Calibration("big")


@pytest.mark.parametrize(
    ("encoder", "words"),
    [
        (("big", "abc-openvino-bf16", "bf16"), None),
        (("big", "abc-torch-bf16", "bf16"), None),
        (("renamed", "abc-openvino-bf16", "bf16"), None),
        (("big", "abc-openvino-fp32", "fp32"), "at fp32 tags near a threshold may differ"),
        (("big", "abd-openvino-bf16", "bf16"), "other weights of big"),
        (("small", "xyz-openvino-bf16", "bf16"), "fitted on big, and mean nothing for small"),
    ],
)
def test_thresholds_of_another_model_draw_a_warning(
    encoder: tuple[str, str, str], words: str | None
) -> None:
    """The checkpoint and the precision decide; a runtime of the same precision does not."""
    warning = labelsets.parse(FITTED, "x").check_calibration(*encoder)
    assert (warning or "").count(words or "label set") == (words is not None)


def test_strictness_makes_an_error_of_that_warning() -> None:
    """By default a library user is given the warning; with `strict` the set is refused, by a stable code."""
    fitted, warnings = labelsets.parse(FITTED, "x"), list[str]()
    model = SimpleNamespace(name="small", fingerprint="xyz-openvino-bf16", precision="bf16")
    labelsets.check_calibration([fitted, LabelSet.of("cat")], model, warnings.append)
    assert ["mean nothing for small" in warning for warning in warnings] == [True]
    with pytest.raises(LabelError) as caught:
        labelsets.check_calibration([fitted], model, warnings.append, strict=True)
    assert caught.value.code == "calibrated_elsewhere"


def test_a_stream_of_texts_is_passed_on_with_its_warnings() -> None:
    """Each text comes out; the first warnings of a kind are given, and how many more there are like these."""
    texts, warnings = [f"C{'+' * n}" for n in range(1, 6)], list[str]()
    view = AnyModelView(lambda text: text.replace("+", "").lower())
    assert list(watched(iter(texts), view, warnings.append, 2)) == texts
    assert warnings[-1].endswith("more like these")
    assert sum("write it with spaces" in warning for warning in warnings) == 2


def test_a_set_that_is_not_calibrated_fits_every_model() -> None:
    """There is nothing to warn of; where only the model's name is known, it decides."""
    assert LabelSet.of("cat").check_calibration("m", "f", "fp32") is None
    named = replace(LabelSet.of("cat"), calibrated=Calibration("m"))
    assert named.check_calibration("m", "f", "fp32") is None
    assert named.check_calibration("n", "f", "fp32")


# -- properties ---------------------------------------------------------------------------------


def is_name(text: str) -> bool:
    """Whether a text is a name: something to see, on one line, with nothing around it."""
    odd = any(unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"} for c in text)
    return not odd and text == text.strip() and any(c.isprintable() and c != " " for c in text)


NAMES = st.lists(
    st.text(
        st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=40
    ).filter(is_name),
    min_size=1,
    unique_by=lambda name: unicodedata.normalize("NFC", name),
)


@given(NAMES)
def test_names_come_back_as_they_were_written(names: list[str]) -> None:
    """Any names round-trip as text, from YAML in two styles and from code."""
    quoted = "labels:\n" + "".join(f"- '{name.replace(chr(39), chr(39) * 2)}'\n" for name in names)
    dumped = yaml.safe_dump({"labels": names})
    readable = not any(c in "\ufffe\uffff" or c == "\x85" for name in names for c in name)
    if readable:
        assert paths(quoted) == names
    assert paths(dumped) == names
    assert [label.path for label in LabelSet.of(names).labels] == names


@given(st.text() | st.binary())
def test_arbitrary_input_is_a_set_or_a_label_error(text: str | bytes) -> None:
    """No text and no bytes end in anything but a set or one printable line."""
    check_total(text)


# fmt: off
PIECES = [
    "labels", "name", "prompts", "children", "threshold", "templates", "cat", "0.5", "true", "~",
    ":", "- ", " ", "  ", "\n", "\r", "\t", "[", "]", "{", "}", ",", "?", "&a", "*a", "!!str", "<<",
    "'", '"', "\\", "\\U", "|", ">", "#", "%", "%YAML 1.1", "---", "\ufeff", "\x85", "\u2028", "é",
]
# fmt: on
YAMLISH = st.lists(
    st.sampled_from(PIECES),
    max_size=40,
).map("".join)


@settings(max_examples=400)
@given(YAMLISH, st.sampled_from(["CSafeLoader", "SafeLoader"]))
def test_what_looks_like_yaml_is_a_set_or_a_label_error(text: str, loader: str) -> None:
    """Neither parser lets anything but `LabelError` out, however mangled the YAML."""
    before = nodes.LOADER
    nodes.LOADER = getattr(yaml, loader, yaml.SafeLoader)
    try:
        check_total(text)
    finally:
        nodes.LOADER = before


def check_total(text: Any) -> None:
    """Parse, and look at whatever comes out."""
    try:
        found = labelsets.parse(text, "x.yaml")
    except LabelError as error:
        message = str(error)
    else:
        message = "x.yaml: sound"
        assert found.labels
        assert all(label.prompts and all(label.prompts) for label in found.labels)
    assert message.startswith("x.yaml:")
    assert "\n" not in message
