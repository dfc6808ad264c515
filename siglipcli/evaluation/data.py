"""Images whose labels are known: a folder per class, or a manifest.

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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from siglipcli.errors import UsageError
from siglipcli.evaluation.names import NEAR, above, key, quoted
from siglipcli.inputs import Options, expand
from siglipcli.results import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import TypeAlias

    from siglipcli.results import Failure

    Row: TypeAlias = tuple[int, str, tuple[str, ...]]  # line, file, names

__all__ = ["Data", "Example", "read", "without"]

_SHOWN = 60  # characters that an error spells out
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
    left_out = {key(name): name for name in ignored}
    names = {name for example in data.examples for name in example.names}
    ignored_by = {name: {key(name), *above(key(name))} & left_out.keys() for name in names}
    used = set().union(*ignored_by.values())
    if unknown := [name for name_key, name in left_out.items() if name_key not in used]:
        near = difflib.get_close_matches(unknown[0], names, n=1, cutoff=NEAR)
        hint = f"; the nearest is {quoted(near[0])}" if near else ""
        raise UsageError(f"the data has no name {quoted(unknown[0])} to leave out{hint}")
    kept = [
        Example(example.input, tuple(name for name in example.names if not ignored_by[name]))
        for example in data.examples
        if not example.names or any(not ignored_by[name] for name in example.names)
    ]
    if not kept:
        raise UsageError("there are no images left in the data")
    return Data(data.name, kept)


# --- folders --------------------------------------------------------------------------------------


def _in_folder(root: str, options: Options | None) -> list[Example]:
    if root == "-":  # a folder's name here, never stdin
        root = os.path.join(os.curdir, root)  # noqa: PTH118
    listed = [Example(item, _class_of(item, root)) for item in expand([root], options)]
    sources = [(item.input, item.names) for item in listed if isinstance(item.input, Source)]
    loose = [source.name for source, names in sources if not names]
    images = len(sources)
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
    return [item for item in listed if item.names or not isinstance(item.input, Source)]


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
        at, known = first.setdefault(os.path.normpath(file), (line, frozenset(map(key, names))))
        if at == line:
            examples.append(Example(Source(_beside(shown, file)), names))
        elif known != frozenset(map(key, names)):
            what = f"{quoted(file)} is already on line {at}, with other labels; keep one of the two"
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
        names = ",".join(header)[:_SHOWN] or "nothing"
        raise UsageError(
            f"{shown}:{line}: expected the columns' names, file and label, once each; found {names}"
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
        which = "both" if keys else "neither"
        raise UsageError(f"{shown}:{line}: expected label or labels, found {which}")
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


_MANIFESTS = {".csv": _csv_rows, ".jsonl": _json_rows, ".ndjson": _json_rows}
