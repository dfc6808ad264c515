"""Keywords in an XMP document: read in every form that it may have, written with all other bytes as they were.

lxml reads the document; `spans` says where its elements stand, so that an edit replaces their bytes alone: the
packet's wrapper, comments, the order and the quotes of attributes, and what other programs keep there stay.

Source: XMP specification, part 1 (ISO 16684-1), 7.4 to 7.9: which RDF an XMP document may hold.
"""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING, Any
from xml.parsers import expat
from xml.sax.saxutils import escape

from siglipcli.actions import rdf
from siglipcli.actions.fields import FIELDS, HIERARCHY, LAST_KEYWORD, SUBJECT, TAGS_LIST, keyword
from siglipcli.actions.keywords import Place, Record
from siglipcli.actions.rdf import XmpError
from siglipcli.actions.spans import Span, spans, spliced, with_blanks
from siglipcli.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from siglipcli.actions.fields import Keyword
    from siglipcli.actions.spans import Splice

__all__ = [
    "EMPTY",
    "MAX_BYTES",
    "NAMESPACE",
    "Document",
    "XmpError",
    "as_structure",
    "as_utf8",
    "escaped",
]

MAX_BYTES = 32 * 2**20
"""The largest document that is read: Lightroom's with many masks take a few MB."""
NAMESPACE = "urn:siglipcli:xmp/1.0/"
_FIELDS = {
    SUBJECT: ("http://purl.org/dc/elements/1.1/", "Bag"),
    HIERARCHY: ("http://ns.adobe.com/lightroom/1.0/", "Bag"),
    TAGS_LIST: ("http://www.digikam.org/ns/1.0/", "Seq"),
    LAST_KEYWORD: ("http://ns.microsoft.com/photo/1.0/", "Bag"),
}
"""Field → its namespace, and the kind of its array where it is made."""
_OTHERS: dict[str, Callable[[str], Iterable[Keyword]]] = {
    "{http://ns.iview-multimedia.com/mediapro/1.0/}CatalogSets": lambda value: [
        keyword(value, HIERARCHY)
    ],
    "{http://ns.acdsee.com/iptc/1.0/}categories": rdf.categories,
}
"""Fields that digiKam and others read after ours, and how their values are read; they are never written."""
_RECORDS, _MADE, _COPIES = "siglip:tags", "siglip:fields", "siglip:copies"
_TOOLKIT = "{adobe:ns:meta/}xmptk"
_OURS = "siglip"
EMPTY = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="siglip">\n'
    b' <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
    b" </rdf:RDF>\n"
    b"</x:xmpmeta>\n"
    b'<?xpacket end="w"?>\n'
)
"""A document that says nothing."""
_BOMS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_ATTRIBUTE = re.compile(rb"""\s+([^\s=/>"']+)\s*=\s*(?:"[^"]*"|'[^']*')""")
_DECLARED = re.compile(rb"""<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Document:
    """An XMP document, to be read and to be written with other keywords. Raises XmpError, MissingExtraError."""

    def __init__(self, data: bytes) -> None:
        if len(data) > MAX_BYTES:
            raise XmpError(f"it is larger than {MAX_BYTES >> 20} MiB")
        self._bom, self._encoding, self._data = as_utf8(data)
        self._original = data
        self._root = _parsed(self._data)
        elements = [node for node in self._root.iter() if isinstance(node.tag, str)]
        try:
            self._spans = dict(zip(elements, spans(self._data), strict=True))
        except (expat.ExpatError, ValueError) as error:
            raise XmpError(f"it is not well-formed: {error}") from error
        self._rdf = next((node for node in elements if node.tag == f"{{{rdf.RDF}}}RDF"), None)
        if self._rdf is None:
            raise XmpError("it holds no rdf:RDF")

    # --- read -------------------------------------------------------------------------------------

    def place(self, name: str) -> Place:
        """Return the keywords and our records as a place of that name."""
        fields = {}
        for field in _FIELDS:
            properties = list(self._properties(field))
            if properties:
                fields[field] = tuple(value for prop in properties for value in rdf.values(prop))
        made = {value for prop in self._properties(_MADE) for value in rdf.values(prop)}
        copies = [value for prop in self._properties(_COPIES) for value in rdf.values(prop)]
        pairs = (copy.partition("=") for copy in copies)
        return Place(
            name,
            fields,
            self._records(),
            frozenset(made & set(FIELDS)),
            frozenset((field, value) for field, _, value in pairs if field in FIELDS),
            more=tuple(dict.fromkeys(self._more())),
        )

    def _more(self) -> Iterator[Keyword]:
        """Yield the keywords in fields of other programs, in whatever form can be read."""
        for name, read in _OTHERS.items():
            for description in self._descriptions():
                values = [description.get(name) or "", *map(rdf.text, _leaves(description, name))]
                yield from (path for value in values for path in read(value) if path)

    @property
    def is_ours(self) -> bool:
        """Whether it is of our making, and no other program has written it since."""
        return bool(self._root.get(_TOOLKIT, "") == _OURS)

    def texts(self) -> dict[str, list[tuple[str, str]]]:
        """Return what each property says, by its name with its namespace: languages ("" for none) and texts."""
        result: dict[str, list[tuple[str, str]]] = {}
        for description in self._descriptions():
            for name, value in description.attrib.items():
                if name not in rdf.ABOUT:
                    result.setdefault(name, []).append(("", value.strip()))
            for prop in description:
                if isinstance(prop.tag, str):
                    result.setdefault(prop.tag, []).extend(rdf.texts(prop))
        return result

    def without(self, field: str) -> bytes:
        """Return the document's bytes without one of our own properties."""
        return self._encoded(spliced(self._data, self._removals(self._elements(field))))

    def _descriptions(self) -> list[Any]:
        assert self._rdf is not None
        return [node for node in self._rdf if isinstance(node.tag, str)]

    def _properties(self, field: str) -> Iterator[Any]:
        """Yield the elements of a property, and each value that is an attribute, as text."""
        name = _qualified(field)
        for description in self._descriptions():
            if (value := description.get(name)) is not None:
                yield value
            yield from description.findall(name)

    def _records(self) -> tuple[Record, ...]:
        properties = (prop for prop in self._properties(_RECORDS) if not isinstance(prop, str))
        result = (_record(_structure(item)) for prop in properties for item in rdf.items(prop))
        return tuple(record for record in result if record)

    # --- written ----------------------------------------------------------------------------------

    def with_place(self, place: Place) -> bytes:
        """Return the document's bytes with these keywords and records; its own where nothing changes."""
        before = self.place(place.name)
        splices: list[Splice] = []
        removed: list[Any] = []  # elements
        new: list[str] = []  # properties to be added, as XML
        for field in _FIELDS:
            self._change(
                field, before.fields.get(field), place.fields.get(field), (splices, removed, new)
            )
        if set(before.records) != set(place.records):
            removed += self._elements(_RECORDS)
            new += [_records_xml(place.records)] if place.records else []
        for name, old, now in (
            (_MADE, before.made, place.made),
            (_COPIES, _pairs(before), _pairs(place)),
        ):
            if old != now:
                removed += self._elements(name)
                new += [_array_xml(name, "Bag", map(_item_xml, sorted(now)))] if now else []
        if not (splices or removed or new):
            return self._original
        splices += [*self._removals(removed), *self._addition(new)]
        return self._encoded(spliced(self._data, splices))

    def _change(
        self,
        field: str,
        before: Sequence[str] | None,
        after: Sequence[str] | None,
        changes: tuple[list[Splice], list[Any], list[str]],
    ) -> None:
        """Note what turns a field's values into others: single values where there is an array, else all of it."""
        if before == after:
            return
        splices, removed, new = changes
        properties = list(self._properties(field))
        arrays = [rdf.array(prop) for prop in properties if not isinstance(prop, str)]
        usable = [array for array in arrays if array is not None]
        is_opaque = any(rdf.is_opaque(node) for array in usable for node in array)
        if usable and len(usable) == len(properties) and (after or is_opaque):
            splices += self._changed_items(usable, list(before or ()), after or ())
            return
        if is_opaque:
            raise XmpError(f"{field} has values in a form that is not known")
        removed += self._elements(field)
        splices += self._without_attribute(field)
        if after is not None:
            new.append(_array_xml(field, _FIELDS[field][1], map(_item_xml, after)))

    def _changed_items(
        self, arrays: Sequence[Any], before: list[str], after: Sequence[str]
    ) -> Iterator[Splice]:
        """Yield what removes and adds single values; those are added to the first array, at its end."""
        kept = set(after)
        items = [[node for node in array if isinstance(node.tag, str)] for array in arrays]
        for node in (node for nodes in items for node in nodes):
            if rdf.value(node) not in kept and not rdf.is_opaque(node):
                span = self._spans[node]
                yield with_blanks(self._data, span.start), span.end, b""
        if more := [value for value in after if value not in before]:
            yield self._appended(arrays[0], items[0], more)

    def _appended(self, array: Any, items: Sequence[Any], values: Iterable[str]) -> Splice:
        span = self._spans[array]
        prefix = rdf.prefix(array)
        texts = [f"<{prefix}li>{escaped(value)}</{prefix}li>" for value in values]
        if items:
            last = self._spans[items[-1]]
            blanks = self._data[with_blanks(self._data, last.start) : last.start]
            return last.end, last.end, b"".join(blanks + text.encode() for text in texts)
        return self._filled(array, span, "".join(texts))

    def _filled(self, element: Any, span: Span, content: str) -> Splice:
        """Put content at the end of an element, which may be of the form `<a/>`."""
        if not span.is_empty:
            at = with_blanks(self._data, span.closing)
            return at, at, content.encode()
        tag = f"{rdf.prefix(element)}{rdf.local(element)}"
        start = span.inside - 2
        return start, span.inside, f">{content}</{tag}>".encode()

    def _elements(self, field: str) -> list[Any]:
        return [prop for prop in self._properties(field) if not isinstance(prop, str)]

    def _without_attribute(self, field: str) -> Iterator[Splice]:
        """Yield what removes a property that is an attribute of its rdf:Description."""
        name = _qualified(field)
        for description in self._descriptions():
            if description.get(name) is None:
                continue
            span = self._spans[description]
            namespace, local = _parts(field)
            names = {
                f"{prefix}:{local}".encode()
                for prefix, uri in description.nsmap.items()
                if prefix and uri == namespace
            }
            for match in _ATTRIBUTE.finditer(self._data, span.start, span.inside):
                if match[1] in names:
                    yield match.start(), match.end(), b""

    def _removals(self, removed: Iterable[Any]) -> Iterator[Splice]:
        """Yield what removes properties, and an rdf:Description of which nothing is left."""
        lost = set(removed)
        emptied = [node for node in self._descriptions() if rdf.is_emptied(node, lost)]
        for node in emptied:
            lost -= set(node)
        for node in [*emptied, *lost]:
            span = self._spans[node]
            yield with_blanks(self._data, span.start), span.end, b""

    def _addition(self, properties: Sequence[str]) -> Iterator[Splice]:
        """Yield what adds an rdf:Description with these properties, after all others."""
        if not properties:
            return
        about = next((value for node in self._descriptions() if (value := rdf.about(node))), "")
        inside = "".join(f"\n   {text}" for text in properties)
        assert self._rdf is not None
        bound = "" if self._rdf.nsmap.get("rdf") == rdf.RDF else f' xmlns:rdf="{rdf.RDF}"'
        content = (
            f'\n  <rdf:Description{bound} rdf:about="{escaped(about)}">'
            f"{inside}\n  </rdf:Description>"
        )
        yield self._filled(self._rdf, self._spans[self._rdf], content)

    def _encoded(self, data: bytes) -> bytes:
        """Return UTF-8 in the document's own encoding. Raises XmpError where that lacks a letter."""
        try:
            return self._bom + data.decode().encode(self._encoding)
        except UnicodeEncodeError as error:
            raise XmpError(
                f"it is in {self._encoding}, which lacks {error.object[error.start]!r}"
            ) from error


def as_utf8(data: bytes) -> tuple[bytes, str, bytes]:
    """Return a document's byte order mark, its encoding, and its text as UTF-8. Raises XmpError."""
    bom = next((bom for bom in _BOMS if data.startswith(bom)), b"")
    encoding = _BOMS.get(bom) or _guessed(data)
    try:
        return bom, encoding, data[len(bom) :].decode(encoding).encode()
    except (UnicodeError, LookupError) as error:
        raise XmpError(f"it is not text in {encoding}") from error


def _guessed(data: bytes) -> str:
    if data[:2] in {b"<\0", b"\0<"}:
        return "utf-16-le" if data[:1] == b"<" else "utf-16-be"
    match = _DECLARED.match(data)
    return match[1].decode().lower() if match else "utf-8"


def _parsed(data: bytes) -> Any:
    """Return the root of a UTF-8 document: no entities, no network, libxml2's limits. Raises XmpError."""
    try:
        from lxml import etree
    except ImportError as error:
        raise MissingExtraError("writing keywords", library="lxml", extra="photo") from error
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, encoding="utf-8"
    )
    try:
        root: Any = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise XmpError(f"it is not XML: {error}") from error
    if root.getroottree().docinfo.doctype:
        raise XmpError("it has a DOCTYPE, which XMP has not")
    return root


