"""The transformers zero-shot pipeline over a folder of JPEGs, with its own defaults or its fastest settings.

Prints one JSON object an image, as `siglip classify -f jsonl` does.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from transformers import pipeline


def main() -> None:
    """Classify every image of a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", required=True, help="a folder in transformers' format")
    parser.add_argument("--label", action="append", required=True)
    parser.add_argument("--bf16", action="store_true", help="bfloat16, and torch's fused attention")
    parser.add_argument("--compile", action="store_true", help="torch.compile the image tower")
    options = parser.parse_args()

    fast: dict[str, Any] = {}
    if options.bf16:
        fast = {"dtype": torch.bfloat16, "model_kwargs": {"attn_implementation": "sdpa"}}
    classifier = pipeline("zero-shot-image-classification", model=options.model, **fast)
    if options.compile:
        classifier.model.vision_model = torch.compile(classifier.model.vision_model)
    # Checkpoints' own tokenizers say so; one for random weights may not, and then pads are masked.
    tokenizer: Any = classifier.tokenizer
    tokenizer.model_input_names = ["input_ids"]
    files = sorted(str(path) for path in options.folder.glob("*.jpg"))
    # No full stop: open_clip's canonical text has none, and so all score the same tokens.
    template = "a photo of a {}"
    answers = classifier(files, candidate_labels=options.label, hypothesis_template=template)
    for file, scores in zip(files, answers, strict=True):
        print(json.dumps({"file": file, "labels": scores}))


if __name__ == "__main__":
    main()
