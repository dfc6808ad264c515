"""A job is made whole before it begins: what its first input says of columns, what the model says of rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from siglipcli.batch import embedding_input, listing, manifest, parquet_input, part_writer
from siglipcli.batch.storage import Folder, Storage, redacted, split
from siglipcli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siglipcli.batch.plan import Inputs
    from siglipcli.batch.shards import Job, Shard
    from siglipcli.batch.worker import Worker

__all__ = ["begin", "check_output", "check_schemes", "completed", "described", "planned"]


def completed(job: Job, inputs: Inputs) -> Job:
    """Return the job with the columns that its first Parquet file has. Raises UsageError, StorageError."""
    part_writer.kept_names(job)
    if job.kind == "files" and job.keep:
        raise UsageError("loose files have nothing beside them to keep", code="nothing_to_keep")
    if job.kind not in {"parquet", "embeddings"}:
        return job
    first = next(inputs.files(), None)
    if first is None:
        return job
    schema = parquet_input.schema_of(job.storage, first)
    types = parquet_input.kept_types(schema, job.keep, first)
    if job.kind == "embeddings":
        embedding_input.columns(schema, first)
        return replace(job, keep_types=types)
    column = parquet_input.image_column(schema, job.image_column, first)
    return replace(job, keep_types=types, image_column=column)


def check_output(output: str, uris: tuple[str, ...]) -> None:
    """Raise UsageError where parts would come to lie among Parquet files that the run reads."""
    where = redacted(output).rstrip("/") + "/"
    for uri in uris:
        folder = redacted(uri)
        if not split(uri)[2].lower().endswith((".parquet", ".parq")):
            folder = folder.rstrip("/") + "/"
        if where.startswith(folder) or folder == where:
            raise UsageError(
                f"the output {redacted(output)} is inside the input {redacted(uri)}",
                code="output_is_input",
                path=redacted(output),
            )


def check_schemes(uris: tuple[str, ...]) -> None:
    """Raise UsageError for what is no store, or cannot be opened as one: addresses of the web, wrong options."""
    storage = Storage(uris)
    for uri in uris:
        if split(uri)[0] in {"http", "https"}:
            raise UsageError(
                f"{redacted(uri)} is a URL of the web, and only files and object stores are read. Download it first."
            )
        storage.at(uri)


def described(job: Job, inputs: Inputs, worker: Worker) -> dict[str, Any]:
    """Return what the run's rows depend on, where the model is open. Raises UsageError for other embeddings."""
    encoder = worker.classifier.encoder
    if job.kind == "embeddings" and (first := next(inputs.files(), None)):
        about = embedding_input.about(parquet_input.schema_of(job.storage, first), first)
        if about.model != encoder.name:
            raise UsageError(
                f"{first} holds embeddings of another model, {about.model}.",
                code="other_model",
                model=about.model,
            )
        if not about.is_comparable(encoder.fingerprint):
            raise UsageError(f"{first} holds embeddings of other weights of {encoder.name}.")
    return manifest.facts(job, encoder, worker.width, inputs.shard_size)


def begin(job: Job, inputs: Inputs, facts: dict[str, Any]) -> Iterator[Shard]:
    """Claim the output for this run, list loose files, and yield the shards. Raises UsageError, StorageError."""
    output = Folder(job.output, job.storage)
    if not manifest.check(output, facts):
        manifest.write(output, facts)
    if job.kind == "files":
        listing.extend(inputs.images(), output, inputs.shard_size)
    return inputs.shards(output)


def planned(job: Job, inputs: Inputs) -> Iterator[Shard]:
    """Yield the shards that `begin` would, and store nothing."""
    output = Folder(job.output, job.storage)
    yield from inputs.shards(output)
    if job.kind == "files":
        yield from listing.new_shards(inputs.images(), output, inputs.shard_size)
