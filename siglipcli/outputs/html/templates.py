"""The page's templates: one file that fetches nothing, and text made safe for it.

Every text is escaped by Jinja2, with control characters spelt out first; markup is what a template made.
The page's policy lets in its own script and style by their digests, images by `data:` and nothing else.
Markup is never made from strings while the page runs (`require-trusted-types-for`).
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache, partial
from importlib import resources
from typing import TYPE_CHECKING, Any, TypeAlias

from jinja2 import Environment, FunctionLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps

from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from markupsafe import Markup

__all__ = ["Html", "as_data", "environment", "file", "page", "part"]

Html: TypeAlias = "Markup"
"""Markup that a template made: whatever came from elsewhere in it is escaped."""


def page(**content: Any) -> Iterator[str]:
    """Yield the page in pieces; what it iterates over is read as the pieces are taken."""
    script = file("page.js") + file("review.js")
    template = environment().get_template("page.html")
    return template.generate(style=file("theme.css") + file("page.css"), script=script, **content)


def part(name: str, **content: Any) -> Html:
    """Return what the macro `name` of `parts.html` makes."""
    macro = getattr(environment().get_template("parts.html").module, name)
    markup: Html = macro(**content)
    return markup


def as_data(value: object) -> Html:
    """Return JSON that no HTML parser takes for anything but text. Raises ValueError for NaN."""
    return htmlsafe_json_dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


@cache
def environment(package: str = "") -> Environment:
    """Return the templates in the folder of a package: by default of this one."""
    environment = Environment(
        loader=FunctionLoader(partial(file, package=package)),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_spelt_out,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters = {"digest": _digest, "json": as_data, "number": _number, "plural": _plural}
    environment.filters.update(filters)
    return environment


def _spelt_out(value: object) -> object:
    return visible(value) if type(value) is str else value  # a subclass is markup


def _number(value: str | float) -> str:
    """Write a number with four decimals, a whole one as it is; text stays."""
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + "s" * (count != 1)


def _digest(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode("ascii")


@cache
def file(name: str, package: str = "") -> str:
    """Return the text of a file in the folder of a package: by default of this one."""
    return resources.files(package or __package__).joinpath(name).read_text(encoding="utf-8")
