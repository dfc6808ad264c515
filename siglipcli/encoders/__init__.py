"""The only package with torch, open_clip and OpenVINO: `open_encoder(spec) -> Encoder`.

A tensor never leaves it; beyond it everything is numpy.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from siglipcli import machine
from siglipcli.encoders import precisions
from siglipcli.encoders.preprocess import Preprocess
from siglipcli.encoders.spec import ModelSpec
from siglipcli.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from siglipcli.encoders.checkpoint import Progress
    from siglipcli.encoders.tokens import Tokenizer
    from siglipcli.results import Head

__all__ = ["Encoder", "ModelSpec", "Preprocess", "open_encoder"]

logger = logging.getLogger("siglipcli")


class Encoder(Protocol):
    """A model ready to turn images and prompts into embeddings of one space."""

    name: str
    """What results call the model."""
    fingerprint: str
    """Equal for two encoders only if their image embeddings may be compared and stored together."""
    text_fingerprint: str
    """The same for embeddings of texts, which depend on how texts are cleaned too."""
    head: Head
    preprocess: Preprocess
    """What `encode_images` takes: the size of its arrays, and how images are resized to it."""
    batch_size: int
    """Images at a time that suit the device. A run may choose another number; nothing outside sets this."""
    batch_limit: int
    """Images at a time that fit in memory, as far as is known: it shrinks when memory runs out."""
    in_flight: int
    """Calls of `encode_images` at a time that keep the device busy."""
    runtime: str
    precision: str

    @property
    def description(self) -> str:
        """What runs, where and at which precision, in a few words."""

    @property
    def tokenizer(self) -> Tokenizer:
        """For looking at tokens before anything is encoded."""

    def encode_images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Encode uint8[n, size, size, 3] → float32[n, d], unit rows."""

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts → float32[len(texts), d], unit rows."""


def open_encoder(
    spec: ModelSpec, progress: Progress | None = None, *, tower_memory: int = 0
) -> Encoder:
    """Find a model's files, fetching what is missing unless `spec.offline`; towers are read when first used.

    Both towers stay loaded where they need at most `tower_memory` bytes of the computer's memory; else
    one is loaded at a time, and replaces the other. OpenVINO loads that of texts part by part where it is 0. On a
    GPU both stay in any case.
    Raises ModelError (unknown, offline, damaged) or DeviceError.
    """
    from siglipcli.encoders.checkpoint import locate

    folder = machine.cache_folder(spec.cache_dir)
    checkpoint = locate(spec.name, offline=spec.offline, cache_dir=folder, progress=progress)
    if _wants_openvino(spec):
        from siglipcli.encoders.openvino_runtime import OpenVINOEncoder

        try:
            return OpenVINOEncoder(
                checkpoint,
                spec.precision,
                folder,
                text_cleaning=spec.text_cleaning,
                tower_memory=tower_memory,
            )
        except (OSError, RuntimeError, ImportError) as error:
            reason = _reason(error)
            if spec.runtime == "openvino":
                raise DeviceError(
                    f"the openvino runtime cannot start: {reason}.", code="openvino", reason=reason
                ) from error
            logger.warning("using torch, as the openvino runtime cannot start: %s", reason)
    from siglipcli.encoders.torch_runtime import TorchEncoder

    return TorchEncoder(
        checkpoint,
        spec.device,
        spec.precision,
        text_cleaning=spec.text_cleaning,
        tower_memory=tower_memory,
    )


def _reason(error: Exception) -> str:
    """Return an error in words, a file's name before them where there is one."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _wants_openvino(spec: ModelSpec) -> bool:
    """Choose the runtime without importing either. Raises DeviceError for what is not available."""
    from siglipcli.encoders import openvino_library

    if spec.runtime == "openvino":
        if spec.device not in {"auto", "cpu"}:
            raise DeviceError(
                f"the openvino runtime runs on the CPU only, not on {spec.device}",
                code="openvino_device",
                device=spec.device,
            )
        if not openvino_library.is_installed():
            raise DeviceError("OpenVINO is not installed", code="openvino")
        return True
    if spec.runtime == "torch" or not precisions.is_on_openvino(spec.precision):
        return False
    if not openvino_library.is_installed():
        if precisions.is_only_on_openvino(spec.precision):
            raise DeviceError(
                f"OpenVINO is not installed, and nothing else runs {spec.precision}.",
                code="openvino_missing",
                precision=spec.precision,
            )
        return False
    if spec.device == "auto":
        return precisions.is_only_on_openvino(spec.precision) or not _has_gpu()
    return spec.device == "cpu"


def _has_gpu() -> bool:
    if not machine.has_accelerator():
        return False
    from siglipcli.encoders.torch_runtime import pick_device

    return pick_device("auto").type != "cpu"
