"""Safe names: whatever a label or a template says, a name that every file system takes."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglipcli.actions.companions import stem
from siglipcli.actions.names import MOST_BYTES, Folders, key, numbered, safe

ODD = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from('/\\:*?"<>|.\0\n\x7f \u202e\udcff\u0301ﬀİß'),
    ),
    max_size=400,
) | st.sampled_from(
    ["CON", "nul.txt", "com1 ", "LPT¹", "..", ".", "", " ", "aux.", "x" * 300, "é" * 200]
)


@settings(max_examples=300, deadline=None)
@given(ODD)
def test_a_safe_name_is_one_name_that_every_system_takes(text: str) -> None:
    """No separator, no NUL, no device, no dots or spaces at the end, not hidden, 255 bytes, and stable."""
    name = safe(text)
    assert name not in {"", ".", ".."}
    assert not set(name) & set('/\\:*?"<>|\0\n\r\x7f\u202e')
    assert not name.startswith((".", " "))
    assert not name.endswith((".", " "))
    assert len(name.encode("utf-8")) <= MOST_BYTES  # also: no lone surrogate
    assert name.split(".")[0].strip().upper() not in {
        "CON",
        "PRN",
        "AUX",
        "NUL",
        "COM1",
        "LPT¹",
        "LPT1",
    }
    assert unicodedata.normalize("NFC", name) == name
    assert safe(name) == name


@settings(max_examples=60, deadline=None)
@given(name=ODD.map(safe))
def test_a_safe_name_can_be_made_and_is_listed_as_it_is(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The file system here takes it and gives it back."""
    folder = tmp_path_factory.mktemp("names")
    (folder / name).mkdir()
    assert [path.name for path in folder.iterdir()] == [name]


@settings(max_examples=100, deadline=None)
@given(st.lists(ODD, min_size=1, max_size=8, unique=True), st.booleans())
def test_no_two_labels_share_a_folder(labels: list[str], flat: bool) -> None:
    """Not even where the file system knows no case and another normal form; and the same labels, the same folders."""
    folders = Folders(labels, flat=flat)
    places = [tuple(map(key, folders.of(label))) for label in labels]
    assert len(set(places)) == len(places)
    assert all(part == safe(part) for label in labels for part in folders.of(label))
    again = Folders(labels, flat=flat)
    assert [again.of(label) for label in labels] == [folders.of(label) for label in labels]


def test_nested_labels_are_nested_folders_and_flat_ones_are_not() -> None:
    """bird/owl is bird, owl; --flat: bird-owl; and nothing leads out of the destination."""
    assert Folders().of("bird/owl") == ("bird", "owl")
    assert Folders(flat=True).of("bird/owl") == ("bird-owl",)
    assert Folders().of("../../etc") == ("__", "__", "etc")
    assert Folders().of("/") == ("_", "_")


def test_names_that_become_the_same_are_kept_apart() -> None:
    """a:b and a?b are both a_b: the first keeps the name."""
    folders = Folders(["a:b", "a?b", "A_B"])
    first, second, third = (folders.of(label)[0] for label in ("a:b", "a?b", "A_B"))
    assert first == "a_b"
    assert second.startswith("a_b ")
    assert third.startswith("A_B ")


def test_numbers_fit_behind_long_names() -> None:
    """` (2)` and the ending fit in 255 bytes, and no character is cut in two."""
    name = numbered("é" * 127, 2, len(".jpg.xmp"))
    assert name.endswith("é (2)")
    assert len((name + ".jpg.xmp").encode()) <= MOST_BYTES
    assert numbered("a", 1, 4) == "a"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        *(("a.jpg", "a"), ("a.NEF", "a"), ("a.xmp", "a"), ("a.jpg.xmp", "a"), ("a.b.jpg", "a.b")),
        *(("a.b.xmp", "a.b"), ("a.jpg.json", "a"), ("a.json", "a"), (".jpg", ".jpg"), ("a", "a")),
    ],
)
def test_what_belongs_together_has_one_stem(name: str, wanted: str) -> None:
    """Both forms of a sidecar belong to their image."""
    assert stem(name) == wanted
