"""The document of `siglip evaluate`, under CLIP_benchmark's keys, and the score of every image."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from siglipcli import scoring
from siglipcli.errors import UsageError
from siglipcli.outputs import safety
from siglipcli.outputs.bootstrap_report import write_json
from siglipcli.outputs.documents import failed, line
from siglipcli.outputs.evaluation_tables import write as write_tables
from siglipcli.outputs.output import check, is_same, open_output
from siglipcli.text import named, utf8

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from siglipcli.evaluation.metrics import Confusion, Measures
    from siglipcli.evaluation.run import Run
    from siglipcli.scoring import ScoringOptions

__all__ = ["TASK", "check_predictions", "document", "write", "write_predictions"]

TASK = "zeroshot_classification"  # as CLIP_benchmark calls it
_PARTS = frozenset({"images", "labels", "confused", "reliability"})  # of `Measures`: no metrics


def write(run: Run, measures: Measures, output: Path | None, *, as_json: bool) -> None:
    """Write all figures, as JSON or as tables. Raises OutputError."""
    if as_json:
        write_json(output, document(run, measures))
        return
    with open_output(output, None) as stream:
        write_tables(stream, run.scored[0], measures)
        stream.flush()


def check_predictions(path: Path, files: Iterable[str | Path | None], *, force: bool) -> None:
    """Refuse to write predictions over `files`, which are read or written. Raises UsageError, OutputError."""
    if path.suffix.lower() not in {".jsonl", ".ndjson"}:  # so it takes the place of no image
        raise UsageError(f"predictions are JSON Lines: {str(path)!r} should end in .jsonl")
    if any(name and is_same(name, path) for name in files):
        raise UsageError(f"the predictions {path} would replace what is read or written")
    safety.check(path, force=force, plain=False)
    check(path)


def document(run: Run, measures: Measures) -> dict[str, Any]:
    """Return every figure under the keys that CLIP_benchmark uses, and what it has none for."""
    figures, scored = asdict(measures), run.scored[0]
    return {
        "dataset": utf8(scored.dataset),
        "model": utf8(scored.model),
        "task": TASK,
        "made_with": run.provenance.to_dict(),
        "set": scored.labels.name,
        "images": measures.images,
        "metrics": {key: value for key, value in figures.items() if key not in _PARTS},
        "labels": list(figures["labels"]),
        "confused": [_confused(pair) for pair in measures.confused],
        "reliability": list(figures["reliability"]),
        "failures": [named(failure.file) | failed(failure) for failure in scored.failures],
    }


def _confused(confusion: Confusion) -> dict[str, Any]:
    return {
        "true": confusion.true,
        "predicted": confusion.predicted,
        "count": confusion.count,
        "files": [named(name) for name in confusion.files],
    }


def write_predictions(path: Path, run: Run, options: ScoringOptions) -> None:
    """Write JSON Lines: for each image what is right, and every label's score and tag. Raises OutputError.

    An image that could not be read has a line with its error.
    """
    scored = run.scored[0]
    paths = [label.path for label in scored.labels.labels]
    scores = scoring.sigmoid(scored.logits)
    tags = (
        scoring.tags(scored.logits, scores, scored.labels, options)
        if len(scores)
        else np.zeros(scores.shape, np.bool_)
    )
    with open_output(path) as stream:
        for source, row, chosen, right in zip(
            scored.sources, scores, tags, scored.truth, strict=True
        ):
            labels = [
                {
                    "label": name,
                    "score": float(str(score)),
                    "tag": bool(tag),
                    "right": bool(is_right),
                }
                for name, score, tag, is_right in zip(paths, row, chosen, right, strict=True)
            ]
            content = named(source.name) | {
                "status": "ok",
                "set": scored.labels.name,
                "labels": labels,
            }
            stream.write(line(content) + "\n")
        for failure in scored.failures:
            stream.write(line(named(failure.file) | failed(failure)) + "\n")
