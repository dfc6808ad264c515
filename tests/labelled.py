"""Labelled images for tests: drawn from a seed, with names that the demo model knows.

A name is a colour and a shape, `red circle` (any of `drawings.PAIRS`), or NOTHING for a bare ground. The demo
model is nearly always right about these, so what a test finds can be told beforehand; a file that lies
about its image is drawn with `draw_image(folder / "red circle" / "x.png", "blue star", seed)`.
"""

from __future__ import annotations

import csv
import json
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from drawings import draw, draw_nothing

NOTHING = "nothing"
SIZE = (96, 96)


def draw_image(path: Path, name: str, seed: int = 0) -> Path:
    """Draw what `name` says into `path`, whose folder is made; the same seed draws the same image."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    colour, _, shape = name.partition(" ")
    image = draw_nothing(rng, SIZE) if name == NOTHING else draw(shape, colour, rng, SIZE)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def draw_folder(folder: Path, shapes: Iterable[str], per_class: int = 3, seed: int = 0) -> Path:
    """Draw a folder per class: `folder/red circle/000.png`, `per_class` images of each of `shapes`."""
    for name in shapes:
        for i in range(per_class):
            draw_image(folder / name / f"{i:03}.png", name, seed * 10_000 + i)
    return folder


def write_manifest(path: Path, rows: Mapping[str, Sequence[str]]) -> Path:
    """Write a manifest, CSV or JSONL as its ending says: file (relative to its folder) → labels."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        if path.suffix == ".jsonl":
            for file, names in rows.items():
                stream.write(json.dumps({"file": file, "labels": list(names)}) + "\n")
        else:
            writer = csv.writer(stream)
            writer.writerow(["file", "label"])
            writer.writerows([file, ";".join(names)] for file, names in rows.items())
    return path


def write_labels(path: Path, labels: Sequence[Any], **keys: Any) -> Path:
    """Write a label set: names or mappings as in the YAML form; `keys` are the set's own."""
    content = {"name": path.stem, "templates": ["a {}.", "a photo of a {}."], **keys}
    path.write_text(
        yaml.safe_dump({**content, "labels": list(labels)}, sort_keys=False, allow_unicode=True),
        encoding="utf-8",
    )
    return path
