"""What the forms of saved vectors share: what they are of, and how rows become batches."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from siglipcli.embeddings import Batch
from siglipcli.errors import UsageError
from siglipcli.results import Failure, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["KINDS", "About", "SavedVectors", "Sink", "checked", "names_in", "refused"]

KINDS = ("file", "text")
_UNIT = 0.01  # how far from 1 a row's length may be: bf16 towers are not exact


@dataclass(frozen=True, slots=True)
class About:
    """Which model made the vectors, and of what: `file` (images) or `text`.

    `fingerprint` is the encoder's: its checkpoint, runtime and precision.
    """

    model: str
    fingerprint: str
    kind: str = "file"

    def is_comparable(self, fingerprint: str) -> bool:
        """Whether both come from one checkpoint, so that cosines between them mean something."""
        return self.fingerprint.partition("-")[0] == fingerprint.partition("-")[0]


class Sink(Protocol):
    """Takes embeddings batch by batch. Raises OutputError."""

    def write(self, batch: Batch) -> None:
        """Write a batch's vectors; forms other than .jsonl have no place for its failures."""


@dataclass(frozen=True, slots=True)
class SavedVectors:
    """Vectors in a file. `batches` reads them, from the start each time it is called.

    A row that is no unit vector comes as a Failure: not_unit, or non_finite.
    """

    path: Path
    about: About
    batches: Callable[[], Iterator[Batch]]


def checked(names: Sequence[str], vectors: NDArray[np.float32]) -> Batch:
    """Make a batch of float32[n, d], with a Failure in place of a row that is no unit vector."""
    lengths = np.linalg.norm(vectors, axis=1)
    good = np.abs(lengths - 1) < _UNIT  # false for NaN
    sources = [Source(name) for name in names]
    if good.all():
        return Batch(sources, vectors, [True] * len(sources))
    items = [
        source if is_unit else _bad(source, float(length))
        for source, is_unit, length in zip(sources, good, lengths, strict=True)
    ]
    return Batch(items, vectors[good], [True] * int(good.sum()))


def _bad(source: Source, length: float) -> Failure:
    if np.isfinite(length):
        return Failure(source.name, "not_unit", f"The saved vector has length {length:.3g}, not 1.")
    return Failure(source.name, "non_finite", "The saved vector has values that are not finite.")


def names_in(batch: Batch) -> list[str]:
    """Return the names of a batch's vectors, in order."""
    return [source.name for source in batch.sources]


@contextmanager
def refused(path: Path, *errors: type[Exception]) -> Iterator[None]:
    """Turn what a reader raises into a UsageError that names the file."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except errors as error:
        raise UsageError(
            f"{path} does not hold embeddings as they are saved here: {error}"
        ) from error
