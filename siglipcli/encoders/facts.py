"""What is known of a model, as plain values: for listing and for JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from siglipcli.encoders.catalog import CATALOG, DEFAULT

if TYPE_CHECKING:
    from pathlib import Path

    from siglipcli.encoders.catalog import Entry
    from siglipcli.encoders.checkpoint import Checkpoint, File
    from siglipcli.encoders.speeds import Speeds

__all__ = ["checkpoint_facts", "entry_facts", "file_facts", "of_model", "published", "speed_facts"]
__all__ += ["tuned_facts"]


def published(speeds: Speeds) -> list[dict[str, Any]]:
    """Return what is known of each model of the catalogue, its speeds, and whether it is `here`."""
    from siglipcli.encoders.checkpoint import is_cached

    return [
        entry_facts(entry) | speed_facts(speeds.of(entry)) | {"here": is_cached(entry.name)}
        for entry in CATALOG.values()
    ]


def of_model(
    name: str, cache_dir: Path
) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any] | None]:
    """Return what is known of a model, each of its files, and of its int8 engine; nothing is fetched.

    `cache_dir` is the cache folder. Raises UnknownModelError, CheckpointError for files that are no model's.
    """
    from siglipcli.encoders import checkpoint

    files, entry = checkpoint.files(name), CATALOG.get(name)
    facts: dict[str, Any] = entry_facts(entry) if entry else {"name": name}
    facts["here"] = all(file.path for file in files)
    tuned = None
    if facts["here"]:
        facts |= checkpoint_facts(checkpoint.locate(name, offline=True, cache_dir=cache_dir))
        tuned = tuned_facts(cache_dir, facts["fingerprint"])
    return facts, [file_facts(file) for file in files], tuned


def entry_facts(entry: Entry) -> dict[str, Any]:
    """Return what the catalogue knows of a model, as JSON has it."""
    return {
        "name": entry.name,
        "default": entry.name == DEFAULT,
        "family": entry.family,
        "image_size": entry.image_size,
        "context_length": entry.context_length,
        "embed_dim": entry.embed_dim,
        "image_parameters_millions": entry.image_params,
        "text_parameters_millions": entry.text_params,
        "parameters_millions": entry.parameters,
        "imagenet_top1": entry.imagenet,
        "multilingual": entry.multilingual,
        "download_mb": entry.download_mb,
        "repo": entry.repo,
        "tokenizer_repo": entry.tokenizer_repo,
    }


def speed_facts(measured: dict[str, Any] | None) -> dict[str, Any]:
    """Return a row of `encoders.speeds`, as JSON has it; None for what was not measured."""
    row = measured or {}
    int8 = row.get("int8") or {}
    return {
        "images_per_second": row.get("images_per_second"),
        "peak_mb": row.get("peak_mb"),
        "precision": row.get("precision"),
        "int8_images_per_second": int8.get("images_per_second"),
    }


def checkpoint_facts(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what only the files themselves tell."""
    return {
        "image_size": checkpoint.preprocess.size,
        "context_length": checkpoint.context_length,
        "embed_dim": checkpoint.config["model_cfg"].get("embed_dim"),
        "logit_scale": checkpoint.head.logit_scale,
        "logit_bias": checkpoint.head.logit_bias,
        "fingerprint": checkpoint.fingerprint,
    }


def tuned_facts(cache_dir: Path, fingerprint: str) -> dict[str, Any] | None:
    """Return what was measured of a checkpoint's int8 engine; None where it has none.

    `runtime` is the library and version that made it, `is_usable` whether that is the one installed.
    """
    from siglipcli.encoders import openvino_library, tuned

    engine = next(tuned.every(cache_dir / "engines", fingerprint), None)
    if engine is None:
        return None
    installed = openvino_library.version() if openvino_library.is_installed() else ""
    return engine.facts | {"runtime": engine.runtime, "is_usable": engine.runtime == installed}


def file_facts(file: File) -> dict[str, Any]:
    """Return where a file of a model is, and its size in bytes; None where it is not here."""
    return {
        "file": file.name,
        "from": file.home,
        "path": str(file.path) if file.path else None,
        "bytes": file.path.stat().st_size if file.path else None,
    }
