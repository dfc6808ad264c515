"""Parquet files → rows: images as bytes, as Hugging Face's struct of bytes and path, or by path or URI."""

from __future__ import annotations

import os
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any

from siglipcli.arguments import InMemory
from siglipcli.batch.errors import libraries
from siglipcli.batch.fetch import fetched
from siglipcli.batch.rows import Row
from siglipcli.batch.storage import patiently, translated
from siglipcli.batch.uris import split
from siglipcli.errors import StorageError, UsageError
from siglipcli.results import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siglipcli.batch.shards import Job, Shard
    from siglipcli.batch.storage import Storage

__all__ = ["groups", "image_column", "kept_types", "record_batches", "rows"]

_ROWS = 32  # in memory at a time: images as bytes are large
_BUFFER = 4 << 20
_LIKELY = (
    *(
        "image",
        "images",
        "img",
        "photo",
        "picture",
        "jpg",
        "jpeg",
        "png",
        "bytes",
        "content",
        "data",
    ),
    *("file", "path", "image_path", "file_name", "filename", "uri", "url", "image_url"),
)


def groups(storage: Storage, uri: str) -> list[int]:
    """Return how many rows each row group of a file has. Raises StorageError."""
    _, _, parquet = libraries()

    def read() -> list[int]:
        with translated(uri), storage.open(uri) as file:
            about = parquet.ParquetFile(file).metadata
            return [about.row_group(i).num_rows for i in range(about.num_row_groups)]

    return patiently(read)


def schema_of(storage: Storage, uri: str) -> Any:
    """Return a file's schema, with its metadata. Raises StorageError."""
    _, _, parquet = libraries()

    def read() -> Any:
        with translated(uri), storage.open(uri) as file:
            return parquet.ParquetFile(file).schema_arrow

    return patiently(read)


def image_column(schema: Any, name: str | None, uri: str) -> str:
    """Return the column that holds the images: `name`, or the likeliest. Raises UsageError."""
    usable: list[str] = [field.name for field in schema if _is_usable(field.type)]
    if name is not None:
        if name not in usable:
            raise UsageError(
                f"{uri} has no column {name!r} of bytes, of bytes and path, or of text. It has: {_shown(schema)}."
            )
        return name
    raw: list[str] = [column for column in usable if _is_binary(schema.field(column).type)]
    likely = [column for column in _LIKELY if column in usable] or (raw if len(raw) == 1 else [])
    if likely:
        return likely[0]
    raise UsageError(
        f"{uri} has no column that is clearly the images. It has: {_shown(schema)}.",
        code="image_column",
    )


def kept_types(schema: Any, keep: tuple[str, ...], uri: str) -> tuple[tuple[str, Any], ...]:
    """Return the types of the columns to keep. Raises UsageError for one that is not there."""
    for name in keep:
        if name not in schema.names:
            raise UsageError(f"{uri} has no column {name!r} to keep. It has: {_shown(schema)}.")
    return tuple((name, schema.field(name).type) for name in keep)


def rows(job: Job, shard: Shard) -> Iterator[Row]:
    """Yield a shard's rows in order. Raises StorageError."""
    column, keep = str(job.image_column), job.keep
    limit = job.load_options.limits.max_bytes

    def cells() -> Iterator[tuple[Any, tuple[object, ...], int]]:
        place = shard.start
        for batch in record_batches(job, shard, (column, *keep)):
            values = batch.column(column).to_pylist()
            kept = zip(*[batch.column(name).to_pylist() for name in keep], strict=True)
            for value, row in zip(values, kept if keep else ((),) * len(values), strict=True):
                yield value, row, place
                place += 1

    for is_named, run in _runs(cells()):
        if is_named:
            names = (_place(value, shard.where, kept) for value, kept, _ in run)
            yield from fetched(names, job.storage, limit)
        else:
            yield from (Row(_of_bytes(value, place), kept) for value, kept, place in run)


def _runs(cells: Iterator[tuple[Any, Any, int]]) -> Iterator[tuple[bool, Iterator[Any]]]:
    """Yield the cells in runs that hold names, or hold bytes."""
    yield from groupby(cells, lambda cell: _name(cell[0]) is not None)


def _name(value: Any) -> str | None:
    """Return the path or URI that a cell holds in place of bytes."""
    if isinstance(value, dict) and value.get("bytes") is None:
        value = value.get("path")
    return value if isinstance(value, str) and value else None


def _of_bytes(value: Any, place: int) -> InMemory | Failure:
    name, data = str(place), value
    if isinstance(value, dict):
        name, data = value.get("path") or name, value.get("bytes")
    if not data:
        return Failure(name, "no_image", "This row has no image.")
    return InMemory(name, data)


def _place(
    value: Any, parquet: str, kept: tuple[object, ...]
) -> tuple[str, str, tuple[object, ...]]:
    """Return a cell's name and where it leads; a relative path is relative to its Parquet file."""
    name = str(_name(value))
    folder = parquet.rpartition("/")[0]
    is_whole = split(name)[0] or os.path.isabs(name) or not folder  # noqa: PTH117
    return name, name if is_whole else f"{folder}/{name}", kept


def record_batches(job: Job, shard: Shard, columns: tuple[str, ...]) -> Iterator[Any]:
    """Yield the rows of a shard as small record batches, one row group in reach at a time. Raises StorageError."""
    _, _, parquet = libraries()
    with job.storage.open(shard.where) as stream:
        with translated(shard.where):
            file = parquet.ParquetFile(stream, buffer_size=_BUFFER)
            missing = [name for name in columns if name not in file.schema_arrow.names]
            if missing:
                raise StorageError(f"{shard.where} has no column {missing[0]!r}.", is_final=True)
            batches = _within(file, shard, columns)
        yield from _translated(batches, shard.where)


def _translated(batches: Iterator[Any], uri: str) -> Iterator[Any]:
    while True:
        with translated(uri):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def _within(file: Any, shard: Shard, columns: tuple[str, ...]) -> Iterator[Any]:
    first = 0
    stop = shard.stop or file.metadata.num_rows
    for index in range(file.metadata.num_row_groups):
        count = file.metadata.row_group(index).num_rows
        if first < stop and first + count > shard.start:
            yield from _cut(
                file.iter_batches(_ROWS, row_groups=[index], columns=list(columns)),
                max(shard.start - first, 0),
                min(stop - first, count),
            )
        first += count


def _cut(batches: Iterator[Any], start: int, stop: int) -> Iterator[Any]:
    """Yield what lies from row `start` up to `stop`."""
    first = 0
    for batch in batches:
        begin, end = max(start - first, 0), min(stop - first, batch.num_rows)
        if begin < end:
            yield batch.slice(begin, end - begin)
        first += batch.num_rows
        if first >= stop:
            return


def _is_usable(kind: Any) -> bool:
    pa, _, _ = libraries()
    if pa.types.is_struct(kind):
        return {"bytes", "path"} <= {field.name for field in kind}
    return _is_binary(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_binary(kind: Any) -> bool:
    types = libraries()[0].types
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_struct(kind))


def _shown(schema: Any) -> str:
    return ", ".join(chain(schema.names[:20], ["…"] if len(schema.names) > 20 else []))  # noqa: PLR2004
