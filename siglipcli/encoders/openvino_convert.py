"""From open_clip's towers to OpenVINO graphs. The only place where torch and OpenVINO meet."""

from __future__ import annotations

import errno
import os
import shutil
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import normalize

from siglipcli.encoders.openvino_library import library
from siglipcli.encoders.parts import in_parts
from siglipcli.encoders.tokens import Tokenizer
from siglipcli.encoders.torch_runtime import build_tower

if TYPE_CHECKING:
    from pathlib import Path

    from siglipcli.encoders.checkpoint import Checkpoint

__all__ = ["convert", "convert_towers"]

_PART_BYTES = 100 << 20  # weights of the text tower in fp32, compiled at a time
_BLOCK = 1 << 16  # bytes, fewer than which a disk that is being written to is full


class _ImageGraph(torch.nn.Module):
    """uint8[n, size, size, 3] → float32[n, d], unit rows."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.tower = build_tower(checkpoint, "visual")
        self.mean = torch.tensor(checkpoint.preprocess.mean)[:, None, None]
        self.std = torch.tensor(checkpoint.preprocess.std)[:, None, None]

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        x = pixels.permute(0, 3, 1, 2).float() / 255  # (n, 3, size, size)
        return normalize(self.tower((x - self.mean) / self.std), dim=-1)


class _TextGraph(torch.nn.Module):
    """int64[n, context_length] → float32[n, d], unit rows."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.tower = build_tower(checkpoint, "text")

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return normalize(self.tower(ids), dim=-1)


def convert_towers(checkpoint: Checkpoint, weights: str, folder: Path) -> None:
    """Write both towers into `folder`: text-01.xml and so on, and image.xml, with their weights beside them.

    The text tower goes first: a bad tokenizer is found before the larger tower is converted. Raises
    CheckpointError, OSError for a full disk, RuntimeError for what OpenVINO or torch cannot do.
    """
    try:
        for tower in ("text", "image"):
            convert(checkpoint, tower, folder, weights=weights)
    except RuntimeError as error:  # OpenVINO says "basic_ios::clear: iostream error"
        if shutil.disk_usage(folder).free < _BLOCK:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder.parent)) from error
        raise


def convert(checkpoint: Checkpoint, tower: str, folder: Path, *, weights: str) -> None:
    """Write the `image` or `text` tower into `folder`, for any batch size, its `weights` fp32 or fp16.

    The text tower is written in parts, so that only one of them needs to be in memory.
    """
    openvino = library()
    graph, example = _traced(checkpoint, tower)
    # The fused attention of the fast path has no counterpart in OpenVINO.
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the tracer, about shapes that are constant here
            shape = [-1, *example.shape[1:]]
            model = openvino.convert_model(graph, example_input=example, input=shape)
        parts = in_parts(model, _PART_BYTES) if tower == "text" else [model]
        for i, part in enumerate(parts, 1):
            name = tower if part is model else f"{tower}-{i:02}"
            openvino.save_model(part, folder / f"{name}.xml", compress_to_fp16=weights == "fp16")
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)


def _traced(checkpoint: Checkpoint, tower: str) -> tuple[Any, torch.Tensor]:
    if tower == "text":
        # Made by the model's own tokenizer: a damaged one is found before an engine holds a copy.
        words = Tokenizer.of(checkpoint)
        return _TextGraph(checkpoint), torch.from_numpy(words(["a photo"]))
    size = checkpoint.preprocess.size
    return _ImageGraph(checkpoint), torch.zeros(1, size, size, 3, dtype=torch.uint8)
