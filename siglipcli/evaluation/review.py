"""A person's verdicts on an HTML report → images whose labels are known, each verdict with its weight.

The report's review mode saves one JSON file:

    {"version": 1, "model": "…", "label_sets": ["pets"], "items": [
      {"file": "a.jpg", "label": "cat", "set": "pets", "verdict": true, "weight": 3.5, "reason": "near"}]}

A label's images fall into two strata, near its threshold and the rest, and are drawn at random within each. A
verdict stands for `weight` images: those of its stratum, divided by the verdicts in it (Horvitz and Thompson
1952, "A Generalization of Sampling Without Replacement from a Finite Universe").
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from siglipcli.errors import UsageError
from siglipcli.evaluation.data import Data, Example
from siglipcli.evaluation.run import Known
from siglipcli.results import Source
from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from siglipcli.labels import LabelSet

__all__ = ["read"]

_VERSION = 1
_MAX_BYTES = 256 << 20


class _Verdict(NamedTuple):
    file: str
    label: str
    is_right: bool
    weight: float


def read(path: Path | str, labels: LabelSet) -> Known:
    """Read the verdicts on one label set's labels; no image is opened.

    Files are named as in the report, so relative names start at the current folder. A label's weight is 0 for images that
    nobody judged for it. Raises UsageError for a file that is no review, that has no verdict on this set, or
    that names a label which the set lacks.
    """
    shown = os.fspath(path)
    verdicts = list(_verdicts(_content(shown), labels, shown))
    if not verdicts:
        raise UsageError(f"{shown} has no verdict on a label of the set {labels.name!r}")
    return _known(verdicts, labels, shown)


def _content(shown: str) -> list[Any]:
    try:
        with Path(shown).open("rb") as stream:
            content = json.loads(stream.read(_MAX_BYTES))
    except OSError as error:
        raise UsageError(f"cannot read the review {shown}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise _no_review(shown, "it is not JSON") from error
    items = content.get("items") if isinstance(content, dict) else None
    if not isinstance(items, list):
        raise _no_review(shown, "it has no list `items`")
    if content.get("version") != _VERSION:
        raise UsageError(
            f"{shown} is a review of version {content.get('version')!r}, and this program reads version"
            f" {_VERSION}; make the report again with the program that calibrates"
        )
    return items


def _no_review(shown: str, why: str) -> UsageError:
    return UsageError(f"{shown} is not a review saved by a report: {why}")


def _verdicts(items: Sequence[Any], labels: LabelSet, shown: str) -> Iterator[_Verdict]:
    """Yield the verdicts on `labels`, whose name is written as the page shows it."""
    for number, item in enumerate(items, 1):
        if not _is_item(item):
            raise _no_review(shown, f"item {number} lacks a file, label, set, verdict or weight")
        if item["set"] == visible(labels.name):
            yield _Verdict(item["file"], item["label"], item["verdict"], float(item["weight"]))


def _is_item(item: Any) -> bool:
    if not isinstance(item, dict):
        return False
    weight, verdict = item.get("weight"), item.get("verdict")
    texts = (item.get(key) for key in ("file", "label", "set"))
    return (
        all(isinstance(text, str) and text for text in texts)
        and isinstance(verdict, bool)
        and isinstance(weight, (int, float))
        and not isinstance(weight, bool)
        and math.isfinite(weight)
        and weight > 0
    )


def _known(verdicts: Sequence[_Verdict], labels: LabelSet, shown: str) -> Known:
    columns = {visible(label.path): j for j, label in enumerate(labels.labels)}
    rows = {file: i for i, file in enumerate(dict.fromkeys(verdict.file for verdict in verdicts))}
    right = np.zeros((len(rows), len(columns)), np.bool_)
    weights = np.zeros(right.shape)
    for verdict in verdicts:
        j = columns.get(verdict.label)
        if j is None:
            raise UsageError(
                f"{shown} judges the label {verdict.label!r}, which the set {labels.name!r} does not have;"
                " calibrate the set that the report was made with"
            )
        place = rows[verdict.file], j
        if weights[place] and right[place] != verdict.is_right:
            raise UsageError(
                f"{shown} says both yes and no to {verdict.label!r} for {verdict.file}; keep one of the two"
            )
        right[place], weights[place] = verdict.is_right, verdict.weight
    paths = [label.path for label in labels.labels]
    examples = [
        Example(Source(file), tuple(np.array(paths, object)[right[i]])) for file, i in rows.items()
    ]
    return Known(Data(Path(shown).stem, examples), (labels,), (right,), weights)
