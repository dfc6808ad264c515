"""Data sets whose labels are known: folders, manifests, and what their names mean."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING
from unicodedata import normalize

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from labelled import draw_folder, write_manifest

from siglipcli.errors import UsageError
from siglipcli.evaluation import data
from siglipcli.evaluation import names as names_of
from siglipcli.inputs import Options
from siglipcli.labels import Label, LabelSet
from siglipcli.results import Failure, Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siglipcli.evaluation.data import Data


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def image(*names: str) -> None:
    """Make files that only have an image's name: nothing here opens them."""
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def listed(found: Data) -> list[tuple[str, tuple[str, ...]]]:
    return [
        (each.input.name if isinstance(each.input, Source) else "!" + each.input.file, each.names)
        for each in found.examples
    ]  # fmt: skip


def refused(path: str, options: Options | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        data.read(Path(path), options or Options())
    return str(caught.value)


# --- folders --------------------------------------------------------------------------------------


def test_a_folder_per_class_in_order() -> None:
    """An image's class is the path of its folder below DATA; the order is that of the names."""
    image("pets/dog/b.jpg", "pets/bird/owl/x.png", "pets/bird/a.jpg", "pets/dog/a.jpg")
    image("pets/dog/notes.txt", "pets/.hidden/a.jpg")
    found = data.read(Path("pets"))
    assert found.name == "pets"
    assert listed(found) == [
        ("pets/bird/a.jpg", ("bird",)),
        ("pets/bird/owl/x.png", ("bird/owl",)),
        ("pets/dog/a.jpg", ("dog",)),
        ("pets/dog/b.jpg", ("dog",)),
    ]
    assert [each.name for each in found.inputs() if isinstance(each, Source)] == [
        name for name, _ in listed(found)
    ]


@pytest.mark.parametrize("given", ["pets", "pets/", "./pets", "."])
def test_the_way_a_folder_is_named_changes_no_class(given: str) -> None:
    """Also `.`, whose data set has the folder's own name."""
    image("pets/cat/a.jpg")
    if given == ".":
        os.chdir("pets")
    found = data.read(Path(given))
    assert (found.name, [each.names for each in found.examples]) == ("pets", [("cat",)])


def test_a_folder_called_minus_is_no_stdin() -> None:
    """`-` is a folder's name here."""
    image("-/cat/a.jpg")
    assert listed(data.read(Path("-"))) == [("./-/cat/a.jpg", ("cat",))]


def test_drawn_folders_are_read() -> None:
    """What the tests draw is a folder per class."""
    found = data.read(draw_folder(Path("drawn"), ["red circle", "blue star"], per_class=2))
    assert [each.names for each in found.examples] == [("blue star",)] * 2 + [("red circle",)] * 2


def test_options_hold_in_folders() -> None:
    """--ext, --exclude, --hidden and --no-recursive mean what they mean elsewhere."""
    image("pets/cat/a.jpg", "pets/cat/b.png", "pets/cat/.c.jpg", "pets/raw/d.jpg")
    options = Options(extensions=("jpg",), exclude=("raw",), hidden=True)
    assert listed(data.read(Path("pets"), options)) == [
        ("pets/cat/.c.jpg", ("cat",)),
        ("pets/cat/a.jpg", ("cat",)),
    ]
    assert refused("pets", Options(recursive=False)) == "there are no images in pets"


def test_images_beside_the_classes_are_left_out_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An image in no class's folder has no label that could be right or wrong."""
    image("pets/cover.jpg", "pets/cat/a.jpg", "pets/zz.jpg")
    with caplog.at_level(logging.WARNING, "siglipcli"):
        assert listed(data.read(Path("pets"))) == [("pets/cat/a.jpg", ("cat",))]
    assert caplog.messages == [
        "left out, as they are in no class's folder: 2 of 3 images in pets, such as pets/cover.jpg"
    ]


def test_a_folder_without_classes_is_refused() -> None:
    """Nothing could be measured."""
    image("flat/a.jpg", "flat/b.jpg")
    Path("empty").mkdir()
    assert refused("flat") == (
        "no image in flat lies in a folder of its class; sort them into such folders, or list them in a"
        " manifest"
    )
    assert refused("empty") == "there are no images in empty"


def test_what_cannot_be_listed_stays_an_example() -> None:
    """It will be counted as failed."""
    image("pets/cat/a.jpg")
    Path("pets/cat/gone.jpg").symlink_to("nowhere")
    found = data.read(Path("pets"))
    assert listed(found) == [("pets/cat/a.jpg", ("cat",)), ("!pets/cat/gone.jpg", ("cat",))]
    assert isinstance(found.examples[1].input, Failure)


def test_data_that_is_neither_folder_nor_manifest() -> None:
    """Said with what would do."""
    image("notes.txt")
    assert refused("gone") == "there is no file or folder gone"
    assert refused("gone.csv") == "gone.csv: cannot be read: No such file or directory"
    assert refused("notes.txt") == (
        "notes.txt is neither a folder nor a .csv or .jsonl file; give a folder per class, or a manifest"
    )


# --- manifests ------------------------------------------------------------------------------------

WANTED = [
    ("a.jpg", ("cat",)),
    ("b.jpg", ("cat", "dog")),
    ("c, d.jpg", ()),
    ('"e".jpg', ("Füchse",)),
]


@pytest.mark.parametrize(
    "text",
    [
        'file,label\na.jpg,cat\nb.jpg,cat;dog\n"c, d.jpg",\n"""e"".jpg",Füchse\n',
        '\ufefffile,labels\r\na.jpg,cat\r\nb.jpg," cat ; dog;"\r\n"c, d.jpg",;\r\n"""e"".jpg",Füchse',
        'id,Label, File \n1,cat,a.jpg\n\n2,cat;dog;cat,b.jpg\n,,\n3,,"c, d.jpg"\n4,Füchse,"""e"".jpg"\n',
    ],
)
def test_a_csv_manifest(text: str) -> None:
    """Columns in any order, more of them, a byte order mark, CRLF, quotes, blank lines: all the same."""
    Path("m.csv").write_bytes(text.encode())
    assert listed(data.read(Path("m.csv"))) == WANTED


def test_a_jsonl_manifest() -> None:
    """`label` is one text, `labels` a list; other keys are passed over."""
    Path("m.jsonl").write_bytes(
        '\ufeff{"file": "a.jpg", "label": "cat", "id": 7}\r\n\n'
        '{"labels": ["cat", " dog ", ""], "file": "b.jpg"}\n{"file": "c, d.jpg", "label": null}\n'
        '{"file": "\\"e\\".jpg", "label": "Füchse"}'.encode()
    )
    assert listed(data.read(Path("m.jsonl"))) == WANTED


def test_paths_in_a_manifest_are_relative_to_it() -> None:
    """Absolute ones stay; nothing is looked at, a pattern or `-` is a file's name."""
    Path("sets").mkdir()
    files = {"a.jpg": ["cat"], "../b.jpg": [], "/abs/c.jpg": [], "*.jpg": [], "-": [], "sub": []}
    for name in ("m.csv", "m.jsonl"):
        found = data.read(write_manifest(Path("sets", name), files))
        assert (found.name, found.examples[0].names) == ("m", ("cat",))
        assert [name for name, _ in listed(found)] == [
            *("sets/a.jpg", "sets/../b.jpg", "/abs/c.jpg", "sets/*.jpg", "sets/-", "sets/sub"),
        ]
    assert listed(data.read(write_manifest(Path("n.csv"), {"-": []}))) == [("./-", ())]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "m.csv:1: expected the columns' names, file and label, once each; found nothing"),
        ("a.jpg,cat\n", "m.csv:1: expected the columns' names, file and label, once each; found a.jpg,cat"),
        ("file,label,labels\n", "m.csv:1: expected the columns' names, file and label, once each; found file,label,labels"),
        ("file;label\n", "m.csv:1: expected the columns' names, file and label, once each; found file;label"),
        ("file,label\n", "there are no images in m.csv"),
        ("file,label\n,cat\n", "m.csv:2: file: expected a path, found nothing"),
        ("file,label\na.jpg\n", "m.csv:2: expected 2 fields, as in the first line, found 1; put a text that holds a comma in quotes"),
        ("file,label\na.jpg,cat,x\n", "m.csv:2: expected 2 fields, as in the first line, found 3; put a text that holds a comma in quotes"),
        ("file,label\na.jpg,cat\n\na.jpg,dog\n", "m.csv:4: file: 'a.jpg' is already on line 2, with other labels; keep one of the two"),
        ('file,label\n"x\ny.jpg",cat\n"a.jpg,cat\n', "m.csv:4: not CSV: unexpected end of data"),
        ('file,label\n"a"b,cat\n', "m.csv:2: not CSV: ',' expected after '\"'"),
    ],
)  # fmt: skip
def test_a_csv_manifest_that_cannot_be_used(text: str, message: str) -> None:
    """Each complaint names file, line and column."""
    Path("m.csv").write_text(text)
    assert refused("m.csv") == message


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON: Expecting property name enclosed in double quotes"),
        ("[" * 100_000, "not JSON: nested too deep, or a number too long"),
        ("[]", 'expected an object, {"file": …, "label": …}'),
        ('{"label": "cat"}', "file: expected a path, found nothing"),
        ('{"file": 7, "label": "cat"}', "file: expected a path, found 7"),
        ('{"file": "b.jpg"}', "expected label or labels, found neither"),
        ('{"file": "b.jpg", "label": "", "labels": []}', "expected label or labels, found both"),
        ('{"file": "b.jpg", "label": true}', "label: expected a text, found true"),
        ('{"file": "b.jpg", "labels": ["cat", null]}', "labels: expected a text, found nothing"),
        (
            '{"file": "a.jpg", "label": "dog"}',
            "file: 'a.jpg' is already on line 1, with other labels; keep one of the two",
        ),
    ],
)
def test_a_jsonl_manifest_that_cannot_be_used(line: str, message: str) -> None:
    """Each complaint names file, line and key."""
    Path("m.jsonl").write_text('{"file": "a.jpg", "label": "cat"}\n' + line + "\n")
    assert refused("m.jsonl") == f"m.jsonl:2: {message}"


