"""Which keywords go where: pure rules, nothing is read or written here.

Programs read the first field that exists and stop, so a field that is made holds all keywords that the image
has in any field of its file and sidecars: nothing that a person wrote becomes invisible. What we wrote is known by
a record of ours: label by label, and which fields were made. All else is a person's, and stays.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from siglipcli.actions.fields import (
    FIELDS,
    HIERARCHY,
    IPTC,
    LAST_KEYWORD,
    READERS,
    SUBJECT,
    TAGS_LIST,
    covers,
    keyword,
    shown,
    text,
)
from siglipcli.errors import LabelError
from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from siglipcli.actions.fields import Keyword

__all__ = ["Place", "Record", "Tag", "check_labels", "keyword_of", "plan"]

_MADE = (SUBJECT, HIERARCHY, TAGS_LIST, LAST_KEYWORD)  # IPTC is never made
_CLOSE = 0.002  # scores that differ by less are the same, whatever batch they were computed in
_IPTC_BYTES = 64  # of a keyword, at most (IIM 4.2, dataset 2:25)


@dataclass(frozen=True, slots=True)
class Tag:
    """A label that is to be a keyword. `path` has the prefix; `score` is from 0 to 1; `time` is ISO 8601."""

    path: Keyword
    label: str
    score: float
    set: str
    model: str
    time: str


@dataclass(frozen=True, slots=True)
class Record(Tag):
    """A tag that we wrote, and the fields of its place in which the keyword is ours."""

    fields: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Place:
    """Where keywords of an image are: its file, or a sidecar.

    `name` is file, full (`photo.jpg.xmp`) or stem (`photo.xmp`). `fields` holds the values of each field that
    is there. `records`, `made` and `copies` are ours: the tags, the fields that were not there before us, and a
    person's keywords (field, value) that we have repeated in these.
    `is_written`: whether it may be changed. `iptc` is how IPTC text may be written, None where the file has none;
    `iptc_digest` is the state of its digest (`match`, `none`, `differs`). `more` are a person's keywords in fields of
    other programs, which are read and never written.
    """

    name: str
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    records: tuple[Record, ...] = ()
    made: frozenset[str] = frozenset()
    copies: frozenset[tuple[str, str]] = frozenset()
    is_written: bool = True
    iptc: str | None = None
    iptc_digest: str = "none"
    more: tuple[Keyword, ...] = ()

    def ours(self, name: str) -> set[str]:
        """Return the values of a field that we wrote."""
        return {text(record.path, name) for record in self.records if name in record.fields}

    def theirs(self, name: str) -> list[str]:
        """Return the values of a field that a person wrote, or that we repeated from another field."""
        ours = self.ours(name)
        return [value for value in self.fields.get(name, ()) if value not in ours]

    def originals(self, name: str) -> list[str]:
        """Return the values of a field that a person wrote there."""
        return [value for value in self.theirs(name) if (name, value) not in self.copies]


def check_labels(labels: Iterable[str]) -> None:
    """Refuse labels that programs would cut in parts. Raises LabelError (code `keyword`)."""
    for label in labels:
        bad = next((sign for sign in ",|" if sign in label), None)
        if bad is None and label.isprintable():
            continue
        why = {",": "darktable cuts keywords at commas", "|": "Lightroom cuts keywords at |"}
        raise LabelError(
            f"the label {visible(label)!r} cannot be a keyword: "
            f"{why.get(bad or '', 'it holds characters that cannot be printed')}. Rename it in the label set.",
            code="keyword",
            label=label,
        )


def keyword_of(label: str, prefix: str = "") -> Keyword:
    """Return a label's keyword: `bird/owl` with the prefix `AI|` is ("AI", "bird", "owl").

    What follows the last | of a prefix goes before the first name. A prefix of another form is for the flat name too.
    Names have no blanks around them: programs, and we, read them without.
    """
    *parents, start = prefix.split("|")
    names = [name for name in label.split("/") if name.strip()] or [label]
    names = [start.lstrip() + names[0].lstrip(), *names[1:]] if start.strip() else names
    return tuple(name.strip() for name in (*parents, *names) if name.strip())


def plan(
    places: Sequence[Place], wanted: Sequence[Tag], optional: Collection[str] = ()
) -> list[Place]:
    """Return the places as they are to be: `wanted` for ours, and a person's keywords all as visible as before.

    `optional` names fields to be made though no place has them. Places that need no change come back equal.
    """
    if not wanted:
        return _without_ours(places)
    before, after = list[Place](), list(places)
    while (
        after != before
    ):  # a name such as a|b is one keyword in a flat field, and a path once repeated
        before, after = after, [_tagged(place, after, wanted, optional) for place in after]
    return after


# --- tags are written -----------------------------------------------------------------------------


def _tagged(
    place: Place, places: Sequence[Place], wanted: Sequence[Tag], optional: Collection[str]
) -> Place:
    if not place.is_written:
        return place
    names = [name for name in FIELDS if _belongs(name, place, places, optional)]
    fields, ours, copies = dict(place.fields), dict[str, set[str]](), set[tuple[str, str]]()
    for name in names:
        base = _base(name, place, places)
        added = dict.fromkeys(_values(name, wanted, place))
        ours[name] = {value for value in added if value not in base}
        kept = [value for value in place.fields.get(name, ()) if value in base or value in added]
        more = dict.fromkeys(value for value in (*base, *added) if value not in kept)
        fields[name] = (*kept, *more)
        copies |= {(name, value) for value in base if value not in place.theirs(name)}
    alone = {name for name in names if not place.originals(name)}  # nobody else needs them
    records = tuple(_record(tag, ours, place) for tag in wanted)
    made = frozenset(place.made & set(place.fields)) | alone
    copies |= {(name, value) for name, value in place.copies if value in place.theirs(name)}
    changed = replace(
        place,
        fields=fields,
        records=records,
        made=made,
        copies=frozenset(copies),
    )
    return _settled(place, changed)


def _belongs(name: str, place: Place, places: Sequence[Place], optional: Collection[str]) -> bool:
    """Whether tags go into this field: the two that are common, and what the image has already."""
    if name == IPTC:
        return place.iptc is not None
    common = {SUBJECT, HIERARCHY, *optional}
    return name in common or any(name in other.fields for other in places)


def _base(name: str, place: Place, places: Sequence[Place]) -> list[str]:
    """Return what a field holds beside ours; one that we make or have made, all keywords of the image.

    Where IPTC is written, so is its digest, after which XMP is what counts: it gets IPTC's keywords.
    """
    base = list(dict.fromkeys(place.theirs(name)))
    if name == IPTC:
        return base
    if name in place.made or not place.originals(name):
        _unite(base, name, _keywords(places))
    elif name == SUBJECT and place.iptc is not None:
        _unite(base, name, [keyword(value, IPTC) for value in place.theirs(IPTC)])
    return base


def _unite(base: list[str], name: str, keywords: Iterable[Keyword]) -> None:
    """Add the keywords that are not to be seen in a field yet, those with parents first."""
    for path in sorted(filter(None, keywords), key=len, reverse=True):
        if not covers(base, name, path):
            base.append(text(path, name))


def _keywords(places: Iterable[Place]) -> Iterator[Keyword]:
    """Yield a person's keywords in all fields of all places."""
    for place in places:
        for name in FIELDS:
            for value in place.theirs(name) if name in place.fields else ():
                if path := keyword(value, name):
                    yield path
        yield from place.more


