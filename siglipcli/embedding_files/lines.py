"""JSON Lines: one object per input, failures too, as in all output; and `vector`, a list."""

from __future__ import annotations

import base64
import json
import os
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from siglipcli.embedding_files.arrays import ROWS
from siglipcli.embedding_files.form import About, SavedVectors, checked, refused
from siglipcli.embeddings import Batch
from siglipcli.outputs.documents import failed
from siglipcli.outputs.documents import line as encoded
from siglipcli.outputs.output import open_output
from siglipcli.results import Failure, Source
from siglipcli.text import named

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["name_in", "object_of", "read", "write"]

_BROKEN = (ValueError, KeyError, TypeError)


class _Sink:
    def __init__(self, stream: TextIO, about: About) -> None:
        self._stream = stream
        self._about = about

    def write(self, batch: Batch) -> None:
        rows = iter(batch.vectors)
        for item in batch.items:
            if isinstance(item, Failure):
                line = encoded(named(item.file, self._about.kind) | failed(item))
            else:
                line = self._line(item, next(rows))
            self._stream.write(line + "\n")
        self._stream.flush()

    def _line(self, item: Source, row: NDArray[np.float32]) -> str:
        about = self._about
        known = {"status": "ok", "model": about.model, "fingerprint": about.fingerprint}
        numbers = ",".join(["%.9g" % value for value in row.tolist()])  # noqa: UP031  # twice as fast
        return f'{encoded(named(item.name, about.kind) | known)[:-1]}, "vector": [{numbers}]}}'


@contextmanager
def write(path: Path | None, about: About) -> Iterator[_Sink]:
    """Open a file for writing; None is standard output."""
    with open_output(path) as stream:
        yield _Sink(stream, about)


def read(path: Path) -> SavedVectors:
    """Open a file by its first object that is no failure. Raises UsageError."""
    with refused(path, *_BROKEN), path.open(encoding="utf-8") as stream:
        records = (object_of(line) for line in stream)
        first = next((record for record in records if record.get("status") == "ok"), None)
        if first is None:
            raise ValueError("it has no vector")
        kind = "text" if "text" in first else "file"
        about = About(str(first["model"]), str(first["fingerprint"]), kind)
    return SavedVectors(path, about, lambda: _batches(path, about))


def _batches(path: Path, about: About) -> Iterator[Batch]:
    with refused(path, *_BROKEN), path.open(encoding="utf-8") as stream:
        width: int | None = None
        while lines := list(islice(stream, ROWS)):
            for batch in _split([object_of(line) for line in lines], about):
                if len(batch.vectors):
                    width = width or batch.vectors.shape[1]
                    if batch.vectors.shape[1] != width:
                        raise ValueError("its vectors differ in length")
                yield batch


def _split(records: list[dict[str, Any]], about: About) -> Iterator[Batch]:
    """Yield vectors in batches, with the failures between them in their places."""
    waiting: list[dict[str, Any]] = []
    for record in records:
        if record["status"] == "ok":
            waiting.append(_checked(record, about))
            continue
        yield from _batch(waiting, about.kind)
        waiting = []
        error = record["error"]
        yield Batch(
            [Failure(name_in(record, about.kind), str(error["kind"]), str(error["message"]))],
            np.empty((0, 0), np.float32),
            [],
        )
    yield from _batch(waiting, about.kind)


def _checked(record: dict[str, Any], about: About) -> dict[str, Any]:
    if (record["model"], record["fingerprint"]) != (about.model, about.fingerprint):
        raise ValueError(f"it has vectors of two models, {about.model} and {record['model']}")
    return record


def _batch(records: list[dict[str, Any]], kind: str) -> Iterator[Batch]:
    if records:
        vectors = np.array([record["vector"] for record in records], np.float32)
        yield checked([name_in(record, kind) for record in records], vectors)


def object_of(line: str) -> dict[str, Any]:
    """Read a line's object. Raises ValueError."""
    record = json.loads(line)
    if not isinstance(record, dict):
        raise ValueError("a line holds no JSON object")  # noqa: TRY004  # one kind for all damage
    return record


def name_in(record: dict[str, Any], kind: str) -> str:
    """Return the name in an object, by its bytes where it is not UTF-8. Raises ValueError."""
    raw = record.get(f"{kind}_bytes")
    if raw is not None:
        return os.fsdecode(base64.b64decode(raw, validate=True))
    name = record[kind]
    if not isinstance(name, str):
        raise ValueError(f"a line's {kind} is no text")  # noqa: TRY004  # one kind for all damage
    return name
