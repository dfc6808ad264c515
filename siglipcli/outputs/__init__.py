"""Output formats: one module a format, and the one registry that everything is derived from.

    with opened("jsonl", path, Header("demo")) as sink:
        for result in results:
            sink.write(result)

Help text, the check of a format's name, the guess from a file's ending and the dispatch all read
`FORMATS`. A new format is one new module and one entry there. The HTML report is a sink too; it takes an
`html.ReportHeader`.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Protocol

from siglipcli.errors import UsageError
from siglipcli.results import Prediction

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO, TextIO

    from siglipcli.labels import LabelSet
    from siglipcli.results import Result, ScoredImage
    from siglipcli.scoring import ScoringOptions

__all__ = ["FORMATS", "Format", "Header", "Sink", "columns", "for_path", "make_sink", "names"]
__all__ += ["opened"]


@dataclass(frozen=True, slots=True)
class Header:
    """What holds for the whole run.

    `model` is the name in every result. `sets` and `labels` (or texts) are the names that can occur:
    the table lays its columns out from them. `kind` is the class of the results that are no failures.
    `thresholds` says from which score a label (set, label) is a tag, so that the table rounds no score across it.
    `provenance` is what the run was made with, for formats that have a place for it.
    """

    model: str
    sets: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    kind: type[ScoredImage] = Prediction
    thresholds: Mapping[tuple[str, str], float] = field(default_factory=dict)
    provenance: Mapping[str, object] = field(default_factory=dict)


def columns(label_sets: Sequence[LabelSet], options: ScoringOptions) -> dict[str, Any]:
    """Return what a Header has of label sets: the names that can occur, and from which score each label is a tag."""
    from siglipcli.digits import shortest
    from siglipcli.scoring import thresholds

    limits = {
        (label_set.name, label.path): limit
        for label_set in label_sets
        for label, limit in zip(
            label_set.labels, shortest(thresholds(label_set, options)).tolist(), strict=True
        )
    }
    return {
        "sets": tuple(label_set.name for label_set in label_sets),
        "labels": tuple(label for _, label in limits),
        "thresholds": limits,
    }


class Sink(Protocol):
    """Takes results one by one; in a text format each is on its way out when `write` returns."""

    def write(self, result: Result) -> None:
        """Write one result. Raises OutputError or BrokenPipeError, as the stream does."""

    def close(self) -> None:
        """Write what ends the output, also after an interrupt. The stream stays open.

        A sink with a method `abort` has that called instead where the run failed.
        """


@dataclass(frozen=True, slots=True)
class Format:
    """One way to write results.

    `suffixes` are the file endings that choose it. `target` is the module and class of its sink, which
    takes a stream and a Header; the module is imported when it is first used. `encoding` is that of its
    text stream: None for a format that people read, which keeps the terminal's own. A `binary` format
    has a stream of bytes. One that is not `by_name` is reached by options of its own.
    """

    name: str
    suffixes: tuple[str, ...]
    help: str
    target: str
    encoding: str | None = "utf-8"
    binary: bool = False
    by_name: bool = True

    def make(self, stream: TextIO | BinaryIO, header: Header) -> Sink:
        """Return the sink on a stream of the format's kind. Raises MissingExtraError."""
        module, name = self.target.split(":")
        sink: Sink = getattr(import_module(f"{__name__}.{module}"), name)(stream, header)
        return sink


FORMATS: dict[str, Format] = {
    entry.name: entry
    for entry in (
        Format(
            "table", (".txt",), "for reading: one block per image", "table:TableSink", encoding=None
        ),
        Format("json", (".json",), "one array, one object per image", "json_array:JsonSink"),
        Format(
            "jsonl", (".jsonl", ".ndjson"), "one JSON object per line, one line per image",
            "json_lines:JsonLinesSink",
        ),
        Format("csv", (".csv",), "one row per image and label", "csv_rows:CsvSink"),
        Format(
            "parquet", (".parquet",), "one row per image, for data frames and databases",
            "parquet:ParquetSink", binary=True,
        ),
        Format("paths", (), "bare paths, one per line", "paths:PathsSink", binary=True, by_name=False),
        Format(
            "paths0", (), "bare paths, each ended by NUL", "paths:NulPathsSink", binary=True,
            by_name=False,
        ),
        # Needs a `ReportHeader`, and predictions of its wider scoring: beside another format, not instead of one.
        Format("html", (), "a page for a browser", "html:ReportSink", by_name=False),
    )
}  # fmt: skip


def names() -> tuple[str, ...]:
    """Return the names that a person may choose from."""
    return tuple(entry.name for entry in FORMATS.values() if entry.by_name)


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
        f"The ending of {str(path)!r} names no format. Use one of {endings}.",
        code="unknown_ending",
        path=str(path),
    )


def make_sink(name: str, stream: TextIO | BinaryIO, header: Header) -> Sink:
    """Return the sink of the format `name` on an open stream: text with newline="", or bytes.

    Raises UsageError, naming the formats there are, when `name` is none of them.
    """
    return _entry(name).make(stream, header)


@contextmanager
def opened(name: str, path: Path | None, header: Header) -> Iterator[Sink]:
    """Open a sink on a file, which appears only when the block ends well; None is standard output.

    Raises UsageError for a format that is not there, MissingExtraError, OutputError.
    """
    from siglipcli.outputs.output import open_bytes, open_output

    entry = _entry(name)
    opening: Any = open_bytes(path) if entry.binary else open_output(path, entry.encoding)
    with opening as stream:
        sink = entry.make(stream, header)
        try:
            yield sink
        except BaseException:
            # What gathers everything for its end has nothing to show of a run that failed.
            getattr(sink, "abort", sink.close)()
            raise
        sink.close()


def _entry(name: str) -> Format:
    if name not in FORMATS:
        raise UsageError(f"There is no format {name!r}. Use one of {', '.join(names())}.")
    return FORMATS[name]
