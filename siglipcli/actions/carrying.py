"""What a new sidecar repeats of its file: title, description, creator, rights, rating and label.

Programs that read a sidecar do not look into the file any more (darktable), so a new one that held keywords alone
would hide what a person wrote there. A digest of each is kept with it: a sidecar in which nothing else
stands is deleted by `--remove`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from siglipcli.actions.xmp import EMPTY, NAMESPACE, Document, escaped

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["CARRIED", "beginning", "is_bare"]

CARRIED = "siglip:carried"
_OWN = f"{{{NAMESPACE}}}carried"
_DC, _XMP = "http://purl.org/dc/elements/1.1/", "http://ns.adobe.com/xap/1.0/"
_FIELDS = {
    "dc:title": (_DC, "Alt"),
    "dc:description": (_DC, "Alt"),
    "dc:creator": (_DC, "Seq"),
    "dc:rights": (_DC, "Alt"),
    "xmp:Rating": (_XMP, ""),
    "xmp:Label": (_XMP, ""),
}
"""Property → its namespace, and the kind of its array; "" for one value."""

Texts = list[tuple[str, str]]


def beginning(documents: Sequence[Document]) -> bytes:
    """Return a new sidecar for a file with these XMP packets, without keywords."""
    known = [document.texts() for document in documents]
    properties: dict[str, Texts] = {}
    for field in _FIELDS:
        if texts := next(
            (texts for known_texts in known if (texts := known_texts.get(_qualified(field)))), None
        ):
            properties[field] = [_plain(field, *text) for text in texts]
    if not properties:
        return EMPTY
    lines = [_xml(field, texts) for field, texts in properties.items()]
    digests = "".join(
        f"<rdf:li>{field}={_digest(texts)}</rdf:li>" for field, texts in properties.items()
    )
    lines.append(f'<{CARRIED} xmlns:siglip="{NAMESPACE}"><rdf:Bag>{digests}</rdf:Bag></{CARRIED}>')
    inside = "".join(f"   {line}\n" for line in lines)
    description = f'  <rdf:Description rdf:about="">\n{inside}  </rdf:Description>\n'
    return EMPTY.replace(b" </rdf:RDF>", description.encode() + b" </rdf:RDF>")


def is_bare(document: Document) -> bool:
    """Whether a document is of our making and says nothing but what `beginning` has put into it."""
    if not document.is_ours:
        return False
    texts = document.texts()
    digests = {text for _, text in texts.pop(_OWN, [])}
    fields = {_qualified(field): field for field in _FIELDS}
    return all(
        name in fields and f"{fields[name]}={_digest(items)}" in digests
        for name, items in texts.items()
    )


def _plain(field: str, language: str, text: str) -> tuple[str, str]:
    """Return a text as it is when it is read again."""
    language = (language or "x-default") if _FIELDS[field][1] == "Alt" else ""
    return language, text.replace("\r\n", "\n").replace("\r", "\n")


def _qualified(field: str) -> str:
    return f"{{{_FIELDS[field][0]}}}{field.partition(':')[2]}"


def _digest(texts: Iterable[tuple[str, str]]) -> str:
    return hashlib.sha256(repr(sorted(texts)).encode("utf-8", "replace")).hexdigest()[:16]


def _xml(field: str, texts: Texts) -> str:
    namespace, kind = _FIELDS[field]
    start = f'<{field} xmlns:{field.partition(":")[0]}="{namespace}">'
    if not kind:
        return f"{start}{escaped(texts[0][1])}</{field}>"
    items = "".join(_item(*text, is_alternative=kind == "Alt") for text in texts)
    return f"{start}<rdf:{kind}>{items}</rdf:{kind}></{field}>"


def _item(language: str, text: str, *, is_alternative: bool) -> str:
    attribute = f' xml:lang="{escaped(language)}"' if is_alternative else ""
    return f"<rdf:li{attribute}>{escaped(text)}</rdf:li>"
