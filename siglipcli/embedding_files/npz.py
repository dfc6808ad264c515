"""A zip of arrays, as `numpy.load` reads it: `vectors`, `files` or `texts`, `model`, `fingerprint`."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
import zlib
from contextlib import contextmanager
from itertools import islice
from typing import IO, TYPE_CHECKING

import numpy as np

from siglipcli.embedding_files.arrays import ROWS, Matrix, header, rows, write_header
from siglipcli.embedding_files.form import KINDS, About, SavedVectors, checked, names_in, refused
from siglipcli.outputs.output import open_binary, translated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from siglipcli.embeddings import Batch

__all__ = ["read", "write"]

_DAMAGE = (ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile, zlib.error)


class _Sink:
    """Puts rows and names aside, as a member of a zip is written in one piece."""

    def __init__(self, rows_file: IO[bytes], names: IO[bytes], name: str) -> None:
        self.matrix = Matrix(rows_file, name)
        self._rows = rows_file
        self._names = names
        self._name = name
        self._count = 0
        self._longest = 1

    def write(self, batch: Batch) -> None:
        self.matrix.add(batch.vectors)
        names = names_in(batch)
        self._count += len(names)
        self._longest = max(self._longest, *map(len, names), 0)
        with translated(self._name):
            self._names.writelines(json.dumps(name).encode() + b"\n" for name in names)

    def pack(self, file: IO[bytes], about: About) -> None:
        """Write the zip."""
        self.matrix.end()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            with archive.open("vectors.npy", "w", force_zip64=True) as member:
                self._rows.seek(0)
                shutil.copyfileobj(self._rows, member, 1 << 20)
            # Names are padded to the longest; that is nearly all zeros, so these members are deflated.
            archive.compression = zipfile.ZIP_DEFLATED
            with archive.open(f"{about.kind}s.npy", "w", force_zip64=True) as member:
                self._copy_names(member)
            for name in ("model", "fingerprint"):
                with archive.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, np.array(getattr(about, name)))

    def _copy_names(self, member: IO[bytes]) -> None:
        dtype = f"<U{self._longest}"
        write_header(member, dtype, (self._count,))
        self._names.seek(0)
        while lines := list(islice(self._names, ROWS)):
            member.write(np.array([json.loads(line) for line in lines], dtype).tobytes())


@contextmanager
def write(path: Path, about: About) -> Iterator[_Sink]:
    """Open an archive for writing."""
    folder = path.absolute().parent
    with (
        open_binary(path) as file,
        tempfile.TemporaryFile(dir=folder) as rows_file,
        tempfile.TemporaryFile(dir=folder) as names,
    ):
        sink = _Sink(rows_file, names, str(path))
        yield sink
        with translated(str(path)):
            sink.pack(file, about)


def read(path: Path) -> SavedVectors:
    """Open an archive. Raises UsageError."""
    with refused(path, *_DAMAGE), zipfile.ZipFile(path) as archive:
        members = set(archive.namelist())
        kind = next((kind for kind in KINDS if f"{kind}s.npy" in members), None)
        if kind is None or "vectors.npy" not in members:
            raise ValueError("it has no arrays called vectors and files")
        lengths = set()
        for name in ("vectors", f"{kind}s"):
            with archive.open(f"{name}.npy") as member:
                lengths.add(header(member)[0][0])
        if len(lengths) > 1:
            raise ValueError("it has not as many vectors as names")
        about = About(_word(archive, "model"), _word(archive, "fingerprint"), kind)
    return SavedVectors(path, about, lambda: _batches(path, kind))


def _word(archive: zipfile.ZipFile, name: str) -> str:
    with archive.open(f"{name}.npy") as member:
        return str(np.lib.format.read_array(member, allow_pickle=False))


def _batches(path: Path, kind: str) -> Iterator[Batch]:
    with (
        refused(path, *_DAMAGE),
        zipfile.ZipFile(path) as archive,
        archive.open("vectors.npy") as vectors,
        archive.open(f"{kind}s.npy") as names,
    ):
        for part, part_names in zip(rows(vectors, "f"), rows(names, "U"), strict=True):
            yield checked(part_names.tolist(), np.asarray(part, np.float32))
