"""The pages for a browser: one to try the model, and one that shows the API.

`index.html` and its modules are sent as they are; `docs.html` is filled in from the OpenAPI document. Both
share `theme.css` with the HTML report. They load nothing but their own files: the policy that goes with them
lets in nothing else, no script or style within a page, and no markup that is made from strings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from siglipcli.outputs.html import templates
from siglipcli.serve.page import examples

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FILES", "HEADERS", "docs", "read"]

FILES = {
    "api.js": "text/javascript",
    "docs.css": "text/css",
    "page.css": "text/css",
    "page.js": "text/javascript",
    "scores.js": "text/javascript",
    "theme.css": "text/css",
}
"""File → media type of what the pages load."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src blob: data:;"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
        " require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cache-Control": "no-cache",  # a newer server's page is shown at once
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def read(name: str) -> str:
    """Return the text of a page or of one of `FILES`."""
    return templates.file(name, "" if name == "theme.css" else __package__)


def docs(document: Mapping[str, Any], base: str) -> str:
    """Return the page of an OpenAPI document; `base` is the server's address in its examples."""
    template = templates.environment(__package__).get_template("docs.html")
    return template.render(document=document, groups=examples.groups(document, base))
