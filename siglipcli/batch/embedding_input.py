"""Embeddings in Parquet, as `siglip embed` and `siglip batch --embeddings` write them → batches, to relabel without images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from siglipcli.batch.parquet_input import record_batches
from siglipcli.embedding_files.form import About, checked
from siglipcli.errors import UsageError
from siglipcli.pipeline import Batch
from siglipcli.results import Failure, Source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from siglipcli.batch.shards import Job, Shard

__all__ = ["about", "batches", "columns"]

_NAMES, _VECTORS = ("key", "path", "file"), ("embedding", "vector")


def columns(schema: Any, uri: str) -> tuple[str, str]:
    """Return the columns of names and of vectors. Raises UsageError where there are none."""
    name = next((name for name in _NAMES if name in schema.names), None)
    vector = next((name for name in _VECTORS if name in schema.names), None)
    if name is None or vector is None:
        raise UsageError(
            f"{uri} holds no embeddings: it has no columns such as path and embedding. Write them with siglip batch"
            " or siglip embed.",
            code="no_embeddings",
        )
    return name, vector


def about(schema: Any, uri: str) -> About:
    """Return which model made a file's vectors. Raises UsageError where it does not say."""
    facts = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
    try:
        return About(facts["model"], facts["fingerprint"])
    except KeyError:
        raise UsageError(f"{uri} does not say which model made its embeddings.") from None


def batches(job: Job, shard: Shard, schema: Any) -> Iterator[tuple[Batch, list[tuple[Any, ...]]]]:
    """Yield batches with the kept columns of their rows; a row without a vector comes as its failure."""
    name, vector = columns(schema, shard.where)
    errors = [each for each in ("error_kind", "error_message") if each in schema.names]
    for table in record_batches(job, shard, (name, vector, *errors, *job.keep)):
        names = [str(text) for text in table.column(name).to_pylist()]
        kept = list(zip(*[table.column(each).to_pylist() for each in job.keep], strict=True))
        values = table.column(vector)
        good = values.is_valid().to_numpy(zero_copy_only=False)
        rows = values.drop_null()
        flat = rows.flatten().to_numpy(zero_copy_only=False)
        vectors = np.asarray(flat, np.float32).reshape(len(rows), -1 if len(rows) else 0)
        batch = checked(
            [text for text, is_good in zip(names, good, strict=True) if is_good], vectors
        )
        failures = _failures(table, names, errors)
        yield _merged(batch, failures, good.tolist()), kept or [()] * len(names)


def _failures(table: Any, names: Sequence[str], errors: Sequence[str]) -> list[Failure]:
    said = [table.column(each).to_pylist() for each in errors] if len(errors) > 1 else []
    if not said:
        return [Failure(name, "no_embedding", "This row has no embedding.") for name in names]
    return [
        Failure(name, kind or "no_embedding", message or "This row has no embedding.")
        for name, kind, message in zip(names, *said, strict=True)
    ]


def _merged(batch: Batch, failures: Sequence[Failure], good: Sequence[bool]) -> Batch:
    """Put failures in the places of the rows without a vector."""
    rest = iter(batch.items)
    items: list[Source | Failure] = [
        next(rest) if is_good else failure for is_good, failure in zip(good, failures, strict=True)
    ]
    return Batch(items, batch.vectors, batch.stored)
