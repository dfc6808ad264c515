"""What a run was made with: enough to make it again, in a document beside its output or inside it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

from siglipcli import __version__
from siglipcli.outputs.documents import document
from siglipcli.outputs.output import open_output

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from siglipcli.labels import LabelSet

__all__ = ["beside", "digest", "provenance", "write"]


class _Model(Protocol):
    """What is written of an encoder."""

    name: str
    fingerprint: str
    runtime: str
    precision: str


def provenance(model: _Model, sets: Iterable[LabelSet] = ()) -> dict[str, Any]:
    """Return the program's version, the model, what ran it, and each label set by its digest."""
    return {
        "siglipcli": __version__,
        "model": model.name,
        "fingerprint": model.fingerprint,
        "runtime": model.runtime,
        "precision": model.precision,
        "label_sets": [{"name": labels.name, "sha256": digest(labels)} for labels in sets],
    }


def digest(labels: LabelSet) -> str:
    """Return the SHA-256 of all that a label set says, however its file is laid out: 64 hex digits."""
    content = json.dumps(asdict(labels), sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()


def beside(path: Path) -> Path:
    """Return where the provenance of an output file lies: `FILE.meta.json`."""
    return path.with_name(f"{path.name}.meta.json")


def write(path: Path, facts: Mapping[str, object]) -> None:
    """Write what an output file was made with beside it. Raises OutputError."""
    with open_output(beside(path)) as stream:
        stream.write(document(dict(facts)))
