"""The one JSON dumper: strict, UTF-8, safe to print, and how a failure stands in it.

Scores come as the shortest decimals that give the same float32 back (see `siglipcli.digits`) and are
written as they are.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from siglipcli.results import Failure

__all__ = ["document", "failed", "line"]

_compact = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_indented = json.JSONEncoder(ensure_ascii=False, allow_nan=False, indent=2).encode

# Characters that JSON allows bare but that some readers take for the end of a line, and some
# terminals for a command or a change of direction. They occur only inside strings, where an
# escape means the same. So does a lone surrogate, which UTF-8 cannot hold.
_BARE = "[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"


def line(value: object) -> str:
    """Return a value as strict JSON without a line break in it. Raises ValueError for NaN."""
    return _printable(_compact(value))


def document(value: object) -> str:
    """Return a value as strict JSON, indented, ended by a newline. Raises ValueError for NaN."""
    return _printable(_indented(value)) + "\n"


def failed(failure: Failure) -> dict[str, Any]:
    """Say why an input has no result."""
    row = failure.to_dict()
    return {"status": row["status"], "error": row["error"]}


def _printable(text: str) -> str:
    return text if text.isascii() else re.sub(_BARE, _escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match.group()):04x}"
