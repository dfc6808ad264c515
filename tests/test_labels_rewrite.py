"""Thresholds written into a label set's text: every other character stays, and it reads as asked."""

from __future__ import annotations

import difflib
import json
from dataclasses import asdict, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglipcli import labels as labelsets
from siglipcli.errors import LabelError
from siglipcli.labels import Calibration, LabelSet
from siglipcli.labels.rewrite import plain, rewrite
from siglipcli.labels.starter import starter


def filled(
    text: str, *, threshold: float | None = None, shift: float = 0.0, **own: float
) -> LabelSet:
    """What `text` holds, with these thresholds; `__` stands for `/`."""
    labels = labelsets.parse(text, "x.yaml")
    given = {path.replace("__", "/"): value for path, value in own.items()}
    assert set(given) <= {label.path for label in labels.labels}
    return replace(
        labels,
        labels=tuple(replace(x, threshold=given.get(x.path, x.threshold)) for x in labels.labels),
        threshold=labels.threshold if threshold is None else threshold,
        bias_shift=shift or labels.bias_shift,
    )


def written(text: str, **numbers: float) -> str:
    return rewrite(text, "x.yaml", filled(text, **numbers))


def removed(before: str, after: str) -> list[str]:
    """The lines that are no longer there as they were."""
    return [x[2:] for x in difflib.ndiff(before.splitlines(), after.splitlines()) if x[0] == "-"]


TRICKY = """\
# head
name:   pets     # aligned
description: >
  Cats, dogs
  and birds
templates: [ "a photo of a {}." ,
             'a {} at home.' ]
threshold: 0.20     # flat

labels:
- cat               # the short form

# about dogs
- name: dog         # long
  prompts: &p ["a dog", "a puppy"]
  threshold: '0.5'  # tried

- name: bird
  children: [sparrow,    # small
             {name: owl, prompts: *p},
             'no']
- "on"
-   ~
- a long
  plain
- >-
  folded
# the end
"""


def test_only_what_is_asked_for_changes() -> None:
    """Comments, order, quotes, anchors, blanks and untouched short forms stay to the character."""
    text = written(TRICKY, threshold=0.31, shift=-3.5, cat=0.01, dog=0.5, bird__owl=2e-05)
    assert text == (
        TRICKY.replace("threshold: 0.20     # flat\n", "threshold: 0.31     # flat\nbias_shift: -3.5\n")
        .replace("- cat               # the short form\n", "- name: cat         # the short form\n  threshold: 0.01\n")
        .replace("{name: owl, prompts", "{name: owl, threshold: 2e-05, prompts")
    )  # fmt: skip


def test_every_form_of_a_label_takes_a_threshold() -> None:
    """Quoted, folded, plain over two lines, a tilde, in a flow list: each becomes the long form."""
    labels = labelsets.parse(TRICKY, "x.yaml")
    wanted = replace(
        labels, labels=tuple(replace(x, threshold=0.25) for x in labels.labels), bias_shift=2.0
    )
    text = rewrite(TRICKY, "x.yaml", wanted)
    assert labelsets.parse(text, "x.yaml") == wanted
    for line in (
        "# head",
        "  # aligned",
        "   # flat",
        "# about dogs",
        "# tried",
        "# small",
        "# the end",
    ):
        assert line in text
    assert "  threshold: 0.25  # tried\n" in text
    assert "children: [{name: sparrow, threshold: 0.25},    # small\n" in text
    assert '- name: "on"\n  threshold: 0.25\n' in text
    assert "-   name: ~\n    threshold: 0.25\n" in text
    assert '- name: "folded"\n  threshold: 0.25\n' in text


