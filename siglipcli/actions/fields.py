"""The fields that hold keywords, and how the programs that people use read them.

A keyword is a path of names, its parents first: ("bird", "owl"). A flat field holds the last name alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "FIELDS",
    "HIERARCHY",
    "IPTC",
    "LAST_KEYWORD",
    "OPTIONAL",
    "READERS",
    "SUBJECT",
    "TAGS_LIST",
    "Keyword",
    "covers",
    "keyword",
    "shown",
    "text",
]

Keyword = tuple[str, ...]

SUBJECT = "dc:subject"
HIERARCHY = "lr:hierarchicalSubject"
TAGS_LIST = "digiKam:TagsList"
LAST_KEYWORD = "MicrosoftPhoto:LastKeywordXMP"
IPTC = "iptc:Keywords"

SEPARATORS = {SUBJECT: "", HIERARCHY: "|", TAGS_LIST: "/", LAST_KEYWORD: "/", IPTC: ""}
FIELDS = tuple(SEPARATORS)
"""Field → what stands between the names of a path; "" where the field is flat."""

OPTIONAL = {
    "digikam": (TAGS_LIST,),
    "windows": (LAST_KEYWORD,),
    "all": (TAGS_LIST, LAST_KEYWORD),
}
"""Program → the fields that are made for it where they are not there already."""


def keyword(value: str, field: str) -> Keyword:
    """Return the keyword that a field's value stands for; () for one without a name."""
    separator = SEPARATORS[field]
    names = value.split(separator) if separator else [value]
    if separator == "/":
        names = [name.replace("\\", "/") for name in names]
    return tuple(name.strip() for name in names if name.strip())


def text(path: Keyword, field: str) -> str:
    """Return a keyword as a field's value. A slash within a name becomes a backslash, as in digiKam."""
    separator = SEPARATORS[field]
    if not separator:
        return path[-1]
    if separator == "/":
        path = tuple(name.replace("/", "\\") for name in path)
    return separator.join(path)


def covers(values: Iterable[str], field: str, path: Keyword) -> bool:
    """Whether who reads these values of a field sees the keyword.

    A path is seen as itself; in a flat field, and where it has one name only, by its last name.
    """
    if not SEPARATORS[field]:
        return path[-1] in values
    wanted = keyword(text(path, field), field)
    paths = [keyword(value, field) for value in values]
    return any(wanted == path for path in paths) or (
        len(wanted) == 1 and any(wanted[0] in path for path in paths)
    )


class Reader(NamedTuple):
    """A program: the places it looks into, best first, and the fields it reads, the first that is there.

    `merges`: fields are looked for in all its places, one field after another; else the first place that is
    there is the only one.
    """

    places: tuple[str, ...]
    fields: tuple[str, ...]
    merges: bool = False


READERS = {
    "darktable": Reader(("full", "file"), (HIERARCHY, SUBJECT, IPTC)),
    "immich": Reader(("full", "stem", "file"), (TAGS_LIST, HIERARCHY, IPTC), merges=True),
    "digikam": Reader(("full", "stem", "file"), (TAGS_LIST, LAST_KEYWORD, HIERARCHY, SUBJECT, IPTC)),
    "lightroom": Reader(("stem", "file"), (HIERARCHY, SUBJECT, IPTC)),
    "windows": Reader(("file",), (SUBJECT, LAST_KEYWORD, IPTC)),
}  # fmt: skip
"""Program → how it reads. Places are the file, `photo.jpg.xmp` (full) and `photo.xmp` (stem)."""


def shown(
    reader: Reader, places: Mapping[str, Mapping[str, Sequence[str]]]
) -> tuple[str, Sequence[str]]:
    """Return the field that a program reads of these places' fields, and its values; no values where none is there."""
    here = [places[name] for name in reader.places if name in places]
    for field in reader.fields:
        for place in here if reader.merges else here[:1]:
            if field in place:
                return field, place[field]
    return SUBJECT, ()
