"""The bundled model `demo`, its label set and its images: everything runs with no download.

It knows drawn shapes of plain colours and nothing else; see MODEL_CARD.md. The files are made by
`scripts/train_demo.py`.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["IMAGES", "LABELS", "MODEL_DIR"]

_HERE = Path(__file__).parent

MODEL_DIR = _HERE / "model"  # what `local-dir:` takes: config, safetensors, tokenizer
LABELS = _HERE / "labels.yaml"  # the label set `shapes`: every pair of colour and shape
IMAGES = _HERE / "images"  # a few drawings, each named after its label
