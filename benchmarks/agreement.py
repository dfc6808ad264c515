"""Do all contenders give the same results? Speed means nothing where they do not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobs import Bench, Run

    Scores = dict[str, dict[str, float]]  # file → label → score

REFERENCE = "open_clip"


def check(bench: Bench, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Run each contender once, with the labels seen before, and compare with open_clip in fp32.

    It is also the run that brings programs and weights into memory, so it is not timed.
    """
    results = {run.key: scores(bench.once(replace(run, seen=True)).stdout) for run in runs}
    return [
        {"name": run.contender.name, **compare(results[run.key], results[REFERENCE])}
        for run in runs
        if run.key != REFERENCE
    ]


def scores(stdout: str) -> Scores:
    """Read JSON lines, ours or a rival's. Raises SystemExit where an image has no scores."""
    found: Scores = {}
    for line in stdout.splitlines():
        record = json.loads(line)
        if not record.get("labels"):
            raise SystemExit(f"no scores for an image: {line[:200]}")
        labels = {row["label"]: float(row["score"]) for row in record["labels"]}
        found[PurePath(record["file"]).name] = labels
    return found


def compare(ours: Scores, reference: Scores) -> dict[str, Any]:
    """Return how many images have the same best label, and the largest difference of a score.

    `ours` may hold only the best labels of an image. Raises SystemExit where images differ.
    """
    if ours.keys() != reference.keys():
        raise SystemExit("the contenders did not score the same images")
    pairs = [(ours[file], reference[file]) for file in reference]
    return {
        "images": len(pairs),
        "same_best": sum(max(a, key=a.__getitem__) == max(b, key=b.__getitem__) for a, b in pairs),
        "largest_difference": max(abs(a[label] - b[label]) for a, b in pairs for label in a),
    }
