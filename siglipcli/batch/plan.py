"""What a run reads → its shards, in order: from names alone where they are ranges, else by listing."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from siglipcli.batch import braces, listing, parquet_input, tar_input
from siglipcli.batch.shards import Shard, shard_of
from siglipcli.batch.storage import Storage
from siglipcli.batch.uris import redacted, split
from siglipcli.errors import StorageError, UsageError
from siglipcli.inputs import IMAGE_ENDINGS, Options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siglipcli.batch.storage import Folder

__all__ = ["SHARD_SIZE", "Inputs"]

SHARD_SIZE = 4096
"""Images of a shard, of loose files and of Parquet rows: minutes of work on a CPU, seconds on a GPU."""
_ENDINGS = {"tars": tar_input.ENDINGS, "parquet": (".parquet", ".parq"), "files": IMAGE_ENDINGS}
_LIKE = {"embeddings": "parquet"}
_FOOTERS = 32  # read at once
_BIG = 2  # row groups of more than so many shards' rows are cut


@dataclass(frozen=True)
class Inputs:
    """The inputs of a run as typed: `kind` is one of `shards.KINDS`, or "" to tell it from the names.

    Raises UsageError where they are of two kinds.
    """

    uris: tuple[str, ...]
    kind: str = ""
    options: Options = Options()  # noqa: RUF009  # frozen
    shard_size: int = SHARD_SIZE

    @classmethod
    def of(
        cls,
        uris: tuple[str, ...],
        kind: str = "",
        options: Options | None = None,
        shard_size: int = SHARD_SIZE,
    ) -> Inputs:
        """Return inputs whose kind is known."""
        if not kind:
            storage = Storage(uris)
            kinds = {_kind(next(braces.expand(uri)), storage): uri for uri in reversed(uris)}
            if len(kinds) > 1:
                named = " and ".join(f"{redacted(uri)} ({kind})" for kind, uri in kinds.items())
                raise UsageError(
                    f"one run reads one kind of input, not {named}. Give each kind an output of its own."
                )
            kind = next(iter(kinds))
        return cls(uris, kind, options or Options(), shard_size)

    def files(self) -> Iterator[str]:
        """Yield the tars or Parquet files, without credentials, in the order of the inputs."""
        storage = Storage(self.uris)
        endings = _ENDINGS[_LIKE.get(self.kind, self.kind)]
        for uri in self.uris:
            for name in braces.expand(uri):
                if _is_one(name, endings):
                    yield redacted(name)
                else:
                    yield from listing.walk([name], storage, self._choosing(endings))

    def _choosing(self, endings: tuple[str, ...]) -> Options:
        """Choose files by ending; of Parquet none that every reader passes over, such as a run's notes."""
        hidden = () if self.kind == "tars" else ("_*",)
        return replace(self.options, extensions=endings, exclude=(*self.options.exclude, *hidden))

    def images(self) -> Iterator[str]:
        """Yield loose files, without credentials, in order."""
        names = [name for uri in self.uris for name in braces.expand(uri)]
        return listing.walk(names, Storage(self.uris), self.options)

    def shards(self, output: Folder) -> Iterator[Shard]:
        """Yield the shards, in order; those of loose files are cut from the listing that `output` has."""
        if self.kind == "tars":
            storage = Storage(self.uris)
            yield from (shard_of(uri, endpoint=storage.endpoint(uri)) for uri in self.files())
        elif self.kind == "files":
            yield from listing.shards(output)
        else:
            yield from self._slices()

    def _slices(self) -> Iterator[Shard]:
        storage, files = Storage(self.uris), self.files()
        with ThreadPoolExecutor(_FOOTERS, thread_name_prefix="siglip-footers") as pool:
            waiting: deque[tuple[str, Future[list[int]]]] = deque()
            while True:
                for uri in islice(files, 2 * _FOOTERS - len(waiting)):
                    waiting.append((uri, pool.submit(parquet_input.groups, storage, uri)))
                if not waiting:
                    return
                uri, counts = waiting.popleft()
                try:
                    cuts = list(_cut(counts.result(), self.shard_size))
                except StorageError:  # its worker says why
                    cuts = [(0, -1)]
                server = storage.endpoint(uri)
                yield from (shard_of(uri, start, stop, server) for start, stop in cuts)


def _cut(groups: list[int], size: int) -> Iterator[tuple[int, int]]:
    """Cut a file's rows at the ends of its row groups, and very long groups within."""
    start = stop = 0
    for rows in groups:
        stop += rows
        if rows > _BIG * size:
            if start < stop - rows:
                yield start, stop - rows
            yield from ((i, min(i + size, stop)) for i in range(stop - rows, stop, size))
            start = stop
        elif stop - start >= size:
            yield start, stop
            start = stop
    if start < stop:
        yield start, stop


def _is_one(name: str, endings: tuple[str, ...]) -> bool:
    path = split(name)[2]
    return path.lower().endswith(endings) and not any(sign in path for sign in "*?[")


def _kind(uri: str, storage: Storage) -> str:
    """Tell the kind of an input by its ending, or by what is in the folder."""
    path = split(uri)[2].lower()
    for kind, endings in _ENDINGS.items():
        if path.endswith(endings):
            return kind
    if any(sign in path for sign in "*?["):
        return "files"
    names = [entry.name.lower() for entry in storage.entries(uri) if not entry.is_folder]
    kinds = [kind for kind, endings in _ENDINGS.items() if any(n.endswith(endings) for n in names)]
    if len(kinds) > 1:
        raise UsageError(
            f"{redacted(uri)} holds {' and '.join(kinds)}. Name one kind with a pattern such as *.tar."
        )
    if not kinds and storage.kind(uri) == "missing":
        raise UsageError(f"{redacted(uri)}: there is no such file, folder or prefix.")
    return kinds[0] if kinds else "files"
