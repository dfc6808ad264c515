"""What a person at the command line can do about an error: one table, looked up by the error's code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siglipcli.cli.help import read_words

if TYPE_CHECKING:
    from siglipcli.errors import SiglipError

__all__ = ["REMEDIES", "with_remedy"]

REMEDIES = dict(read_words("remedies"))
"""Code → a sentence with the options of the command line; `{fact}` is filled in, `{path!q}` as a shell's word. "" where the message says all."""


def with_remedy(error: SiglipError) -> str:
    """Return the error's message, and the remedy that the table has for its code."""
    from siglipcli.terminal.quoting import filled

    remedy = filled(REMEDIES.get(error.code, ""), error.facts)
    return f"{error} {remedy}".rstrip()
