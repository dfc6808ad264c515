"""A plain server as people write one: FastAPI around the transformers zero-shot pipeline.

It takes what `siglip serve` takes at `/` (Hugging Face's form) and scores with the pipeline's own defaults.
Needs fastapi and uvicorn.

    python benchmarks/rivals/transformers_server.py --model FOLDER --port 8001
"""

from __future__ import annotations

import argparse
import base64
import io
from typing import Any

import uvicorn
from fastapi import FastAPI
from PIL import Image
from transformers import pipeline


def main() -> None:
    """Load the pipeline and serve it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="a folder in transformers' format")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    classifier = pipeline("zero-shot-image-classification", model=options.model)
    # Checkpoints' own tokenizers say so; one for random weights may not, and then pads are masked.
    tokenizer: Any = classifier.tokenizer
    tokenizer.model_input_names = ["input_ids"]
    app = FastAPI()

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/")
    def classify(body: dict[str, Any]) -> list[dict[str, Any]]:
        image = Image.open(io.BytesIO(base64.b64decode(body["inputs"])))
        # No full stop: open_clip's canonical text has none, and so both score the same tokens.
        found: Any = classifier(
            image,
            candidate_labels=body["parameters"]["candidate_labels"],
            hypothesis_template="a photo of a {}",
        )
        return list(found)

    uvicorn.run(app, port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
