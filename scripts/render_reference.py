"""Write `docs/reference.md` from the help of every command.

python scripts/render_reference.py            # write it
python scripts/render_reference.py --check    # say whether it is stale; status 1 if so
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from typer.main import get_command
from typer.testing import CliRunner

from siglipcli.cli import app

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PAGE", "commands", "environment", "help_of", "render"]

PAGE = Path(__file__).parent.parent / "docs" / "reference.md"
WIDTH = 80

HEAD = """\
# Every command and option

<!-- Made by scripts/render_reference.py from the commands' own help; do not edit. -->

This is what `--help` says, command by command. The [README](../README.md) explains it with examples.
"""

ENVIRONMENT = """\
## Environment variables

An option on the command line wins over its variable.

| variable | option | commands |
|---|---|---|
"""


def commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each command as the words that name it, the program's own name left out, and itself.

    A group comes before its members; the first is the program: `()`.
    """
    waiting: list[tuple[tuple[str, ...], Any]] = [((), get_command(app))]
    while waiting:
        words, command = waiting.pop(0)
        yield words, command
        members = getattr(command, "commands", {})
        waiting[:0] = [((*words, name), member) for name, member in members.items()]


def help_of(words: tuple[str, ...]) -> str:
    """Return what `siglip WORDS --help` prints on a terminal of 80 columns."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("SIGLIP_")}
    with patch.dict(os.environ, {**bare, "COLUMNS": str(WIDTH), "TERM": "dumb"}, clear=True):
        result = CliRunner().invoke(app, [*words, "--help"], prog_name="siglip")
    if result.exit_code:
        raise RuntimeError(f"siglip {' '.join(words)} --help ended with {result.exit_code}")
    return result.output.strip("\n")


def environment() -> dict[str, dict[str, list[str]]]:
    """Return each environment variable → its option → the commands that read it."""
    found: dict[str, dict[str, list[str]]] = {}
    for words, command in commands():
        for parameter in command.params:
            if parameter.envvar:
                option = max(parameter.opts, key=len)
                found.setdefault(str(parameter.envvar), {}).setdefault(option, []).append(
                    " ".join(words)
                )
    return dict(sorted(found.items()))


def render() -> str:
    """Return the whole page."""
    sections = [HEAD]
    for words, _ in commands():
        title = " ".join(("siglip", *words))
        sections.append(f"## {title}\n\n```text\n{help_of(words)}\n```\n")
    rows = [
        f"| `{variable}` | `{option}` | {', '.join(names)} |\n"
        for variable, options in environment().items()
        for option, names in options.items()
    ]
    return "\n".join([*sections, ENVIRONMENT + "".join(rows)])


def main() -> int:
    """Write the page, or check it."""
    page = render()
    if "--check" in sys.argv[1:]:
        fresh = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page
        print(f"{PAGE.name} is {'up to date' if fresh else 'stale: run `make docs`'}")
        return 0 if fresh else 1
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page, encoding="utf-8")
    print(f"wrote {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
