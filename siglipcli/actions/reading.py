"""The keywords within an image file, as one place: all its XMP packets and its IPTC together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from siglipcli.actions.embedded import metadata
from siglipcli.actions.fields import FIELDS, IPTC
from siglipcli.actions.keywords import Place
from siglipcli.actions.xmp import Document, XmpError, as_structure, as_utf8
from siglipcli.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = ["FileContent", "file_content", "holds_the_same"]


class FileContent(NamedTuple):
    """A file's keywords, and the XMP packets that they and more are in."""

    place: Place
    documents: tuple[Document, ...]


def file_content(path: Path) -> FileContent:
    """Read the keywords within an image file, without a decoder.

    Raises OSError, and ImageError (kind `sidecar`) where a packet cannot be read: what it holds would be hidden.
    """
    content = metadata(path)
    try:
        documents = tuple(map(_document, content.packets))
        place = _merged([document.place("file") for document in documents])
    except XmpError as error:
        message = f"The XMP within {path.name} cannot be read: {error}. Repair or remove it."
        raise ImageError("sidecar", message) from error
    place = replace(place, more=(*place.more, *((word,) for word in content.exif)))
    if content.iptc:
        words = {IPTC: content.iptc.keywords} if content.iptc.keywords else {}
        fields = {**place.fields, **words}
        state, encoding = content.iptc.digest, content.iptc.encoding
        place = replace(place, fields=fields, iptc=encoding, iptc_digest=state)
    return FileContent(place, documents)


def _document(packet: bytes) -> Document:
    """Read a packet, without what fills its place up. Raises XmpError."""
    _, encoding, text = as_utf8(packet)
    return Document(text.decode().strip("\0 \r\n\t").encode(encoding))


def _merged(places: Sequence[Place]) -> Place:
    """Return what a file's packets hold as one place: the main one, gain maps', and what did not fit into it."""
    fields = {
        name: tuple(dict.fromkeys(v for place in places for v in place.fields.get(name, ())))
        for name in FIELDS
        if any(name in place.fields for place in places)
    }
    return Place(
        "file",
        fields,
        tuple(dict.fromkeys(record for place in places for record in place.records)),
        frozenset(name for place in places for name in place.made),
        frozenset(copy for place in places for copy in place.copies),
        more=tuple(dict.fromkeys(path for place in places for path in place.more)),
    )


def holds_the_same(place: Place, other: Place) -> bool:
    """Whether two places hold the same values and records, in whatever order."""
    return _content(place) == _content(other)


def _content(place: Place) -> tuple[object, ...]:
    fields = {name: set(_plain(values)) for name, values in place.fields.items() if values}
    records = {tuple(as_structure(record)) for record in place.records}
    return fields, records, place.made, place.copies


def _plain(values: Iterable[str]) -> Iterable[str]:
    return (value.strip() for value in values)
