"""Parquet: the objects of JSON Lines as rows, labels as a list of structs, written in row groups.

Scores are float32 columns, the very numbers that were compared with thresholds. What the run was made
with is in the file's metadata, a key each (`pyarrow.parquet.read_schema(path).metadata`).
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, BinaryIO

from siglipcli import __version__
from siglipcli.errors import MissingExtraError
from siglipcli.outputs.json_lines import record
from siglipcli.outputs.output import translated
from siglipcli.results import ImageTextScores, Match, Prediction

if TYPE_CHECKING:
    from collections.abc import Mapping

    from siglipcli.outputs import Header
    from siglipcli.results import Result

__all__ = ["LABEL", "ParquetSink", "libraries", "metadata", "struct"]

ROWS = 8192
"""Inputs of a row group at most."""
CELLS = 131_072
"""Labels, or texts, of a row group: about so many are in memory at once."""


def libraries() -> tuple[Any, Any]:
    """Return pyarrow and pyarrow.parquet. Raises MissingExtraError."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("Parquet", library="pyarrow", extra="parquet") from error
    return pa, parquet


def metadata(facts: Mapping[str, object]) -> dict[str, str]:
    """Return facts as a file's metadata: texts as they are, all else as JSON."""
    texts = {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items()
    }
    return {"siglipcli": __version__} | {
        key: text.encode("utf-8", "replace").decode() for key, text in texts.items()
    }


class ParquetSink:
    """Collects rows, and writes them in groups: small ones cost space and time."""

    def __init__(self, stream: BinaryIO, header: Header) -> None:
        self._pa, parquet = libraries()
        self._header = header
        self._rows: list[dict[str, Any]] = []
        self._cells = 0
        about = metadata({"model": header.model} | dict(header.provenance))
        self._schema = _schema(self._pa, header.kind).with_metadata(about)
        with translated("Parquet"):
            self._writer = parquet.ParquetWriter(stream, self._schema)

    def write(self, result: Result) -> None:
        """Take one result; every few thousand, write a row group. Raises OutputError."""
        row = record(result, self._header)
        if raw := row.get("file_bytes"):
            row["file_bytes"] = base64.b64decode(raw)
        self._rows.append(row)
        self._cells += len(row.get("labels") or row.get("texts") or ())
        if len(self._rows) >= ROWS or self._cells >= CELLS:
            self._flush()

    def close(self) -> None:
        """Write what is left, and what ends the file. Raises OutputError."""
        self._flush()
        with translated("Parquet"):
            self._writer.close()

    def _flush(self) -> None:
        rows, self._rows, self._cells = self._rows, [], 0
        if rows:
            table = self._pa.Table.from_pylist(rows, schema=self._schema)
            with translated("Parquet"):
                self._writer.write_table(table)


def _schema(pa: Any, kind: type[object]) -> Any:
    """Return the columns of a kind of results; the same keys, in the order of JSON Lines."""
    number, text = pa.float32(), pa.string()
    content = {
        Prediction: [("labels", pa.list_(struct(pa, LABEL)))],
        Match: [("rank", pa.int64()), ("score", number), ("similarity", number)],
        ImageTextScores: [("texts", pa.list_(struct(pa, _PAIR)))],
    }
    error = pa.struct([("kind", text), ("message", text)])
    head = [("file", text), ("file_bytes", pa.binary()), ("status", text), ("model", text)]
    return pa.schema([*head, *content[kind], ("error", error)])


LABEL = {"label": "string", "score": "float", "softmax": "float", "logit": "float"}
LABEL |= {"set": "string", "tag": "bool"}
"""The fields of one label's score, by name, in every Parquet file that has predictions."""
_PAIR = {"text": "string", "score": "float", "logit": "float", "similarity": "float"}


def struct(pa: Any, fields: Mapping[str, str]) -> Any:
    """Return the type of a struct of these fields, name → pyarrow's word for its type."""
    return pa.struct([(name, pa.type_for_alias(alias)) for name, alias in fields.items()])
