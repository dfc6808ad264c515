"""`_siglip.json`: what a run's output is made with. Another model, label set or schema does not mix with it."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from siglipcli.batch.part_writer import schema
from siglipcli.errors import UsageError
from siglipcli.outputs.provenance import digest, provenance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from siglipcli.batch.shards import Job
    from siglipcli.batch.storage import Folder

__all__ = ["NAME", "check", "engine", "facts", "job_facts", "write"]

NAME = "_siglip.json"
_NOT_COMPARED = {"siglipcli", "created", "runtime"}


def facts(job: Job, encoder: Any, width: int, shard_size: int) -> dict[str, Any]:
    """Return what a run's rows depend on; `width` is the length of an embedding."""
    checkpoint, tuning = engine(encoder.fingerprint)
    return (
        provenance(encoder, job.sets)
        | {"fingerprint": checkpoint, "tuning": tuning}
        | {"created": datetime.now(timezone.utc).isoformat(timespec="seconds")}
        | job_facts(job, shard_size)
        | {"columns": {field.name: str(field.type) for field in schema(job, width)}}
    )


def engine(fingerprint: str) -> tuple[str, str]:
    """Return the checkpoint of an encoder's fingerprint, and the digest of its int8 engine ("" for other precisions)."""
    return fingerprint.partition("-")[0], fingerprint.partition("-int8-")[2]


def job_facts(job: Job, shard_size: int) -> dict[str, Any]:
    """Return what can be said of a run before its model is open."""
    options = job.load_options
    return {
        "label_sets": [{"name": labels.name, "sha256": digest(labels)} for labels in job.sets],
        "scoring": asdict(job.scoring),
        "decoding": {
            "exact": options.exact,
            "color_management": options.color_management,
            "allow_truncated": options.allow_truncated,
            "max_megapixels": options.limits.max_megapixels,
        },
        "kind": job.kind,
        "image_column": job.image_column,
        "keep": list(job.keep),
        "shard_size": None if job.kind == "tars" else shard_size,
    }


def check(output: Folder, wanted: Mapping[str, Any]) -> bool:
    """Return whether the output holds this very run; False for an empty one. Raises UsageError for any other."""
    stored = output.read(NAME)
    if stored is None:
        if any(name.endswith(".parquet") for name in output.names()):
            raise UsageError(
                f"{output} holds Parquet files that are no part of a run.",
                code="not_a_run",
                path=str(output),
            )
        return False
    try:
        before: dict[str, Any] = dict(json.loads(stored))
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"{output}/{NAME} is damaged.", code="not_a_run", path=str(output)
        ) from error
    if different := list(_differences(before, wanted)):
        raise UsageError(
            f"{output} holds another run: {'; '.join(different)}.",
            code="other_run",
            path=str(output),
        )
    return True


def _differences(before: Mapping[str, Any], wanted: Mapping[str, Any]) -> Any:
    same_weights = before.get("fingerprint") == wanted.get(
        "fingerprint"
    )  # a folder may be typed in two ways
    for key, value in json.loads(json.dumps(wanted)).items():
        if key in _NOT_COMPARED or before.get(key) == value or (key == "model" and same_weights):
            continue
        old = before.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            keys = [k for k in {**old, **value} if old.get(k) != value.get(k)]
            old = {k: old.get(k) for k in keys}
            value = {k: value.get(k) for k in keys}  # noqa: PLW2901
        yield f"its {key.replace('_', ' ')} is {_shown(old)}, not {_shown(value)}"


def _shown(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return ", ".join(f"{labels['name']} ({labels['sha256'][:8]})" for labels in value)
    return json.dumps(value, ensure_ascii=False)


def write(output: Folder, wanted: Mapping[str, Any]) -> None:
    """Store what the run is. Raises StorageError."""
    output.write(
        NAME, (json.dumps(wanted, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "replace")
    )
