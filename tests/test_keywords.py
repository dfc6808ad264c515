"""The rules about keywords: a person's stay visible to every program, ours come and go."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglipcli.actions.keywords import Place, Tag, check_labels, keyword_of, plan
from siglipcli.errors import LabelError

SUBJECT, HIERARCHY = "dc:subject", "lr:hierarchicalSubject"
TAGS, LAST, IPTC = "digiKam:TagsList", "MicrosoftPhoto:LastKeywordXMP", "iptc:Keywords"
SIGNS = {SUBJECT: None, HIERARCHY: "|", TAGS: "/", LAST: "/", IPTC: None}

# An own copy of what the programs do, so that the rules are not tested against themselves.
PROGRAMS = {
    "darktable": (["full", "file"], [HIERARCHY, SUBJECT, IPTC], False),
    "immich": (["full", "stem", "file"], [TAGS, HIERARCHY, IPTC], True),
    "digiKam": (["full", "stem", "file"], [TAGS, LAST, HIERARCHY, SUBJECT, IPTC], False),
    "Lightroom": (["stem", "file"], [HIERARCHY, SUBJECT, IPTC], False),
    "Windows": (["file"], [SUBJECT, LAST, IPTC], False),
}


def tag(
    label: str, score: float = 0.5, time: str = "2026-01-01T00:00:00Z", prefix: str = ""
) -> Tag:
    return Tag(keyword_of(label, prefix), label, score, "animals", "demo", time)


def names_seen(
    program: str, world: dict[str, dict[str, list[str]]], *, parents: bool = True
) -> set[tuple[str, ...]]:
    """What a program shows: whole paths, and each name in them if `parents`."""
    where, fields, merges = PROGRAMS[program]
    places = [world[name] for name in where if world.get(name) or name == "file"]
    for name in fields:
        for place in places if merges else places[:1]:
            if name in place:
                return set().union(*(parts(v, name, parents=parents) for v in place[name]))
    return set()


def parts(value: str, name: str, *, parents: bool = True) -> set[tuple[str, ...]]:
    path = tuple(value.split(SIGNS[name]) if SIGNS[name] else [value])
    return {path} | {(part,) for part in path if parents}


def is_seen(path: tuple[str, ...], seen: set[tuple[str, ...]]) -> bool:
    """Whether a keyword is shown: as itself, or in a flat field by its last name."""
    return path in seen or path[-1:] in seen


@dataclass
class Worlds:
    """The same edits by a person twice: where we were at work too, and where we never were."""

    places: list[Place]
    alone: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    taken_out: set[tuple[str, str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.alone = {
            place.name: {k: list(v) for k, v in place.fields.items()} for place in self.places
        }

    def fields(self) -> dict[str, dict[str, list[str]]]:
        return {place.name: {k: list(v) for k, v in place.fields.items()} for place in self.places}

    def edit(self, at: int, name: str, value: str, *, add: bool) -> None:
        """Do what a person does to one value of one field."""
        place = self.places[at % len(self.places)]
        if name == IPTC and place.iptc is None:
            return
        here = list(place.fields.get(name, ()))
        there = self.alone[place.name].setdefault(name, [])
        key = (place.name, name, value)
        if add and value not in here:
            here.append(value)
            if key not in self.taken_out or name not in place.made:
                there.append(value)  # else a copy that we made is put back: no one can tell
        elif not add and value in here and value not in place.ours(name):
            here.remove(value)
            if value in there:
                there.remove(value)
            else:
                self.taken_out.add(key)
        fields = dict(place.fields) | {name: tuple(here)}
        for kept, all_fields in ((here, fields), (there, self.alone[place.name])):
            if not kept and name in all_fields:
                del all_fields[name]
        self.places[at % len(self.places)] = replace(place, fields=fields)

    def run(self, tags: list[Tag], optional: list[str], *, embed: bool = True) -> None:
        """Run us once, and check what must hold after it."""
        self.places = [replace(p, is_written=embed or p.name != "file") for p in self.places]
        self.places = plan(self.places, tags, optional)
        assert plan(self.places, tags, optional) == self.places
        ours = self.fields()
        if not tags:
            self._adopt()
        if any(place.records and not place.is_written for place in self.places):
            return  # what a person has since taken out of a file that we may not write now
        for program in PROGRAMS:
            now = names_seen(program, ours)
            then = names_seen(program, self.alone, parents=False)
            for path in then:
                assert is_seen(path, now), (program, path)

    def _adopt(self) -> None:
        """What stays of our copies when a person has since deleted the original is theirs: the last one is not lost."""
        there = {
            path
            for fields in self.alone.values()
            for name, all_values in fields.items()
            for value in all_values
            for path in parts(value, name)
        }
        for place in self.places:
            for name, all_values in place.fields.items():
                ours = place.ours(name)
                lost = [v for v in all_values if v not in ours and not parts(v, name) & there]
                if lost:
                    self.alone[place.name].setdefault(name, []).extend(lost)


people = st.sampled_from(["holiday", "Paris", "owl", "bird", "a b", "é"])
paths = st.lists(people, min_size=1, max_size=3, unique=True)
ours = st.lists(st.sampled_from(["cat", "bird/owl", "owl", "fox", "é"]), max_size=3, unique=True)


@st.composite
def values(draw: st.DrawFn) -> tuple[str, str]:
    name = draw(st.sampled_from([SUBJECT, HIERARCHY, TAGS, LAST, IPTC]))
    path = draw(paths)
    return name, (SIGNS[name] or "\0").join(path if SIGNS[name] else path[:1])


@st.composite
def beginnings(draw: st.DrawFn) -> list[Place]:
    where = draw(
        st.sampled_from([["file"], ["file", "full"], ["file", "stem"], ["file", "full", "stem"]])
    )
    places = []
    for name in where:
        fields: dict[str, tuple[str, ...]] = {}
        for key, value in draw(st.lists(values(), max_size=4)):
            if key != IPTC or name == "file":
                fields[key] = tuple(dict.fromkeys((*fields.get(key, ()), value)))
        has_iptc = name == "file" and (IPTC in fields or draw(st.booleans()))
        places.append(Place(name, fields, iptc="utf-8" if has_iptc else None))
    return places


edits = st.tuples(st.integers(0, 2), values(), st.booleans())
runs = st.tuples(
    ours,
    st.sampled_from([[], [TAGS], [LAST], [TAGS, LAST]]),
    st.sampled_from(["", "AI|", "ai:"]),
    st.booleans(),
)


@settings(max_examples=300, deadline=None)
@given(beginnings(), st.lists(st.one_of(edits, runs), max_size=6))
def test_a_persons_keywords_stay_visible_and_ours_go(
    places: list[Place], steps: list[tuple[object, ...]]
) -> None:
    """In any order of edits and runs, every program shows what it would show without us; --remove takes all ours."""
    before = places
    worlds = Worlds(places)
    persons = {path for place in places for path in _all_names(place)}
    for step in steps:
        if isinstance(step[0], int):
            (name, value), add = step[1], step[2]
            worlds.edit(step[0], name, value, add=add)
            persons |= parts(value, name) if add else set()
        else:
            labels, optional, prefix, embed = step
            tags = [tag(label, prefix=prefix) for label in labels]
            worlds.run(tags, optional, embed=embed)
            if labels:
                _check_written(worlds.places, labels, prefix)
    worlds.run([], [])
    for place in worlds.places:
        assert not place.records
        assert not place.made
        for seen in _all_names(place):
            assert seen in persons, seen
    if all(isinstance(step[0], list) for step in steps):
        assert [replace(place, is_written=True) for place in worlds.places] == before


def _all_names(place: Place) -> set[tuple[str, ...]]:
    return {
        seen
        for name, all_values in place.fields.items()
        for v in all_values
        for seen in parts(v, name)
    }


def _check_written(places: list[Place], labels: list[str], prefix: str) -> None:
    for place in places:
        if place.is_written:
            for label in labels:
                path = keyword_of(label, prefix)
                assert path[-1] in place.fields[SUBJECT]
                assert "|".join(path) in place.fields[HIERARCHY]


def test_tag_and_remove_leaves_what_was_there() -> None:
    """Where nobody edits in between, --remove brings back every place as it was, field by field."""
    before = [
        Place(
            "file",
            {SUBJECT: ("holiday",), IPTC: ("holiday", "beach")},
            is_written=False,
            iptc="latin-1",
        ),
        Place("full", {HIERARCHY: ("Places|Paris", "owl")}),
    ]
    after = plan(before, [tag("bird/owl"), tag("cat")], [TAGS])
    assert after[0] == before[0]
    assert after[1].fields == {
        SUBJECT: ("Paris", "holiday", "beach", "owl", "cat"),
        HIERARCHY: ("Places|Paris", "owl", "bird|owl", "cat"),
        TAGS: ("Places/Paris", "holiday", "beach", "owl", "bird/owl", "cat"),
    }
    assert plan(after, []) == before


def test_scores_and_times_alone_change_nothing() -> None:
    """A second run that finds the same tags keeps the first one's record, so no byte changes."""
    first = plan([Place("full")], [tag("cat", 0.5004, "2026-01-01T00:00:00Z")])
    again = plan(first, [tag("cat", 0.5011, "2027-01-01T00:00:00Z")])
    assert again == first
    assert plan(first, [tag("cat", 0.61)]) != first


