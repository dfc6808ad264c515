"""One plain matrix; names and model lie beside it, one JSON object per line, in `NAME.npy.jsonl`."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, TextIO

import numpy as np

from siglipcli.embedding_files.arrays import Matrix, rows
from siglipcli.embedding_files.form import About, SavedVectors, checked, names_in, refused
from siglipcli.embedding_files.lines import name_in, object_of
from siglipcli.errors import UsageError
from siglipcli.outputs.documents import line as encoded
from siglipcli.outputs.output import open_binary, open_output
from siglipcli.text import named

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from siglipcli.embeddings import Batch

__all__ = ["beside", "read", "write"]


def beside(path: Path) -> Path:
    """Return where the names of a matrix are."""
    return path.with_name(f"{path.name}.jsonl")


class _Sink:
    def __init__(self, matrix: Matrix, names: TextIO, about: About) -> None:
        self._matrix = matrix
        self._names = names
        self._kind = about.kind
        names.write(encoded({"model": about.model, "fingerprint": about.fingerprint}) + "\n")

    def write(self, batch: Batch) -> None:
        self._matrix.add(batch.vectors)
        self._names.writelines(encoded(named(n, self._kind)) + "\n" for n in names_in(batch))


@contextmanager
def write(path: Path, about: About) -> Iterator[_Sink]:
    """Open a matrix and its names for writing.

    The old names go before the new matrix takes its place, the new ones come after it: no kill leaves
    a matrix with another's names.
    """
    names = beside(path)
    with open_output(names) as lines, open_binary(path) as file:
        matrix = Matrix(file, str(path))
        yield _Sink(matrix, lines, about)
        matrix.end()
        with suppress(OSError):
            names.unlink()


def read(path: Path) -> SavedVectors:
    """Open a matrix with its names. Raises UsageError."""
    names = beside(path)
    if path.exists() and not names.exists():
        raise UsageError(f"{path} has no names beside it: {names} is missing")
    with refused(path, ValueError), path.open("rb") as file:
        next(rows(file, "f"), None)
    with refused(names, ValueError), names.open(encoding="utf-8") as lines:
        top = object_of(next(lines, ""))
        kind = "text" if "text" in object_of(next(lines, "{}")) else "file"
        about = About(str(top["model"]), str(top["fingerprint"]), kind)
    return SavedVectors(path, about, lambda: _batches(path, kind))


def _batches(path: Path, kind: str) -> Iterator[Batch]:
    with (
        refused(path, ValueError),
        path.open("rb") as file,
        beside(path).open(encoding="utf-8") as lines,
    ):
        next(lines)
        names = (name_in(object_of(line), kind) for line in lines)
        for part in rows(file, "f"):
            part_names = list(islice(names, len(part)))
            if len(part_names) != len(part):
                raise ValueError("it has more vectors than names")
            yield checked(part_names, np.asarray(part, np.float32))
        if next(names, None) is not None:
            raise ValueError("it has fewer vectors than names")
