"""How answers are written: one file a format, and the one registry everything is derived from.

Help text, the check of `--format`, the guess from a file's ending and the dispatch all read
`FORMATS`. A new format is a new file in this room and one entry there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Protocol

from siglipcli.errors import UsageError
from siglipcli.results import Prediction

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from typing import TextIO

    from siglipcli.results import Result, ScoredImage

__all__ = ["FORMATS", "Format", "Header", "Writer", "for_path", "names", "open_writer"]


@dataclass(frozen=True, slots=True)
class Header:
    """What holds for the whole run.

    `model` is the name in every answer. `sets` and `labels` (or texts) are the names that can occur:
    the table lays its columns out from them, so that they line up from the first image to the last.
    `answers` is what they are: labelled images, ranked ones, or images held against texts.
    """

    model: str
    sets: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    answers: type[ScoredImage] = Prediction


class Writer(Protocol):
    """Takes results one by one; each is on its way out when `write` returns."""

    def write(self, result: Result) -> None:
        """Write one result. Raises OutputError or BrokenPipeError, as the stream does."""

    def close(self) -> None:
        """Write what ends the answer, also after an interrupt. The stream stays open."""


@dataclass(frozen=True, slots=True)
class Format:
    """One way to write answers.

    `suffixes` are the file endings that choose it. `encoding` is that of its stream; None for a
    format that people read, which keeps the terminal's own. `make` imports what it needs.
    """

    name: str
    suffixes: tuple[str, ...]
    help: str
    make: Callable[[TextIO, Header], Writer]
    encoding: str | None = "utf-8"


def _table(stream: TextIO, header: Header) -> Writer:
    from siglipcli.outputs.table import TableWriter

    return TableWriter(stream, header)


def _json(stream: TextIO, header: Header) -> Writer:
    from siglipcli.outputs.json_array import JsonWriter

    return JsonWriter(stream, header)


def _jsonl(stream: TextIO, header: Header) -> Writer:
    from siglipcli.outputs.json_lines import JsonLinesWriter

    return JsonLinesWriter(stream, header)


def _csv(stream: TextIO, header: Header) -> Writer:
    from siglipcli.outputs.csv_rows import CsvWriter

    return CsvWriter(stream, header)


FORMATS: dict[str, Format] = {
    entry.name: entry
    for entry in (
        Format("table", (".txt",), "for reading: one block an image", _table, encoding=None),
        Format("json", (".json",), "one array of objects, one object an image", _json),
        Format("jsonl", (".jsonl", ".ndjson"), "one JSON object a line, one line an image", _jsonl),
        Format("csv", (".csv",), "one row an image and label", _csv),
    )
}


def names() -> tuple[str, ...]:
    """Return the names that `--format` takes."""
    return tuple(FORMATS)


def for_path(path: str | os.PathLike[str]) -> str:
    """Return the name of the format that a file's ending asks for, whatever its case.

    Raises UsageError, naming the endings there are, when the ending is none of them.
    """
    suffix = PurePath(path).suffix.lower()
    for entry in FORMATS.values():
        if suffix in entry.suffixes:
            return entry.name
    endings = ", ".join(suffix for entry in FORMATS.values() for suffix in entry.suffixes)
    raise UsageError(
        f"The ending of {str(path)!r} names no format. Use one of {endings}, or give --format."
    )


def open_writer(name: str, stream: TextIO, header: Header) -> Writer:
    """Return the writer of the format `name` on a text stream opened with newline="".

    Raises UsageError, naming the formats there are, when `name` is none of them.
    """
    if name not in FORMATS:
        raise UsageError(f"There is no format {name!r}. Use one of {', '.join(FORMATS)}.")
    return FORMATS[name].make(stream, header)