def test_a_keyword_that_a_person_had_stays_theirs() -> None:
    """`cat`, written by a person before us, survives another run and --remove."""
    before = [Place("full", {SUBJECT: ("cat",), HIERARCHY: ("cat",)})]
    after = plan(plan(before, [tag("cat"), tag("dog")]), [tag("fox")])
    assert after[0].fields == {SUBJECT: ("cat", "fox"), HIERARCHY: ("cat", "fox")}
    assert plan(after, []) == before


def test_blanks_around_names_are_not_part_of_a_keyword() -> None:
    """Programs read keywords without them; with them no run would know its own again."""
    assert plan([Place("full")], [tag(" cat ")])[0].records[0].label == "cat"
    after = plan([Place("full")], [tag("bird / owl", prefix="AI | ")])
    assert after[0].fields == {SUBJECT: ("owl",), HIERARCHY: ("AI|bird|owl",)}
    assert plan(after, []) == [Place("full")]


def test_iptc_gets_what_it_can_hold() -> None:
    """A keyword of more than 64 bytes, or of letters that the file's encoding lacks, is not cut: it is left out."""
    place = Place("file", {IPTC: ("a",)}, iptc="latin-1")
    (after,) = plan([place], [tag("猫"), tag("x" * 65), tag("é")])
    assert after.fields[IPTC] == ("a", "é")
    assert after.fields[SUBJECT] == ("a", "猫", "x" * 65, "é")