def test_our_own_answers_are_no_manifest() -> None:
    """What classify wrote is scores, not the truth."""
    Path("rows.jsonl").write_text(
        '{"file": "a.jpg", "labels": [{"label": "cat", "score": 0.4}]}\n', encoding="utf-8"
    )
    assert "rows.jsonl:1: labels: expected a text, found {" in refused("rows.jsonl")


def test_bytes_that_are_no_utf8() -> None:
    """Said with the line."""
    Path("m.csv").write_bytes(b"file,label\na.jpg,cat\nb.jpg,F\xfcchse\n")
    assert refused("m.csv") == "m.csv:3: the bytes are not UTF-8; save it as UTF-8"


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
NAME = TEXT.map(str.strip).filter(lambda name: name and ";" not in name)


@given(st.dictionaries(TEXT.filter(str.strip), st.lists(NAME, unique=True, max_size=3), min_size=1))
def test_manifests_give_back_what_was_written(rows: dict[str, list[str]]) -> None:
    """Whatever is in a file's name or a label, CSV and JSONL alike."""
    written = io.StringIO(newline="")
    writer = csv.writer(written)
    writer.writerows(
        [("file", "label"), *((file, ";".join(names)) for file, names in rows.items())]
    )
    lines = "".join(json.dumps({"file": f, "labels": n}) + "\n" for f, n in rows.items())
    wanted = [(file, tuple(names)) for file, names in rows.items()]
    for reader, text in ((data._csv_rows, written.getvalue()), (data._json_rows, lines)):
        assert [(file, names) for _, file, names in reader(text, "m")] == wanted