def _values(name: str, wanted: Iterable[Tag], place: Place) -> Iterator[str]:
    for tag in wanted:
        value = text(tag.path, name)
        if name != IPTC or _fits_iptc(value, place.iptc or "utf-8"):
            yield value


def _fits_iptc(value: str, encoding: str) -> bool:
    try:
        return len(value.encode(encoding)) <= _IPTC_BYTES
    except UnicodeEncodeError:
        return False


def _record(tag: Tag, ours: Mapping[str, set[str]], place: Place) -> Record:
    """Record a tag with the fields in which it is ours, as it was recorded before where nothing has changed."""
    fields = frozenset(name for name, values in ours.items() if text(tag.path, name) in values)
    label, label_set, model = (part.strip() for part in (tag.label, tag.set, tag.model))  # as read
    record = Record(tag.path, label, tag.score, label_set, model, tag.time, fields)
    return next((old for old in place.records if _is_same(old, record)), record)


def _is_same(old: Record, new: Record) -> bool:
    return replace(old, score=new.score, time=new.time) == new and (
        abs(old.score - new.score) < _CLOSE
    )


def _settled(before: Place, after: Place) -> Place:
    """Return the place as it was where only the order of records differs."""
    same = replace(after, records=before.records) == before
    return before if same and set(after.records) == set(before.records) else after


