"""The page's frame: one file that fetches nothing, and text made safe for it.

The policy lets in the page's own script and style by their digests, images by `data:` and nothing
else. Markup is never made from strings while the page runs (`require-trusted-types-for`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import cache
from html import escape
from importlib import resources
from typing import TYPE_CHECKING

from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from siglipcli.outputs.html.sections import Html

__all__ = ["as_data", "pieces", "text"]

# What would end a script element or a line of one, as JSON may write it too.
_ACTIVE = re.compile("[<>&\u2028\u2029]")
_SLOT = re.compile(r"\{\{(\w+)\}\}")


def pieces(slots: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """Yield the page with its slots filled, in order; what a slot yields stands as it is.

    `policy`, `style` and `script` are filled here.
    """
    style, script = _file("page.css"), _file("page.js") + _file("review.js")
    own = {"policy": _policy(style, script), "style": style, "script": script}
    for i, part in enumerate(_SLOT.split(_file("page.html"))):
        if i % 2 == 0:
            yield part
        elif part in own:
            yield own[part]
        else:
            yield from slots[part]


def text(value: str) -> Html:
    """Return text as markup that shows it: escaped, control characters spelt out."""
    return escape(visible(value))


def as_data(value: object) -> str:
    """Return JSON that no HTML parser takes for anything but text. Raises ValueError for NaN."""
    written = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _ACTIVE.sub(lambda found: f"\\u{ord(found.group()):04x}", written)


def _policy(style: str, script: str) -> str:
    """Return the Content-Security-Policy.

    Style attributes are let in: the curves and heat of our own sections have them, and they can
    neither run nor fetch anything here.
    """
    return "; ".join(
        (
            "default-src 'none'",
            "img-src data:",
            f"style-src-elem '{_digest(style)}'",
            "style-src-attr 'unsafe-inline'",
            f"script-src '{_digest(script)}'",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def _digest(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode("ascii")


@cache
def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
