"""The official fake: a deterministic encoder that needs no model."""

from __future__ import annotations

import hashlib
import sys
from typing import TYPE_CHECKING

import numpy as np

from siglipcli.encoders.preprocess import Preprocess
from siglipcli.results import Head

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class FakeEncoder:
    """The official fake: mean colour is the image embedding, a hash of the text the other."""

    name = "fake"
    fingerprint = "fake"
    text_fingerprint = "fake"
    head = Head(logit_scale=10.0, logit_bias=-2.0)
    preprocess = Preprocess(8)
    batch_size = 4
    batch_limit = sys.maxsize
    in_flight = 1
    runtime = "fake"
    precision = "fp32"
    description = "fake"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def encode_images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.batches.append(len(pixels))
        colours = pixels.reshape(len(pixels), -1, 3).mean(axis=1) + 1  # (n, 3), never zero
        return self._unit(np.pad(colours, ((0, 0), (0, 1))))

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        digests = [hashlib.sha256(text.encode()).digest()[:4] for text in texts]
        return self._unit(np.array([list(digest) for digest in digests], dtype=np.float64) - 127.5)

    @staticmethod
    def _unit(rows: NDArray[np.float64]) -> NDArray[np.float32]:
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
