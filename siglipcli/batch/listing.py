"""Loose files → a listing that is stored with the run, cut into shards: a resumed run cuts the same way.

    _listing/00000.parquet   one row group a shard, one file a row; 00001 … hold files that came later

A row is `path`, a local one absolute, and `name`, as it was typed (null: the same). Walks and stored listings are in
one order (by the parts of a path), so that what is new is found by running
through both side by side: memory does not grow with the number of files, only with that of one folder.
"""

from __future__ import annotations

import heapq
import os
from itertools import count, islice
from typing import TYPE_CHECKING, Any

from siglipcli.batch.errors import libraries, storage_error
from siglipcli.batch.patterns import fits, fixed_part, has_pattern
from siglipcli.batch.shards import Shard
from siglipcli.batch.uris import identity, redacted, split
from siglipcli.inputs import Options, expand
from siglipcli.inputs.options import Chooser, Overlooked
from siglipcli.results import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from siglipcli.batch.storage import Folder, Storage

__all__ = ["extend", "new_shards", "paths", "shards", "walk"]

FOLDER = "_listing"


def walk(uris: Iterable[str], storage: Storage, options: Options) -> Iterator[str]:
    """Yield the images that folders, prefixes, patterns and files name, each once and in order, without credentials."""
    last = None
    streams = [map(_keyed, _below(uri, storage, options)) for uri in sorted(uris)]
    for key, path in heapq.merge(*streams):
        if key != last:
            yield path
        last = key


def _keyed(path: str) -> tuple[list[str], str]:
    return _key(path), path


def _key(path: str) -> list[str]:
    return identity(path).split("/")


def _below(uri: str, storage: Storage, options: Options) -> Iterator[str]:
    scheme, authority, path, query = split(uri)
    if scheme in {"", "file"}:
        items = expand([redacted(uri) if scheme else uri], options)
        names = (item.file if isinstance(item, Failure) else item.name for item in items)
        # the matches of a pattern come in the order of whole strings
        yield from sorted(names, key=_key) if has_pattern(uri) else names
        return
    chooser = Chooser(options, Overlooked())
    end = f"?{query}" if query else ""
    base, pattern = _pattern(path)
    if pattern is None and not path.endswith("/") and storage.kind(uri) == "file":
        yield redacted(uri)
        return
    root = f"{scheme}://{authority}/{base}".rstrip("/")
    for below in _walk(root, end, "", storage, chooser):
        if pattern is None or fits(below.split("/"), pattern):
            yield redacted(f"{root}/{below}")


def _pattern(path: str) -> tuple[str, list[str] | None]:
    """Split `photos/2024*/a.jpg` into the folder before the pattern, `photos/`, and the parts of the pattern."""
    if not has_pattern(path):
        return path.rstrip("/") + "/" if path.strip("/") else "", None
    base = fixed_part(path)
    return base, [part for part in path[len(base) :].split("/") if part]


def _walk(root: str, end: str, below: str, storage: Storage, chooser: Chooser) -> Iterator[str]:
    for entry in storage.entries(f"{root}/{below}{end}"):
        name = f"{below}{entry.name}"
        if (entry.name.startswith(".") and not chooser.options.hidden) or chooser.excludes(
            name, name
        ):
            continue
        if not entry.is_folder:
            if chooser.wants(entry.name):
                yield name
        elif chooser.options.recursive:
            yield from _walk(root, end, f"{name}/", storage, chooser)


def extend(files: Iterable[str], folder: Folder, shard_size: int) -> int:
    """Store what of `files`, a walk, the run's listing does not have yet. Return how many paths these are."""
    pa, _, parquet = libraries()
    new = _without(files, _known(folder))
    first = list(islice(new, shard_size))
    if not first:
        return 0
    stored = 0
    schema = pa.schema([("path", pa.binary()), ("name", pa.binary())])
    name = f"{FOLDER}/{len(_listings(folder)):05d}.parquet"
    with folder.put(name) as file, parquet.ParquetWriter(file, schema) as writer:
        while first:
            places = [identity(path) for path in first]
            pairs = zip(first, places, strict=True)
            columns = {
                "path": [os.fsencode(place) for place in places],
                "name": [None if name == place else os.fsencode(name) for name, place in pairs],
            }
            writer.write_table(pa.table(columns, schema=schema), row_group_size=shard_size)
            stored += len(first)
            first = list(islice(new, shard_size))
    return stored


def _without(files: Iterable[str], known: Iterator[list[str]]) -> Iterator[str]:
    """Yield what is in `files` and not in `known`; both are in order."""
    other = next(known, None)
    for path in files:
        key = _key(path)
        while other is not None and other < key:
            other = next(known, None)
        if other != key:
            yield path


def _known(folder: Folder) -> Iterator[list[str]]:
    return heapq.merge(*[_stored(folder, name) for name in _listings(folder)])


def _listings(folder: Folder) -> list[str]:
    return sorted(name for name in folder.names(FOLDER) if name.endswith(".parquet"))


def _stored(folder: Folder, name: str) -> Iterator[list[str]]:
    _, _, parquet = libraries()
    with folder.open(f"{FOLDER}/{name}") as file:
        for batch in parquet.ParquetFile(file).iter_batches(columns=["path"]):
            yield from (os.fsdecode(path).split("/") for path in batch.column(0).to_pylist())


def new_shards(files: Iterable[str], folder: Folder, shard_size: int) -> Iterator[Shard]:
    """Yield the shards that `extend` would add, and store nothing."""
    number, new = len(_listings(folder)), _without(files, _known(folder))
    for index in count():
        size = sum(1 for _ in islice(new, shard_size))
        if not size:
            return
        yield Shard(f"files-{number:05d}-{index:06d}", "", 0, size)


def shards(folder: Folder) -> Iterator[Shard]:
    """Yield the shards of the stored listing, in order."""
    _, _, parquet = libraries()
    for name in _listings(folder):
        with folder.open(f"{FOLDER}/{name}") as file:
            about = parquet.ParquetFile(file).metadata
            counts = [about.row_group(i).num_rows for i in range(about.num_row_groups)]
        number = name.partition(".")[0]
        for index, size in enumerate(counts):
            yield Shard(f"files-{number}-{index:06d}", f"{name}#{index}", 0, size)


def paths(folder: Folder, shard: Shard) -> list[tuple[str, str]]:
    """Return the names, and where they are, of a shard's files. Raises StorageError."""
    _, _, parquet = libraries()
    name, _, index = shard.where.rpartition("#")
    with folder.open(f"{FOLDER}/{name}") as file:
        try:
            table: Any = parquet.ParquetFile(file).read_row_group(int(index))
        except OSError as error:
            raise storage_error(f"{folder}/{FOLDER}/{name}", error) from None
    places = [os.fsdecode(path) for path in table.column(0).to_pylist()]
    names = table.column(1).to_pylist()
    return [
        (place if name is None else os.fsdecode(name), place)
        for name, place in zip(names, places, strict=True)
    ]
