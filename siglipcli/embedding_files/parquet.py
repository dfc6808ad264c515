"""Parquet, for data frames and databases: columns file (or text), its bytes where needed, vector."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from siglipcli.embedding_files.form import KINDS, About, SavedVectors, checked, names_in, refused
from siglipcli.outputs.output import open_binary, translated
from siglipcli.outputs.parquet import libraries, metadata
from siglipcli.text import raw_name, utf8

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from siglipcli.embeddings import Batch

__all__ = ["libraries", "read", "write"]

_GROUP = 8192  # rows of a row group


class _Sink:
    """Collects rows into groups: small ones cost space and time."""

    def __init__(self, file: IO[bytes], about: About, name: str) -> None:
        self._pa, self._parquet = libraries()
        self._file = file
        self._about = about
        self._name = name
        self._names: list[str] = []
        self._vectors: list[NDArray[np.float32]] = []
        self._writer: Any = None

    def write(self, batch: Batch) -> None:
        if len(batch.vectors):
            self._names += names_in(batch)
            self._vectors.append(batch.vectors)
        if len(self._names) >= _GROUP:
            self._flush()

    def end(self) -> None:
        """Write what is left, and what ends the file."""
        if self._names or self._writer is None:
            self._flush()
        with translated(self._name):
            self._writer.close()

    def _flush(self) -> None:
        rows = np.concatenate(self._vectors or [np.empty((0, 1), np.float32)])
        pa, schema = self._pa, self._schema(rows.shape[1])
        flat = pa.array(rows.reshape(-1))
        columns = [
            pa.array([utf8(name) for name in self._names], pa.string()),
            pa.array([raw_name(name) for name in self._names], pa.binary()),
            pa.FixedSizeListArray.from_arrays(flat, rows.shape[1]),
        ]
        with translated(self._name):
            self._writer = self._writer or self._parquet.ParquetWriter(self._file, schema)
            self._writer.write_table(pa.Table.from_arrays(columns, schema=schema))
        self._names, self._vectors = [], []

    def _schema(self, width: int) -> Any:
        pa, about = self._pa, self._about
        vector = pa.list_(pa.float32(), width)
        return pa.schema(
            [
                (about.kind, pa.string()),
                (f"{about.kind}_bytes", pa.binary()),
                ("vector", vector),
            ],
            metadata({"model": utf8(about.model), "fingerprint": about.fingerprint}),
        )


@contextmanager
def write(path: Path, about: About) -> Iterator[_Sink]:
    """Open a file for writing."""
    libraries()
    with open_binary(path) as file:
        sink = _Sink(file, about, str(path))
        yield sink
        sink.end()


def read(path: Path) -> SavedVectors:
    """Open a file. Raises UsageError."""
    pa, parquet = libraries()
    with refused(path, ValueError, KeyError, pa.ArrowException), path.open("rb") as stream:
        schema = parquet.read_schema(stream)
        metadata_of = {k.decode(): v.decode() for k, v in (schema.metadata or {}).items()}
        kind = next((kind for kind in KINDS if kind in schema.names), None)
        if kind is None or "vector" not in schema.names:
            raise ValueError("it has no columns called file and vector")
        about = About(metadata_of["model"], metadata_of["fingerprint"], kind)
    return SavedVectors(path, about, lambda: _batches(path, kind))


def _batches(path: Path, kind: str) -> Iterator[Batch]:
    pa, parquet = libraries()
    with refused(path, ValueError, KeyError, pa.ArrowException), path.open("rb") as stream:
        for part in parquet.ParquetFile(stream).iter_batches():
            column = part.column("vector")
            flat = column.flatten().to_numpy(zero_copy_only=False)
            vectors = np.asarray(flat, np.float32).reshape(part.num_rows, -1)
            raws = part.column(f"{kind}_bytes").to_pylist()
            names = [
                text if raw is None else os.fsdecode(raw)
                for text, raw in zip(part.column(kind).to_pylist(), raws, strict=True)
            ]
            yield checked(names, vectors)