def test_what_is_as_asked_already_is_the_same_text() -> None:
    """Nothing to write, nothing changed."""
    assert written(TRICKY) == TRICKY
    assert written(TRICKY, dog=0.5) == TRICKY


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("labels: [a, b]", "bias_shift: 1.5\nlabels: [{name: a, threshold: 0.3}, b]"),
        ("labels:\n- a", "bias_shift: 1.5\nlabels:\n- name: a\n  threshold: 0.3"),
        ("labels:\r\n  - a # x\r\n  - b\r\n", "bias_shift: 1.5\r\nlabels:\r\n  - name: a # x\r\n    threshold: 0.3\r\n  - b\r\n"),
        ("{labels: [a]}", "{bias_shift: 1.5, labels: [{name: a, threshold: 0.3}]}"),
        ('{"labels": [{"name":"a"}]}', '{"bias_shift": 1.5, "labels": [{"name":"a", "threshold": 0.3}]}'),
        ("labels:\n- a\t# x\n- b\t\n", "bias_shift: 1.5\nlabels:\n- name: a\t# x\n  threshold: 0.3\n- b\t\n"),
        ("labels:\n- a\t\n", "bias_shift: 1.5\nlabels:\n- name: a\t\n  threshold: 0.3\n"),
        ("labels:\n- ? name\n  : a\n- b\n", "bias_shift: 1.5\nlabels:\n- ? name\n  : a\n  threshold: 0.3\n- b\n"),
        ("labels:\n- &x\n  ? name\n  : a\n", "bias_shift: 1.5\nlabels:\n- &x\n  ? name\n  : a\n  threshold: 0.3\n"),
        ("? labels\n: - a\n? name\n: x\n", "? labels\n: - name: a\n    threshold: 0.3\n? name\n: x\nbias_shift: 1.5\n"),
        ("labels:\x85- a\x85- b\x85", "bias_shift: 1.5\x85labels:\x85- name: a\x85  threshold: 0.3\x85- b\x85"),
        ("- a\n- b\n", "name: x\nbias_shift: 1.5\nlabels:\n- name: a\n  threshold: 0.3\n- b\n"),
        ("[a, b]", "name: x\nbias_shift: 1.5\nlabels: [{name: a, threshold: 0.3}, b]"),
        ("labels:\n-\n  a\nname: x # y\n", "labels:\n-\n  name: a\n  threshold: 0.3\nname: x # y\nbias_shift: 1.5\n"),
        ("\ufefflabels: [a]", "\ufeffbias_shift: 1.5\nlabels: [{name: a, threshold: 0.3}]"),
        ("---\nlabels:\n  - name: &n a\n    prompts: [*n]\n...\n", "---\nbias_shift: 1.5\nlabels:\n  - name: &n a\n    threshold: 0.3\n    prompts: [*n]\n...\n"),
        ("name: |\n  x\nlabels:\n- name: |-\n    a\n  negative: false\n", "name: |\n  x\nbias_shift: 1.5\nlabels:\n- name: |-\n    a\n  threshold: 0.3\n  negative: false\n"),
        ("templates:\n  - a {}\n\n# why\nlabels: [a]", "templates:\n  - a {}\nbias_shift: 1.5\n\n# why\nlabels: [{name: a, threshold: 0.3}]"),
        ("bias_shift: -6 # old\nlabels:\n- {name: a, threshold: .2}", "bias_shift: 1.5 # old\nlabels:\n- {name: a, threshold: 0.3}"),
        ("labels:\n- &k a\nname: *k\n", "labels:\n- name: &k a\n  threshold: 0.3\nname: *k\nbias_shift: 1.5\n"),
    ],
)  # fmt: skip
def test_small_sets_of_every_style(before: str, after: str) -> None:
    """Where a number goes, in block and flow style, with any line ends."""
    assert written(before, shift=1.5, a=0.3) == after


ANCHORS = """\
labels:
- name: a
  threshold: &t 0.5
  children: &kids
  - x   # ex
  - {name: y, threshold: *t}
- name: b
  threshold: *t
  children: *kids
- name: c
  children:
  - &m {name: d, prompts: ["é {}"], children: [q]}
- name: e
  children: [*m]
"""


def test_an_alias_is_written_out_only_where_it_no_longer_fits() -> None:
    """Labels that share a list, or a threshold, part where theirs differ, and there alone."""
    text = written(ANCHORS, a__x=0.1, b__x=0.2)
    assert 'children: [{name: "x", threshold: 0.2}, {name: "y", threshold: 0.5}]' in text
    assert removed(ANCHORS, text) == ["  - x   # ex", "  children: *kids"]
    assert "children: *kids" in written(ANCHORS, a__x=0.1, b__x=0.1)
    assert written(ANCHORS, a=0.4, b=0.4, a__y=0.4, b__y=0.4) == ANCHORS.replace("&t 0.5", "&t 0.4")
    shared = written(ANCHORS, a=0.4)
    assert removed(ANCHORS, shared)[0] == "  threshold: &t 0.5"
    text = written(ANCHORS, c__d__q=0.1)
    assert "children: [{name: q, threshold: 0.1}]}" in text
    assert '[{name: "d", prompts: ["é {}"], children: ["q"]}]' in text


