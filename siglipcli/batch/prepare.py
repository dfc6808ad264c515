"""A job is made whole before it begins: what its first input says of columns, what the model says of rows."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from siglipcli.batch import (
    braces,
    embedding_input,
    listing,
    manifest,
    parquet_input,
    part_writer,
    tar_input,
)
from siglipcli.batch.patterns import fixed_part, has_pattern, reaches
from siglipcli.batch.storage import Folder, Storage
from siglipcli.batch.uris import LOCAL, identity, redacted, split, with_credentials
from siglipcli.errors import StorageError, UsageError
from siglipcli.labels.model_view import ModelView, set_warnings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siglipcli.batch.plan import Inputs
    from siglipcli.batch.shards import Job, Shard
    from siglipcli.batch.worker import Worker

__all__ = ["Opened", "begin", "check_for_cluster", "check_output", "check_plan", "check_schemes"]
__all__ += ["check_sight", "completed", "described", "for_cluster", "opened", "planned"]

_WARNINGS = 3  # of one kind, in one set


def completed(job: Job, inputs: Inputs) -> Job:
    """Return the job with the columns that its first Parquet file has. Raises UsageError, StorageError."""
    part_writer.kept_names(job)
    if job.kind == "tars":
        tar_input.check_keep(job.keep)
    if job.kind == "files" and job.keep:
        raise UsageError("loose files have nothing beside them to keep", code="nothing_to_keep")
    if job.kind not in {"parquet", "embeddings"}:
        return job
    first, schema = _first(job, inputs)
    if schema is None:
        return job
    types = parquet_input.kept_types(schema, job.keep, first)
    if job.kind == "embeddings":
        embedding_input.columns(schema, first)
        return replace(job, keep_types=types)
    column = parquet_input.image_column(schema, job.image_column, first)
    return replace(job, keep_types=types, image_column=column)


def _first(job: Job, inputs: Inputs) -> tuple[str, Any]:
    """Return the first Parquet file that can be read, and its schema. Raises StorageError where none can."""
    failed: StorageError | None = None
    for uri in inputs.files():
        try:
            return uri, parquet_input.schema_of(job.storage, uri)
        except StorageError as error:
            failed = failed or error
    if failed:
        raise failed
    return "", None


def check_output(output: str, uris: tuple[str, ...]) -> None:
    """Raise UsageError where parts would come to lie among Parquet files that the run reads."""
    where = identity(redacted(output)).rstrip("/")
    for uri in uris:
        if any(_reads(identity(redacted(name)), where) for name in braces.expand(uri)):
            raise UsageError(
                f"the output {redacted(output)} is inside the input {redacted(uri)}",
                code="output_is_input",
                path=redacted(output),
            )


def _reads(place: str, folder: str) -> bool:
    """Whether what is named lies in a folder, or may match what will: both without credentials, local ones absolute."""
    if has_pattern(place):
        start = fixed_part(place)
        if not f"{folder}/".startswith(start):
            return False
        below = [part for part in folder[len(start) :].split("/") if part]
        return reaches([part for part in place[len(start) :].split("/") if part], below)
    return f"{folder}/".startswith(place.rstrip("/") + "/")


def check_schemes(uris: tuple[str, ...]) -> None:
    """Raise UsageError for what is no store, or cannot be opened as one: addresses of the web, wrong options."""
    storage = Storage(uris)
    for uri in uris:
        if split(uri)[0] in {"http", "https"}:
            raise UsageError(
                f"{redacted(uri)} is a URL of the web, and only files and object stores are read. Download it first."
            )
        storage.at(uri)
        _check_options(uri, uris)


def _check_options(uri: str, uris: tuple[str, ...]) -> None:
    """Raise UsageError where a store is named on two servers: names without options would lead to one of them."""
    storage = Storage(uris)
    scheme, authority, _, query = split(uri)
    if query and Storage((uri,)).endpoint(uri) != storage.endpoint(f"{scheme}://{authority}/"):
        raise UsageError(
            f"{redacted(uri)}: this store is named with two endpoints, and a run takes one for each name."
        )


def check_for_cluster(uris: tuple[str, ...]) -> None:
    """Raise UsageError for a URI with a password: a cluster keeps and logs what its workers are given."""
    for uri in uris:
        if with_credentials(uri):
            raise UsageError(
                f"{redacted(uri)} holds credentials, which a cluster would store. Give them to its machines by their"
                " environment."
            )


def for_cluster(job: Job, inputs: Inputs) -> tuple[Job, Inputs]:
    """Return both with local paths made absolute: the folder of a worker's process is another one."""
    spec = job.spec
    if os.path.isdir(folder := os.path.expanduser(spec.name)):  # noqa: PTH111, PTH112
        spec = replace(spec, name=os.path.abspath(folder))  # noqa: PTH100
    if spec.cache_dir is not None:
        spec = replace(spec, cache_dir=spec.cache_dir.absolute())
    uris = tuple(_absolute(uri) for uri in inputs.uris)
    job = replace(job, spec=spec, output=_absolute(job.output), roots=uris)
    return job, replace(inputs, uris=uris)


