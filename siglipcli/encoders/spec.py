"""What describes an encoder: small, frozen and picklable, so that a worker elsewhere opens the same one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from siglipcli.encoders.catalog import DEFAULT
from siglipcli.encoders.precisions import CHOICES

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CLEANINGS", "PRECISIONS", "RUNTIMES", "ModelSpec"]

RUNTIMES = ("auto", "torch", "openvino")
PRECISIONS = CHOICES
CLEANINGS = ("canonicalize", "lower", "whitespace")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model and what runs it.

    `name` is a catalogue name, a local folder, `hf-hub:ORG/NAME` or `demo`. `device` is `auto`, `cpu`,
    `cuda`, `cuda:N` or `mps`; `runtime` one of `RUNTIMES`, `precision` one of `PRECISIONS`. `cache_dir`
    holds engines and digests (None: the user's cache folder); `offline` forbids the network.
    `text_cleaning`, one of `CLEANINGS`, replaces the cleaning of prompts that the model's config names.
    """

    name: str = DEFAULT
    device: str = "auto"
    runtime: str = "auto"
    precision: str = "auto"
    cache_dir: Path | None = None
    offline: bool = False
    text_cleaning: str | None = None