# --- what a name means ----------------------------------------------------------------------------


def label_set(*paths: str) -> LabelSet:
    return LabelSet("animals", tuple(Label(path, (path,)) for path in paths))


ANIMALS = label_set("cat", "dog", "bird", "bird/owl", "bird/Great Tit", "fish/owl-fish", "T-Shirt")


def meant(names: Sequence[str], labels: LabelSet = ANIMALS, **renames: str) -> list[str]:
    """Return the labels that each name means, joined."""
    found = names_of.truth([(name,) for name in names], labels, renames)
    return ["+".join(labels.labels[j].path for j in np.flatnonzero(row)) for row in found]


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("cat", "cat"),
        ("CAT", "cat"),
        ("bird/owl", "bird/owl"),
        ("owl", "bird/owl"),
        ("great_tit", "bird/Great Tit"),
        ("Bird/great--tit", "bird/Great Tit"),
        ("owl fish", "fish/owl-fish"),
        ("t shirt", "T-Shirt"),
        ("bird/owl/2024/night", "bird/owl"),
        ("cat/indoors", "cat"),
    ],
)
def test_names_are_matched_as_people_write_them(name: str, label: str) -> None:
    """Case, blanks, `-` and `_` make no difference; last names and deeper folders are understood."""
    assert meant([name]) == [label]


