"""The words of the command line: what help says of options, two examples for each command, the order of headings.

They lie in `words/`, one per line.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["EXAMPLES", "HEADINGS", "OPTIONS", "read_words"]


def read_words(name: str) -> list[tuple[str, str]]:
    """Read `words/NAME.txt`: lines of `key: text`, whose text may be empty; lines that start with # are comments."""
    text = Path(__file__).with_name("words").joinpath(f"{name}.txt").read_text(encoding="utf-8")
    rows = (line.partition(":") for line in text.splitlines() if not line.startswith("#"))
    return [(key, words.strip()) for key, _, words in rows]


HEADINGS = tuple(heading for heading, _ in read_words("headings"))
"""The order of an option's headings; what belongs to the command itself comes before, as Options."""

OPTIONS = dict(read_words("options"))
"""Option → its help, the same in every command."""

EXAMPLES: dict[str, list[str]] = {}
"""Command → two examples that may be typed as they are, but for the names of files."""
for _command, _example in read_words("examples"):
    EXAMPLES.setdefault(_command, []).append(_example)
