"""One part: the schema that every part of a run has, and its rows written in groups.

key or path     string            the name inside its tar or Parquet file; or the image's path
source          string            the tar or Parquet file (tars and Parquet only)
…               as in the input   kept columns
status          string            ok, error
error_kind      string            null where status is ok
error_message   string
labels          list<struct<label, score, softmax, logit, set, tag>>   the top and all tags, set by set
tags            list<string>
embedding       fixed_size_list<halffloat|float>[d]   where wanted; of nulls where status is error
"""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from siglipcli.batch.errors import libraries
from siglipcli.errors import UsageError
from siglipcli.outputs.parquet import LABEL, metadata, struct
from siglipcli.results import Failure
from siglipcli.text import utf8

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from siglipcli.batch.shards import Job
    from siglipcli.results import Score, Source

__all__ = ["OWN", "PartWriter", "kept_names", "schema"]

ROWS = 4096
"""Rows of a row group at most."""
CELLS = 131_072
"""Labels of a row group: about so many are in memory at once."""
OWN = (
    "key",
    "path",
    "source",
    "status",
    "error_kind",
    "error_message",
    "labels",
    "tags",
    "embedding",
)
"""The names of columns that a kept one cannot have."""


def kept_names(job: Job) -> tuple[str, ...]:
    """Return the names of the kept columns: `json.url` of a tar becomes `url`. Raises UsageError."""
    names = [
        name.rpartition(".")[2] if job.kind == "tars" and name.startswith("json.") else name
        for name in job.keep
    ]
    for name in names:
        if name in OWN or names.count(name) > 1:
            raise UsageError(
                f"the kept column {name!r} has the name of another column of the output. Leave it out, or rename it"
                " in the input.",
            )
    return tuple(names)


def schema(job: Job, width: int) -> Any:
    """Return the columns of every part of a run; `width` is the length of an embedding."""
    pa, _, _ = libraries()
    text = pa.string()
    has_source = job.kind in {"tars", "parquet"}
    named = [("key", text), ("source", text)] if has_source else [("path", text)]
    types = dict(job.keep_types)
    kept = [(name, types.get(name, text)) for name in kept_names(job)]
    status = [("status", text), ("error_kind", text), ("error_message", text)]
    labels = [("labels", pa.list_(struct(pa, LABEL))), ("tags", pa.list_(text))]
    number = {"float16": pa.float16(), "float32": pa.float32(), None: None}[job.embedding_type]
    vectors = [("embedding", pa.list_(number, width))] if number else []
    return pa.schema([*named, *kept, *status, *labels, *vectors])


class PartWriter:
    """Writes a part's rows as they come. Raises OSError where the file cannot be written."""

    def __init__(self, file: BinaryIO, job: Job, width: int, facts: Mapping[str, object]) -> None:
        self._pa, _, parquet = libraries()
        self._schema = schema(job, width).with_metadata(metadata(facts))
        self._writer = parquet.ParquetWriter(file, self._schema, compression="zstd")
        self._rows: list[tuple[Any, ...]] = []
        self._vectors: list[NDArray[np.float32]] = []
        self._cells = 0
        self._width = width
        self._type = {"float16": np.float16, "float32": np.float32, None: None}[job.embedding_type]
        self._n_kept = len(job.keep)
        self._has_source = job.kind in {"tars", "parquet"}
        self.rows = 0
        self.failures: Counter[str] = Counter()

    def write(
        self,
        item: Source | Failure,
        source: str,
        kept: Sequence[object],
        scores: Sequence[Score],
        vector: NDArray[np.float32] | None,
    ) -> None:
        """Add one row: `scores` and `vector` (float32[d]) are those of an image, not of a failure."""
        named = (item.file if isinstance(item, Failure) else item.name, source)
        failed = isinstance(item, Failure)
        error = (item.kind, item.message) if isinstance(item, Failure) else (None, None)
        row = (*named, *kept, "error" if failed else "ok", *error, scores)
        self._rows.append(row)
        if isinstance(item, Failure):
            self.failures[item.kind] += 1
        if self._type is not None:
            self._vectors.append(np.zeros(self._width, np.float32) if vector is None else vector)
        self.rows += 1
        self._cells += len(scores)
        if len(self._rows) >= ROWS or self._cells >= CELLS:
            self._flush()

    def close(self, *, incomplete: bool) -> None:
        """Write what is left and what ends the file, with its counts in the metadata."""
        self._flush()
        counts = {"rows": self.rows, "failures": dict(self.failures), "incomplete": incomplete}
        self._writer.add_key_value_metadata({"siglip_counts": json.dumps(counts)})
        self._writer.close()

    def abandon(self) -> None:
        """End without a whole file, so that nothing is written to it later."""
        with suppress(OSError, ValueError):
            self._writer.close()

    def _flush(self) -> None:
        rows, self._rows, self._cells = self._rows, [], 0
        if not rows:
            return
        names, sources, *rest, scores = (list(column) for column in zip(*rows, strict=True))
        kept, status = rest[: self._n_kept], rest[self._n_kept :]
        status[2] = [None if text is None else utf8(text) for text in status[2]]
        heads = [
            [utf8(name) for name in names],
            *([[utf8(name) for name in sources]] if self._has_source else []),
        ]
        columns = [*heads, *kept, *status]
        fields = list(self._schema)[: len(columns)]
        arrays = [
            self._pa.array(column, field.type)
            for column, field in zip(columns, fields, strict=True)
        ]
        arrays += [self._labels(scores), self._tags(scores)]
        if self._type is not None:
            arrays.append(self._embeddings([text == "ok" for text in status[0]]))
        self._writer.write_table(self._pa.Table.from_arrays(arrays, schema=self._schema))

    def _labels(self, scores: Sequence[Sequence[Score]]) -> Any:
        pa, flat = self._pa, list(chain.from_iterable(scores))
        kind = self._schema.field("labels").type.value_type
        columns = [
            pa.array([_plain(getattr(score, field.name)) for score in flat], field.type)
            for field in kind
        ]
        values = pa.StructArray.from_arrays(columns, fields=list(kind))
        return pa.ListArray.from_arrays(_offsets([len(row) for row in scores]), values)

    def _tags(self, scores: Sequence[Sequence[Score]]) -> Any:
        tags = [[utf8(score.label) for score in row if score.tag] for row in scores]
        return self._pa.array(tags, self._schema.field("tags").type)

    def _embeddings(self, good: Sequence[bool]) -> Any:
        vectors, self._vectors = np.stack(self._vectors).astype(self._type), []
        failed = np.repeat([not is_good for is_good in good], self._width)
        # elements are null, not lists: pyarrow before 26 cannot read null lists of a fixed size (arrow issue 35692)
        flat = self._pa.array(vectors.reshape(-1), mask=failed)
        return self._pa.FixedSizeListArray.from_arrays(flat, self._width)


def _plain(value: object) -> object:
    return utf8(value) if isinstance(value, str) else value


def _offsets(lengths: Sequence[int]) -> NDArray[np.int32]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