def test_truth_is_a_row_a_image() -> None:
    """The named labels themselves, not their parents; no name, no label."""
    found = names_of.truth([("owl", "cat"), (), ("bird",)], ANIMALS, {})
    assert found.dtype == np.bool_
    assert found.tolist() == [
        [True, False, False, True, False, False, False],
        [False] * 7,
        [False, False, True, False, False, False, False],
    ]


def test_the_exact_name_wins() -> None:
    """Two labels that differ only in case are told apart where the name is exact, and only there."""
    labels = label_set("C", "c", "a-b")
    assert meant(["C", "c", "A_B"], labels) == ["C", "c", "a-b"]
    with pytest.raises(UsageError):
        meant(["A-B"], label_set("a-b", "a b"))


def test_a_last_name_that_two_labels_have_means_neither() -> None:
    """Which of them would be a guess."""
    labels = label_set("bird/crane", "machine/crane")
    with pytest.raises(
        UsageError, match=r"^1 name in the data matches no label of the set 'animals': "
    ):
        meant(["crane"], labels)
    assert meant(["crane"], labels, crane="machine/crane") == ["machine/crane"]


def test_an_unknown_child_beside_known_ones_is_no_deeper_folder() -> None:
    """`bird/owll` is more likely a mistake than a bird of no name; a rename of `bird` says otherwise."""
    with pytest.raises(UsageError, match="'bird/owll' \\(nearest: bird/owl\\)"):
        meant(["bird/owll"])
    assert meant(["bird/owll", "bird/owl"], bird="bird") == ["bird", "bird/owl"]


def test_renames_come_first() -> None:
    """A rename says what a name, and all below it, is called in the set."""
    assert meant(["kitten", "kitten/a", "CAT"], kitten="Cat") == ["cat"] * 3
    assert meant(["cat", "dog"], cat="dog", dog="cat") == ["dog", "cat"]
    assert meant(["eule"], eule="owl") == ["bird/owl"]


