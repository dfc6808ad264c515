"""The only room with torch, open_clip and OpenVINO: `load(spec) -> Encoder`.

A tensor never leaves it; beyond it everything is numpy.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from siglipcli import machine
from siglipcli.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from siglipcli.encoders.checkpoint import Progress
    from siglipcli.encoders.tokens import Tokenizer
    from siglipcli.results import Head

__all__ = ["Encoder", "load"]

logger = logging.getLogger("siglipcli")


class Encoder(Protocol):
    """A model ready to turn images and prompts into embeddings of one space."""

    name: str
    """What answers call the model."""
    fingerprint: str
    """Equal for two encoders only if their vectors may be compared and stored together."""
    head: Head
    image_size: int
    """Side in pixels of the square the image tower takes."""
    batch_size: int
    """Images at a time that suit the device; may shrink when memory runs out."""
    in_flight: int
    """Calls of `encode_images` at a time that keep the device busy."""
    runtime: str
    precision: str

    @property
    def description(self) -> str:
        """What runs, where and at which precision, in a few words."""

    @property
    def tokenizer(self) -> Tokenizer:
        """For counting tokens before anything is encoded."""

    def encode_images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Encode uint8[n, size, size, 3] → float32[n, d], unit rows."""

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts → float32[len(texts), d], unit rows."""


def load(
    spec: str,
    *,
    device: str = "auto",
    runtime: str = "auto",
    precision: str = "auto",
    offline: bool = False,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
) -> Encoder:
    """Find a model and make it ready; towers are read when first used.

    `spec` is a catalogue name, a local folder, `hf-hub:ORG/NAME` or `demo`.
    Raises ModelError (unknown, offline, damaged) or DeviceError.
    """
    from siglipcli.encoders.checkpoint import locate

    folder = machine.cache_folder(cache_dir)
    checkpoint = locate(spec, offline=offline, cache_dir=folder, progress=progress)
    if _wants_openvino(runtime, device, precision):
        from siglipcli.encoders.openvino_runtime import OpenVINOEncoder

        try:
            return OpenVINOEncoder(checkpoint, precision, folder)
        except (OSError, RuntimeError, ImportError) as error:
            if runtime == "openvino":
                raise DeviceError(f"the openvino runtime cannot start: {error}") from error
            logger.warning("using torch, as the openvino runtime cannot start: %s", error)
    from siglipcli.encoders.torch_runtime import TorchEncoder

    return TorchEncoder(checkpoint, device, precision)


def _wants_openvino(runtime: str, device: str, precision: str) -> bool:
    """Choose the runtime without importing either. Raises DeviceError for what cannot be had."""
    from siglipcli.encoders import openvino_runtime

    if runtime == "openvino":
        if device not in {"auto", "cpu"}:
            raise DeviceError(f"the openvino runtime is for the CPU; --device {device} needs torch")
        if not openvino_runtime.is_installed():
            raise DeviceError("OpenVINO is not installed here; use --runtime torch")
        return True
    if runtime == "torch" or precision == "fp16" or not openvino_runtime.is_installed():
        return False
    return device == "cpu" or (device == "auto" and not _has_gpu())


def _has_gpu() -> bool:
    if not machine.has_accelerator():
        return False
    from siglipcli.encoders.torch_runtime import pick_device

    return pick_device("auto").type != "cpu"