@pytest.mark.parametrize("name", labelsets.builtin_names())
def test_built_in_sets_can_be_filled_in(name: str) -> None:
    """Every set that comes with the program takes a threshold for each label; comments stay."""
    text, file = labelsets.read(name)
    labels = labelsets.parse(text, file)
    wanted = replace(
        labels,
        labels=tuple(replace(x, threshold=0.125) for x in labels.labels),
        threshold=0.4,
        bias_shift=-2.0,
    )
    result = rewrite(text, file, wanted)
    assert labelsets.parse(result, file) == wanted
    assert [x for x in text.splitlines() if x.lstrip().startswith("#")] == [
        x for x in result.splitlines() if x.lstrip().startswith("#")
    ]


def test_the_starter_can_be_filled_in() -> None:
    """What `siglip labels new` writes keeps its comments, in their columns."""
    text = starter("pets")
    result = written(text, cat=0.3, bird__owl=0.4)
    assert removed(text, result) == [
        "  - cat                                   # the short form",
        "    children: [sparrow, owl]              # the results say bird/sparrow and bird/owl",
    ]
    assert (
        "  - name: cat                             # the short form\n    threshold: 0.3\n" in result
    )


NAMES = st.lists(
    st.text("aé猫 no~1.:#-'\"{}[]&*!@%,\\/", min_size=1, max_size=6)
    .map(lambda text: " ".join(text.split()))
    .filter(bool),
    min_size=1,
    max_size=6,
    unique=True,
)


@settings(deadline=None)
@given(NAMES, st.data())
def test_plain_names_become_a_set_that_takes_numbers(names: list[str], data: st.DataObject) -> None:
    """Labels given on the spot are written so that they read back, whatever is in them."""
    labels = LabelSet.of(names)
    text = plain(labels)
    assert labelsets.parse(text, "labels") == labels
    own = st.one_of(st.none(), st.floats(0, 1))
    wanted = replace(
        labels,
        labels=tuple(replace(label, threshold=data.draw(own)) for label in labels.labels),
        bias_shift=data.draw(st.floats(-1000, 1000).map(lambda x: x + 0.0)),
    )
    assert labelsets.parse(rewrite(text, "labels", wanted), "labels") == wanted


def test_templates_of_plain_names_stay_readable() -> None:
    """Templates stand in the text as they were typed, in any script, and read back."""
    templates = ("ein schönes Foto: {}.", '一张"{}"的照片。')
    text = plain(LabelSet.of(["猫"]), templates)
    assert all(part in text for part in ("ein schönes Foto: {}.", "一张", "的照片。", "猫"))
    assert labelsets.parse(text, "labels").labels[0].prompts == tuple(
        template.replace("{}", "猫") for template in templates
    )


@settings(deadline=None, max_examples=200)
@given(st.sampled_from([TRICKY, ANCHORS, starter("x")]), st.data())
def test_any_thresholds_can_be_written(text: str, data: st.DataObject) -> None:
    """Whatever labels get numbers, the text reads back with just these."""
    labels = labelsets.parse(text, "x.yaml")
    number = st.sampled_from([0.001, 0.25, 0.5, 1.0])
    wanted = replace(
        labels,
        labels=tuple(
            replace(x, threshold=data.draw(st.one_of(st.just(x.threshold), number)))
            for x in labels.labels
        ),
        threshold=data.draw(number),
    )
    assert labelsets.parse(rewrite(text, "x.yaml", wanted), "x.yaml") == wanted


def test_json_stays_json() -> None:
    """A set that another program reads as JSON is read by it afterwards, in its own layout."""
    text = json.dumps(
        {"labels": ["a", {"name": "b", "children": ["😀"]}], "threshold": 0.5}, indent=2
    )
    result = written(text, threshold=0.25, shift=-2.0, a=0.1, b=0.2, **{"b__😀": 0.3})
    assert json.loads(result) == {
        "bias_shift": -2,
        "labels": [
            {"name": "a", "threshold": 0.1},
            {"name": "b", "threshold": 0.2, "children": [{"name": "😀", "threshold": 0.3}]},
        ],
        "threshold": 0.25,
    }
    assert '{\n  "bias_shift": -2,\n  "labels": [\n' in result
    assert '      "name": "b",\n      "threshold": 0.2,\n' in result
    assert json.loads(written('["a", "b"]', a=0.3)) == {
        "name": "x",
        "labels": [{"name": "a", "threshold": 0.3}, "b"],
    }


