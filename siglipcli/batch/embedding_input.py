"""Embeddings in Parquet, as `siglip embed` and `siglip batch --embeddings` write them → batches, to relabel without images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from siglipcli.batch import parquet_input
from siglipcli.embedding_files.form import About, checked
from siglipcli.errors import StorageError, UsageError
from siglipcli.pipeline import Batch
from siglipcli.results import Failure, Source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from siglipcli.batch.shards import Job, Shard
    from siglipcli.encoders import Encoder

__all__ = ["MADE_WITH", "batches", "check", "columns", "facts"]

_NAMES, _VECTORS = ("key", "path", "file"), ("embedding", "vector")
MADE_WITH = ("model", "fingerprint", "runtime", "precision")
"""What a file of embeddings says of the model that made them, and a part that is made from it says too."""


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


def check(schema: Any, uri: str, encoder: Encoder) -> dict[str, str]:
    """Return what a file says of the model that made its vectors. Raises UsageError where that is another one."""
    stored = schema.metadata or {}
    facts = {key: stored[key.encode()].decode() for key in MADE_WITH if key.encode() in stored}
    if not {"model", "fingerprint"} <= facts.keys():
        raise UsageError(f"{uri} does not say which model made its embeddings.")
    about = About(facts["model"], facts["fingerprint"])
    if about.is_comparable(encoder.fingerprint):
        return facts
    if about.model != encoder.name:
        raise UsageError(
            f"{uri} holds embeddings of another model, {about.model}.",
            code="other_model",
            model=about.model,
        )
    raise UsageError(f"{uri} holds embeddings of other weights of {encoder.name}.")


def facts(job: Job, shard: Shard, encoder: Encoder) -> dict[str, str]:
    """Return what a shard's part says of its embeddings. Raises StorageError for those of another model."""
    schema = parquet_input.schema_of(job.storage, shard.where)
    try:
        return check(schema, shard.where, encoder)
    except UsageError as error:
        raise StorageError(str(error), is_final=True) from error


def batches(job: Job, shard: Shard) -> Iterator[tuple[Batch, list[tuple[Any, ...]]]]:
    """Yield batches with the kept columns of their rows; a row without a vector comes as its failure."""
    schema = parquet_input.schema_of(job.storage, shard.where)
    name, vector = columns(schema, shard.where)
    errors = [column for column in ("error_kind", "error_message") if column in schema.names]
    for table in parquet_input.record_batches(job, shard, (name, vector, *errors, *job.keep)):
        names = [str(text) for text in table.column(name).to_pylist()]
        kept = list(zip(*[table.column(column).to_pylist() for column in job.keep], strict=True))
        vectors, good = _vectors(table.column(vector))
        batch = checked(
            [text for text, is_good in zip(names, good, strict=True) if is_good], vectors
        )
        failures = _failures(table, names, errors)
        yield _merged(batch, failures, good.tolist()), kept or [()] * len(names)


def _vectors(lists: Any) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the vectors of a column and which rows have one: neither a null nor a list of nulls."""
    good = lists.is_valid().to_numpy(zero_copy_only=False)
    rows = lists.drop_null()
    shape = (len(rows), -1 if len(rows) else 0)
    flat = rows.flatten()
    vectors = np.asarray(flat.to_numpy(zero_copy_only=False), np.float32).reshape(shape)
    empty = flat.is_null().to_numpy(zero_copy_only=False).reshape(shape).all(axis=1)
    good[good] = ~empty
    return vectors[~empty], good


def _failures(table: Any, names: Sequence[str], errors: Sequence[str]) -> list[Failure]:
    reasons = [table.column(column).to_pylist() for column in errors] if len(errors) > 1 else []
    if not reasons:
        return [Failure(name, "no_embedding", "This row has no embedding.") for name in names]
    return [
        Failure(name, kind or "no_embedding", message or "This row has no embedding.")
        for name, kind, message in zip(names, *reasons, strict=True)
    ]


def _merged(batch: Batch, failures: Sequence[Failure], good: Sequence[bool]) -> Batch:
    """Put failures in the places of the rows without a vector."""
    rest = iter(batch.items)
    items: list[Source | Failure] = [
        next(rest) if is_good else failure for is_good, failure in zip(good, failures, strict=True)
    ]
    return Batch(items, batch.vectors, batch.stored)