# --- names, values and structures -----------------------------------------------------------------


def _parts(field: str) -> tuple[str, str]:
    prefix, local = field.split(":")
    return (NAMESPACE if prefix == "siglip" else _FIELDS[field][0]), local


def _qualified(field: str) -> str:
    namespace, local = _parts(field)
    return f"{{{namespace}}}{local}"


def _leaves(description: Any, name: str) -> Iterator[Any]:
    """Yield the elements with a property's values: an array's items, or the property itself."""
    for prop in description.findall(name):
        yield from rdf.items(prop) if rdf.array(prop) is not None else [prop]


def _structure(item: Any) -> dict[str, str]:
    """Return a structure's fields, in whichever of RDF's forms a program has written it."""
    start = f"{{{NAMESPACE}}}"
    result = {}
    for node in item.iter():
        if not isinstance(node.tag, str):
            continue
        for name, value in node.attrib.items():
            if name.startswith(start):
                result[name.removeprefix(start)] = value
        if node.tag.startswith(start):
            result[rdf.local(node)] = "".join(node.itertext()).strip()
    return result


def _record(values: dict[str, str]) -> Record | None:
    """Return what a structure records; None for one that is not whole: it says nothing about what is ours."""
    path = tuple(name for name in values.get("keyword", "").split("|") if name)
    try:
        score = float(values.get("score", "0"))
    except ValueError:
        return None
    if not path:
        return None
    names = ("label", "set", "model", "time")
    label, label_set, model, time = (values.get(name, "") for name in names)
    return Record(
        path, label, score, label_set, model, time, frozenset(values.get("fields", "").split())
    )


