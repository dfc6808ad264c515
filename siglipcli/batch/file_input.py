"""Loose files of a shard → rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siglipcli.batch import listing
from siglipcli.batch.fetch import fetched
from siglipcli.batch.storage import Folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siglipcli.batch.rows import Row
    from siglipcli.batch.shards import Job, Shard

__all__ = ["rows"]


def rows(job: Job, shard: Shard) -> Iterator[Row]:
    """Yield the files of a slice of the run's listing, in order. Raises StorageError."""
    files = listing.paths(Folder(job.output, job.storage), shard)
    yield from fetched(
        ((name, place, ()) for name, place in files),
        job.storage,
        job.load_options.limits.max_bytes,
    )