# --- ours are taken away --------------------------------------------------------------------------


def _without_ours(places: Sequence[Place]) -> list[Place]:
    """Return places without what we wrote; of the fields that we made, those stay which a reader needs.

    A person may have written into them since. Programs show what they would show had we written nothing.
    """
    if not any(place.is_written and (place.records or place.made) for place in places):
        return list(places)
    bare = [_bare(place) for place in places]
    solid = [_without_copies(place) for place in bare]
    alone = [_alone(place, solid) for place in bare]  # with what a person wrote into fields of ours
    whole = [_united(place, own, bare) for place, own in zip(bare, alone, strict=True)]
    for at, place in enumerate(whole):
        for name in (LAST_KEYWORD, TAGS_LIST, HIERARCHY, SUBJECT):
            if not place.is_written or name not in place.made or name in alone[at].fields:
                continue
            fewer = [*whole]
            fewer[at] = _but(whole[at], {name})
            if _shows_as_much(fewer, alone):
                whole = fewer
    return [
        replace(place, made=frozenset(), copies=frozenset()) if place.is_written else old
        for place, old in zip(whole, places, strict=True)
    ]


def _bare(place: Place) -> Place:
    """Return a place without our tags; a field that is empty for it is not there."""
    fields = {name: tuple(place.theirs(name)) for name in place.fields}
    kept = {name: values for name, values in fields.items() if values or not place.fields[name]}
    made = place.made & set(kept)
    return replace(place, fields=kept, records=(), made=frozenset(made))


def _without_copies(place: Place) -> Place:
    fields = {
        name: tuple(value for value in values if (name, value) not in place.copies)
        for name, values in place.fields.items()
    }
    return replace(place, fields=fields)


def _but(place: Place, names: Collection[str]) -> Place:
    return replace(place, fields={k: v for k, v in place.fields.items() if k not in names})


def _alone(place: Place, solid: Sequence[Place]) -> Place:
    """Return a place as it would be without us: of fields that we made, what is no copy of another field's."""
    known = list(_keywords(solid))
    fields = {}
    for name, values in place.fields.items():
        copies = {value for field, value in place.copies if field == name}
        own = [v for v in values if v not in copies or not _is_known(keyword(v, name), known)]
        if own or not (values or name in place.made):
            fields[name] = tuple(own)
    return replace(place, fields=fields)


def _is_known(path: Keyword, known: Iterable[Keyword]) -> bool:
    """Whether a keyword is one of these, or a name in one; a path in a flat field is its last name."""
    return not path or any(
        path == other or (len(path) == 1 and path[0] in other) for other in known
    )


def _united(place: Place, own: Place, places: Sequence[Place]) -> Place:
    """Return a place whose fields hold what is a person's own, and those that we made all keywords."""
    fields = {**own.fields, **{name: place.fields[name] for name in place.made}}
    for name in place.made:
        base = list(fields[name])
        _unite(base, name, _keywords(places))
        fields[name] = tuple(base)
    return replace(place, fields=fields)


def _shows_as_much(places: Sequence[Place], before: Sequence[Place]) -> bool:
    """Whether every program sees in `places` what it sees `before`, and no keyword is lost."""
    now = {place.name: place.fields for place in places if _is_there(place)}
    then = {place.name: place.fields for place in before if _is_there(place)}
    for reader in READERS.values():
        name, values = shown(reader, now)
        old_name, old_values = shown(reader, then)
        if not all(covers(values, name, path) for path in _paths(old_values, old_name)):
            return False
    known = list(_keywords(places))
    return all(_is_known(path, known) for path in _keywords(before))


def _is_there(place: Place) -> bool:
    return place.name == "file" or bool(place.fields)


def _paths(values: Iterable[str], name: str) -> Iterator[Keyword]:
    return filter(None, (keyword(value, name) for value in values))
