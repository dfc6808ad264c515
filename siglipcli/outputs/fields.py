"""Names as UTF-8 holds them; they are in `siglipcli.text`."""

from __future__ import annotations

from siglipcli.text import raw_name, utf8

__all__ = ["raw_name", "utf8"]
