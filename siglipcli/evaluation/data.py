"""Images whose labels are known: a folder per class, or a manifest; and which label a name means.

A folder's images are named by the folder they lie in, as a path below DATA: `bird/owl/x.jpg` is an example
of "bird/owl". A manifest names them itself, in UTF-8, with paths relative to its own folder:

    file,label                  {"file": "a.jpg", "label": "cat"}
    a.jpg,cat                   {"file": "b.jpg", "labels": ["cat", "dog"]}
    b.jpg,cat;dog               {"file": "c.jpg", "labels": []}
    c.jpg,                      JSON Lines, .jsonl
    CSV, .csv

Other columns and keys are passed over. An image without a label is one of which no label is right.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import logging
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

import numpy as np

from siglipcli.errors import UsageError
from siglipcli.inputs import Options, expand
from siglipcli.results import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import TypeAlias

    from numpy.typing import NDArray

    from siglipcli.labels import LabelSet
    from siglipcli.results import Failure

    Row: TypeAlias = tuple[int, str, tuple[str, ...]]  # line, file, names

__all__ = ["Data", "Example", "read", "truth", "without"]

_LISTED = 5  # names that an error spells out
_SHOWN = 60  # characters of each
_NEAR = 0.5  # difflib's ratio from which on a label is worth suggesting
_LABEL_KEYS = ("label", "labels")

logger = logging.getLogger("siglipcli")


@dataclass(frozen=True, slots=True)
class Example:
    """An input and the names that the data gives it; none: no label of the set is right."""

    input: Source | Failure
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Data:
    """A data set: its name (the folder's or manifest's) and its images."""

    name: str
    examples: Sequence[Example]

    def inputs(self) -> Iterator[Source | Failure]:
        """Yield what there is to encode, in order."""
        return (example.input for example in self.examples)


def read(path: Path, options: Options | None = None) -> Data:
    """Return the data set in a folder per class, or in a CSV or JSONL manifest; no image is opened.

    `options` say what counts in a folder; a manifest's images are all taken. What cannot be listed is a
    Failure among the examples. Raises UsageError where there is no image, or where a manifest
    cannot be read (`file:line: column: what was expected`).
    """
    name = os.path.basename(os.path.abspath(path))  # noqa: PTH100, PTH119  # of `.` too
    if os.path.isdir(path):  # noqa: PTH112  # Path.is_dir raises where it may not look
        return Data(name, _in_folder(os.fspath(path), options))
    reader = _MANIFESTS.get(path.suffix.lower())
    if reader is None:
        there = os.path.lexists(path)
        raise UsageError(
            f"{path} is neither a folder nor a .csv or .jsonl file; give a folder per class, or a manifest"
            if there
            else f"there is no file or folder {path}"
        )
    return Data(name[: -len(path.suffix)], _in_manifest(path, reader))


def without(data: Data, ignored: Sequence[str]) -> Data:
    """Return the data without the images of the names `ignored`, and of names below them (`bird/owl` of `bird`).

    An image that has other names too keeps those. Raises UsageError for a name that the data does not have, and
    where no image is left.
    """
    if not ignored:
        return data
    keys = {_key(name): name for name in ignored}
    names = {name for each in data.examples for name in each.names}
    above = {name: {_key(name), *_above(_key(name))} & keys.keys() for name in names}
    if unknown := [keys[key] for key in keys if not any(key in found for found in above.values())]:
        near = difflib.get_close_matches(unknown[0], names, n=1, cutoff=_NEAR)
        hint = f"; the nearest is {_quoted(near[0])}" if near else ""
        raise UsageError(f"the data has no name {_quoted(unknown[0])} to leave out{hint}")
    kept = [
        Example(each.input, tuple(name for name in each.names if not above[name]))
        for each in data.examples
        if not each.names or any(not above[name] for name in each.names)
    ]
    if not kept:
        raise UsageError("there are no images left in the data")
    return Data(data.name, kept)


# --- folders --------------------------------------------------------------------------------------


def _in_folder(root: str, options: Options | None) -> list[Example]:
    if root == "-":  # a folder's name here, never stdin
        root = os.path.join(os.curdir, root)  # noqa: PTH118
    listed = [Example(item, _class_of(item, root)) for item in expand([root], options)]
    loose = [
        each.input.name for each in listed if isinstance(each.input, Source) and not each.names
    ]
    images = sum(isinstance(each.input, Source) for each in listed)
    if images == len(loose):
        if not loose:
            raise UsageError(f"there are no images in {root}", code="no_images")
        raise UsageError(
            f"no image in {root} lies in a folder of its class; sort them into such folders, or list them in a"
            " manifest"
        )
    if loose:
        logger.warning(
            "left out, as they are in no class's folder: %d of %d images in %s, such as %s",
            *(len(loose), images, root, loose[0]),
        )
    return [each for each in listed if each.names or not isinstance(each.input, Source)]


def _class_of(item: Source | Failure, root: str) -> tuple[str, ...]:
    """Return the path below `root` of the folder that something lies in; nothing for `root` itself."""
    name = item.name if isinstance(item, Source) else item.file
    folder = os.path.dirname(name)[len(root) :]  # noqa: PTH120
    folder = folder.replace(os.sep, "/").strip("/")
    return (folder,) if folder else ()


# --- manifests ------------------------------------------------------------------------------------


def _in_manifest(path: Path, reader: Callable[[str, str], Iterator[Row]]) -> list[Example]:
    shown = os.fspath(path)
    examples: list[Example] = []
    first: dict[str, tuple[int, frozenset[str]]] = {}
    for line, file, names in reader(_text(path), shown):
        at, known = first.setdefault(os.path.normpath(file), (line, frozenset(map(_key, names))))
        if at == line:
            examples.append(Example(Source(_beside(shown, file)), names))
        elif known != frozenset(map(_key, names)):
            what = (
                f"{_quoted(file)} is already on line {at}, with other labels; keep one of the two"
            )
            raise _wrong(shown, line, "file", what)
    if not examples:
        raise UsageError(f"there are no images in {path}", code="no_images")
    return examples


def _beside(manifest: str, file: str) -> str:
    name = os.path.join(os.path.dirname(manifest), file)  # noqa: PTH118, PTH120
    return os.path.join(os.curdir, name) if name == "-" else name  # noqa: PTH118  # not stdin


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise UsageError(f"{path}:{line}: the bytes are not UTF-8; save it as UTF-8") from error


def _csv_rows(text: str, shown: str) -> Iterator[Row]:
    records = _records(text, shown)
    line, header = next(records, (1, []))
    file, labels = _columns([name.strip().casefold() for name in header], line, shown)
    for line, fields in records:
        if len(fields) != len(header):
            raise UsageError(
                f"{shown}:{line}: expected {len(header)} fields, as in the first line, found {len(fields)};"
                " put a text that holds a comma in quotes"
            )
        if not fields[file].strip():
            raise _wrong(shown, line, "file", "expected a path, found nothing")
        yield line, fields[file], _names(fields[labels].split(";"))


def _records(text: str, shown: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each record that is not blank, with the line it begins on."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UsageError(f"{shown}:{line}: not CSV: {error}") from error
        if any(field.strip() for field in fields):
            yield line, fields


def _columns(header: Sequence[str], line: int, shown: str) -> tuple[int, int]:
    """Find the columns of files and of labels."""
    labels = [i for i, name in enumerate(header) if name in _LABEL_KEYS]
    if header.count("file") != 1 or len(labels) != 1:
        found = ",".join(header)[:_SHOWN] or "nothing"
        raise UsageError(
            f"{shown}:{line}: expected the columns' names, file and label, once each; found {found}"
        )
    return header.index("file"), labels[0]


def _json_rows(text: str, shown: str) -> Iterator[Row]:
    for line, written in enumerate(text.split("\n"), 1):
        if not written.strip():
            continue
        try:
            entry = json.loads(written)
        except (ValueError, RecursionError) as error:
            what = getattr(error, "msg", "nested too deep, or a number too long")
            raise UsageError(f"{shown}:{line}: not JSON: {what}") from error
        if not isinstance(entry, dict):
            raise UsageError(f'{shown}:{line}: expected an object, {{"file": …, "label": …}}')
        file = entry.get("file")
        if not (isinstance(file, str) and file.strip()):
            raise _wrong(shown, line, "file", f"expected a path, found {_shown(file)}")
        yield line, file, _json_names(entry, line, shown)


def _json_names(entry: Mapping[str, Any], line: int, shown: str) -> tuple[str, ...]:
    keys = [key for key in _LABEL_KEYS if key in entry]
    if len(keys) != 1:
        found = "both" if keys else "neither"
        raise UsageError(f"{shown}:{line}: expected label or labels, found {found}")
    value = entry[keys[0]]
    names = value if isinstance(value, list) else [] if value is None else [value]
    for name in names:
        if not isinstance(name, str):
            raise _wrong(shown, line, keys[0], f"expected a text, found {_shown(name)}")
    return _names(names)


def _names(written: Iterable[str]) -> tuple[str, ...]:
    """Drop blanks and what is empty or repeated."""
    return tuple(dict.fromkeys(name.strip() for name in written if name.strip()))


def _wrong(shown: str, line: int, key: str, what: str) -> UsageError:
    return UsageError(f"{shown}:{line}: {key}: {what}")


def _shown(value: Any) -> str:
    return "nothing" if value is None or value == "" else json.dumps(value)[:_SHOWN]


def _quoted(text: str) -> str:
    return f"'{text}'" if len(text) <= _SHOWN else f"'{text[: _SHOWN - 1]}…'"


_MANIFESTS = {".csv": _csv_rows, ".jsonl": _json_rows, ".ndjson": _json_rows}


# --- names ----------------------------------------------------------------------------------------


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
    found = {name: finder.find(name, renamed) for name in wanted}
    if unknown := [name for name, index in found.items() if index is None]:
        raise UsageError(_unmatched(unknown, finder))
    right = np.zeros((len(names), len(labels.labels)), dtype=np.bool_)
    for row, image in zip(right, names, strict=True):
        row[[index for name in image if (index := found[name]) is not None]] = True
    return right


class _Finder:
    """Finds labels by what people call them."""

    def __init__(self, labels: LabelSet) -> None:
        self.set = labels.name
        self.paths = [label.path for label in labels.labels]
        keys = [_key(path) for path in self.paths]
        self._exact = {normalize("NFC", path): i for i, path in enumerate(self.paths)}
        self._full = _unique(keys)
        self._last = _unique([key.rpartition("/")[2] for key in keys])
        self._parents = {parent for key in keys for parent in _above(key)}

    def find(self, name: str, renamed: Mapping[str, int]) -> int | None:
        """Return the index of the label that a name means, or None."""
        key = _key(name)
        index = renamed.get(key)
        index = self.label(name) if index is None else index
        if index is not None:
            return index
        for parent in _above(key):
            if parent in renamed:
                return renamed[parent]
            index = self.label(parent)
            if index is not None:
                return None if _key(self.paths[index]) in self._parents else index
        return None

    def label(self, name: str) -> int | None:
        """Return the index of the label of that name: its whole path, or its last part."""
        key = _key(name)
        known = (self._exact.get(normalize("NFC", name)), self._full.get(key), self._last.get(key))
        return next((index for index in known if index is not None), None)

    def near(self, name: str) -> str | None:
        """Return the path of the label whose name is the most like `name`, if one is."""
        labels = self._last | self._full
        near = difflib.get_close_matches(_key(name)[:_SHOWN], labels, n=1, cutoff=_NEAR)
        return self.paths[labels[near[0]]] if near else None


def _renamed(renames: Mapping[str, str], finder: _Finder, wanted: Iterable[str]) -> dict[str, int]:
    """Check renames, and return for each name's key the label's index."""
    there = {_key(each): each for name in wanted for each in [*reversed(_above(name)), name]}
    renamed = {}
    for name, label in renames.items():
        if (index := finder.label(label)) is None:
            near = finder.near(label)
            hint = f"; the nearest is {_quoted(near)}" if near else ""
            raise UsageError(
                f"--map: the set {_quoted(finder.set)} has no label {_quoted(label)}{hint}"
            )
        if _key(name) not in there:
            closest = difflib.get_close_matches(_key(name), there, n=1, cutoff=_NEAR)
            hint = f"; the nearest is {_quoted(there[closest[0]])}" if closest else ""
            raise UsageError(f"--map: DATA has no name {_quoted(name)}{hint}")
        renamed[_key(name)] = index
    return renamed


def _unmatched(names: Sequence[str], finder: _Finder) -> str:
    listed = []
    for name in names[:_LISTED]:
        near = finder.near(name)
        listed.append(_quoted(name) + (f" (nearest: {near})" if near else ""))
    more = len(names) - len(listed)
    example = f"{names[0]}={finder.near(names[0]) or 'LABEL'}"
    count = "1 name in DATA matches" if len(names) == 1 else f"{len(names):,} names in DATA match"
    return (
        f"{count} no label of the set {_quoted(finder.set)}: {', '.join(listed)}{f' and {more:,} more' if more else ''};"
        f" tell what is meant, as with --map {_quoted(example)}"
    )


def _key(name: str) -> str:
    """Return what two spellings of one name share."""
    folded = normalize("NFC", normalize("NFC", name).casefold())
    parts = (_BLANKS.sub(" ", part).strip() for part in folded.split("/"))
    return "/".join(parts)


_BLANKS = re.compile(r"[\s_-]+")


def _above(key: str) -> list[str]:
    """Return the parents of a path, the nearest first."""
    parts = key.split("/")
    return ["/".join(parts[:end]) for end in range(len(parts) - 1, 0, -1)]


def _unique(keys: Sequence[str]) -> dict[str, int]:
    """Return the positions of those that occur once."""
    first: dict[str, int] = {}
    again = set()
    for i, key in enumerate(keys):
        if first.setdefault(key, i) != i:
            again.add(key)
    return {key: i for key, i in first.items() if key not in again}
