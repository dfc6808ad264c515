"""RDF's elements as XMP uses them: what a property, an array and an item say, in each form that they may have.

Source: XMP specification, part 1 (ISO 16684-1), 7.5 to 7.9, and RDF/XML Syntax, 2.5 (property attributes).
"""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siglipcli.actions.fields import Keyword

__all__ = [
    "ABOUT",
    "RDF",
    "XmpError",
    "about",
    "array",
    "categories",
    "is_emptied",
    "is_opaque",
    "items",
]
__all__ += ["local", "prefix", "text", "texts", "value", "values"]

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
ABOUT = frozenset({f"{{{RDF}}}about", "about"})
"""The attributes of a description that say nothing of the image."""
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
_CATEGORY = re.compile(r"<(/?)Category\b([^>]*?)(/?)>([^<]*)")
_DEEPEST = 64  # categories within one another


class XmpError(Exception):
    """A document that cannot be read, and is left as it is; the message says why."""


def local(element: Any) -> str:
    """Return an element's name without its namespace."""
    return str(element.tag).rpartition("}")[2]


def prefix(element: Any) -> str:
    """Return an element's prefix with its colon; "" where it has none."""
    return f"{element.prefix}:" if element.prefix else ""


def about(description: Any) -> str:
    """Return what a description is about."""
    return str(description.get(f"{{{RDF}}}about") or description.get("about") or "")


def is_emptied(description: Any, lost: set[Any]) -> bool:
    """Whether a description has lost properties, and has none any more, nor attributes that say something."""
    nodes = list(description)
    return bool(nodes) and set(nodes) <= lost and set(description.attrib) <= ABOUT


def array(prop: Any) -> Any | None:
    """Return a property's rdf:Bag, rdf:Seq or rdf:Alt."""
    kinds = {f"{{{RDF}}}{kind}" for kind in ("Bag", "Seq", "Alt")}
    return next((node for node in prop if node.tag in kinds), None)


def items(prop: Any) -> list[Any]:
    """Return the items of a property that is an array."""
    content = array(prop)
    return [node for node in content if isinstance(node.tag, str)] if content is not None else []


def values(prop: Any) -> list[str]:
    """Return the values of a property: an array's items, or the one value that an element or attribute has.

    Raises XmpError where a property that is no array holds what cannot be read.
    """
    if isinstance(prop, str):
        return [prop.strip()] if prop.strip() else []
    if array(prop) is not None:
        return [content for node in items(prop) if (content := value(node))]
    if is_opaque(prop):
        raise XmpError(f"{prefix(prop)}{local(prop)} has a value in a form that is not known")
    return [content] if (content := value(prop)) else []


def texts(prop: Any) -> list[tuple[str, str]]:
    """Return the languages ("" for none) and texts of a property's items, or of itself."""
    nodes = items(prop) if array(prop) is not None else [prop]
    return [(node.get(_LANGUAGE) or "", content) for node in nodes if (content := value(node))]


def value(node: Any) -> str:
    """Return an item's value: its rdf:value where it has qualifiers, else its text, or the resource that it names."""
    inner = node.find(f".//{{{RDF}}}value")
    if content := text(node if inner is None else inner):
        return content
    elements = [element for element in node.iter() if isinstance(element.tag, str)]
    attributes = (
        element.get(f"{{{RDF}}}{name}") for name in ("value", "resource") for element in elements
    )
    return next((content for content in attributes if content and content.strip()), "").strip()


def text(node: Any) -> str:
    """Return all text within an element, without comments and white space around it."""
    return str(node.xpath("string()")).strip()


def is_opaque(node: Any) -> bool:
    """Whether an element says something that `value` does not read."""
    if not isinstance(node.tag, str) or value(node):
        return False
    return len(node) > 0 or bool(set(node.attrib) - {_LANGUAGE})


def categories(xml: str) -> Iterator[Keyword]:
    """Yield the categories that ACDSee has assigned: `<Category Assigned="1">bird<Category …`, as paths."""
    path: list[str] = []
    for match in _CATEGORY.finditer(xml):
        end, attributes, is_empty, name = match.groups()
        if end:
            del path[-1:]
        elif not is_empty and len(path) < _DEEPEST:
            path.append(unescape(name).strip())
            if re.search(r"Assigned\s*=\s*[\"']1", attributes) and path[-1]:
                yield tuple(filter(None, path))