def escaped(value: str) -> str:
    """Return text as XML's content; what XML cannot hold is replaced."""
    return escape(_UNPRINTABLE.sub("\ufffd", value), {'"': "&quot;"})


def _item_xml(value: str) -> str:
    return f"<rdf:li>{escaped(value)}</rdf:li>"


def _array_xml(field: str, kind: str, items: Iterable[str]) -> str:
    prefix, _ = field.split(":")
    namespace, _ = _parts(field)
    inside = "".join(f"\n     {item}" for item in items)
    return f'<{field} xmlns:{prefix}="{namespace}">\n    <rdf:{kind}>{inside}\n    </rdf:{kind}>\n   </{field}>'


def _records_xml(records: Iterable[Record]) -> str:
    return _array_xml(_RECORDS, "Bag", map(_record_xml, records))


def _record_xml(record: Record) -> str:
    inside = "".join(
        f"<siglip:{name}>{escaped(value)}</siglip:{name}>" for name, value in as_structure(record)
    )
    return f'<rdf:li rdf:parseType="Resource">{inside}</rdf:li>'


def _pairs(place: Place) -> set[str]:
    return {f"{field}={value}" for field, value in place.copies}


def as_structure(record: Record) -> list[tuple[str, str]]:
    """Return the fields of the structure that a record is in XMP."""
    return [
        ("label", record.label),
        ("score", f"{record.score:.4f}"),
        ("set", record.set),
        ("model", record.model),
        ("time", record.time),
        ("keyword", "|".join(record.path)),
        ("fields", " ".join(name for name in FIELDS if name in record.fields)),
    ]
