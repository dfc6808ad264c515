"""A checksum for each stored row: over its key, its model and its vector, many rows at a time.

A sum of 64-bit words times odd random weights, modulo 2**64 (a multilinear hash): every change within
one word alters it for certain, any other change all but certainly. Each word is folded first, so that
its upper bits count in the lower half too: else two flips of highest bits would cancel out.

For 768 values numpy does a row in 0.5 µs, where zlib.crc32 takes 1.8 µs: 13 % of a warm search.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Words = NDArray[np.uint64]

__all__ = ["DIGEST", "checksums"]

DIGEST = 32
"""Bytes of a row's key, a SHA-256."""
_BLOCK = 64  # rows at a time: what is folded stays in the processor's cache


def checksums(
    fingerprint: str, digests: Sequence[bytes], vectors: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Return int64[n] for rows of one model: n keys of 32 bytes, and float32[n, d], C-contiguous."""
    count, width = vectors.shape
    keys = np.frombuffer(b"".join(digests), np.uint64).reshape(count, DIGEST // 8)
    if width % 2:
        vectors = np.pad(vectors, ((0, 0), (0, 1)))
    words = vectors.view(np.uint64)  # (n, d / 2)
    sums = _weighted(keys, 0) + _weighted(words, keys.shape[1])
    return (sums + _seed(fingerprint, width)).view(np.int64)


def _weighted(words: Words, first: int) -> Words:
    """Return the sums of uint64[n, w], folded and weighted, with the weights from `first` on: uint64[n]."""
    count, width = words.shape
    weights = _weights(first + width)[first:]
    sums = np.empty(count, np.uint64)
    folded = np.empty((min(count, _BLOCK), width), np.uint64)
    for start in range(0, count, _BLOCK):
        block = words[start : start + _BLOCK]
        part = np.right_shift(block, np.uint64(32), out=folded[: len(block)])
        part ^= block
        sums[start : start + _BLOCK] = part @ weights
    return sums


@lru_cache(maxsize=16)
def _weights(count: int) -> Words:
    """Return odd words, uint64[count]: SplitMix64's, the same on every machine and numpy."""
    with np.errstate(over="ignore"):
        z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    words: Words = (z ^ (z >> np.uint64(31))) | np.uint64(1)
    return words


@lru_cache(maxsize=16)
def _seed(fingerprint: str, width: int) -> Words:
    """Return, as uint64[1], what stands for the model, and for the number of values in its vectors."""
    digest = hashlib.sha256(f"{width} {fingerprint}".encode("utf-8", "surrogatepass")).digest()
    return np.frombuffer(digest[:8], np.uint64)
