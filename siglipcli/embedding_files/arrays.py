"""NumPy's own format in pieces: a matrix that grows, and rows read a few at a time."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy

from siglipcli.outputs.output import translated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["ROWS", "Matrix", "header", "rows"]

ROWS = 1024  # read or copied at a time


class Matrix:
    """Writes float32[n, d] row by row: the shape in its header is filled in at the end."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file = file
        self._name = name
        self._shape = (0, 0)
        self._start = 0

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Append rows. Raises OutputError."""
        if not len(vectors):
            return
        with translated(self._name):
            if not self._start:
                self._shape = (0, vectors.shape[1])
                self._write_header()
            self._file.write(np.ascontiguousarray(vectors, "<f4").data)
        self._shape = (self._shape[0] + len(vectors), self._shape[1])

    def end(self) -> None:
        """Write the shape. Raises OutputError."""
        with translated(self._name):
            self._file.seek(0)
            start = self._start
            self._write_header()  # NumPy leaves space for the first axis to grow
            self._file.flush()
        assert start in {0, self._start}

    def _write_header(self) -> None:
        write_header(self._file, "<f4", self._shape)
        self._start = self._file.tell()


def write_header(file: IO[bytes], descr: str, shape: tuple[int, ...]) -> None:
    """Write what stands before an array's rows."""
    npy.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})


def header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Read shape and dtype. Raises ValueError for what is no plain array in rows."""
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, columns_first, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("it holds pickled objects, which are never read")
    if columns_first:
        raise ValueError("its matrix is in Fortran order")
    return shape, dtype


def rows(file: IO[bytes], kinds: str) -> Iterator[NDArray[Any]]:
    """Yield an array a few rows at a time. Raises ValueError where it is cut or of another kind."""
    shape, dtype = header(file)
    if dtype.kind not in kinds:
        raise ValueError(f"an array has dtype {dtype}")
    count = shape[0] if shape else 1
    width = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
    for start in range(0, count, ROWS):
        n_rows = min(ROWS, count - start)
        data = file.read(n_rows * width)
        if len(data) != n_rows * width:
            raise ValueError("it ends before its last row")
        yield np.frombuffer(data, dtype).reshape(n_rows, *shape[1:])
