"""How help looks: options under headings, two examples at the end; plain text, as Rich's tables cost a start.

The program's own command has the words: `headings`, their order, and `examples`, by the words of a command.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["write_examples", "write_options"]

_OWN = "Options"
_CHOICES = r"<([^<>]*\|[^<>]*)>"
_TYPE = r"\s+<[^<>]*>"  # of a Python type, which Typer puts behind an argument's name


def write_options(command: Any, ctx: Any, formatter: Any) -> None:
    """Write arguments and options, each under its heading."""
    sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], _OWN: []}
    sections |= {heading: [] for heading in getattr(ctx.find_root().command, "headings", ())}
    for param in command.get_params(ctx):
        record = param.get_help_record(ctx)
        if record is None:
            continue
        name, text = re.sub(_CHOICES, r"\1", record[0]), record[1]
        if param.param_type_name == "argument":
            sections["Arguments"].append((re.sub(_TYPE, "", name), text))
        else:
            heading = getattr(param, "rich_help_panel", None) or _OWN
            sections.setdefault(heading, []).append((name, text))
    for heading, rows in sections.items():
        if rows:
            with formatter.section(heading):
                formatter.write_dl(rows)


def write_examples(ctx: Any, formatter: Any) -> None:
    """Write the command's two examples."""
    examples_of = getattr(ctx.find_root().command, "examples", {})
    words: list[str] = []
    while ctx.parent:
        words.insert(0, ctx.info_name)
        ctx = ctx.parent
    if examples := examples_of.get(" ".join(words)):
        with formatter.section("Examples"):
            for example in examples:
                formatter.write(f"{'':>{formatter.current_indent}}{example}\n")