@pytest.mark.parametrize(
    ("names", "renames", "message"),
    [
        (["cta"], {}, ("1 name in the data matches no label of the set 'animals': 'cta' (nearest: cat);"
         " rename them to labels, or leave them out.")),
        (["cat", "qqq", "brid"], {}, ("2 names in the data match no label of the set 'animals': 'qqq', 'brid'"
         " (nearest: bird); rename them to labels, or leave them out.")),
        ([f"q{i}" for i in range(9)], {}, ("9 names in the data match no label of the set 'animals': 'q0', 'q1',"
         " 'q2', 'q3', 'q4' and 4 more; rename them to labels, or leave them out.")),
        (["kitten"], {"kitten": "cta"}, "cannot rename 'kitten': the set 'animals' has no label 'cta'; the nearest is 'cat'"),
        (["kitten"], {"kitten": "qqq"}, "cannot rename 'kitten': the set 'animals' has no label 'qqq'"),
        (["Kitten"], {"kiten": "cat"}, "cannot rename 'kiten': the data has no such name; the nearest is 'Kitten'"),
        (["Big/Kitten"], {"bigg": "cat"}, "cannot rename 'bigg': the data has no such name; the nearest is 'Big'"),
        (["cat"], {"qqq": "cat"}, "cannot rename 'qqq': the data has no such name"),
    ],
)  # fmt: skip
def test_names_that_mean_nothing(names: list[str], renames: dict[str, str], message: str) -> None:
    """One error names what is not known, what is near it, and how to go on."""
    with pytest.raises(UsageError) as caught:
        names_of.truth([(name,) for name in names], ANIMALS, renames)
    assert str(caught.value) == message


WORD = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8)
PATHS = st.lists(st.lists(WORD, min_size=1, max_size=3).map(" ".join), min_size=1, max_size=6)


@given(
    PATHS.filter(lambda paths: len({names_of.key(path) for path in paths}) == len(paths)),
    st.sampled_from(["_", "-", " - ", "  ", "\t"]),
    st.sampled_from(["NFC", "NFD"]),
    st.booleans(),
)
def test_spelling_makes_no_difference(
    paths: list[str], blank: str, form: str, folded: bool
) -> None:
    """Any label is found under its name in another Unicode form, other blanks, or folded letters."""
    labels = label_set(*paths)
    names = [normalize(form, path.replace(" ", blank)) for path in paths]
    names = [name.casefold() if folded else name for name in names]
    assert meant(names, labels) == paths


@given(PATHS, WORD)
def test_a_name_means_one_label_or_is_refused(paths: list[str], name: str) -> None:
    """Never two labels, never silently none."""
    labels = label_set(*dict.fromkeys(paths))
    known = name.casefold() in {path.casefold() for path in paths}
    if known and names_of._Finder(labels).find(name, {}) is not None:
        assert names_of.truth([(name,)], labels, {}).sum() == 1
    elif not known:
        with pytest.raises(UsageError, match="1 name in the data matches no label of the set"):
            names_of.truth([(name,)], labels, {})


def test_one_image_under_two_spellings_is_one(tmp_path: Path) -> None:
    """`a.png` and `./a.png` with the same labels are one image; with other labels that is an error with both lines."""
    manifest = tmp_path / "m.csv"
    manifest.write_text("file,label\na.png,cat\n./a.png,Cat\nx/../a.png,cat\nb.png,dog\n")
    assert [each.names for each in data.read(manifest).examples] == [("cat",), ("dog",)]
    manifest.write_text("file,label\na.png,cat\nb.png,dog\n./a.png,dog\n")
    with pytest.raises(
        UsageError, match=r"m.csv:4: file: './a.png' is already on line 2, with other"
    ):
        data.read(manifest)


def test_classes_can_be_left_out(tmp_path: Path) -> None:
    """Images of an ignored name, or of one below it, are no part of the data; others keep their other names."""
    manifest = tmp_path / "m.csv"
    manifest.write_text("file,label\na.png,cat\nb.png,misc/blurred\nc.png,cat;Misc\nd.png,\n")
    whole = data.read(manifest)
    kept = data.without(whole, ["misc"])
    assert [each.names for each in kept.examples] == [("cat",), ("cat",), ()]
    assert data.without(whole, []) is whole
    with pytest.raises(UsageError, match="no name 'kat' to leave out; the nearest is 'cat'"):
        data.without(whole, ["kat"])
