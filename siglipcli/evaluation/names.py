"""Which label of a set a name in the data means."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING
from unicodedata import normalize

import numpy as np

from siglipcli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from siglipcli.labels import LabelSet

__all__ = ["NEAR", "above", "key", "quoted", "truth"]

NEAR = 0.5
"""difflib's ratio from which on a name is worth suggesting."""
_LISTED = 5  # names that an error spells out
_SHOWN = 60  # characters of a name in an error
_BLANKS = re.compile(r"[\s_-]+")


def truth(
    names: Sequence[tuple[str, ...]], labels: LabelSet, renames: Mapping[str, str]
) -> NDArray[np.bool_]:
    """Return bool[n, n_labels]: the labels that the names mean, themselves only, not their parents.

    A name means the label with that path, else the only label whose last name it is; letter case, Unicode
    form, `_`, `-` and blanks make no difference. A name with more parts than labels have (`owl/night/2`)
    means what the nearest of its parents does, if that label has no children: beside children, a
    part that none of them matches is more likely a mistake.

    `renames` ({name: label}) come first; one holds for all names below it too. Raises UsageError for names
    that no label matches, and for a rename whose name or label is not there.
    """
    finder = _Finder(labels)
    wanted = dict.fromkeys(name for row in names for name in row)
    renamed = _renamed(renames, finder, wanted)
    indices = {name: finder.find(name, renamed) for name in wanted}
    if unknown := [name for name, index in indices.items() if index is None]:
        raise _unmatched(unknown, finder)
    right = np.zeros((len(names), len(labels.labels)), dtype=np.bool_)
    for row, image in zip(right, names, strict=True):
        row[[index for name in image if (index := indices[name]) is not None]] = True
    return right


class _Finder:
    """Finds labels by what people call them."""

    def __init__(self, labels: LabelSet) -> None:
        self.set = labels.name
        self.paths = [label.path for label in labels.labels]
        keys = [key(path) for path in self.paths]
        self._exact = {normalize("NFC", path): i for i, path in enumerate(self.paths)}
        self._full = _unique(keys)
        self._last = _unique([path_key.rpartition("/")[2] for path_key in keys])
        self._parents = {parent for path_key in keys for parent in above(path_key)}

    def find(self, name: str, renamed: Mapping[str, int]) -> int | None:
        """Return the index of the label that a name means, or None."""
        name_key = key(name)
        index = renamed.get(name_key)
        index = self.label(name) if index is None else index
        if index is not None:
            return index
        for parent in above(name_key):
            if parent in renamed:
                return renamed[parent]
            index = self.label(parent)
            if index is not None:
                return None if key(self.paths[index]) in self._parents else index
        return None

    def label(self, name: str) -> int | None:
        """Return the index of the label of that name: its whole path, or its last part."""
        name_key = key(name)
        exact = self._exact.get(normalize("NFC", name))
        known = (exact, self._full.get(name_key), self._last.get(name_key))
        return next((index for index in known if index is not None), None)

    def near(self, name: str) -> str | None:
        """Return the path of the label whose name is the most like `name`, if one is."""
        labels = self._last | self._full
        near = difflib.get_close_matches(key(name)[:_SHOWN], labels, n=1, cutoff=NEAR)
        return self.paths[labels[near[0]]] if near else None


def _renamed(renames: Mapping[str, str], finder: _Finder, wanted: Iterable[str]) -> dict[str, int]:
    """Check renames, and return for each name's key the label's index."""
    in_data = {
        key(spelling): spelling for name in wanted for spelling in [*reversed(above(name)), name]
    }
    renamed = {}
    for name, label in renames.items():
        if (index := finder.label(label)) is None:
            near = finder.near(label)
            hint = f"; the nearest is {quoted(near)}" if near else ""
            raise UsageError(
                f"cannot rename {quoted(name)}: the set {quoted(finder.set)} has no label"
                f" {quoted(label)}{hint}"
            )
        if key(name) not in in_data:
            closest = difflib.get_close_matches(key(name), in_data, n=1, cutoff=NEAR)
            hint = f"; the nearest is {quoted(in_data[closest[0]])}" if closest else ""
            raise UsageError(f"cannot rename {quoted(name)}: the data has no such name{hint}")
        renamed[key(name)] = index
    return renamed


def _unmatched(names: Sequence[str], finder: _Finder) -> UsageError:
    listed = []
    for name in names[:_LISTED]:
        near = finder.near(name)
        listed.append(quoted(name) + (f" (nearest: {near})" if near else ""))
    more = len(names) - len(listed)
    example = f"{names[0]}={finder.near(names[0]) or 'LABEL'}"
    count = (
        "1 name in the data matches"
        if len(names) == 1
        else f"{len(names):,} names in the data match"
    )
    return UsageError(
        f"{count} no label of the set {quoted(finder.set)}: {', '.join(listed)}{f' and {more:,} more' if more else ''};"
        " rename them to labels, or leave them out.",
        code="unmatched_names",
        example=quoted(example),
    )


def key(name: str) -> str:
    """Return what two spellings of one name share."""
    folded = normalize("NFC", normalize("NFC", name).casefold())
    parts = (_BLANKS.sub(" ", part).strip() for part in folded.split("/"))
    return "/".join(parts)


def above(path: str) -> list[str]:
    """Return the parents of a path, the nearest first."""
    parts = path.split("/")
    return ["/".join(parts[:end]) for end in range(len(parts) - 1, 0, -1)]


def _unique(keys: Sequence[str]) -> dict[str, int]:
    """Return the positions of those that occur once."""
    first: dict[str, int] = {}
    again = set()
    for i, name in enumerate(keys):
        if first.setdefault(name, i) != i:
            again.add(name)
    return {name: i for name, i in first.items() if name not in again}


def quoted(text: str) -> str:
    """Return a name in quotes, cut where it is long."""
    return f"'{text}'" if len(text) <= _SHOWN else f"'{text[: _SHOWN - 1]}…'"