def check_sight(job: Job) -> None:
    """On a worker: raise UsageError where local inputs or the local output are those of another machine."""
    output = Folder(job.output, job.storage)
    if output.read(manifest.NAME) is None:
        raise UsageError(
            f"a worker does not see the output folder {output}; give a store, or a folder that all machines share."
        )
    for root in (root for root in job.roots if split(root)[0] in LOCAL):
        start = fixed_part(redacted(root).partition("{")[0])
        if not os.path.lexists(folder := start if start.endswith("/") else os.path.dirname(start)):  # noqa: PTH120
            raise UsageError(
                f"a worker does not see the input folder {folder}; give a store, or a folder that all machines share."
            )


def _absolute(uri: str) -> str:
    if split(uri)[0] in LOCAL:
        return identity(uri) + "/" * (uri.endswith("/") and uri != "/")
    return uri


def described(job: Job, inputs: Inputs, worker: Worker) -> dict[str, Any]:
    """Return what the run's rows depend on, where the model is open. Raises UsageError for other embeddings."""
    encoder = worker.classifier.encoder
    if job.kind == "embeddings":
        uri, schema = _first(job, inputs)
        if schema is not None:
            embedding_input.check(schema, uri, encoder)
    return manifest.facts(job, encoder, worker.width, inputs.shard_size)


@dataclass(frozen=True)
class Opened:
    """The model of a run as a worker has it; `warnings` say what it does not read of the labels' prompts."""

    name: str
    fingerprint: str
    precision: str
    warnings: tuple[str, ...]


def opened(job: Job, worker: Worker) -> Opened:
    """Return which model a worker has open."""
    encoder = worker.classifier.encoder
    view = ModelView(encoder.tokenizer)
    warnings = tuple(
        f"label set {labels.name}: {line}"
        for labels in job.sets
        for line in set_warnings(labels, view, _WARNINGS)
    )
    return Opened(encoder.name, encoder.fingerprint, encoder.precision, warnings)


def begin(job: Job, inputs: Inputs, facts: dict[str, Any]) -> Iterator[Shard]:
    """Claim the output for this run, list loose files, and yield the shards. Raises UsageError, StorageError."""
    output = Folder(job.output, job.storage)
    if not manifest.check(output, facts):
        manifest.write(output, facts)
    if job.kind == "files":
        listing.extend(inputs.images(), output, inputs.shard_size)
    return inputs.shards(output)


def check_plan(job: Job, inputs: Inputs) -> None:
    """Raise UsageError where the output holds another run, as far as that shows without a model."""
    manifest.check(Folder(job.output, job.storage), manifest.job_facts(job, inputs.shard_size))


def planned(job: Job, inputs: Inputs) -> Iterator[Shard]:
    """Yield the shards that `begin` would, and store nothing."""
    output = Folder(job.output, job.storage)
    yield from inputs.shards(output)
    if job.kind == "files":
        yield from listing.new_shards(inputs.images(), output, inputs.shard_size)
