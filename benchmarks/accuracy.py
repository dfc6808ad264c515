"""What the fast paths change: bf16, the compiled engine, and decoding at a reduced scale.

Each is compared with torch in fp32 on fully decoded images, on the same weights: the cosine between the
two embeddings of an image, and how far its logits move (scale 117.3, ten prompts).

    python benchmarks/accuracy.py --weights DIR --photos 120 --large 40      # writes ACCURACY.md
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import photos

from siglipcli import LabelSet, Source, images
from siglipcli import encoders as models

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from siglipcli.encoders import Encoder

    Vectors = NDArray[np.float32]

PAGE = Path(__file__).parent / "ACCURACY.md"
LABELS = ["cat", "dog", "bird", "rocket", "coffee", "person", "text", "coin", "sofa", "lake"]
_BATCH = 4


def encode(encoder: Encoder, pixels: list[NDArray[np.uint8]]) -> Vectors:
    """Return float32[n, d]."""
    parts = [np.stack(pixels[i : i + _BATCH]) for i in range(0, len(pixels), _BATCH)]
    return np.concatenate([encoder.encode_images(part) for part in parts])


def row(name: str, got: Vectors, reference: Vectors, got_logits: Vectors, logits: Vectors) -> str:
    """Return one line of the table."""
    cosines = (got * reference).sum(axis=1)
    moved = np.abs(got_logits - logits)
    return (
        f"| {name} | {np.median(cosines):.6f} | {cosines.min():.6f} | {np.median(moved):.4f} |"
        f" {np.quantile(moved, 0.99):.4f} | {moved.max():.4f} |"
    )


def runtimes(weights: str, pixels: list[NDArray[np.uint8]], cache: Path) -> list[str]:
    """Compare every runtime and precision with torch in fp32; its own prompts and images."""
    prompts = [label.prompts[0] for label in LabelSet.of(LABELS).labels]

    def run(runtime: str, precision: str) -> tuple[Vectors, Vectors]:
        encoder = models.load(
            weights, device="cpu", runtime=runtime, precision=precision, cache_dir=cache
        )
        texts = encoder.encode_texts(prompts)
        vectors = encode(encoder, pixels)
        return vectors, np.float32(encoder.head.logit_scale) * vectors @ texts.T

    reference, logits = run("torch", "fp32")
    rows = []
    for runtime, precision in [("openvino", "fp32"), ("openvino", "bf16"), ("torch", "bf16")]:
        got, moved = run(runtime, precision)
        rows.append(row(f"{runtime}, {precision}", got, reference, moved, logits))
    return rows


def decoding(weights: str, files: list[Path], cache: Path) -> list[str]:
    """Compare reduced with full decoding of large JPEGs, pixels and embeddings."""
    encoder = models.load(weights, device="cpu", precision="fp32", cache_dir=cache)
    texts = encoder.encode_texts([label.prompts[0] for label in LabelSet.of(LABELS).labels])
    size = encoder.image_size
    exact, reduced = (
        [images.read(Source(f.name, f), size, exact=mode) for f in files] for mode in (True, False)
    )
    apart = np.abs(np.stack(exact).astype(int) - np.stack(reduced))
    a, b = encode(encoder, exact), encode(encoder, reduced)
    scale = np.float32(encoder.head.logit_scale)
    line = row("reduced decoding", b, a, scale * b @ texts.T, scale * a @ texts.T)
    return [
        line,
        "",
        f"Pixels differ by {apart.mean():.3f} of 255 on average, {apart.max()} at most.",
    ]


def main() -> None:
    """Measure and write ACCURACY.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", required=True, help="an open_clip folder of full size")
    parser.add_argument("--photos", type=int, default=120)
    parser.add_argument("--large", type=int, default=40)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos.write(folder / "small", options.photos, (500, 375), 90)
        photos.write(folder / "large", options.large, (4000, 3000), 90)
        small, large = (sorted((folder / kind).glob("*.jpg")) for kind in ("small", "large"))
        pixels = [images.read(Source(f.name, f), 384) for f in small]
        lines = runtimes(options.weights, pixels, folder)
        lines += decoding(options.weights, large, folder)
    PAGE.write_text(_PAGE.format(photos=len(small), large=len(large), rows="\n".join(lines)))
    print(PAGE.read_text())


_PAGE = """<!-- Made by benchmarks/accuracy.py; do not edit. -->

# What the fast paths change

ViT-B-16-SigLIP-384 with random weights (`scripts/random_weights.py`). {photos} photographs of 500×375
for the runtimes, {large} of 4000×3000 for decoding. Runtimes are compared with torch in fp32, each with
its own prompts; reduced decoding with full decoding, both in fp32.

| compared | median cosine | lowest | median logit moved | 99 % within | most |
|---|---|---|---|---|---|
{rows}
"""

if __name__ == "__main__":
    main()