@pytest.mark.parametrize(
    ("label", "prefix", "path"),
    [
        ("bird/owl", "", ("bird", "owl")),
        ("bird/owl", "AI|", ("AI", "bird", "owl")),
        ("bird/owl", "AI|auto|", ("AI", "auto", "bird", "owl")),
        ("bird/owl", "ai:", ("ai:bird", "owl")),
        ("cat", "ai:", ("ai:cat",)),
        ("/", "", ("/",)),
        ("cat", "AI | ", ("AI", "cat")),
        ("bird / owl", " AI|", ("AI", "bird", "owl")),
        ("cat", "ai: ", ("ai: cat",)),
    ],
)
def test_a_prefix_is_a_parent_or_a_beginning(
    label: str, prefix: str, path: tuple[str, ...]
) -> None:
    """`AI|` puts all tags under AI; without the | it is where the first name begins."""
    assert keyword_of(label, prefix) == path


@pytest.mark.parametrize(
    ("label", "why"), [("a, b", "commas"), ("a|b", "cuts keywords at |"), ("a\tb", "printed")]
)
def test_labels_that_would_be_cut_are_refused(label: str, why: str) -> None:
    """The message names the label and the program that would cut it."""
    check_labels(["cat", "bird/owl", "猫 é"])
    with pytest.raises(LabelError, match=why.replace("|", r"\|")) as caught:
        check_labels(["cat", label])
    assert caught.value.code == "keyword"