def test_a_list_of_lines_becomes_a_set() -> None:
    """It has no place for numbers: the result is YAML."""
    labels = labelsets.parse("cat\nno: way\n", "pets.txt")
    wanted = replace(labels, labels=tuple(replace(x, threshold=0.2) for x in labels.labels))
    assert rewrite("cat\nno: way\n", "pets.txt", wanted) == (
        "name: pets\nlabels:\n  - name: cat\n    threshold: 0.2\n"
        '  - name: "no: way"\n    threshold: 0.2\n'
    )


CALIBRATED = Calibration("ViT-B-16-SigLIP-384", "12ab-torch-fp32", "fp32", 120, "2026-11-25")
LINE = 'calibrated: {model: ViT-B-16-SigLIP-384, fingerprint: "12ab-torch-fp32", precision: fp32, images: 120, date: "2026-11-25"}'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("labels: [a]\n", LINE + "\nlabels: [a]\n"),
        ("name: x # x\nlabels: [a]", f"name: x # x\n{LINE}\nlabels: [a]"),
        ("labels: [a]\ncalibrated: {model: old} # why\n", f"labels: [a]\n{LINE} # why\n"),
        ("calibrated:\n  model: old\n  images: 3\n# c\nlabels: [a]\n", LINE.replace(": {", ":\n  {", 1) + "\n# c\nlabels: [a]\n"),
    ],
)  # fmt: skip
def test_what_thresholds_were_fitted_on_is_written(before: str, after: str) -> None:
    """The model goes into the set, and takes the place of one that stood there."""
    wanted = replace(labelsets.parse(before, "x.yaml"), calibrated=CALIBRATED)
    assert rewrite(before, "x.yaml", wanted) == after


def test_what_thresholds_were_fitted_on_is_written_into_json() -> None:
    """It stays JSON."""
    wanted = replace(labelsets.parse('{"labels": ["a"]}', "x.json"), calibrated=CALIBRATED)
    document = json.loads(rewrite('{"labels": ["a"]}', "x.json", wanted))
    assert document["calibrated"] == asdict(CALIBRATED)


def test_text_that_cannot_take_the_numbers_is_refused() -> None:
    """Rather than writing something else: a message that says how to write the set."""
    text = "x: &x {name: a}\nlabels: [b]\n"
    with pytest.raises(LabelError):  # no set at all
        written(text, b=0.3)
    text = (
        "labels:\n- name: &n a\n  threshold: &t 0.5\n- {name: b, threshold: *t, children: [*n]}\n"
    )
    labels = labelsets.parse(text, "x.yaml")
    assert labelsets.parse(written(text, a=0.25, b=0.125), "x.yaml") == replace(
        labels,
        labels=tuple(
            replace(x, threshold=y) for x, y in zip(labels.labels, (0.25, 0.125, None), strict=True)
        ),
    )
    with pytest.raises(LabelError, match=r"x\.yaml: thresholds cannot be written"):
        rewrite(text, "x.yaml", replace(labels, threshold=0.5, aggregate="max"))


def test_text_that_is_no_set_is_refused_as_ever() -> None:
    """Only what `labels check` accepts is rewritten."""
    with pytest.raises(LabelError, match="expected a list"):
        rewrite("labels: cat", "x.yaml", LabelSet.of(["cat"]))


def test_more_than_numbers_is_refused() -> None:
    """A set with other labels is not written over this one."""
    with pytest.raises(LabelError):
        rewrite("labels: [cat]", "x.yaml", LabelSet.of(["dog"], name="x"))


def test_a_long_set_takes_thresholds_here_and_there() -> None:
    """Five thousand labels, every second one with a threshold of its own."""
    labels = LabelSet.of([f"label {i}" for i in range(5_000)])
    some = tuple(replace(x, threshold=0.5 if i % 2 else None) for i, x in enumerate(labels.labels))
    result = rewrite(plain(labels), "labels", replace(labels, labels=some))
    assert result.count("threshold: 0.5") == 2_500
