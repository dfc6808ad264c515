"""What `siglip sort` says of each image, and of all of them at the end."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

from siglipcli.results import Failure
from siglipcli.terminal.quoting import shell_word
from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import TextIO

    from siglipcli.actions.moving import Placement
    from siglipcli.actions.undo import Restored

__all__ = ["DONE", "Rows", "counted", "how_back"]

DONE = {"move": "moved", "copy": "copied", "link": "linked", "symlink": "linked"}
_BACK = {"move": "moved back to", "copy": "removed, a copy of", "link": "removed, a link to"}
_BACK["symlink"] = _BACK["link"]


class Rows:
    """What became of each image, on stdout; counted for the last line on stderr."""

    def __init__(self, form: str, action: str | None) -> None:
        self.counts = Counter[str]()
        self._is_json = form == "jsonl"
        self._action = action

    def write(self, items: Iterable[Placement | Failure | Restored], stream: TextIO) -> None:
        """Write a row for each item as it comes. Raises OutputError."""
        for item in items:
            self.counts[
                "failed" if isinstance(item, Failure) else getattr(item, "what", "back")
            ] += 1
            self.counts["files"] += len(getattr(item, "members", ()))
            row = self._json(item) if self._is_json else self._text(item)
            stream.write(row)
            stream.flush()

    def _json(self, item: Placement | Failure | Restored) -> str:
        if isinstance(item, Failure):
            row = {key: value for key, value in item.to_dict().items() if key != "labels"}
        else:
            row = item.to_dict()
        if self._action is None and row.get("what") == "placed":
            row["what"] = "planned"
        return json.dumps(row, ensure_ascii=False) + "\n"

    def _text(self, item: Placement | Failure | Restored) -> str:
        file = visible(item.file)
        if isinstance(item, Failure):
            return f"✗ {file}  {item.kind}: {visible(item.message)}\n"
        from siglipcli.actions.undo import Restored

        target = visible(item.target)
        if isinstance(item, Restored):
            return f"{file}  {_BACK[item.kind]} {target}\n"
        label = f"  {visible(item.score.label)} {item.score.score:.2f}" if item.score else ""
        if item.what != "placed":
            return f"{file}  {_OUTCOMES[item.what].format(target)}{label}\n"
        others = [(s, t) for s, t in item.members if s != item.file]
        lines = [f"{file} -> {target}{label}"]
        lines += [f"  {visible(source)} -> {visible(place)}" for source, place in others]
        return "\n".join(lines) + "\n"

    def so_far(self) -> str:
        """Return how many images are done, in words."""
        return f"{counted(self.counts['placed'], 'image')} {DONE.get(self._action or '', 'done')}"

    def summary(self, into: Path) -> str:
        """Return the last line."""
        counts = self.counts
        done = f"{DONE[self._action]}" if self._action else "would place"
        parts = [f"{done} {counted(counts['placed'], 'image')}"]
        if (others := counts["files"] - counts["placed"]) > 0:
            parts[0] += f" with {counted(others, 'file')} that belong{'s' * (others == 1)} to them"
        for what, text in _COUNTED.items():
            if counts[what]:
                parts.append(text.format(f"{counts[what]:,}"))
        last = (
            how_back(into)
            if self._action
            else "nothing is done without --move, --copy, --link or --symlink"
        )
        return f"{', '.join(parts)}; {last}"


_OUTCOMES = {
    "there": "left out: the same is at {} already",
    "in_place": "in place",
    "untagged": "no tag: stays",
    "follows": "goes with {}",
}
_COUNTED = {
    "follows": "{} RAW among these",
    "there": "{} there already",
    "in_place": "{} in place",
    "untagged": "{} without a tag stay",
    "failed": "{} failed",
}


def counted(count: int, thing: str) -> str:
    """Return a number with what it counts, in words."""
    return f"{count:,} {thing}{'s' * (count != 1)}"


def how_back(into: Path) -> str:
    """Return the command that takes a run back."""
    from siglipcli.actions import journal

    return f"take it back with: siglip sort --undo {shell_word(str(into / journal.NAME))}"
