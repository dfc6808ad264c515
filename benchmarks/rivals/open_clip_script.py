"""Zero-shot classification of a folder of JPEGs as open_clip's README shows it for SigLIP.

Labels are encoded once, images eight at a time; `--bf16` runs both towers under autocast.
Prints one JSON object an image, as `siglip classify -f jsonl` does.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import open_clip
import torch
from PIL import Image

BATCH_SIZE = 8


def main() -> None:
    """Classify every image of a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", required=True, help="a folder in open_clip's format")
    parser.add_argument("--label", action="append", required=True)
    parser.add_argument("--bf16", action="store_true")
    options = parser.parse_args()

    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{options.model}")
    model.eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{options.model}")
    files = sorted(options.folder.glob("*.jpg"))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=options.bf16):
        texts = tokenizer([f"a photo of a {label}." for label in options.label])
        text_features = model.encode_text(texts, normalize=True)
        for start in range(0, len(files), BATCH_SIZE):
            batch = files[start : start + BATCH_SIZE]
            images = torch.stack([preprocess(Image.open(file)) for file in batch])
            image_features = model.encode_image(images, normalize=True)
            logits = image_features @ text_features.T * model.logit_scale.exp() + model.logit_bias
            for file, scores in zip(batch, torch.sigmoid(logits).tolist(), strict=True):
                _show(file, options.label, scores)


def _show(file: Path, labels: list[str], scores: list[float]) -> None:
    ranked = sorted(zip(scores, labels, strict=True), reverse=True)
    rows = [{"label": label, "score": score} for score, label in ranked]
    print(json.dumps({"file": str(file), "labels": rows}))


if __name__ == "__main__":
    main()
