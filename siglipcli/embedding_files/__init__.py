"""Embeddings in files, to be used again without their images, here or elsewhere.

    .npz       vectors float32[n, d], files (or texts) str[n], model, fingerprint
    .npy       vectors float32[n, d]; the rest lies beside it, in NAME.npy.jsonl
    .parquet   columns file, file_bytes, vector; the rest in its metadata (needs pyarrow)
    .jsonl     one object per image, failures too

Rows are unit vectors. Each form is written and read in pieces: memory does not grow with it. Nothing
is ever pickled. A name that is not UTF-8 survives: in NumPy's forms as `os.fsdecode` makes it, in the
others by its bytes, as in all output. A new form is a new file in this package and one entry here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from siglipcli.embedding_files.form import About, SavedVectors, Sink
from siglipcli.errors import UsageError
from siglipcli.outputs import safety

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager
    from pathlib import Path

__all__ = ["FORMS", "About", "SavedVectors", "Sink", "check", "for_path", "has_failures", "load"]
__all__ += ["save"]

FORMS = {".npz": "npz", ".npy": "npy", ".parquet": "parquet", ".jsonl": "lines", ".ndjson": "lines"}
"""File ending → the module that reads and writes it."""


def for_path(path: Path) -> str:
    """Return the form that a file's ending asks for. Raises UsageError where it names none."""
    try:
        return FORMS[path.suffix.lower()]
    except KeyError:
        endings = ", ".join(FORMS)
        raise UsageError(
            f"the ending of {str(path)!r} names no form of vectors; use one of {endings}"
        ) from None


def has_failures(path: Path | None) -> bool:
    """Whether the form of a file, or of stdout, has a place for failures: JSON Lines has."""
    return path is None or for_path(path) == "lines"


def check(
    path: Path, inputs: Iterable[str | os.PathLike[str] | None] = (), *, force: bool = False
) -> None:
    """Raise UsageError where nothing may be written: an unknown ending, or pyarrow is missing.

    So it is where the file, or the names beside a .npy, would replace one of `inputs`, or a file that
    this program did not write (`force`: only the former).
    """
    files = [path, path.with_name(f"{path.name}.jsonl")] if for_path(path) == "npy" else [path]
    for file in files:
        safety.check(file, inputs, force=force)
    if for_path(path) == "parquet":
        from siglipcli.outputs.parquet import libraries

        libraries()


def save(path: Path | None, about: About) -> AbstractContextManager[Sink]:
    """Open where vectors go, in the form that the ending names; None is stdout, in .jsonl.

    A file appears, or is replaced, only when the block ends well. Raises UsageError for an ending that
    names no form, or where pyarrow is missing; OutputError where it cannot be written.
    """
    module = import_module(f"{__name__}.{for_path(path) if path else 'lines'}")
    write: Callable[[Path | None, About], AbstractContextManager[Sink]] = module.write
    return write(path, about)


def load(path: Path) -> SavedVectors:
    """Open saved vectors; they are read when `batches` is called.

    Raises UsageError where the file cannot be read, or is not what `siglip embed` writes.
    """
    read: Callable[[Path], SavedVectors] = import_module(f"{__name__}.{for_path(path)}").read
    return read(path)
